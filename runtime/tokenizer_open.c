/* Opens a tokenizer from whatever file the model came with, and joins what the files beside it say.                   */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/gguf.h"
#include "loaders/path.h"
#include "runtime/tokenizer_parts.h"

/* What is known besides the tokenizer's own file.                                                                     */
typedef struct source {
    const char *where;
    const lr_config *config; /* tokenizer_config.json, or NULL */
    const lr_config *added;  /* added_tokens.json, or NULL */
    const int32_t *eos;      /* (n_eos) */
    int32_t n_eos;
    llmrun_error *err;
} source;

/* ---- parts ---- */

static llmrun_status open_stages(lr_stages *stages, const lr_steps *steps, const char *where, const char *list,
                                 llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    char place[600];
    snprintf(place, sizeof place, "%.500s: %s", where, list);
    stages->items = lr_zalloc(steps->n, sizeof *stages->items);
    if (!stages->items) return lr_fail_nomem(err, where, steps->n * sizeof *stages->items);
    for (size_t i = 0; i < steps->n && !status; i++) {
        const lr_step *step = &steps->items[i];
        lr_stage *stage = &stages->items[stages->n++];
        stage->step = step;
        if (step->kind == LR_STEP_SPLIT || (step->kind == LR_STEP_REPLACE && step->regex))
            status = lr_pattern_open(&stage->pattern, step->pattern, step->regex, place, err);
        else if (step->kind == LR_STEP_METASPACE && step->split)
            status = lr_pattern_open(&stage->pattern, step->content, false, place, err);
    }
    return status;
}

/* Which piece is the first of the text is a question of where it stood before it was normalized.  Where the answer is
 * not simply "the first piece", the file is refused.                                                                  */
static llmrun_status check_first_prefix(const lr_vocab *v, const char *where, llmrun_error *err) {
    for (size_t i = 0; i < v->pre_tokenizer.n; i++) {
        const lr_step *metaspace = &v->pre_tokenizer.items[i];
        if (metaspace->kind != LR_STEP_METASPACE || metaspace->prefix != LR_PREFIX_FIRST) continue;
        for (size_t k = 0; k < v->normalizer.n; k++) {
            const lr_step *step = &v->normalizer.items[k];
            bool moves = (step->kind == LR_STEP_STRIP && step->left) || step->kind == LR_STEP_PRECOMPILED ||
                         (step->kind == LR_STEP_REPLACE && !*step->content);
            if (moves || i > 0)
                return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: pre_tokenizer Metaspace with prepend_scheme first %s is not "
                               "supported", where, moves ? "after a normalizer that removes text" : "after a split");
        }
    }
    return LLMRUN_OK;
}

/* Id of a text, added tokens included; -1 if there is none.                                                           */
static int32_t find_token(const llmrun_tokenizer *t, const char *text) {
    for (size_t i = 0; i < t->vocab.n_added; i++)
        if (!strcmp(t->vocab.added[i].text, text)) return t->vocab.added[i].id;
    return lr_vocab_find(&t->vocab, text, strlen(text));
}

/* bos_token and eos_token are a string, or an object with content; without them, what the tokenizer's own file says. */
static int32_t config_token(const llmrun_tokenizer *t, const lr_config *config, const char *key, int32_t fallback) {
    char inner[64];
    snprintf(inner, sizeof inner, "%s.content", key);
    const char *text = config ? lr_config_string(config, key) : NULL;
    if (config && !text) text = lr_config_string(config, inner);
    return text ? find_token(t, text) : fallback;
}

/* BOS and EOS of a file without a template: from tokenizer_config.json, else as the file has them.                    */
static llmrun_status take_config(llmrun_tokenizer *t, const lr_config *config, const char *where, llmrun_error *err) {
    const struct {
        const char *flag, *token;
        bool add;
        int32_t own;
        int32_t **ids;
        size_t *n;
    } side[] = {{"add_bos_token", "bos_token", t->vocab.add_bos, t->vocab.bos, &t->vocab.prefix, &t->vocab.n_prefix},
                {"add_eos_token", "eos_token", t->vocab.add_eos, t->vocab.eos, &t->vocab.suffix, &t->vocab.n_suffix}};
    for (size_t i = 0; i < LR_COUNT(side) && !t->vocab.has_template; i++) {
        if (!(config ? lr_config_bool(config, side[i].flag, side[i].add) : side[i].add)) continue;
        int32_t id = config_token(t, config, side[i].token, side[i].own);
        if (id < 0)
            return lr_fail(err, LLMRUN_FORMAT, "%s: %s is set, but %s is not in the vocabulary",
                           config ? config->path : where, side[i].flag, side[i].token);
        *side[i].ids = lr_alloc(sizeof(int32_t));
        if (!*side[i].ids) return lr_fail_nomem(err, "tokenizer", sizeof(int32_t));
        **side[i].ids = id;
        *side[i].n = 1;
    }
    return LLMRUN_OK;
}

static void mark_end(llmrun_tokenizer *t, int32_t id) {
    if (id >= 0 && id < t->vocab.n_tokens) t->traits[id] |= LR_TOKEN_END;
}

/* Where a turn or a text ends, by name.  With <|return|> among them, <|end|> only ends a part of a turn (gpt-oss).    */
static void mark_ends(llmrun_tokenizer *t, const lr_config *config, const int32_t *eos, int32_t n_eos) {
    static const char *const names[] = {
        "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|im_end|>",
        "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<|end_of_turn|>", "<|return|>", "<|call|>", "<|end_story|>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>"};
    for (int32_t i = 0; i < n_eos; i++) mark_end(t, eos[i]);
    mark_end(t, config_token(t, config, "eos_token", t->vocab.eos));
    for (size_t i = 0; i < LR_COUNT(t->vocab.ends); i++) mark_end(t, t->vocab.ends[i]);
    for (size_t i = 0; i < LR_COUNT(names); i++) mark_end(t, find_token(t, names[i]));
    if (find_token(t, "<|return|>") < 0) mark_end(t, find_token(t, "<|end|>"));
}

/* ---- the whole ---- */

/* The vocabulary has been read: builds the rest.                                                                      */
static llmrun_status build(llmrun_tokenizer *t, const source *s) {
    const lr_steps *pre = &t->vocab.pre_tokenizer;
    const char *where = s->where;
    llmrun_error *err = s->err;
    for (size_t i = 0; i < pre->n; i++) t->byte_level |= pre->items[i].kind == LR_STEP_BYTE_LEVEL;
    llmrun_status status = check_first_prefix(&t->vocab, where, err);
    if (!status) status = open_stages(&t->normalizer, &t->vocab.normalizer, where, "normalizer", err);
    if (!status) status = open_stages(&t->pre_tokenizer, pre, where, "pre_tokenizer", err);
    if (!status) status = lr_model_open(t, where, err);
    if (!status) status = lr_decode_open(t, where, err);
    if (!status) status = lr_added_open_user_defined(&t->user_defined, &t->vocab, err);
    if (!status) status = lr_added_open(&t->raw, t, false, err);
    if (!status) status = lr_added_open(&t->normalized, t, true, err);
    if (!status) status = take_config(t, s->config, where, err);
    if (!status && !(t->traits = lr_zalloc((size_t)t->vocab.n_tokens, 1)))
        status = lr_fail_nomem(err, where, (size_t)t->vocab.n_tokens);
    if (status) return status;
    for (size_t i = 0; i < t->vocab.n_added; i++)
        if (t->vocab.added[i].special) t->traits[t->vocab.added[i].id] |= LR_TOKEN_CONTROL;
    mark_ends(t, s->config, s->eos, s->n_eos);
    return LLMRUN_OK;
}

/* A .gguf in memory: its metadata alone.                                                                              */
static llmrun_status read_gguf(lr_vocab *v, const char *bytes, size_t n, const source *s) {
    lr_gguf g = {0};
    lr_tensor *tensors = NULL;
    size_t n_tensors = 0, cap = 0;
    uint64_t n_header;
    lr_map map = {.data = (const uint8_t *)bytes, .size = n, .path = (char *)(uintptr_t)s->where};
    llmrun_status status = lr_gguf_read(&g, &map, 0, &tensors, &n_tensors, &cap, &n_header, s->err);
    if (!status) status = lr_vocab_read_gguf(v, &g, s->where, s->err);
    lr_tensors_free(tensors, n_tensors);
    lr_gguf_close(&g);
    return status;
}

/* A tokenizer.model begins with the tag of its first piece, a newline as text, and then its length.                   */
static llmrun_status read_vocab(lr_vocab *v, const char *bytes, size_t n, const source *s) {
    if (n >= 4 && !memcmp(bytes, "GGUF", 4)) return read_gguf(v, bytes, n, s);
    bool pieces = n > 1 && bytes[0] == '\n' && !strchr(" \t\r\n{[", bytes[1]);
    if (!pieces) return lr_vocab_parse(v, bytes, n, s->where, s->err);
    llmrun_status status = lr_sentencepiece_parse(v, bytes, n, s->where, s->err);
    lr_step *normalizer = status ? NULL : &v->normalizer.items[0];
    bool once = s->config && !lr_config_bool(s->config, "legacy", true); /* the prefix, not after each special token */
    if (normalizer && once && normalizer->prefix == LR_PREFIX_ALWAYS) normalizer->prefix = LR_PREFIX_FIRST;
    if (!status && s->config) status = lr_vocab_add_beside(v, s->config, false, s->err);
    return !status && s->added ? lr_vocab_add_beside(v, s->added, true, s->err) : status;
}

static llmrun_status parse(llmrun_tokenizer **out, const char *bytes, size_t n, const source *s) {
    *out = NULL;
    llmrun_tokenizer *t = lr_zalloc(1, sizeof *t);
    if (!t) return lr_fail_nomem(s->err, s->where, sizeof *t);
    llmrun_status status = read_vocab(&t->vocab, bytes, n, s);
    if (!status) status = build(t, s);
    if (status)
        llmrun_tokenizer_close(t);
    else
        *out = t;
    return status;
}

llmrun_status lr_tokenizer_parse(llmrun_tokenizer **out, const char *bytes, size_t n, const char *where,
                                 const lr_config *config, const int32_t *eos, int32_t n_eos, llmrun_error *err) {
    return parse(out, bytes, n, &(source){.where = where, .config = config, .eos = eos, .n_eos = n_eos, .err = err});
}

llmrun_status lr_tokenizer_open_gguf(llmrun_tokenizer **out, const lr_gguf *g, const char *where, const int32_t *eos,
                                     int32_t n_eos, llmrun_error *err) {
    *out = NULL;
    llmrun_tokenizer *t = lr_zalloc(1, sizeof *t);
    if (!t) return lr_fail_nomem(err, where, sizeof *t);
    llmrun_status status = lr_vocab_read_gguf(&t->vocab, g, where, err);
    if (!status) status = build(t, &(source){.where = where, .eos = eos, .n_eos = n_eos, .err = err});
    if (status)
        llmrun_tokenizer_close(t);
    else
        *out = t;
    return status;
}

/* Reads the JSON file of this name beside path, if it is there.                                                       */
static llmrun_status read_beside(lr_config *config, const char *path, const char *name, llmrun_error *err) {
    lr_text beside = {0};
    lr_text_add(&beside, "%.*s%s", (int)(lr_path_base(path) - path), path, name);
    llmrun_status status = beside.failed ? lr_fail_nomem(err, path, strlen(path)) : LLMRUN_OK;
    if (!status && lr_path_exists(beside.text)) status = lr_config_read(config, beside.text, err);
    lr_free(beside.text);
    return status;
}

llmrun_status lr_tokenizer_open(llmrun_tokenizer **out, const char *path, const lr_config *config, const int32_t *eos,
                                int32_t n_eos, llmrun_error *err) {
    lr_map map = {0};
    lr_config added = {0};
    *out = NULL;
    llmrun_status status = lr_map_open(&map, path, false, err);
    if (!status && lr_path_ends_with(path, ".model")) status = read_beside(&added, path, "added_tokens.json", err);
    source s = {.where = path, .config = config, .added = added.n_values ? &added : NULL, .eos = eos, .n_eos = n_eos,
                .err = err};
    if (!status) status = parse(out, (const char *)map.data, map.size, &s);
    lr_config_close(&added);
    lr_map_close(&map);
    return status;
}

llmrun_status llmrun_tokenizer_open(llmrun_tokenizer **out, const char *path, llmrun_error *err) {
    if (!out) return lr_fail(err, LLMRUN_ARG, "llmrun_tokenizer_open: out is NULL");
    *out = NULL;
    if (!path) return lr_fail(err, LLMRUN_ARG, "llmrun_tokenizer_open: path is NULL");
    struct stat info;
    bool directory = !stat(path, &info) && S_ISDIR(info.st_mode);
    char *inside = NULL;
    lr_config config = {0};
    llmrun_status status = directory ? lr_path_tokenizer(&inside, path, err) : LLMRUN_OK;
    if (!status && directory && !inside) status = lr_path_gguf(&inside, path, err);
    if (!status && directory && !inside)
        status = lr_fail(err, LLMRUN_IO, "%s: no tokenizer.json, tokenizer.model or single .gguf in this directory",
                         path);
    const char *file = inside ? inside : path;
    bool alone = lr_path_ends_with(file, ".gguf"); /* then other files say nothing about it */
    if (!status && !alone) status = read_beside(&config, file, "tokenizer_config.json", err);
    if (!status) status = lr_tokenizer_open(out, file, config.values ? &config : NULL, NULL, 0, err);
    lr_config_close(&config);
    lr_free(inside);
    return status;
}
