/* Added tokens: texts that become one id before anything else happens, such as <|eot_id|>.  They are searched leftmost,
 * longest at the same start, by narrowing a range of the sorted texts character by character: at most LR_ADDED_MAX_BYTES
 * steps (of a binary search) per byte of text, and nearly always none, because few bytes begin one.                   */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

typedef struct lr_added_text added_text;

static int compare_texts(const void *a, const void *b) {
    const added_text *x = a, *y = b;
    int order = memcmp(x->text, y->text, (size_t)lr_min(x->n, y->n));
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

llmrun_status lr_added_open(lr_added_set *set, const llmrun_tokenizer *t, bool normalized, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    lr_encode e = {.t = t, .err = err, .budget = 1 << 20};
    llmrun_status status = LLMRUN_OK;
    set->items = lr_zalloc(v->n_added, sizeof *set->items);
    if (!set->items) status = lr_fail_nomem(err, "tokenizer", v->n_added * sizeof *set->items);
    for (size_t i = 0; i < v->n_added && !status; i++) {
        const char *text = v->added[i].text;
        size_t n = v->added[i].n;
        if (v->added[i].normalized != normalized) continue;
        if (normalized) status = lr_normalize_run(&e, text, n, &text, &n);
        if (status || n == 0) continue;
        added_text *item = &set->items[set->n];
        *item = (added_text){lr_strndup(text, n), (uint32_t)n, &v->added[i]};
        if (!item->text) {
            status = lr_fail_nomem(err, "tokenizer", n);
            break;
        }
        set->starts[(unsigned char)*text] = 1;
        set->n++;
    }
    if (set->n) qsort(set->items, set->n, sizeof *set->items, compare_texts);
    lr_encode_close(&e);
    return status;
}

llmrun_status lr_added_open_user_defined(lr_added_set *set, const lr_vocab *v, llmrun_error *err) {
    size_t n = 0;
    for (int32_t id = 0; v->types && id < v->n_model; id++) n += v->types[id] == LR_TYPE_USER_DEFINED;
    if (n == 0) return LLMRUN_OK;
    set->items = lr_zalloc(n, sizeof *set->items);
    if (!set->items) return lr_fail_nomem(err, "tokenizer", n * sizeof *set->items);
    for (int32_t id = 0; id < v->n_model; id++) {
        const char *text = v->text + v->tokens[id].start;
        if (v->types[id] != LR_TYPE_USER_DEFINED || v->tokens[id].n == 0) continue;
        char *copy = lr_strndup(text, v->tokens[id].n);
        if (!copy) return lr_fail_nomem(err, "tokenizer", v->tokens[id].n);
        set->items[set->n++] = (added_text){copy, v->tokens[id].n, NULL};
        set->starts[(unsigned char)*text] = 1;
    }
    qsort(set->items, set->n, sizeof *set->items, compare_texts);
    return LLMRUN_OK;
}

void lr_added_close(lr_added_set *set) {
    for (size_t i = 0; i < set->n; i++) lr_free(set->items[i].text);
    lr_free(set->items);
}

/* Byte at depth of a text, -1 where it ends: a text sorts before its own extensions.                                  */
static int byte_at(const added_text *a, size_t depth) { return depth < a->n ? (unsigned char)a->text[depth] : -1; }

/* First index in [lo, hi) whose byte at depth is at least c.                                                          */
static size_t lower_bound(const lr_added_set *set, size_t lo, size_t hi, size_t depth, int c) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (byte_at(&set->items[mid], depth) < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest added text at the start of text, or NULL.                                                               */
static const added_text *longest(const lr_added_set *set, const char *text, size_t n) {
    const added_text *best = NULL;
    size_t lo = 0, hi = set->n;
    for (size_t depth = 0; lo < hi; depth++) {
        if (set->items[lo].n == depth) best = &set->items[lo];
        if (depth == n) break;
        int c = (unsigned char)text[depth];
        lo = lower_bound(set, lo, hi, depth, c);
        hi = lower_bound(set, lo, hi, depth, c + 1);
    }
    return best;
}

size_t lr_added_longest(const lr_added_set *set, const char *text, size_t n) {
    const added_text *hit = set->n && set->starts[(unsigned char)*text] ? longest(set, text, n) : NULL;
    return hit ? hit->n : 0;
}

/* \w: letters, marks, decimal and letter numbers, connectors, and the circled letters.                                */
static bool is_word(uint32_t code) {
    if ((code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f189)) return true;
    if (code == 0x200c || code == 0x200d) return true;
    switch (utf8proc_category((int32_t)code)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

static bool stands_alone(const char *text, size_t n, size_t start, size_t end) {
    size_t k, before = start;
    if (end < n && is_word(lr_utf8_get(text + end, &k))) return false;
    if (start == 0) return true;
    do before--;
    while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80);
    return !is_word(lr_utf8_get(text + before, &k));
}

void lr_added_next(const lr_added_set *set, const lr_encode *e, const char *text, size_t n, size_t from, size_t *start,
                   size_t *end, int32_t *id) {
    for (size_t i = from; i < n && set->n;) {
        const added_text *hit = set->starts[(unsigned char)text[i]] ? longest(set, text + i, n - i) : NULL;
        if (!hit) {
            i++;
            continue;
        }
        const lr_added *a = hit->token;
        size_t after = i + hit->n;
        bool wanted = (e->flags & LLMRUN_PARSE_SPECIAL) || !a->special;
        if (wanted && (!a->single_word || stands_alone(text, n, i, after))) {
            *start = a->lstrip ? from + lr_normalize_trim_space(text + from, i - from) : i;
            *end = a->rstrip ? after + lr_normalize_skip_space(text + after, n - after) : after;
            *id = a->id;
            return;
        }
        i = after; /* what is not wanted is still read as one: no other token begins inside */
    }
    *start = *end = n;
    *id = -1;
}
