/* A tokenizer's files as neutral tables: tokens, merges as id pairs or scores, added tokens, and the steps of normalizer,
 * pre-tokenizer, post-processor and decoder.  What the steps do is runtime/tokenizer*.c; here they are only read and
 * checked.  What the runtime has no exact rule for is UNSUPPORTED with its name, never a guess.                       */
#ifndef LR_TOKENIZER_VOCAB_H
#define LR_TOKENIZER_VOCAB_H

#include "runtime/base.h"

enum {
    LR_VOCAB_MAX = 1 << 21,      /* ids are below it */
    LR_VOCAB_PROBES = 1024,      /* most slots a lookup may visit: a file made to collide is refused */
    LR_ADDED_MAX_BYTES = 256,    /* of an added token's text */
    LR_STEPS_MAX = 16,           /* in one of the lists below */
    LR_PIECE_MAX_BYTES = 1024,   /* of a token that is found in the text itself, not by merging: encoding looks as far */
};

#define LR_NO_TOKEN UINT32_MAX
typedef struct lr_token {
    uint32_t start, n; /* text at vocab.text + start; start LR_NO_TOKEN: no token has this id; an added token that the
                          model does not know is empty here */
} lr_token;

typedef struct lr_merge {
    int32_t left, right, result; /* rank: index in the list */
} lr_merge;

/* How a piece of text becomes tokens.                                                                                 */
typedef enum lr_vocab_kind {
    LR_VOCAB_MERGES, /* BPE: adjacent tokens merge in the order of a list */
    LR_VOCAB_SCORES, /* BPE of SentencePiece: adjacent texts merge where the result is a token, highest score first */
    LR_VOCAB_UNIGRAM /* the tokens whose scores have the largest sum */
} lr_vocab_kind;

/* What a token is; the numbers of SentencePiece and GGUF.                                                             */
typedef enum lr_token_type {
    LR_TYPE_NORMAL = 1, LR_TYPE_UNKNOWN, LR_TYPE_CONTROL, LR_TYPE_USER_DEFINED, LR_TYPE_UNUSED, LR_TYPE_BYTE
} lr_token_type;

typedef struct lr_added {
    int32_t id;
    char *text; /* NUL-terminated, n bytes, n >= 1 */
    uint32_t n;
    bool special, normalized, lstrip, rstrip, single_word;
} lr_added;

typedef enum lr_step_kind {
    LR_STEP_NFC, LR_STEP_NFD, LR_STEP_NFKC, LR_STEP_NFKD, /* normalizers */
    LR_STEP_LOWERCASE, LR_STEP_PREPEND,
    LR_STEP_PRECOMPILED,   /* normalizer: the charsmap as HF tokenizers applies it, by grapheme */
    LR_STEP_SENTENCEPIECE, /* normalizer: charsmap, white space and prefix as SentencePiece does; prefix, trim */
    LR_STEP_REPLACE,   /* normalizer and decoder */
    LR_STEP_STRIP,     /* normalizer: white space; decoder: the character in content */
    LR_STEP_SPLIT,     /* pre-tokenizers */
    LR_STEP_METASPACE, /* pre-tokenizer and decoder; content is the replacement */
    LR_STEP_BYTE_LEVEL, /* pre-tokenizer (the last; its pattern is a SPLIT before it) and decoder */
    LR_STEP_BYTE_FALLBACK, LR_STEP_FUSE /* decoders */
} lr_step_kind;

typedef enum lr_split_behavior {
    LR_SPLIT_ISOLATED, LR_SPLIT_REMOVED, LR_SPLIT_CONTIGUOUS, LR_SPLIT_WITH_PREVIOUS, LR_SPLIT_WITH_NEXT
} lr_split_behavior;

typedef enum lr_prefix { LR_PREFIX_NEVER, LR_PREFIX_FIRST, LR_PREFIX_ALWAYS } lr_prefix;

typedef struct lr_step {
    lr_step_kind kind;
    char *pattern; /* REPLACE, SPLIT: what to look for, or NULL */
    char *content; /* PREPEND, REPLACE: what to put; METASPACE, STRIP: the character */
    bool regex;    /* pattern is a regular expression, else plain text */
    bool invert;   /* SPLIT: what the pattern does not match counts as the match */
    bool left, right;  /* STRIP: sides */
    bool split;        /* METASPACE: cut before each replacement */
    bool trim;         /* SENTENCEPIECE: no white space at the ends, runs of it are one */
    lr_split_behavior behavior;
    lr_prefix prefix;  /* METASPACE, SENTENCEPIECE: when to put the replacement in front; BYTE_LEVEL: always = a space */
} lr_step;

typedef struct lr_steps {
    lr_step *items;
    size_t n, cap;
} lr_steps;

/* The rules of a SentencePiece normalizer, its "precompiled charsmap": a double-array trie of what they replace, whose
 * values point at what they put.                                                                                      */
typedef struct lr_charsmap {
    uint32_t *units; /* (n_units); none: no rules */
    char *text;      /* (n_text) NUL-terminated strings, valid UTF-8 */
    size_t n_units, n_text;
} lr_charsmap;

typedef struct lr_vocab {
    lr_vocab_kind kind;
    char *text;         /* (n_text) of all tokens, as the file spells them */
    size_t n_text;
    lr_token *tokens;   /* (n_tokens) by id */
    int32_t n_tokens;   /* highest id + 1 */
    int32_t n_model;    /* the same without added tokens */
    lr_merge *merges;   /* (n_merges) by rank */
    size_t n_merges;
    double *scores;     /* (n_model) SCORES, UNIGRAM: finite; NULL: none */
    uint8_t *types;     /* (n_model) lr_token_type; NULL: the file does not say */
    lr_charsmap charsmap;
    int32_t *slots;     /* text -> id: open addressing, -1 empty; a power of two */
    uint32_t n_slots;
    lr_added *added;    /* (n_added) sorted by text */
    size_t n_added;
    lr_steps normalizer, pre_tokenizer, decoder;
    int32_t bos, eos;   /* as the file has them, -1: it does not say */
    int32_t ends[2];    /* other ids that end a turn, -1: none */
    bool add_bos, add_eos; /* without a template: what tokenizer_config.json may overrule */
    int32_t *prefix, *suffix; /* ids that the post-processor puts around a text */
    size_t n_prefix, n_suffix;
    bool has_template;  /* tokenizer.json says which ids those are, even if none */
    bool byte_fallback, fuse_unk, ignore_merges;
    bool single_precision; /* UNIGRAM: sums are rounded to float, as SentencePiece keeps them */
    int32_t unk;        /* -1: none */
} lr_vocab;

/* Reads the n bytes of a tokenizer.json; where names it in messages.  *v must be zeroed; closed by the caller in every
 * case.  Cost: one pass over the two large tables, without a tree.      [errors: FORMAT UNSUPPORTED NOMEM]           */
llmrun_status lr_vocab_parse(lr_vocab *v, const char *json, size_t n, const char *where, llmrun_error *err);
void lr_vocab_close(lr_vocab *v);

/* Id of a text among the tokens that text may become by the model itself (of added tokens, those in the model's table;
 * of tokens with a type, the normal and user-defined ones), or -1.                                                    */
int32_t lr_vocab_find(const lr_vocab *v, const char *text, size_t n);

/* ---- tokenizer_charsmap.c ---- */

/* bytes: u32 size of the trie, the trie, the strings.  where: "FILE: normalizer".         [errors: FORMAT NOMEM]      */
llmrun_status lr_charsmap_read(lr_charsmap *m, const void *bytes, size_t n, const char *where, llmrun_error *err);
llmrun_status lr_charsmap_read_base64(lr_charsmap *m, const char *text, const char *where, llmrun_error *err);
void lr_charsmap_close(lr_charsmap *m);
/* The rule whose left side begins text (n bytes of valid UTF-8): the longest such, or the shortest.  Returns how many
 * bytes it replaces, 0 if there is none; *to (n_to) is what it puts.  Looks at no more than 256 bytes.                */
size_t lr_charsmap_find(const lr_charsmap *m, const char *text, size_t n, bool longest, const char **to, size_t *n_to);

/* ---- tokenizer_vocab.c: the large tables ---- */

/* Bytes of the JSON values of model.vocab and model.merges; {NULL, 0} where the file has none.                        */
typedef struct lr_vocab_tables {
    const char *vocab, *merges;
    size_t n_vocab, n_merges;
} lr_vocab_tables;

llmrun_status lr_vocab_read_tokens(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err);
llmrun_status lr_vocab_read_merges(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err);
/* Appends a merge: pair holds left and right, left first (n_left bytes).  All three must be tokens.                   */
llmrun_status lr_vocab_add_merge(lr_vocab *v, size_t *cap, const lr_text *pair, size_t n_left, const char *where,
                                 llmrun_error *err);
/* [["text", score], ...], ids in order.                                                                               */
llmrun_status lr_vocab_read_scored(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err);
/* Enters the tokens that lr_vocab_find finds.  unique: two of the same text are an error; else the later one counts.  */
llmrun_status lr_vocab_index(lr_vocab *v, bool unique, const char *where, llmrun_error *err);
/* Makes room for ids up to id; new ones have no text.                                                                 */
llmrun_status lr_vocab_reserve(lr_vocab *v, int32_t id, llmrun_error *err);

/* ---- tokenizer_pieces.c: vocabularies that list tokens with score and type ---- */

typedef struct lr_pieces {
    lr_vocab *v;
    const char *where;
    llmrun_error *err;
    lr_text pool; /* of all texts */
    size_t cap, score_cap, type_cap;
} lr_pieces;

/* Appends the token with the next id.                                                                                 */
llmrun_status lr_pieces_add(lr_pieces *p, const char *text, size_t n, double score, lr_token_type type);
/* The vocabulary's map, and its added tokens: control and unknown ones, and user-defined ones if so wanted (else they
 * are met by normalizer and model, as in SentencePiece).                                                              */
llmrun_status lr_pieces_finish(lr_pieces *p, bool user_defined_added, bool unique);
void lr_pieces_close(lr_pieces *p); /* in every case; the vocabulary is the caller's */

/* ---- tokenizer_sentencepiece.c ---- */

/* Reads a tokenizer.model.  As lr_vocab_parse.                                                                        */
llmrun_status lr_sentencepiece_parse(lr_vocab *v, const void *bytes, size_t n, const char *where, llmrun_error *err);

/* The steps of models that write spaces as U+2581.  prefix: one goes in front of a text; trim: white space is reduced. */
llmrun_status lr_vocab_add_mark_steps(lr_vocab *v, bool prefix, bool trim, const char *where, llmrun_error *err);

/* ---- tokenizer_gguf.c ---- */

struct lr_gguf;
/* The vocabulary of a GGUF's metadata.  As lr_vocab_parse; UNSUPPORTED names an unknown model or pre-tokenizer.       */
llmrun_status lr_vocab_read_gguf(lr_vocab *v, const struct lr_gguf *g, const char *where, llmrun_error *err);

/* ---- tokenizer_beside.c ---- */

struct lr_config;
/* Adds the tokens of a tokenizer_config.json, or (bare) of an added_tokens.json, to a vocabulary from tokenizer.model.
 * [errors: FORMAT NOMEM]                                                                                              */
llmrun_status lr_vocab_add_beside(lr_vocab *v, const struct lr_config *c, bool bare, llmrun_error *err);

/* ---- tokenizer_steps.c: the lists of steps ---- */

/* Appends a step to a list and returns it, NULL if there is no room or no memory.                                     */
lr_step *lr_steps_add(lr_steps *s, lr_step_kind kind);

struct cJSON;
llmrun_status lr_vocab_read_steps(lr_vocab *v, const struct cJSON *root, const char *where, llmrun_error *err);
llmrun_status lr_vocab_read_template(lr_vocab *v, const struct cJSON *root, const char *where, llmrun_error *err);

#endif
