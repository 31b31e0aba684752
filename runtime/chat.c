/* Conversations: which template a model has, what it sees, and the public functions.  The template itself runs in
 * jinja.c; ids come from chat_ids.c.                                                                                   */
#include "runtime/chat.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/engine.h"
#include "runtime/jinja.h"

/* For models without a template: the texts, one after another, each from a new line on.                                */
static const char PLAIN[] =
    "{%- for m in messages %}{% set text = m.content or '' %}"
    "{{- text if text is string else text | map(attribute='text', default='') | join }}"
    "{{- '\\n' if not loop.last and text is string and not text.endswith('\\n') }}{% endfor -%}";

/* ---- the template ---- */

/* A template by its name in a list of named ones; NULL: there is none.                                                 */
static const char *named_template(const llmrun_engine *e, const char *name) {
    const lr_config *c = &e->checkpoint.tokenizer_config;
    char key[64];
    for (int i = 0; i < 64; i++) {
        snprintf(key, sizeof key, "chat_template.%d.name", i);
        const char *found = lr_config_string(c, key);
        if (!found) break;
        snprintf(key, sizeof key, "chat_template.%d.template", i);
        if (strcmp(found, name) == 0) return lr_config_string(c, key);
    }
    snprintf(key, sizeof key, "tokenizer.chat_template.%s", name); /* GGUF */
    return lr_config_string(&e->checkpoint.config, key);
}

/* As lr_chat_template; one for tools comes first where there are some.                                                 */
static const char *find_template(const llmrun_engine *e, bool tools, size_t *n_bytes) {
    const lr_checkpoint *c = &e->checkpoint;
    const char *text = e->chat_template;
    if (!text && c->chat_template.size) {
        *n_bytes = c->chat_template.size;
        return (const char *)c->chat_template.data;
    }
    if (!text && tools) text = named_template(e, "tool_use");
    if (!text) text = lr_config_string(&c->tokenizer_config, "chat_template");
    if (!text) text = named_template(e, "default");
    if (!text) text = lr_config_string(&c->tokenizer_config, "chat_template.0.template");
    if (!text) text = lr_config_string(&c->config, "tokenizer.chat_template");
    *n_bytes = text ? strlen(text) : 0;
    return text;
}

const char *lr_chat_template(const llmrun_engine *e, size_t *n_bytes) { return find_template(e, false, n_bytes); }

/* ---- variables ---- */

typedef struct variables {
    lr_jinja_variable *items;
    size_t n, cap;
    char *names; /* of special tokens, one after another */
    size_t n_names;
    bool failed;
} variables;

static void add(variables *v, lr_jinja_variable variable) {
    if (!v->failed && !lr_grow(&v->items, &v->cap, v->n + 1, sizeof *v->items)) v->failed = true;
    if (!v->failed) v->items[v->n++] = variable;
}

/* Bytes of NAME in "NAME", "NAME.content" or "extra_special_tokens.NAME" where NAME ends in _token; else 0.            */
static size_t token_name(const char **key) {
    static const char extra[] = "extra_special_tokens.", suffix[] = "_token";
    if (strncmp(*key, extra, sizeof extra - 1) == 0) *key += sizeof extra - 1;
    size_t n = strcspn(*key, "."), n_suffix = sizeof suffix - 1;
    bool whole = !(*key)[n] || strcmp(*key + n, ".content") == 0;
    return whole && n > n_suffix && memcmp(*key + n - n_suffix, suffix, n_suffix) == 0 ? n : 0;
}

/* bos_token, eos_token and so on, as tokenizer_config.json has them.                                                   */
static void add_special_tokens(variables *v, const lr_config *c) {
    size_t room = 1;
    for (size_t i = 0; i < c->n_values; i++) room += strlen(c->values[i].key) + 1;
    if (!(v->names = lr_alloc(room))) v->failed = true;
    for (size_t i = 0; i < c->n_values && !v->failed; i++) {
        const lr_value *value = &c->values[i];
        const char *key = value->key;
        size_t n = value->type == LR_VALUE_STRING ? token_name(&key) : 0;
        if (!n) continue;
        char *name = memcpy(v->names + v->n_names, key, n);
        name[n] = 0;
        v->n_names += n + 1;
        add(v, (lr_jinja_variable){.name = name, .text = value->string, .n_bytes = strlen(value->string)});
    }
}

/* bos_token and eos_token of a model without tokenizer_config.json, from its ids.                                      */
static void add_ends(variables *v, const llmrun_engine *e) {
    const lr_hparams *h = &e->binding.hparams;
    const struct { const char *name; int32_t id; } ends[] = {{"bos_token", h->bos}, {"eos_token", h->n_eos ? h->eos[0] : -1}};
    for (size_t i = 0; i < LR_COUNT(ends); i++) {
        size_t n = 0;
        const char *text = e->tokenizer && ends[i].id >= 0 ? llmrun_token_text(e->tokenizer, ends[i].id, true, false, &n) : "";
        if (n) add(v, (lr_jinja_variable){.name = ends[i].name, .text = text, .n_bytes = n});
    }
}

static void add_json(variables *v, const char *name, const char *json, bool content) {
    add(v, (lr_jinja_variable){.name = name, .text = json, .n_bytes = strlen(json), .json = true, .content = content});
}

static void add_variables(variables *v, const llmrun_engine *e, const llmrun_chat_options *o) {
    const lr_config *c = &e->checkpoint.tokenizer_config;
    add_json(v, "tools", o->tools ? o->tools : "null", true);
    add_json(v, "documents", "null", false);
    add_json(v, "add_generation_prompt", o->add_generation_prompt ? "true" : "false", false);
    if (c->n_values)
        add_special_tokens(v, c);
    else
        add_ends(v, e);
    if (o->variables) add_json(v, NULL, o->variables, true);
    add_json(v, "messages", o->messages, true);
}

/* ---- rendering ---- */

static llmrun_status check_options(const llmrun_engine *e, const llmrun_chat_options *o, llmrun_error *err) {
    if (!e || !o || o->struct_size < sizeof *o || !o->messages)
        return lr_fail(err, LLMRUN_ARG, "chat: expected an engine, options of llmrun_chat_options_default and messages");
    if (o->continue_last && o->add_generation_prompt)
        return lr_fail(err, LLMRUN_ARG, "chat: continue_last and add_generation_prompt contradict each other");
    return LLMRUN_OK;
}

/* out is zeroed by the caller, who closes it.                                                                          */
static llmrun_status render(const llmrun_engine *e, const llmrun_chat_options *o, lr_chat_text *out, llmrun_error *err) {
    variables v = {0};
    llmrun_status status = check_options(e, o, err);
    if (status) return status;
    out->source = find_template(e, o->tools != NULL, &out->n_source);
    out->plain = !out->source;
    if (out->plain) {
        out->source = PLAIN;
        out->n_source = sizeof PLAIN - 1;
    }
    add_variables(&v, e, o);
    lr_jinja_job job = {.where = "chat template", .source = out->source, .n_source = out->n_source,
                        .variables = v.items, .n_variables = v.n, .open_end = o->continue_last,
                        .unix_time = o->unix_time ? o->unix_time : (int64_t)time(NULL)};
    status = v.failed ? lr_fail_nomem(err, "chat", v.cap) : lr_jinja_render(&job, &out->text, &out->marks, err);
    lr_free(v.items);
    lr_free(v.names);
    return status;
}

static void close_text(lr_chat_text *t) {
    lr_free(t->text.text);
    lr_free(t->marks.text);
}

void llmrun_chat_options_default(llmrun_chat_options *o) {
    if (o) *o = (llmrun_chat_options){.struct_size = sizeof *o, .add_generation_prompt = true};
}

llmrun_status llmrun_chat_render(const llmrun_engine *e, const llmrun_chat_options *o, char **text, llmrun_error *err) {
    lr_chat_text out = {0};
    if (!text) return lr_fail(err, LLMRUN_ARG, "llmrun_chat_render: text is NULL");
    *text = NULL;
    llmrun_status status = render(e, o, &out, err);
    if (!status) {
        *text = out.text.text ? out.text.text : lr_strdup("");
        if (*text)
            out.text.text = NULL;
        else
            status = lr_fail_nomem(err, "chat", 1);
    }
    close_text(&out);
    return status;
}

llmrun_status llmrun_chat_tokenize(const llmrun_engine *e, const llmrun_chat_options *o, int32_t *ids, size_t max,
                                   size_t *n_ids, llmrun_error *err) {
    lr_chat_text text = {0};
    if (!n_ids || (max && !ids)) return lr_fail(err, LLMRUN_ARG, "llmrun_chat_tokenize: a pointer is NULL");
    if (e && !e->tokenizer) return lr_fail(err, LLMRUN_UNSUPPORTED, "chat: the model has no tokenizer");
    llmrun_status status = render(e, o, &text, err);
    if (!status) status = lr_chat_ids(e->tokenizer, &text, ids, max, n_ids, err);
    close_text(&text);
    return status;
}
