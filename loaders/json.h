/* cJSON behind a strict wrapper.  The text is checked against RFC 8259 first, without recursion: UTF-8, grammar,
 * nesting of at most LR_JSON_DEPTH, escapes, length of numbers, number of values.  cJSON then only builds the tree, so
 * the one thing it can fail on is memory.                                                                            */
#ifndef LR_JSON_H
#define LR_JSON_H

#include <cjson/cJSON.h>

#include "runtime/base.h"

enum { LR_JSON_DEPTH = 64, LR_JSON_NUMBER = 63 /* characters; what cJSON can hold */ };
#define LR_JSON_MAX_INT ((INT64_C(1) << 53) - 1) /* above it a double no longer tells neighbours apart */

/* Parses one document of n bytes.  where names it in messages ("DIR/config.json").  A top-level object must not define
 * a key twice.  More than max_values values (keys not counted): FORMAT.  *out is released with lr_json_close.
 * Cost: about 80 bytes of memory per value, plus the strings.      [errors: FORMAT NOMEM]                            */
llmrun_status lr_json_parse(cJSON **out, const void *text, size_t n, size_t max_values, const char *where,
                            llmrun_error *err);

/* Reads and parses a file of at most max_bytes.                    [errors: IO FORMAT NOMEM]                         */
llmrun_status lr_json_read(cJSON **out, const char *path, size_t max_bytes, size_t max_values, llmrun_error *err);

/* Checks a document as lr_json_parse does, but builds nothing: no limit on values, and the members of a top-level
 * object are not compared.  After it a lr_json_scan over the same text cannot fail, memory apart.
 * [errors: FORMAT]                                                                                                   */
llmrun_status lr_json_check(const void *text, size_t n, const char *where, llmrun_error *err);

void lr_json_close(cJSON *json); /* accepts NULL */

/* Member of an object, case-sensitive; NULL if absent, or if object is not an object.  Linear in its members.        */
const cJSON *lr_json_get(const cJSON *object, const char *key);

/* True if item is a whole number in [lo, hi] that a double holds exactly; then *out is set.                          */
bool lr_json_int(const cJSON *item, int64_t lo, int64_t hi, int64_t *out);

/* FORMAT if an object defines a key twice.  Cost: a sort.          [errors: FORMAT NOMEM]                            */
llmrun_status lr_json_unique(const cJSON *object, const char *where, llmrun_error *err);

/* A short word for a value of the wrong kind in a message: "string \"one\"", "1.5", "an object".  Returns buf.       */
const char *lr_json_describe(char *buf, size_t size, const cJSON *item);

#endif
