/* Unigram: of all ways to cut a piece into tokens, the one whose scores have the largest sum (Viterbi).  One walk down a
 * trie of the tokens from every character: linear in the text times the longest token, which the reader bounds.       */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

#define NOWHERE UINT32_MAX
static const double LARGEST_SUM = 100000;
static const double UNKNOWN_PENALTY = 10; /* below the worst token; the same in SentencePiece, HF tokenizers, llama.cpp */

/* ---- the trie ---- */

typedef struct entry {
    const char *text;
    uint32_t n;
    int32_t id;
} entry;

/* The entries below a node: they agree in their first depth bytes.                                                    */
typedef struct range {
    uint32_t begin, end, depth;
} range;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int order = memcmp(x->text, y->text, (size_t)lr_min(x->n, y->n));
    if (!order) order = (x->n > y->n) - (x->n < y->n);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

typedef struct builder {
    lr_trie *trie;
    range *ranges; /* of each node */
    size_t cap, range_cap;
} builder;

static bool add_node(builder *b, uint8_t byte, range r) {
    lr_trie *t = b->trie;
    if (!lr_grow(&t->nodes, &b->cap, t->n + 1, sizeof *t->nodes)) return false;
    if (!lr_grow(&b->ranges, &b->range_cap, t->n + 1, sizeof *b->ranges)) return false;
    b->ranges[t->n] = r;
    t->nodes[t->n++] = (lr_trie_node){.byte = byte, .id = -1};
    return true;
}

/* Breadth first: node after node appends its children.  Of tokens with equal texts the last counts.                  */
static bool add_children(builder *b, const entry *entries, uint32_t node) {
    range r = b->ranges[node];
    lr_trie *t = b->trie;
    t->nodes[node].child = (uint32_t)t->n;
    while (r.begin < r.end && entries[r.begin].n == r.depth) t->nodes[node].id = entries[r.begin++].id;
    while (r.begin < r.end) {
        uint8_t byte = (uint8_t)entries[r.begin].text[r.depth];
        uint32_t end = r.begin + 1;
        while (end < r.end && (uint8_t)entries[end].text[r.depth] == byte) end++;
        if (!add_node(b, byte, (range){r.begin, end, r.depth + 1})) return false;
        t->nodes[node].n++;
        r.begin = end;
    }
    return true;
}

/* Tokens that the text can hold: not the control, unknown, unused and byte tokens of a file that tells them apart.    */
static bool is_in_text(const lr_vocab *v, int32_t id) {
    return v->tokens[id].start != LR_NO_TOKEN && v->tokens[id].n > 0 &&
           (!v->types || v->types[id] == LR_TYPE_NORMAL || v->types[id] == LR_TYPE_USER_DEFINED);
}

static llmrun_status build_trie(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    builder b = {.trie = &t->trie};
    uint32_t n = 0;
    entry *entries = lr_zalloc((size_t)v->n_model, sizeof *entries);
    bool ok = entries != NULL;
    for (int32_t id = 0; ok && id < v->n_model; id++)
        if (is_in_text(v, id)) entries[n++] = (entry){v->text + v->tokens[id].start, v->tokens[id].n, id};
    if (n) qsort(entries, n, sizeof *entries, compare_entries);
    ok = ok && add_node(&b, 0, (range){0, n, 0});
    for (uint32_t node = 0; ok && node < t->trie.n; node++) ok = add_children(&b, entries, node);
    lr_free(entries);
    lr_free(b.ranges);
    return ok ? LLMRUN_OK : lr_fail_nomem(err, where, t->trie.n * sizeof *t->trie.nodes);
}

/* The child of a node for a byte, 0 if there is none.                                                                 */
static uint32_t child_of(const lr_trie *t, uint32_t node, uint8_t byte) {
    uint32_t lo = t->nodes[node].child, hi = lo + t->nodes[node].n, end = hi;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->nodes[mid].byte < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < end && t->nodes[lo].byte == byte ? lo : 0;
}

llmrun_status lr_unigram_open(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    double least = INFINITY;
    for (int32_t id = 0; id < v->n_model; id++) {
        char shown[80];
        if (is_in_text(v, id) && v->tokens[id].n > LR_PIECE_MAX_BYTES)
            return lr_fail(err, LLMRUN_FORMAT, "%s: token %d \"%s\" has %u bytes, at most %d in a Unigram vocabulary",
                           where, (int)id, lr_printable(shown, sizeof shown, v->text + v->tokens[id].start, v->tokens[id].n),
                           v->tokens[id].n, LR_PIECE_MAX_BYTES);
        if (!v->types || v->types[id] == LR_TYPE_NORMAL) least = fmin(least, v->scores[id]);
    }
    if (least > 1e300) least = 0; /* no normal token at all */
    t->unknown_score = least - UNKNOWN_PENALTY;
    if (v->single_precision) t->unknown_score = (float)t->unknown_score;
    return build_trie(t, where, err);
}

/* ---- encode ---- */

/* The best way to where this stands in the array.                                                                     */
struct lr_best {
    double score;
    uint32_t start; /* of its last token, NOWHERE: not reached.  On the way back: the end of the token after it */
    int32_t id;     /* of its last token */
};

static void offer(const lr_vocab *v, struct lr_best *to, double score, uint32_t start, int32_t id) {
    if (v->single_precision) score = (float)score;
    if (to->start != NOWHERE && score <= to->score) return;
    *to = (struct lr_best){score, start, id};
}

/* Sums in single precision start anew before they grow so large that their last digits are lost: what has been
 * reached, best[0..n] from here, is counted from zero at the first.  SentencePiece does it at the same moment.        */
static void count_anew(struct lr_best *best, uint32_t n) {
    float zero = (float)best[0].score;
    for (uint32_t i = 0; i <= n; i++)
        if (best[i].start != NOWHERE) best[i].score = (float)best[i].score - zero;
}

/* Fills best[0..n] from best[0].score.                                                                                */
static void find_best(lr_encode *e, struct lr_best *best, const char *text, uint32_t n) {
    const llmrun_tokenizer *t = e->t;
    best[0].start = 0;
    for (uint32_t i = 1; i <= n; i++) best[i].start = NOWHERE;
    uint32_t farthest = 0;
    size_t k;
    for (uint32_t i = 0; i < n; i += (uint32_t)k) {
        bool single = false;
        if (t->vocab.single_precision && fabs(best[i].score) > LARGEST_SUM) count_anew(best + i, farthest - i);
        double so_far = best[i].score;
        uint32_t node = 0, at = i;
        lr_utf8_get(text + i, &k);
        while (at < n && (node = child_of(&t->trie, node, (uint8_t)text[at])) != 0) {
            int32_t id = t->trie.nodes[node].id;
            at++;
            if (id < 0) continue;
            offer(&t->vocab, &best[at], so_far + t->vocab.scores[id], i, id);
            single |= at - i == k;
            if (at > farthest) farthest = at;
        }
        e->work += at - i + 1;
        if (!single) offer(&t->vocab, &best[i + k], so_far + t->unknown_score, i, t->vocab.unk);
        if (i + k > farthest) farthest = i + (uint32_t)k;
    }
}

/* Text that no token covers.                                                                                          */
static void emit_unknown(lr_encode *e, const char *text, size_t n) {
    const llmrun_tokenizer *t = e->t;
    int32_t id = lr_vocab_find(&t->vocab, text, n);
    bool bytes = id < 0 && t->vocab.byte_fallback;
    for (size_t i = 0; i < n && bytes; i++) bytes = t->byte_id[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; i < n && bytes; i++) lr_encode_emit(e, t->byte_id[(unsigned char)text[i]]);
    if (!bytes) lr_encode_emit(e, id >= 0 ? id : t->vocab.unk);
}

/* One word: *score is the sum so far, so that words cut here and there round as one text.                             */
static llmrun_status run_word(lr_encode *e, const char *text, uint32_t n, double *score) {
    if (!lr_grow(&e->best, &e->best_cap, (size_t)n + 1, sizeof *e->best))
        return lr_fail_nomem(e->err, "tokenizer", n * sizeof *e->best);
    struct lr_best *best = e->best;
    best[0].score = *score;
    find_best(e, best, text, n);
    *score = best[n].score;
    for (uint32_t end = n, after = n; end > 0;) { /* turn the links around */
        uint32_t start = best[end].start;
        best[end].start = after;
        after = end;
        end = start;
        if (end == 0) best[0].start = after;
    }
    for (uint32_t at = 0; at < n;) {
        uint32_t end = best[at].start;
        int32_t id = best[end].id;
        if (id == e->t->vocab.unk) {
            while (end < n && best[best[end].start].id == id) end = best[end].start;
            emit_unknown(e, text + at, end - at);
        } else {
            lr_encode_emit(e, id);
        }
        at = end;
    }
    return LLMRUN_OK;
}

llmrun_status lr_unigram_run(lr_encode *e, const char *piece, size_t n) {
    llmrun_status status = LLMRUN_OK;
    double score = 0;
    for (size_t k; n > 0 && !status; piece += k, n -= k) {
        k = lr_model_word_length(e->t, piece, n);
        status = run_word(e, piece, (uint32_t)k, &score);
    }
    return status;
}
