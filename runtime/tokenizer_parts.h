/* The parts of the tokenizer: a constant side that is built at open, and a per-call side.
 *
 *   text -> valid UTF-8 -> added tokens (tokenizer_added.c) -> normalizer (tokenizer_normalize.c)
 *        -> pre-tokenizer (tokenizer_split.c, patterns: tokenizer_pattern.c)
 *        -> the model (tokenizer_bpe.c, tokenizer_scores.c, tokenizer_unigram.c) -> ids
 *
 * Nothing here recurses on text or backtracks without bound: patterns run in windows with a budget of work that is a
 * multiple of the text's length, merges run on a heap.  All state of a call is in lr_encode; the tokenizer is const.  */
#ifndef LR_TOKENIZER_PARTS_H
#define LR_TOKENIZER_PARTS_H

#include "loaders/tokenizer_vocab.h"
#include "runtime/tokenizer.h"

typedef struct lr_pattern lr_pattern; /* a compiled regular expression */

/* A step and its compiled pattern (NULL where it has none).                                                           */
typedef struct lr_stage {
    const lr_step *step;
    lr_pattern *pattern;
} lr_stage;

typedef struct lr_stages {
    lr_stage *items;
    size_t n;
} lr_stages;

/* Added tokens sorted by the text to look for, searched leftmost-longest.                                             */
typedef struct lr_added_set {
    struct lr_added_text {
        char *text;
        uint32_t n;
        const lr_added *token;
    } *items;
    size_t n;
    uint8_t starts[256]; /* 1 if a text begins with this byte */
} lr_added_set;

/* Tokens by their bytes, from the start of a text.  The children of a node stand side by side, sorted by byte.        */
typedef struct lr_trie_node {
    uint32_t child; /* index of the first */
    uint16_t n;     /* children */
    uint8_t byte;   /* that leads here */
    int32_t id;     /* of the token that ends here, -1: none */
} lr_trie_node;

typedef struct lr_trie {
    lr_trie_node *nodes; /* (n) the first is the root */
    size_t n;
} lr_trie;

enum { LR_TOKEN_END = 1, LR_TOKEN_CONTROL = 2 };

struct llmrun_tokenizer {
    lr_vocab vocab;
    lr_stages normalizer, pre_tokenizer;
    lr_added_set raw, normalized; /* searched before and after the normalizer */
    lr_added_set user_defined;    /* of SentencePiece: met inside the normalizer and the model */
    uint32_t *merge_slots;        /* (left, right) -> rank: open addressing, UINT32_MAX empty */
    uint32_t n_merge_slots;
    uint32_t *ranks;              /* (n_model) merging by score: of a token as the result of a merge */
    uint32_t longest_token;       /* merging by score: bytes of the longest that text can become */
    lr_trie trie;                 /* Unigram: of all tokens */
    double unknown_score;         /* Unigram: of a character that no token covers */
    bool byte_level;
    bool cut_words;               /* tokens never cross the start of a word, so pieces are cut there */
    int32_t byte_id[256];         /* byte level: id of a byte; else id of its <0xHH> token; -1: none */
    int32_t ascii_id[128];        /* id of an ASCII character, -1: none (not byte level) */
    char *out;                    /* (n_out) bytes of all tokens as they are printed */
    size_t n_out;
    lr_token *out_of;             /* (n_tokens) by id, into out */
    char *strip;                  /* the decoder drops this once (or, strip_all, each time) at the start; NULL: nothing */
    bool strip_all;
    uint8_t *traits;              /* (n_tokens) LR_TOKEN_END | LR_TOKEN_CONTROL */
};

/* One call of llmrun_tokenize.                                                                                        */
typedef struct lr_encode {
    const llmrun_tokenizer *t;
    unsigned flags;
    int32_t *ids; /* (max) */
    size_t max, n_ids;
    bool inside;     /* the text goes on after other ids: nothing in it opens a text */
    bool first;      /* the section being normalized opens the text */
    uint64_t work;   /* bytes looked at by patterns, and heap operations: what the tests hold to be linear */
    uint64_t budget; /* of bytes that patterns may look at beyond the first window of a match */
    void *match, *match_context; /* PCRE2's, made at first use */
    lr_text normal[2];           /* normalizer: from one to the other */
    lr_text staged[LR_STEPS_MAX]; /* pre-tokenizer: text that a stage has changed */
    char *mapped;                /* byte-level spelling of a piece */
    struct lr_symbol *symbols;   /* of the piece being merged */
    struct lr_stretch *stretches; /* the same, merging by score */
    uint64_t *heap;
    struct lr_best *best;        /* Unigram: of the piece being cut */
    int32_t *code;               /* normalizer: code points */
    size_t mapped_cap, symbols_cap, heap_cap, code_cap, best_cap, stretches_cap;
    llmrun_error *err;
} lr_encode;

/* Appends an id; beyond max it only counts.                                                                           */
static inline void lr_encode_emit(lr_encode *e, int32_t id) {
    if (e->n_ids < e->max) e->ids[e->n_ids] = id;
    e->n_ids++;
}

/* llmrun_tokenize with its state in sight: fill t, flags, ids, max, err; the rest zero.                               */
llmrun_status lr_encode_run(lr_encode *e, const char *text, size_t n);
void lr_encode_close(lr_encode *e); /* frees the buffers; counters and err stay */

/* lr_tokenizer_open from memory, whatever kind of file it is; where names it in messages.                             */
llmrun_status lr_tokenizer_parse(llmrun_tokenizer **out, const char *bytes, size_t n, const char *where,
                                 const lr_config *config, const int32_t *eos, int32_t n_eos, llmrun_error *err);

/* ---- tokenizer_pattern.c ---- */

/* Compiles a pattern as HF tokenizers would read it (Oniguruma, Ruby syntax).  What PCRE2 would read otherwise, and
 * what can take exponential time, is UNSUPPORTED.  where: "FILE: pre_tokenizer".  regex false: plain text.            */
llmrun_status lr_pattern_open(lr_pattern **out, const char *pattern, bool regex, const char *where, llmrun_error *err);
void lr_pattern_close(lr_pattern *p);
/* The next match in text[from..n): *start == *end == n if there is none.  Matches are never empty.
 * [errors: UNSUPPORTED (too much work) NOMEM]                                                                         */
llmrun_status lr_pattern_next(const lr_pattern *p, lr_encode *e, const char *text, size_t n, size_t from, size_t *start,
                              size_t *end);
void lr_pattern_release(lr_encode *e); /* the match state of a call */

/* ---- the others ---- */

/* Added tokens of one kind, spelled as the normalizer spells them.                                                    */
llmrun_status lr_added_open(lr_added_set *set, const llmrun_tokenizer *t, bool normalized, llmrun_error *err);
/* The user-defined tokens of a vocabulary that has them in its model.                                                 */
llmrun_status lr_added_open_user_defined(lr_added_set *set, const lr_vocab *v, llmrun_error *err);
void lr_added_close(lr_added_set *set);
/* Bytes of the longest text of the set at the start of text, 0 if there is none.                                      */
size_t lr_added_longest(const lr_added_set *set, const char *text, size_t n);
/* The next added token in text[from..n): *id -1 if there is none, then *start == *end == n.                           */
void lr_added_next(const lr_added_set *set, const lr_encode *e, const char *text, size_t n, size_t from, size_t *start,
                   size_t *end, int32_t *id);

/* White space: bytes of it at the start of text; length of text without it at the end.                                */
size_t lr_normalize_skip_space(const char *text, size_t n);
size_t lr_normalize_trim_space(const char *text, size_t n);

/* Runs the normalizer; *out points into text or e->normal.                                                            */
llmrun_status lr_normalize_run(lr_encode *e, const char *text, size_t n, const char **out, size_t *n_out);

/* Splits a normalized text and encodes the pieces.  first: it opens the whole text.                                   */
llmrun_status lr_split_run(lr_encode *e, const char *text, size_t n, bool first);

/* The charsmap as HF tokenizers applies it.                                                                           */
void lr_rewrite_precompiled(const lr_charsmap *map, const char *text, size_t n, lr_text *out);
/* SentencePiece's normalizer: the longest rules, spaces as marks, prefix and trimming as the step says.               */
void lr_rewrite_sentencepiece(const lr_encode *e, const lr_step *step, const char *text, size_t n, lr_text *out);

/* ---- tokenizer_model.c: what the models share, and the choice of one ---- */

llmrun_status lr_model_open(llmrun_tokenizer *t, const char *where, llmrun_error *err);
llmrun_status lr_model_run(lr_encode *e, const char *piece, size_t n);
/* Bytes of piece that no token crosses the end of: its first word in models that mark words, else all of it.          */
size_t lr_model_word_length(const llmrun_tokenizer *t, const char *piece, size_t n);

llmrun_status lr_bpe_open(llmrun_tokenizer *t, const char *where, llmrun_error *err);
llmrun_status lr_bpe_run(lr_encode *e, const char *piece, size_t n);
llmrun_status lr_scores_open(llmrun_tokenizer *t, const char *where, llmrun_error *err);
llmrun_status lr_scores_run(lr_encode *e, const char *piece, size_t n);
llmrun_status lr_unigram_open(llmrun_tokenizer *t, const char *where, llmrun_error *err);
llmrun_status lr_unigram_run(lr_encode *e, const char *piece, size_t n);

/* Builds out, out_of, strip from the decoder.                                                                         */
llmrun_status lr_decode_open(llmrun_tokenizer *t, const char *where, llmrun_error *err);
/* The character that stands for a byte in a byte-level vocabulary: its UTF-8 (at most 2 bytes); returns its length.   */
size_t lr_decode_byte_text(unsigned byte, char *out);
/* The byte of "<0xHH>", -1 if the text is no byte token.                                                              */
int lr_decode_byte_token(const char *text, size_t n);

#endif
