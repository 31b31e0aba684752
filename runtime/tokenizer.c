/* The tokenizer at work: the order in which the parts run, and the public functions.  See tokenizer_parts.h.          */
#include "runtime/tokenizer.h"

#include <string.h>

#include "runtime/tokenizer_parts.h"

enum { MAX_TEXT = 1 << 28, BUDGET_PER_BYTE = 64, BUDGET_FLOOR = 1 << 20 };

/* ---- close ---- */

static void close_stages(lr_stages *stages) {
    for (size_t i = 0; i < stages->n; i++) lr_pattern_close(stages->items[i].pattern);
    lr_free(stages->items);
}

void llmrun_tokenizer_close(llmrun_tokenizer *t) {
    if (!t) return;
    close_stages(&t->normalizer);
    close_stages(&t->pre_tokenizer);
    lr_added_close(&t->raw);
    lr_added_close(&t->normalized);
    lr_added_close(&t->user_defined);
    lr_free(t->merge_slots);
    lr_free(t->ranks);
    lr_free(t->trie.nodes);
    lr_free(t->out);
    lr_free(t->out_of);
    lr_free(t->strip);
    lr_free(t->traits);
    lr_vocab_close(&t->vocab);
    lr_free(t);
}

size_t lr_tokenizer_bytes(const llmrun_tokenizer *t) {
    const lr_vocab *v = &t->vocab;
    size_t n = (size_t)v->n_tokens, n_model = (size_t)v->n_model;
    return sizeof *t + v->n_text + t->n_out + n * (2 * sizeof(lr_token) + 1) + v->n_slots * sizeof *v->slots +
           v->n_merges * sizeof *v->merges + t->n_merge_slots * sizeof *t->merge_slots +
           (v->scores ? n_model * sizeof *v->scores : 0) + (v->types ? n_model : 0) +
           (t->ranks ? n_model * sizeof *t->ranks : 0) + t->trie.n * sizeof *t->trie.nodes +
           v->charsmap.n_units * sizeof *v->charsmap.units + v->charsmap.n_text +
           v->n_added * (sizeof *v->added + sizeof *t->raw.items);
}

int32_t lr_tokenizer_bos(const llmrun_tokenizer *t) { return t->vocab.n_prefix ? t->vocab.prefix[0] : -1; }

/* ---- encode ---- */

/* Length of what is replaced by one U+FFFD: the longest start of a valid sequence, at least one byte.                 */
static size_t invalid_length(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    size_t want = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 1, k = 1;
    unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (want == 1 || n < 2 || s[1] < low || s[1] > high) return 1;
    while (k + 1 < want && k < n && (s[k] & 0xc0) == 0x80) k++;
    return k;
}

/* Valid text stays where it is; else *copy gets it with U+FFFD for what is not.                                       */
static bool make_valid(const char **text, size_t *n, lr_text *copy) {
    size_t good = 0;
    for (size_t i = 0; i < *n;) {
        size_t k = lr_utf8_length(*text + i, *n - i);
        if (!k) {
            lr_text_add_bytes(copy, *text + good, i - good);
            lr_text_add_bytes(copy, "\xef\xbf\xbd", 3);
            i += invalid_length(*text + i, *n - i);
            good = i;
        }
        i += k;
    }
    if (!copy->n) return !copy->failed;
    lr_text_add_bytes(copy, *text + good, *n - good);
    *text = copy->text;
    *n = copy->n;
    return !copy->failed;
}

/* Text without raw added tokens.  first: it opens the whole text.                                                     */
static llmrun_status encode_section(lr_encode *e, const char *text, size_t n, bool first) {
    e->first = first;
    llmrun_status status = lr_normalize_run(e, text, n, &text, &n);
    for (size_t from = 0, start, end; from < n && !status; from = end) {
        int32_t id;
        lr_added_next(&e->t->normalized, e, text, n, from, &start, &end, &id);
        status = lr_split_run(e, text + from, start - from, first && from == 0);
        if (!status && id >= 0) lr_encode_emit(e, id);
    }
    return status;
}

llmrun_status lr_encode_run(lr_encode *e, const char *text, size_t n) {
    const lr_vocab *v = &e->t->vocab;
    llmrun_status status = LLMRUN_OK;
    lr_text copy = {0};
    if (n > MAX_TEXT) return lr_fail(e->err, LLMRUN_ARG, "tokenizer: text has %zu bytes, at most %d", n, MAX_TEXT);
    if (!make_valid(&text, &n, &copy)) status = lr_fail_nomem(e->err, "tokenizer", n);
    e->budget = BUDGET_FLOOR + BUDGET_PER_BYTE * (uint64_t)n;
    bool special = e->flags & LLMRUN_ADD_SPECIAL;
    for (size_t i = 0; special && i < v->n_prefix; i++) lr_encode_emit(e, v->prefix[i]);
    for (size_t from = 0, start, end; from < n && !status; from = end) {
        int32_t id;
        lr_added_next(&e->t->raw, e, text, n, from, &start, &end, &id);
        status = encode_section(e, text + from, start - from, from == 0 && !e->inside);
        if (!status && id >= 0) lr_encode_emit(e, id);
    }
    for (size_t i = 0; special && i < v->n_suffix; i++) lr_encode_emit(e, v->suffix[i]);
    lr_free(copy.text);
    return status;
}

void lr_encode_close(lr_encode *e) {
    lr_pattern_release(e);
    lr_free(e->normal[0].text);
    lr_free(e->normal[1].text);
    for (size_t i = 0; i < LR_COUNT(e->staged); i++) lr_free(e->staged[i].text);
    lr_free(e->mapped);
    lr_free(e->symbols);
    lr_free(e->heap);
    lr_free(e->best);
    lr_free(e->stretches);
    lr_free(e->code);
}

llmrun_status llmrun_tokenize(const llmrun_tokenizer *t, const char *text, size_t n_bytes, unsigned flags, int32_t *ids,
                              size_t max, size_t *n_ids, llmrun_error *err) {
    if (!t || (!text && n_bytes) || (!ids && max) || !n_ids)
        return lr_fail(err, LLMRUN_ARG, "llmrun_tokenize: a pointer is NULL");
    lr_encode e = {.t = t, .flags = flags, .ids = ids, .max = max, .err = err};
    llmrun_status status = lr_encode_run(&e, text, n_bytes);
    if (!status) *n_ids = e.n_ids;
    lr_encode_close(&e);
    return status;
}

/* ---- decode ---- */

const char *llmrun_token_text(const llmrun_tokenizer *t, int32_t id, bool special, bool first, size_t *n_bytes) {
    *n_bytes = 0;
    if (id < 0 || id >= t->vocab.n_tokens || (!special && (t->traits[id] & LR_TOKEN_CONTROL))) return "";
    const char *text = t->out + t->out_of[id].start;
    size_t n = t->out_of[id].n, n_strip = t->strip ? strlen(t->strip) : 0;
    for (bool more = first && n_strip; more && n >= n_strip && !memcmp(text, t->strip, n_strip); more = t->strip_all) {
        text += n_strip;
        n -= n_strip;
    }
    *n_bytes = n;
    return text;
}

bool llmrun_token_is_end(const llmrun_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->vocab.n_tokens && (t->traits[id] & LR_TOKEN_END);
}

int32_t llmrun_token_count(const llmrun_tokenizer *t) { return t->vocab.n_tokens; }
