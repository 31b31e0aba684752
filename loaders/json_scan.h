/* Reading a large JSON document in one pass, without a tree: for tables of 10^5 entries, where cJSON would need a
 * hundred bytes a value.  Every function skips white space first and returns false at the first thing that is not
 * well-formed; the cursor then stands at the offending byte.  No recursion, no memory of its own.                     */
#ifndef LR_JSON_SCAN_H
#define LR_JSON_SCAN_H

#include "runtime/base.h"

typedef struct lr_json_scan {
    const char *begin, *at, *end;
} lr_json_scan;

/* Accepts one structural character, or looks whether it comes next.                                                   */
bool lr_json_scan_take(lr_json_scan *s, char c);
bool lr_json_scan_peek(lr_json_scan *s, char c);
/* Appends the decoded bytes of a string to *out (may hold NUL).  False also when out has no memory (out->failed), for
 * invalid UTF-8, control characters and lone surrogates.                                                              */
bool lr_json_scan_string(lr_json_scan *s, lr_text *out);
/* An integer without fraction or exponent that fits in 32 bits.                                                       */
bool lr_json_scan_int(lr_json_scan *s, int32_t *out);
/* A finite number, rounded as the JSON reader of HF tokenizers rounds: 19 digits as an integer, then one multiplication
 * or division by a power of ten.  It may be off by one in the last place; scores must tie where theirs tie.           */
bool lr_json_scan_number(lr_json_scan *s, double *out);
/* Any value: brackets are matched (at most LR_JSON_DEPTH deep) and strings delimited; the rest is not looked at.      */
bool lr_json_scan_skip(lr_json_scan *s);

/* Writes a code point (at most 4 bytes); returns its length.                                                          */
size_t lr_utf8_put(char *out, uint32_t code);
/* The code point at s, valid UTF-8; *n gets its length.                                                               */
uint32_t lr_utf8_get(const char *s, size_t *n);

#endif
