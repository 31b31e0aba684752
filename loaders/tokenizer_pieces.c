/* Vocabularies that list their tokens with a score and a type, ids in order: tokenizer.model and GGUF.                */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/tokenizer_vocab.h"

llmrun_status lr_pieces_add(lr_pieces *p, const char *text, size_t n, double score, lr_token_type type) {
    lr_vocab *v = p->v;
    int32_t id = v->n_tokens;
    char shown[80];
    if (id == LR_VOCAB_MAX) return lr_fail(p->err, LLMRUN_FORMAT, "%s: more than %d tokens", p->where, LR_VOCAB_MAX);
    lr_printable(shown, sizeof shown, text, n);
    if (!isfinite(score))
        return lr_fail(p->err, LLMRUN_FORMAT, "%s: token %d \"%s\": score %g is not finite", p->where, (int)id, shown,
                       score);
    if (type < LR_TYPE_NORMAL || type > LR_TYPE_BYTE)
        return lr_fail(p->err, LLMRUN_FORMAT, "%s: token %d \"%s\": type %d is not in 1..6", p->where, (int)id, shown,
                       (int)type);
    if (memchr(text, 0, n)) return lr_fail(p->err, LLMRUN_FORMAT, "%s: token %d holds a NUL", p->where, (int)id);
    for (size_t i = 0, k; i < n; i += k)
        if (!(k = lr_utf8_length(text + i, n - i)))
            return lr_fail(p->err, LLMRUN_FORMAT, "%s: token %d \"%s\" is not UTF-8", p->where, (int)id, shown);
    size_t start = p->pool.n;
    lr_text_add_bytes(&p->pool, text, n);
    if (p->pool.failed || p->pool.n >= UINT32_MAX / 2 ||
        !lr_grow(&v->tokens, &p->cap, (size_t)id + 1, sizeof *v->tokens) ||
        !lr_grow(&v->scores, &p->score_cap, (size_t)id + 1, sizeof *v->scores) ||
        !lr_grow(&v->types, &p->type_cap, (size_t)id + 1, sizeof *v->types))
        return lr_fail_nomem(p->err, p->where, p->pool.cap);
    v->tokens[id] = (lr_token){(uint32_t)start, (uint32_t)n};
    v->scores[id] = score;
    v->types[id] = (uint8_t)type;
    v->n_tokens++;
    return LLMRUN_OK;
}

/* A token that is looked for in the text as it came.  Later tokens of the same text lose: ids are looked up by text.  */
static llmrun_status add_added(lr_pieces *p, int32_t id, size_t *cap) {
    lr_vocab *v = p->v;
    lr_token token = v->tokens[id];
    char shown[80];
    if (token.n == 0) return LLMRUN_OK;
    if (token.n > LR_ADDED_MAX_BYTES)
        return lr_fail(p->err, LLMRUN_FORMAT, "%s: token %d \"%s\" has %u bytes, at most %d for its type", p->where, (int)id,
                       lr_printable(shown, sizeof shown, v->text + token.start, token.n), token.n, LR_ADDED_MAX_BYTES);
    char *text = lr_strndup(v->text + token.start, token.n);
    if (!text || !lr_grow(&v->added, cap, v->n_added + 1, sizeof *v->added)) {
        lr_free(text);
        return lr_fail_nomem(p->err, p->where, token.n);
    }
    v->added[v->n_added++] =
        (lr_added){.id = id, .text = text, .n = token.n, .special = v->types[id] != LR_TYPE_USER_DEFINED};
    return LLMRUN_OK;
}

static int compare_added(const void *a, const void *b) {
    const lr_added *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static void drop_equal_texts(lr_vocab *v) {
    size_t n = 0;
    for (size_t i = 0; i < v->n_added; i++) {
        if (n && !strcmp(v->added[n - 1].text, v->added[i].text))
            lr_free(v->added[i].text);
        else
            v->added[n++] = v->added[i];
    }
    v->n_added = n;
}

llmrun_status lr_pieces_finish(lr_pieces *p, bool user_defined_added, bool unique) {
    lr_vocab *v = p->v;
    size_t cap = 0;
    llmrun_status status = LLMRUN_OK;
    v->text = p->pool.text;
    v->n_text = p->pool.n;
    v->n_model = v->n_tokens;
    p->pool = (lr_text){0};
    if (v->n_tokens == 0) return lr_fail(p->err, LLMRUN_FORMAT, "%s: no tokens", p->where);
    for (int32_t id = 0; id < v->n_tokens && !status; id++) {
        lr_token_type type = (lr_token_type)v->types[id];
        bool user_defined = type == LR_TYPE_USER_DEFINED && user_defined_added;
        if (type == LR_TYPE_CONTROL || type == LR_TYPE_UNKNOWN || user_defined) status = add_added(p, id, &cap);
        if (user_defined) v->types[id] = LR_TYPE_CONTROL; /* not part of the text that the model sees */
    }
    if (v->n_added) qsort(v->added, v->n_added, sizeof *v->added, compare_added);
    drop_equal_texts(v);
    return status ? status : lr_vocab_index(v, unique, p->where, p->err);
}

llmrun_status lr_vocab_add_mark_steps(lr_vocab *v, bool prefix, bool trim, const char *where, llmrun_error *err) {
    static const char mark[] = "\xe2\x96\x81"; /* U+2581 */
    lr_step *normalizer = lr_steps_add(&v->normalizer, LR_STEP_SENTENCEPIECE);
    lr_step *replace = lr_steps_add(&v->decoder, LR_STEP_REPLACE);
    if (replace) {
        replace->pattern = lr_strdup(mark);
        replace->content = lr_strdup(" ");
    }
    if (normalizer) {
        normalizer->prefix = prefix ? LR_PREFIX_ALWAYS : LR_PREFIX_NEVER;
        normalizer->trim = trim;
    }
    bool ok = normalizer && replace && replace->pattern && replace->content;
    ok = ok && lr_steps_add(&v->decoder, LR_STEP_BYTE_FALLBACK) && lr_steps_add(&v->decoder, LR_STEP_FUSE);
    lr_step *strip = ok && (prefix || trim) ? lr_steps_add(&v->decoder, LR_STEP_STRIP) : NULL;
    if (strip) {
        strip->left = true;
        strip->content = lr_strdup(" ");
    }
    ok = ok && (!(prefix || trim) || (strip && strip->content));
    return ok ? LLMRUN_OK : lr_fail_nomem(err, where, sizeof(lr_step));
}

void lr_pieces_close(lr_pieces *p) { lr_free(p->pool.text); }
