/* Rendered conversations to ids.  Added tokens are found here rather than by the tokenizer, because whether one counts
 * depends on who wrote it; the text between them is split by a copy of the tokenizer that knows no added tokens.       */
#include "runtime/chat.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_parts.h"

typedef struct sink {
    const llmrun_tokenizer *all; /* with its added tokens */
    llmrun_tokenizer bare;       /* without, and without those of SentencePiece's own that the template writes */
    lr_added_set set, rest;      /* the texts of those; what bare has left */
    lr_added *own;               /* SentencePiece's as added tokens */
    const lr_chat_text *chat;
    int32_t *ids;
    size_t max, n;
    bool inside; /* something stands before */
    llmrun_error *err;
} sink;

static int by_text(const void *a, const void *b) {
    const struct lr_added_text *x = a, *y = b;
    int order = memcmp(x->text, y->text, (size_t)lr_min(x->n, y->n));
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static void add_text(lr_added_set *set, char *text, size_t n, const lr_added *token) {
    if (n == 0) return;
    set->items[set->n++] = (struct lr_added_text){text, (uint32_t)n, token};
    set->starts[(unsigned char)*text] = 1;
}

/* Whether the template may write the text, which makes an added token a control token.                                */
static bool in_template(const sink *s, const char *text, size_t n) {
    return lr_normalize_skip_space(text, n) < n && memmem(s->chat->source, s->chat->n_source, text, n);
}

static llmrun_status open_sets(sink *s) {
    const lr_vocab *v = &s->all->vocab;
    const lr_added_set *user = &s->all->user_defined;
    s->bare.raw = s->bare.normalized = (lr_added_set){0};
    s->set.items = lr_zalloc(v->n_added + user->n + 1, sizeof *s->set.items);
    s->rest.items = lr_zalloc(user->n + 1, sizeof *s->rest.items);
    s->own = lr_zalloc(user->n + 1, sizeof *s->own);
    if (!s->set.items || !s->rest.items || !s->own)
        return lr_fail_nomem(s->err, "chat", (v->n_added + user->n) * sizeof *s->set.items);
    for (size_t i = 0; i < v->n_added; i++) add_text(&s->set, v->added[i].text, v->added[i].n, &v->added[i]);
    for (size_t i = 0; i < user->n; i++) {
        char *text = user->items[i].text;
        size_t n = user->items[i].n;
        s->own[i] = (lr_added){.id = lr_vocab_find(v, text, n), .text = text, .n = (uint32_t)n};
        bool control = s->own[i].id >= 0 && in_template(s, text, n);
        add_text(control ? &s->set : &s->rest, text, n, control ? &s->own[i] : NULL);
    }
    qsort(s->set.items, s->set.n, sizeof *s->set.items, by_text);
    s->bare.user_defined = s->rest; /* in order as the whole was */
    return LLMRUN_OK;
}

static void emit(sink *s, int32_t id) {
    if (s->n < s->max) s->ids[s->n] = id;
    s->n++;
    s->inside = true;
}

static llmrun_status encode(sink *s, const char *text, size_t n) {
    if (!n) return LLMRUN_OK;
    size_t room = s->n < s->max ? s->max - s->n : 0;
    lr_encode e = {.t = &s->bare, .ids = room ? s->ids + s->n : NULL, .max = room, .inside = s->inside, .err = s->err};
    llmrun_status status = lr_encode_run(&e, text, n);
    lr_encode_close(&e);
    s->n += e.n_ids;
    s->inside = true;
    return status;
}

/* Whether the added token in text[start..end), white space that it takes with it included, is meant as one.            */
static bool is_meant(const sink *s, size_t start, size_t end, int32_t id) {
    const char *text = s->chat->text.text, *mark = s->chat->marks.text;
    size_t from = start + lr_normalize_skip_space(text + start, end - start);
    size_t to = from + lr_normalize_trim_space(text + from, end - from);
    if (!memchr(mark + from, 1, to - from)) return true;
    bool special = s->all->traits[id] & LR_TOKEN_CONTROL;
    return !special && !in_template(s, text + from, to - from);
}

static llmrun_status encode_all(sink *s) {
    const lr_chat_text *c = s->chat;
    const char *text = c->text.text;
    size_t n = c->text.n, from = 0;
    const lr_encode look = {.t = s->all, .flags = LLMRUN_PARSE_SPECIAL};
    llmrun_status status = LLMRUN_OK;
    for (size_t at = 0, start, end; at < n && !status;) {
        int32_t id;
        lr_added_next(&s->set, &look, text, n, at, &start, &end, &id);
        if (id >= 0 && !is_meant(s, start, end, id)) {
            at = start + 1; /* another may begin inside */
            continue;
        }
        status = encode(s, text + from, start - from);
        if (!status && id >= 0) emit(s, id);
        at = from = end;
    }
    return status ? status : encode(s, text + from, n - from);
}

llmrun_status lr_chat_ids(const llmrun_tokenizer *t, const lr_chat_text *chat, int32_t *ids, size_t max, size_t *n_ids,
                          llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    sink s = {.all = t, .bare = *t, .chat = chat, .ids = ids, .max = max, .err = err};
    llmrun_status status = open_sets(&s);
    for (size_t i = 0; i < v->n_prefix && chat->plain; i++) emit(&s, v->prefix[i]);
    s.inside = false;
    if (!status) status = encode_all(&s);
    for (size_t i = 0; i < v->n_suffix && chat->plain; i++) emit(&s, v->suffix[i]);
    lr_free(s.set.items);
    lr_free(s.rest.items);
    lr_free(s.own);
    if (!status) *n_ids = s.n;
    return status;
}
