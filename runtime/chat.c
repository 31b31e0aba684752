/* Chat turns for the common prompt forms.  A model's template is recognised by its marker and rendered by the table
 * below: an approximation, and the caller is told so.  What the user wrote is never read as a special token.          */
#include <string.h>

#include "runtime/engine.h"
#include "runtime/tokenizer_parts.h"

/* %s is the text.  «...» marks what is one special token where the vocabulary has it, else plain text.                 */
typedef struct form {
    const char *name, *marker; /* marker: text that only this form's template holds */
    const char *open;          /* once, before everything */
    const char *system;        /* NULL: the system text goes before the first user text */
    const char *user;          /* up to where the model answers */
    const char *close;         /* after the model's answer, before the next user turn */
} form;

static const form forms[] = {
    { "Phi 4", "<|im_sep|>", "", "«<|im_start|>»system«<|im_sep|>»%s«<|im_end|>»",
      "«<|im_start|>»user«<|im_sep|>»%s«<|im_end|>»«<|im_start|>»assistant«<|im_sep|>»", "«<|im_end|>»" },
    { "ChatML", "<|im_start|>", "", "«<|im_start|>»system\n%s«<|im_end|>»\n",
      "«<|im_start|>»user\n%s«<|im_end|>»\n«<|im_start|>»assistant\n", "«<|im_end|>»\n" },
    { "Llama 3", "<|start_header_id|>", "«<|begin_of_text|>»",
      "«<|start_header_id|>»system«<|end_header_id|>»\n\n%s«<|eot_id|>»",
      "«<|start_header_id|>»user«<|end_header_id|>»\n\n%s«<|eot_id|>»«<|start_header_id|>»assistant«<|end_header_id|>"
      "»\n\n",
      "«<|eot_id|>»" },
    { "Llama 2", "<<SYS>>", "«<s>»", NULL, "[INST] %s [/INST]", "«</s>»«<s>»" },
    { "Mistral", "[INST]", "«<s>»", NULL, "«[INST]» %s«[/INST]»", "«</s>»" },
    { "Gemma", "<start_of_turn>", "«<bos>»", NULL, "«<start_of_turn>»user\n%s«<end_of_turn>»\n«<start_of_turn>»model\n",
      "«<end_of_turn>»\n" },
    { "Phi 4 mini", "+ '<|end|>'", "", "«<|system|>»%s«<|end|>»", "«<|user|>»%s«<|end|>»«<|assistant|>»", "«<|end|>»" },
    { "Phi", "<|end|>", "", "«<|system|>»\n%s«<|end|>»\n", "«<|user|>»\n%s«<|end|>»\n«<|assistant|>»\n",
      "«<|end|>»\n" },
    { "Zephyr", "<|user|>", "", "<|system|>\n%s«</s>»\n", "<|user|>\n%s«</s>»\n<|assistant|>\n", "«</s>»\n" },
};

static const char OPEN[] = "«", CLOSE[] = "»";

/* Ids as they come; counts on when the caller's array is full.                                                        */
typedef struct sink {
    const llmrun_tokenizer *tokenizer;
    int32_t *ids;
    size_t max, n;
    lr_text plain;   /* text not yet split: joined so that merges are those of the whole */
    bool inside;     /* something stands before it */
    bool skip_space; /* the special token before it takes the white space that follows */
    llmrun_error *err;
} sink;

static llmrun_status flush(sink *s) {
    if (s->plain.failed) return lr_fail_nomem(s->err, "chat", s->plain.n);
    size_t skipped = s->skip_space && s->plain.n ? lr_normalize_skip_space(s->plain.text, s->plain.n) : 0;
    size_t n = s->plain.n - skipped, room = s->n < s->max ? s->max - s->n : 0;
    s->plain.n = 0; /* its text stays until more is added */
    if (!n) return LLMRUN_OK;
    lr_encode e = { .t = s->tokenizer, .max = room, .inside = s->inside, .err = s->err };
    e.ids = room ? s->ids + s->n : NULL;
    llmrun_status status = lr_encode_run(&e, s->plain.text + skipped, n);
    lr_encode_close(&e);
    s->n += e.n_ids;
    s->inside = true;
    return status;
}

static const lr_added *find_added(const lr_vocab *v, const char *text, size_t n_bytes) {
    for (size_t i = 0; i < v->n_added; i++)
        if (v->added[i].n == n_bytes && memcmp(v->added[i].text, text, n_bytes) == 0) return &v->added[i];
    return NULL;
}

/* A special token as the tokenizer reads it in a text, white space beside it included.                                */
static llmrun_status add_special(sink *s, const char *text, size_t n_bytes) {
    const lr_added *token = find_added(&s->tokenizer->vocab, text, n_bytes);
    if (!token) {
        lr_text_add_bytes(&s->plain, text, n_bytes);
        return LLMRUN_OK;
    }
    if (token->lstrip && s->plain.n) s->plain.n = lr_normalize_trim_space(s->plain.text, s->plain.n);
    llmrun_status status = flush(s);
    if (s->n < s->max) s->ids[s->n] = token->id;
    s->n++;
    s->inside = true;
    s->skip_space = token->rstrip;
    return status;
}

/* One string of a form with its text put in.                                                                          */
static llmrun_status render(sink *s, const char *pattern, const char *text, size_t n_bytes) {
    llmrun_status status = LLMRUN_OK;
    while (*pattern && !status) {
        size_t plain = strcspn(pattern, "%\xc2");
        lr_text_add_bytes(&s->plain, pattern, plain);
        pattern += plain;
        if (*pattern == '%') {
            lr_text_add_bytes(&s->plain, text, n_bytes);
            pattern += 2;
        } else if (*pattern) {
            const char *from = pattern + sizeof OPEN - 1, *to = strstr(from, CLOSE);
            status = add_special(s, from, (size_t)(to - from));
            pattern = to + sizeof CLOSE - 1;
        }
    }
    return status;
}

const char *lr_chat_template(const llmrun_engine *e, size_t *n_bytes) {
    const lr_checkpoint *c = &e->checkpoint;
    const char *text = lr_config_string(&c->tokenizer_config, "chat_template");
    if (!text) text = lr_config_string(&c->tokenizer_config, "chat_template.0.template");
    if (c->chat_template.size) text = (const char *)c->chat_template.data;
    *n_bytes = c->chat_template.size ? c->chat_template.size : text ? strlen(text) : 0;
    return text;
}

static const form *find_form(const llmrun_engine *e) {
    size_t n;
    const char *text = lr_chat_template(e, &n);
    for (size_t i = 0; text && i < LR_COUNT(forms); i++)
        if (memmem(text, n, forms[i].marker, strlen(forms[i].marker))) return &forms[i];
    return NULL;
}

const char *llmrun_chat_form(const llmrun_engine *e) {
    const form *f = e && e->tokenizer ? find_form(e) : NULL;
    return f ? f->name : NULL;
}

llmrun_status llmrun_chat_turn(const llmrun_engine *e, bool first, const char *system, const char *user, size_t n_bytes,
                               int32_t *ids, size_t max, size_t *n_ids, llmrun_error *err) {
    if (!e || !user || !n_ids || (max && !ids))
        return lr_fail(err, LLMRUN_ARG, "chat: expected an engine, a text and n_ids");
    const form *f = e->tokenizer ? find_form(e) : NULL;
    if (!f)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "chat: the model has %s",
                       e->has_chat_template ? "a chat template of no known form" : "no chat template");
    sink s = { .tokenizer = e->tokenizer, .ids = ids, .max = max, .inside = !first, .err = err };
    bool own_system = first && system && *system && f->system, join_system = first && system && *system && !f->system;
    llmrun_status status = render(&s, first ? f->open : f->close, "", 0);
    if (!status && own_system) status = render(&s, f->system, system, strlen(system));
    if (!status && join_system) {
        lr_text both = { 0 };
        lr_text_add(&both, strcmp(f->name, "Llama 2") == 0 ? "<<SYS>>\n%s\n<</SYS>>\n\n" : "%s\n\n", system);
        lr_text_add_bytes(&both, user, n_bytes);
        status = both.failed ? lr_fail_nomem(err, "chat", both.n) : render(&s, f->user, both.text, both.n);
        lr_free(both.text);
    } else if (!status) {
        status = render(&s, f->user, user, n_bytes);
    }
    if (!status) status = flush(&s);
    lr_free(s.plain.text);
    if (!status) *n_ids = s.n;
    return status;
}
