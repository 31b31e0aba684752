/* Pre-tokenizers by the names that GGUF files give them.                                                              */
#ifndef LR_TOKENIZER_PRE_H
#define LR_TOKENIZER_PRE_H

#include "runtime/base.h"

enum {
    LR_PRE_NFC = 1,           /* the models' normalizer is NFC */
    LR_PRE_IGNORE_MERGES = 2, /* a piece that is a token is not cut */
    LR_PRE_ADD_BOS = 4,       /* where the file does not say */
    LR_PRE_RAW = 8            /* characters instead of mapped bytes, marks for spaces, byte tokens for the rest */
};

typedef struct lr_pre {
    const char *names;       /* with blanks between them */
    const char *patterns[6]; /* in the order in which they cut; NULL: no more */
    unsigned flags;
} lr_pre;

const lr_pre *lr_pre_find(const char *name, size_t n); /* NULL: unknown */
/* The one that cuts by exactly these patterns (n) and has these flags of NFC and IGNORE_MERGES; NULL: none.           */
const lr_pre *lr_pre_match(const char *const *patterns, size_t n, unsigned flags);
/* The name for files that have none, by general.architecture; NULL where that would be a guess.                       */
const char *lr_pre_of_architecture(const char *architecture, size_t n);

#endif
