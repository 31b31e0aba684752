/* Byte-pair encoding of one piece: symbols in a linked list, candidate merges on a heap ordered by rank, then position.
 * O(n log n) for a piece of n characters, whatever they are (a whole prompt is one piece in SentencePiece models).    */
#include <string.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_heap.h"
#include "runtime/tokenizer_parts.h"

#define NO_RANK UINT32_MAX

typedef struct lr_symbol {
    int32_t id;     /* -1: merged into the symbol before it */
    uint32_t rank;  /* of the merge with the next symbol, NO_RANK: none */
    uint32_t prev, next; /* indices; UINT32_MAX: none */
} lr_symbol;

/* ---- merge table ---- */

static uint32_t slot_of(int32_t left, int32_t right, uint32_t mask) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32 ^ h >> 13) & mask;
}

static uint32_t find_rank(const llmrun_tokenizer *t, int32_t left, int32_t right) {
    uint32_t mask = t->n_merge_slots - 1, slot = slot_of(left, right, mask), rank;
    for (; (rank = t->merge_slots[slot]) != NO_RANK; slot = (slot + 1) & mask) {
        const lr_merge *m = &t->vocab.merges[rank];
        if (m->left == left && m->right == right) return rank;
    }
    return NO_RANK;
}

static llmrun_status build_merges(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    uint32_t n = 16;
    while (n < t->vocab.n_merges + t->vocab.n_merges / 2) n *= 2;
    t->n_merge_slots = n;
    t->merge_slots = lr_alloc(n * sizeof *t->merge_slots);
    if (!t->merge_slots) return lr_fail_nomem(err, where, n * sizeof *t->merge_slots);
    memset(t->merge_slots, 0xff, n * sizeof *t->merge_slots);
    for (uint32_t rank = 0; rank < t->vocab.n_merges; rank++) {
        const lr_merge *m = &t->vocab.merges[rank];
        uint32_t slot = slot_of(m->left, m->right, n - 1);
        for (int probes = 0; t->merge_slots[slot] != NO_RANK; slot = (slot + 1) & (n - 1)) {
            const lr_merge *other = &t->vocab.merges[t->merge_slots[slot]];
            if (other->left == m->left && other->right == m->right) break; /* the later of two equal merges counts */
            if (++probes == LR_VOCAB_PROBES)
                return lr_fail(err, LLMRUN_FORMAT, "%s: model.merges: too many merges with equal hashes", where);
        }
        t->merge_slots[slot] = rank;
    }
    return LLMRUN_OK;
}

llmrun_status lr_bpe_open(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    if (t->byte_level && t->vocab.byte_fallback)
        for (int byte = 0; byte < 256; byte++)
            if (t->byte_id[byte] < 0)
                return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: byte_fallback with a ByteLevel pre_tokenizer that lacks bytes "
                               "is not supported", where);
    return build_merges(t, where, err);
}

/* ---- merging ---- */

/* Notes the merge of the symbol at i with the next one, and puts it on the heap.                                      */
static void offer(lr_encode *e, size_t *n_heap, uint32_t i) {
    lr_symbol *s = &e->symbols[i];
    s->rank = s->next == UINT32_MAX ? NO_RANK : find_rank(e->t, s->id, e->symbols[s->next].id);
    if (s->rank == NO_RANK) return;
    lr_heap_push(e->heap, n_heap, s->rank, i);
    e->work++;
}

/* Merges until nothing is left to merge.  Each merge removes a symbol and offers at most two new ones.                */
static void merge_all(lr_encode *e, size_t n) {
    lr_symbol *symbols = e->symbols;
    size_t n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++) {
        symbols[i].rank = find_rank(e->t, symbols[i].id, symbols[i + 1].id);
        if (symbols[i].rank != NO_RANK) e->heap[n_heap++] = (uint64_t)symbols[i].rank << 32 | i;
    }
    lr_heap_order(e->heap, n_heap);
    e->work += n;
    while (n_heap > 0) {
        uint64_t key = lr_heap_pop(e->heap, &n_heap);
        uint32_t rank = (uint32_t)(key >> 32), i = (uint32_t)key;
        e->work++;
        lr_symbol *s = &symbols[i];
        if (s->id < 0 || s->rank != rank) continue; /* one of the two has merged with another since */
        lr_symbol *right = &symbols[s->next];
        s->id = e->t->vocab.merges[rank].result;
        s->next = right->next;
        right->id = -1;
        if (s->next != UINT32_MAX) symbols[s->next].prev = i;
        offer(e, &n_heap, i);
        if (s->prev != UINT32_MAX) offer(e, &n_heap, s->prev);
    }
}

/* ---- first symbols ---- */

static void add(lr_encode *e, size_t *n, int32_t id) {
    e->symbols[*n] = (lr_symbol){.id = id, .rank = NO_RANK, .prev = (uint32_t)*n - 1, .next = (uint32_t)*n + 1};
    (*n)++;
}

static bool has_bytes(const llmrun_tokenizer *t, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(unsigned char)bytes[i]] < 0) return false;
    return true;
}

/* Characters that the vocabulary lacks become their bytes' tokens, else the unknown token, runs of it joined where the
 * model says so; without one they vanish.  The unknown token waits until the next known character, as in HF tokenizers. */
static size_t first_symbols(lr_encode *e, const char *piece, size_t n_piece) {
    const llmrun_tokenizer *t = e->t;
    size_t n = 0, k;
    bool unknown = false;
    for (size_t i = 0; i < n_piece; i += k) {
        unsigned char byte = (unsigned char)piece[i];
        int32_t id;
        k = 1;
        if (t->byte_level) {
            id = t->byte_id[byte];
        } else if (byte < 128) {
            id = t->ascii_id[byte];
        } else {
            lr_utf8_get(piece + i, &k);
            id = lr_vocab_find(&t->vocab, piece + i, k);
        }
        if (id < 0 && t->vocab.byte_fallback && has_bytes(t, piece + i, k)) {
            for (size_t j = 0; j < k; j++) add(e, &n, t->byte_id[(unsigned char)piece[i + j]]);
            continue;
        }
        if (unknown && (id >= 0 || !t->vocab.fuse_unk)) add(e, &n, t->vocab.unk);
        unknown = id < 0 && t->vocab.unk >= 0;
        if (id >= 0) add(e, &n, id);
    }
    if (unknown) add(e, &n, t->vocab.unk);
    if (n) e->symbols[0].prev = e->symbols[n - 1].next = UINT32_MAX;
    return n;
}

/* The id of the whole piece, -1 if it is no token.                                                                    */
static llmrun_status find_whole(lr_encode *e, const char *piece, size_t n, int32_t *id) {
    if (e->t->byte_level) {
        size_t n_mapped = 0;
        if (!lr_grow(&e->mapped, &e->mapped_cap, 2 * n, 1)) return lr_fail_nomem(e->err, "tokenizer", 2 * n);
        for (size_t i = 0; i < n; i++) n_mapped += lr_decode_byte_text((unsigned char)piece[i], e->mapped + n_mapped);
        piece = e->mapped;
        n = n_mapped;
    }
    *id = lr_vocab_find(&e->t->vocab, piece, n);
    return LLMRUN_OK;
}

static llmrun_status run_word(lr_encode *e, const char *piece, size_t n) {
    int32_t id = -1;
    llmrun_status status = e->t->vocab.ignore_merges ? find_whole(e, piece, n, &id) : LLMRUN_OK;
    if (status) return status;
    if (id >= 0) {
        lr_encode_emit(e, id);
        return LLMRUN_OK;
    }
    /* Each merge takes one off the heap's live entries and adds at most two, so n - 1 + n entries always suffice. */
    if (!lr_grow(&e->symbols, &e->symbols_cap, n, sizeof *e->symbols) ||
        !lr_grow(&e->heap, &e->heap_cap, 2 * n, sizeof *e->heap))
        return lr_fail_nomem(e->err, "tokenizer", n * (sizeof *e->symbols + 2 * sizeof *e->heap));
    size_t n_symbols = first_symbols(e, piece, n);
    if (n_symbols > 1) merge_all(e, n_symbols);
    for (uint32_t i = 0; n_symbols && i != UINT32_MAX; i = e->symbols[i].next) lr_encode_emit(e, e->symbols[i].id);
    return LLMRUN_OK;
}

llmrun_status lr_bpe_run(lr_encode *e, const char *piece, size_t n) {
    llmrun_status status = LLMRUN_OK;
    for (size_t k; n > 0 && !status; piece += k, n -= k) {
        k = lr_model_word_length(e->t, piece, n);
        status = run_word(e, piece, k);
    }
    return status;
}
