/* SentencePiece's BPE of one piece: of all neighbours whose joined text is a token, those with the highest score merge,
 * leftmost first.  Unlike merges from a list, it knows texts alone: characters that are no token may merge into one.  */
#include <stdlib.h>
#include <string.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_heap.h"
#include "runtime/tokenizer_parts.h"

#define NO_RANK UINT32_MAX
#define NONE UINT32_MAX

/* A stretch of the piece.                                                                                             */
struct lr_stretch {
    uint32_t start, n;   /* n 0: merged into the one before it */
    int32_t id;          /* -1: no token */
    uint32_t rank;       /* of the merge with the next one, NO_RANK: none */
    int32_t merged;      /* the token of that merge */
    uint32_t prev, next; /* indices, NONE at the ends */
    bool frozen;         /* a user-defined token: merges with nothing */
};

/* ---- open: tokens by rank ---- */

typedef struct scored {
    double score;
    int32_t id;
} scored;

static int compare_scores(const void *a, const void *b) {
    const scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

llmrun_status lr_scores_open(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    size_t n = (size_t)v->n_model;
    scored *order = lr_zalloc(n, sizeof *order);
    t->ranks = lr_zalloc(n, sizeof *t->ranks);
    if (!order || !t->ranks) {
        lr_free(order);
        return lr_fail_nomem(err, where, n * sizeof *order);
    }
    for (size_t i = 0; i < n; i++) order[i] = (scored){v->scores[i], (int32_t)i};
    qsort(order, n, sizeof *order, compare_scores);
    for (uint32_t i = 0, rank = 0; i < n; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank = i;
        t->ranks[order[i].id] = rank; /* equal scores have equal ranks */
    }
    lr_free(order);
    for (int32_t id = 0; id < v->n_model; id++)
        if (lr_vocab_find(v, v->text + v->tokens[id].start, v->tokens[id].n) == id)
            t->longest_token = v->tokens[id].n > t->longest_token ? v->tokens[id].n : t->longest_token;
    if (t->longest_token > LR_PIECE_MAX_BYTES)
        return lr_fail(err, LLMRUN_FORMAT, "%s: a token has %u bytes, at most %d where texts merge by score", where,
                       t->longest_token, LR_PIECE_MAX_BYTES);
    return LLMRUN_OK;
}

/* ---- encode ---- */

/* Notes the merge of a stretch with its next one.                                                                     */
static void rank_pair(lr_encode *e, const char *piece, struct lr_stretch *s) {
    const struct lr_stretch *next = s->next == NONE ? NULL : &e->stretches[s->next];
    s->rank = NO_RANK;
    e->work++;
    if (!next || s->frozen || next->frozen || s->n + next->n > e->t->longest_token) return;
    s->merged = lr_vocab_find(&e->t->vocab, piece + s->start, s->n + next->n);
    if (s->merged >= 0) s->rank = e->t->ranks[s->merged];
}

static void merge_all(lr_encode *e, const char *piece, uint32_t n) {
    struct lr_stretch *stretches = e->stretches;
    size_t n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++) {
        rank_pair(e, piece, &stretches[i]);
        if (stretches[i].rank != NO_RANK) e->heap[n_heap++] = (uint64_t)stretches[i].rank << 32 | i;
    }
    lr_heap_order(e->heap, n_heap);
    while (n_heap > 0) {
        uint64_t key = lr_heap_pop(e->heap, &n_heap);
        uint32_t rank = (uint32_t)(key >> 32), i = (uint32_t)key;
        struct lr_stretch *s = &stretches[i];
        if (s->n == 0 || s->rank != rank) continue; /* one of the two has merged with another since */
        struct lr_stretch *right = &stretches[s->next];
        s->id = s->merged;
        s->n += right->n;
        s->next = right->next;
        right->n = 0;
        if (s->next != NONE) stretches[s->next].prev = i;
        const uint32_t changed[] = {i, s->prev};
        for (int k = 0; k < 2; k++) {
            if (changed[k] == NONE) continue;
            rank_pair(e, piece, &stretches[changed[k]]);
            if (stretches[changed[k]].rank != NO_RANK)
                lr_heap_push(e->heap, &n_heap, stretches[changed[k]].rank, changed[k]);
        }
    }
}

/* One stretch a character, or a user-defined token.                                                                   */
static uint32_t first_stretches(lr_encode *e, const char *piece, size_t n_piece) {
    const llmrun_tokenizer *t = e->t;
    uint32_t n = 0;
    for (size_t i = 0, k; i < n_piece; i += k, n++) {
        size_t n_user = lr_added_longest(&t->user_defined, piece + i, n_piece - i);
        lr_utf8_get(piece + i, &k);
        if (n_user) k = n_user;
        int32_t id = k == 1 ? t->ascii_id[(unsigned char)piece[i]] : lr_vocab_find(&t->vocab, piece + i, k);
        e->stretches[n] = (struct lr_stretch){.start = (uint32_t)i, .n = (uint32_t)k, .id = id, .rank = NO_RANK,
                                              .prev = n ? n - 1 : NONE, .next = n + 1, .frozen = n_user > 0};
    }
    e->stretches[n - 1].next = NONE;
    return n;
}

/* Text that is no token: its bytes' tokens, else one unknown token for all that stands together.                      */
static void emit_all(lr_encode *e, const char *piece) {
    const llmrun_tokenizer *t = e->t;
    bool unknown = false;
    for (uint32_t i = 0; i != NONE; i = e->stretches[i].next) {
        const struct lr_stretch *s = &e->stretches[i];
        bool bytes = s->id < 0 && t->vocab.byte_fallback;
        for (uint32_t k = 0; k < s->n && bytes; k++) bytes = t->byte_id[(unsigned char)piece[s->start + k]] >= 0;
        for (uint32_t k = 0; k < s->n && bytes; k++) lr_encode_emit(e, t->byte_id[(unsigned char)piece[s->start + k]]);
        if (s->id >= 0)
            lr_encode_emit(e, s->id);
        else if (!bytes && !unknown && t->vocab.unk >= 0)
            lr_encode_emit(e, t->vocab.unk);
        unknown = s->id < 0;
    }
}

llmrun_status lr_scores_run(lr_encode *e, const char *piece, size_t n) {
    for (size_t k; n > 0; piece += k, n -= k) {
        k = lr_model_word_length(e->t, piece, n);
        /* Each merge takes one off the heap's live entries and adds at most two. */
        if (!lr_grow(&e->stretches, &e->stretches_cap, k, sizeof *e->stretches) ||
            !lr_grow(&e->heap, &e->heap_cap, 2 * k, sizeof *e->heap))
            return lr_fail_nomem(e->err, "tokenizer", k * (sizeof *e->stretches + 2 * sizeof *e->heap));
        merge_all(e, piece, first_stretches(e, piece, k));
        emit_all(e, piece);
    }
    return LLMRUN_OK;
}
