/* The two large tables of a tokenizer.json, read in one pass: the vocabulary, {text: id} or [[text, score], ...], and the
 * merges, either "a b" or ["a", "b"].  Both may be hostile: ids are bounded, texts and ids unique, and every merge joins
 * tokens that exist.                                                                                                  */
#include "loaders/tokenizer_vocab.h"

#include <string.h>

#include "loaders/json_scan.h"

/* ---- text -> id ---- */

static uint64_t hash_text(const char *text, size_t n) {
    uint64_t h = lr_hash(LR_HASH_START, text, n);
    return h ^ h >> 29;
}

int32_t lr_vocab_find(const lr_vocab *v, const char *text, size_t n) {
    if (!v->n_slots) return -1;
    uint32_t mask = v->n_slots - 1, slot = (uint32_t)hash_text(text, n) & mask;
    for (;; slot = (slot + 1) & mask) {
        int32_t id = v->slots[slot];
        if (id < 0) return -1;
        if (v->tokens[id].n == n && !memcmp(v->text + v->tokens[id].start, text, n)) return id;
    }
}

/* Pieces with a type: control and byte tokens are never text.  By merges only the merges' results are reached.        */
static bool is_text(const lr_vocab *v, int32_t id) {
    if (v->tokens[id].start == LR_NO_TOKEN) return false;
    return !v->types || v->kind == LR_VOCAB_MERGES || v->types[id] == LR_TYPE_NORMAL || v->types[id] == LR_TYPE_USER_DEFINED;
}

/* The longest walk is bounded here, and so in lr_vocab_find.                                                          */
llmrun_status lr_vocab_index(lr_vocab *v, bool unique, const char *where, llmrun_error *err) {
    uint32_t n_slots = 16, n_entries = 0;
    for (int32_t id = 0; id < v->n_tokens; id++) n_entries += is_text(v, id);
    while (n_slots < 2 * n_entries) n_slots *= 2;
    v->slots = lr_alloc(n_slots * sizeof *v->slots);
    if (!v->slots) return lr_fail_nomem(err, where, n_slots * sizeof *v->slots);
    v->n_slots = n_slots;
    for (uint32_t i = 0; i < n_slots; i++) v->slots[i] = -1;
    for (int32_t id = 0; id < v->n_tokens; id++) {
        lr_token token = v->tokens[id];
        if (!is_text(v, id)) continue;
        const char *text = v->text + token.start;
        uint32_t slot = (uint32_t)hash_text(text, token.n) & (n_slots - 1);
        for (int probes = 0; v->slots[slot] >= 0; slot = (slot + 1) & (n_slots - 1)) {
            lr_token other = v->tokens[v->slots[slot]];
            char shown[80];
            bool equal = other.n == token.n && !memcmp(v->text + other.start, text, token.n);
            if (equal && unique)
                return lr_fail(err, LLMRUN_FORMAT, "%s: token \"%s\" has two ids, %d and %d", where,
                               lr_printable(shown, sizeof shown, text, token.n), (int)v->slots[slot], (int)id);
            if (equal) break;
            if (++probes == LR_VOCAB_PROBES)
                return lr_fail(err, LLMRUN_FORMAT, "%s: too many tokens with equal hashes", where);
        }
        v->slots[slot] = id;
    }
    return LLMRUN_OK;
}

/* ---- tokens ---- */

llmrun_status lr_vocab_reserve(lr_vocab *v, int32_t id, llmrun_error *err) {
    if (id < v->n_tokens) return LLMRUN_OK;
    lr_token *tokens = lr_realloc(v->tokens, ((size_t)id + 1) * sizeof *tokens);
    if (!tokens) return lr_fail_nomem(err, "tokenizer", ((size_t)id + 1) * sizeof *tokens);
    for (int32_t i = v->n_tokens; i <= id; i++) tokens[i] = (lr_token){LR_NO_TOKEN, 0};
    v->tokens = tokens;
    v->n_tokens = id + 1;
    return LLMRUN_OK;
}

static llmrun_status malformed(const lr_json_scan *s, const lr_text *text, const char *where, const char *table,
                               llmrun_error *err) {
    if (text->failed) return lr_fail_nomem(err, where, text->cap);
    return lr_fail(err, LLMRUN_FORMAT, "%s: model.%s: malformed at byte %zu of the table", where, table,
                   (size_t)(s->at - s->begin));
}

/* Places one token; entries come in any order of ids, most often rising.                                              */
static llmrun_status place(lr_vocab *v, size_t *cap, int32_t id, lr_token token, const char *where, llmrun_error *err) {
    char shown[80];
    const char *text = lr_printable(shown, sizeof shown, v->text + token.start, token.n);
    if (id < 0 || id >= LR_VOCAB_MAX)
        return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab: token \"%s\": id %d is not in 0..%d", where, text, (int)id,
                       LR_VOCAB_MAX - 1);
    if (!lr_grow(&v->tokens, cap, (size_t)id + 1, sizeof *v->tokens))
        return lr_fail_nomem(err, where, ((size_t)id + 1) * sizeof *v->tokens);
    while (v->n_tokens <= id) v->tokens[v->n_tokens++] = (lr_token){LR_NO_TOKEN, 0};
    if (v->tokens[id].start != LR_NO_TOKEN) {
        char other[80];
        return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab: id %d belongs to two tokens, \"%s\" and \"%s\"", where,
                       (int)id, lr_printable(other, sizeof other, v->text + v->tokens[id].start, v->tokens[id].n), text);
    }
    v->tokens[id] = token;
    return LLMRUN_OK;
}

/* All tokens are placed: their text moves from the pool to the vocabulary.                                            */
static llmrun_status finish_tokens(lr_vocab *v, const lr_text *pool, size_t n_entries, const char *where,
                                   llmrun_error *err) {
    if (n_entries == 0) return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab is empty", where);
    char *text = lr_realloc(pool->text, pool->n + 1);
    v->text = text ? text : pool->text;
    v->n_text = pool->n;
    v->n_model = v->n_tokens;
    return lr_vocab_index(v, true, where, err);
}

llmrun_status lr_vocab_read_tokens(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err) {
    lr_json_scan s = {t->vocab, t->vocab, t->vocab + t->n_vocab};
    lr_text pool = {0};
    size_t n_entries = 0, cap = 0;
    llmrun_status status = LLMRUN_OK;
    if (t->n_vocab >= UINT32_MAX / 2) return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab: over 2 GiB", where);
    bool ok = lr_json_scan_take(&s, '{');
    for (bool more = ok && !lr_json_scan_peek(&s, '}'); ok && more && !status; n_entries++) {
        lr_token token = {(uint32_t)pool.n, 0};
        int32_t id;
        ok = lr_json_scan_string(&s, &pool) && lr_json_scan_take(&s, ':') && lr_json_scan_int(&s, &id);
        if (!ok) break;
        token.n = (uint32_t)pool.n - token.start;
        v->text = pool.text;
        status = place(v, &cap, id, token, where, err);
        more = lr_json_scan_take(&s, ',');
    }
    v->text = pool.text;
    if (!status && !(ok && lr_json_scan_take(&s, '}'))) status = malformed(&s, &pool, where, "vocab", err);
    return status ? status : finish_tokens(v, &pool, n_entries, where, err);
}

/* One ["text", score] of a Unigram vocabulary.                                                                        */
static bool scan_scored(lr_json_scan *s, lr_text *pool, lr_token *token, double *score) {
    *token = (lr_token){(uint32_t)pool->n, 0};
    if (!lr_json_scan_take(s, '[') || !lr_json_scan_string(s, pool)) return false;
    token->n = (uint32_t)pool->n - token->start;
    return lr_json_scan_take(s, ',') && lr_json_scan_number(s, score) && lr_json_scan_take(s, ']');
}

llmrun_status lr_vocab_read_scored(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err) {
    lr_json_scan s = {t->vocab, t->vocab, t->vocab + t->n_vocab};
    lr_text pool = {0};
    size_t cap = 0, score_cap = 0;
    llmrun_status status = LLMRUN_OK;
    if (t->n_vocab >= UINT32_MAX / 2) return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab: over 2 GiB", where);
    bool ok = lr_json_scan_take(&s, '[');
    for (bool more = ok && !lr_json_scan_peek(&s, ']'); ok && more && !status;) {
        lr_token token;
        double score;
        ok = scan_scored(&s, &pool, &token, &score);
        if (!ok) break;
        v->text = pool.text;
        int32_t id = v->n_tokens;
        status = place(v, &cap, id, token, where, err);
        if (!status && !lr_grow(&v->scores, &score_cap, (size_t)id + 1, sizeof *v->scores))
            status = lr_fail_nomem(err, where, ((size_t)id + 1) * sizeof *v->scores);
        if (!status) v->scores[id] = score;
        more = lr_json_scan_take(&s, ',');
    }
    v->text = pool.text;
    if (!status && !(ok && lr_json_scan_take(&s, ']'))) status = malformed(&s, &pool, where, "vocab", err);
    return status ? status : finish_tokens(v, &pool, (size_t)v->n_tokens, where, err);
}

/* ---- merges ---- */

/* Where "left right" divides: at its one space.  Where tokens hold spaces themselves there are several, and the first
 * one that divides it into two tokens counts.  0: nowhere.                                                            */
static size_t find_division(const lr_vocab *v, const char *text, size_t n) {
    enum { LONGEST = 512 }; /* of the second kind: each space costs two look-ups */
    const char *space = memchr(text, ' ', n), *end = text + n;
    if (!space || !memchr(space + 1, ' ', (size_t)(end - space - 1))) return space ? (size_t)(space - text) : 0;
    for (; n <= LONGEST && space; space = memchr(space + 1, ' ', (size_t)(end - space - 1)))
        if (lr_vocab_find(v, text, (size_t)(space - text)) >= 0 &&
            lr_vocab_find(v, space + 1, (size_t)(end - space - 1)) >= 0)
            return (size_t)(space - text);
    return 0;
}

/* The next merge as left and right text, joined in pair with left first.                                              */
static bool scan_merge(const lr_vocab *v, lr_json_scan *s, lr_text *pair, size_t *n_left) {
    pair->n = 0;
    if (lr_json_scan_take(s, '[')) {
        if (!lr_json_scan_string(s, pair)) return false;
        *n_left = pair->n;
        return lr_json_scan_take(s, ',') && lr_json_scan_string(s, pair) && lr_json_scan_take(s, ']');
    }
    if (!lr_json_scan_string(s, pair)) return false;
    *n_left = pair->n ? find_division(v, pair->text, pair->n) : 0;
    if (!*n_left) return false;
    memmove(pair->text + *n_left, pair->text + *n_left + 1, pair->n - *n_left - 1);
    pair->n--;
    return true;
}

llmrun_status lr_vocab_add_merge(lr_vocab *v, size_t *cap, const lr_text *pair, size_t n_left, const char *where,
                                 llmrun_error *err) {
    lr_merge m;
    const struct {
        const char *text;
        size_t n;
        int32_t *id;
    } part[] = {{pair->text, n_left, &m.left},
                {pair->text + n_left, pair->n - n_left, &m.right},
                {pair->text, pair->n, &m.result}};
    for (size_t i = 0; i < LR_COUNT(part); i++) {
        *part[i].id = lr_vocab_find(v, part[i].text, part[i].n);
        if (*part[i].id >= 0) continue;
        char left[80], right[80], missing[160];
        return lr_fail(err, LLMRUN_FORMAT, "%s: merge %zu \"%s %s\": token \"%s\" not in vocabulary", where, v->n_merges,
                       lr_printable(left, sizeof left, pair->text, n_left),
                       lr_printable(right, sizeof right, pair->text + n_left, pair->n - n_left),
                       lr_printable(missing, sizeof missing, part[i].text, part[i].n));
    }
    if (!lr_grow(&v->merges, cap, v->n_merges + 1, sizeof m))
        return lr_fail_nomem(err, where, (v->n_merges + 1) * sizeof m);
    v->merges[v->n_merges++] = m;
    return LLMRUN_OK;
}

llmrun_status lr_vocab_read_merges(lr_vocab *v, const lr_vocab_tables *t, const char *where, llmrun_error *err) {
    lr_json_scan s = {t->merges, t->merges, t->merges + t->n_merges};
    lr_text pair = {0};
    size_t cap = 0, n_left;
    llmrun_status status = LLMRUN_OK;
    bool ok = lr_json_scan_take(&s, '[');
    for (bool more = ok && !lr_json_scan_peek(&s, ']'); ok && more && !status;) {
        ok = scan_merge(v, &s, &pair, &n_left);
        if (!ok) break;
        status = lr_vocab_add_merge(v, &cap, &pair, n_left, where, err);
        more = lr_json_scan_take(&s, ',');
    }
    if (!status && !(ok && lr_json_scan_take(&s, ']'))) status = malformed(&s, &pair, where, "merges", err);
    lr_free(pair.text);
    if (status || !v->n_merges) return status;
    lr_merge *exact = lr_realloc(v->merges, v->n_merges * sizeof *exact);
    if (exact) v->merges = exact;
    return LLMRUN_OK;
}
