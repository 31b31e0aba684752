/* The lists of steps in a tokenizer.json (normalizer, pre_tokenizer, decoder) and the ids that its post_processor puts
 * around a text.  Each list is one step or a Sequence of steps, nested or not; it is flattened here.                  */
#include "loaders/tokenizer_vocab.h"

#include <string.h>

#include "loaders/json.h"
#include "loaders/json_scan.h"

/* The pattern of ByteLevel with use_regex: GPT-2's.                                                                   */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

typedef struct reader {
    const char *where, *list; /* file, "normalizer" */
    const cJSON *node;        /* the step being read */
    const char *type;
    lr_steps *steps;
    lr_charsmap *charsmap; /* of the tokenizer */
    llmrun_error *err;
} reader;

static llmrun_status wrong(const reader *r, const char *key, const char *expected) {
    char got[64], type[64];
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s %s.%s: expected %s, got %s", r->where, r->list,
                   lr_printable(type, sizeof type, r->type, strlen(r->type)), key, expected,
                   lr_json_describe(got, sizeof got, lr_json_get(r->node, key)));
}

static llmrun_status unsupported(const reader *r, const char *what) {
    char type[64];
    return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: %s type \"%s\"%s is not supported", r->where, r->list,
                   lr_printable(type, sizeof type, r->type, strlen(r->type)), what);
}

/* Copies a string member; a missing or null one gives fallback (NULL: required).                                      */
static llmrun_status take_string(const reader *r, const char *key, const char *fallback, char **out) {
    const cJSON *item = lr_json_get(r->node, key);
    const char *text = cJSON_IsString(item) ? item->valuestring : fallback;
    if (!text || (item && !cJSON_IsNull(item) && !cJSON_IsString(item))) return wrong(r, key, "a string");
    *out = lr_strdup(text);
    return *out ? LLMRUN_OK : lr_fail_nomem(r->err, r->where, strlen(text) + 1);
}

static llmrun_status take_character(const reader *r, const char *key, const char *fallback, char **out) {
    llmrun_status status = take_string(r, key, fallback, out);
    if (status) return status;
    size_t n = **out ? lr_utf8_length(*out, strlen(*out)) : 0;
    return n && !(*out)[n] ? LLMRUN_OK : wrong(r, key, "one character");
}

static bool take_bool(const reader *r, const char *key, bool fallback) {
    const cJSON *item = lr_json_get(r->node, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

/* pattern: {"String": text} or {"Regex": text}, in old files the text itself.                                         */
static llmrun_status take_pattern(const reader *r, lr_step *step) {
    const cJSON *pattern = lr_json_get(r->node, "pattern");
    const cJSON *regex = lr_json_get(pattern, "Regex"), *text = regex ? regex : lr_json_get(pattern, "String");
    if (cJSON_IsString(pattern)) text = pattern;
    if (!cJSON_IsString(text) || !*text->valuestring) return wrong(r, "pattern", "{\"Regex\": text} or {\"String\": text}");
    step->regex = regex != NULL;
    step->pattern = lr_strdup(text->valuestring);
    return step->pattern ? LLMRUN_OK : lr_fail_nomem(r->err, r->where, strlen(text->valuestring));
}

/* What the new step holds is released with the list, also after a failure.                                            */
lr_step *lr_steps_add(lr_steps *s, lr_step_kind kind) {
    if (s->n == LR_STEPS_MAX || !lr_grow(&s->items, &s->cap, s->n + 1, sizeof *s->items)) return NULL;
    s->items[s->n] = (lr_step){.kind = kind};
    return s->items + s->n++;
}

static llmrun_status no_room(const reader *r) {
    if (r->steps->n < LR_STEPS_MAX) return lr_fail_nomem(r->err, r->where, sizeof(lr_step));
    return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: %s has more than %d steps", r->where, r->list, LR_STEPS_MAX);
}

/* ---- normalizers ---- */

static llmrun_status read_precompiled(const reader *r) {
    const cJSON *map = lr_json_get(r->node, "precompiled_charsmap");
    if (r->charsmap->n_units) return unsupported(r, " for the second time");
    if (!cJSON_IsString(map)) return wrong(r, "precompiled_charsmap", "a string");
    if (!lr_steps_add(r->steps, LR_STEP_PRECOMPILED)) return no_room(r);
    return lr_charsmap_read_base64(r->charsmap, map->valuestring, r->where, r->err);
}

static llmrun_status read_normalizer(const reader *r) {
    static const struct {
        const char *type;
        lr_step_kind kind;
    } known[] = {{"NFC", LR_STEP_NFC},   {"NFD", LR_STEP_NFD},
                 {"NFKC", LR_STEP_NFKC}, {"NFKD", LR_STEP_NFKD},
                 {"Lowercase", LR_STEP_LOWERCASE}, {"Prepend", LR_STEP_PREPEND},
                 {"Replace", LR_STEP_REPLACE},     {"Strip", LR_STEP_STRIP}};
    size_t i = 0;
    if (!strcmp(r->type, "Precompiled")) return read_precompiled(r);
    while (i < LR_COUNT(known) && strcmp(known[i].type, r->type)) i++;
    if (i == LR_COUNT(known)) return unsupported(r, "");
    lr_step *step = lr_steps_add(r->steps, known[i].kind);
    if (!step) return no_room(r);
    step->left = take_bool(r, "strip_left", true);
    step->right = take_bool(r, "strip_right", true);
    if (step->kind == LR_STEP_PREPEND) return take_string(r, "prepend", NULL, &step->content);
    if (step->kind != LR_STEP_REPLACE) return LLMRUN_OK;
    llmrun_status status = take_pattern(r, step);
    return status ? status : take_string(r, "content", NULL, &step->content);
}

/* ---- pre-tokenizers ---- */

static llmrun_status take_behavior(const reader *r, lr_split_behavior *out) {
    static const char *const names[] = {[LR_SPLIT_ISOLATED] = "Isolated",
                                        [LR_SPLIT_REMOVED] = "Removed",
                                        [LR_SPLIT_CONTIGUOUS] = "Contiguous",
                                        [LR_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [LR_SPLIT_WITH_NEXT] = "MergedWithNext"};
    const cJSON *item = lr_json_get(r->node, "behavior");
    for (size_t i = 0; cJSON_IsString(item) && i < LR_COUNT(names); i++)
        if (!strcmp(item->valuestring, names[i])) {
            *out = (lr_split_behavior)i;
            return LLMRUN_OK;
        }
    return wrong(r, "behavior", "Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext");
}

/* A split whose pattern is known here.                                                                                */
static llmrun_status add_split(const reader *r, const char *regex, lr_split_behavior behavior) {
    lr_step *step = lr_steps_add(r->steps, LR_STEP_SPLIT);
    if (!step) return no_room(r);
    step->regex = true;
    step->behavior = behavior;
    step->pattern = lr_strdup(regex);
    return step->pattern ? LLMRUN_OK : lr_fail_nomem(r->err, r->where, strlen(regex));
}

/* prepend_scheme, or the older add_prefix_space; the older one speaks only where the newer is absent.                 */
static llmrun_status take_prefix(const reader *r, lr_prefix *out) {
    const cJSON *scheme = lr_json_get(r->node, "prepend_scheme");
    *out = take_bool(r, "add_prefix_space", true) ? LR_PREFIX_ALWAYS : LR_PREFIX_NEVER;
    if (!scheme || cJSON_IsNull(scheme)) return LLMRUN_OK;
    static const char *const names[] = {
        [LR_PREFIX_NEVER] = "never", [LR_PREFIX_FIRST] = "first", [LR_PREFIX_ALWAYS] = "always"};
    for (size_t i = 0; cJSON_IsString(scheme) && i < LR_COUNT(names); i++)
        if (!strcmp(scheme->valuestring, names[i])) {
            *out = (lr_prefix)i;
            return LLMRUN_OK;
        }
    return wrong(r, "prepend_scheme", "first, always or never");
}

static llmrun_status read_metaspace(const reader *r) {
    lr_step *step = lr_steps_add(r->steps, LR_STEP_METASPACE);
    if (!step) return no_room(r);
    step->split = take_bool(r, "split", true);
    llmrun_status status = take_character(r, "replacement", "\xe2\x96\x81", &step->content);
    return status ? status : take_prefix(r, &step->prefix);
}

/* The space in front comes before the pattern, the bytes after it: the step is BYTE_LEVEL with prefix, then SPLIT.    */
static llmrun_status read_byte_level(const reader *r) {
    lr_step *step = lr_steps_add(r->steps, LR_STEP_BYTE_LEVEL);
    if (!step) return no_room(r);
    step->prefix = take_bool(r, "add_prefix_space", true) ? LR_PREFIX_ALWAYS : LR_PREFIX_NEVER;
    return take_bool(r, "use_regex", true) ? add_split(r, gpt2_pattern, LR_SPLIT_ISOLATED) : LLMRUN_OK;
}

static llmrun_status read_pre_tokenizer(const reader *r) {
    const lr_steps *s = r->steps;
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].kind == LR_STEP_BYTE_LEVEL) return unsupported(r, " after ByteLevel");
    if (!strcmp(r->type, "ByteLevel")) return read_byte_level(r);
    if (!strcmp(r->type, "Metaspace")) return read_metaspace(r);
    if (!strcmp(r->type, "Digits"))
        return add_split(r, "\\p{N}", take_bool(r, "individual_digits", false) ? LR_SPLIT_ISOLATED : LR_SPLIT_CONTIGUOUS);
    if (!strcmp(r->type, "WhitespaceSplit")) return add_split(r, "\\s", LR_SPLIT_REMOVED);
    if (strcmp(r->type, "Split")) return unsupported(r, "");
    lr_step *step = lr_steps_add(r->steps, LR_STEP_SPLIT);
    if (!step) return no_room(r);
    step->invert = take_bool(r, "invert", false);
    llmrun_status status = take_pattern(r, step);
    return status ? status : take_behavior(r, &step->behavior);
}

/* ---- decoders ---- */

static llmrun_status read_decoder(const reader *r) {
    if (!strcmp(r->type, "Metaspace")) return read_metaspace(r);
    bool replace = !strcmp(r->type, "Replace"), strip = !strcmp(r->type, "Strip");
    lr_step_kind kind = !strcmp(r->type, "ByteLevel")      ? LR_STEP_BYTE_LEVEL
                        : !strcmp(r->type, "ByteFallback") ? LR_STEP_BYTE_FALLBACK
                        : !strcmp(r->type, "Fuse")         ? LR_STEP_FUSE
                        : replace                          ? LR_STEP_REPLACE
                                                           : LR_STEP_STRIP;
    if (kind == LR_STEP_STRIP && !strip) return unsupported(r, "");
    lr_step *step = lr_steps_add(r->steps, kind);
    if (!step) return no_room(r);
    llmrun_status status = LLMRUN_OK;
    if (replace) {
        status = take_pattern(r, step);
        if (!status && step->regex) status = unsupported(r, " with a regular expression");
        if (!status) status = take_string(r, "content", NULL, &step->content);
    }
    if (strip) {
        int64_t start = 0, stop = 0;
        if (!lr_json_int(lr_json_get(r->node, "start"), 0, 1, &start)) return unsupported(r, " with start above 1");
        if (!lr_json_int(lr_json_get(r->node, "stop"), 0, 0, &stop)) return unsupported(r, " with stop above 0");
        step->left = start == 1;
        status = take_character(r, "content", " ", &step->content);
    }
    return status;
}

/* ---- walking ---- */

/* A node is null, a step, or a Sequence whose list has one of these names.  The depth is bounded by the JSON reader's. */
static llmrun_status walk(reader *r, const cJSON *node, llmrun_status (*read)(const reader *r)) {
    if (!node || cJSON_IsNull(node)) return LLMRUN_OK;
    const cJSON *type = lr_json_get(node, "type"), *child;
    if (!cJSON_IsString(type))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s: expected an object with a type", r->where, r->list);
    r->node = node;
    r->type = type->valuestring;
    if (strcmp(type->valuestring, "Sequence")) return read(r);
    static const char *const names[] = {"normalizers", "pretokenizers", "decoders"};
    for (size_t i = 0; i < LR_COUNT(names); i++)
        cJSON_ArrayForEach(child, lr_json_get(node, names[i])) {
            llmrun_status status = walk(r, child, read);
            if (status) return status;
        }
    return LLMRUN_OK;
}

llmrun_status lr_vocab_read_steps(lr_vocab *v, const cJSON *root, const char *where, llmrun_error *err) {
    const struct {
        const char *list;
        lr_steps *steps;
        llmrun_status (*read)(const reader *r);
    } lists[] = {{"normalizer", &v->normalizer, read_normalizer},
                 {"pre_tokenizer", &v->pre_tokenizer, read_pre_tokenizer},
                 {"decoder", &v->decoder, read_decoder}};
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < LR_COUNT(lists) && !status; i++) {
        reader r = {.where = where, .list = lists[i].list, .steps = lists[i].steps,
                    .charsmap = &v->charsmap, .err = err};
        status = walk(&r, lr_json_get(root, lists[i].list), lists[i].read);
    }
    return status;
}

/* ---- post-processor ---- */

static llmrun_status take_ids(lr_vocab *v, const cJSON *processor, const char *name, bool after, const char *where,
                              llmrun_error *err) {
    char shown[80];
    const cJSON *ids = lr_json_get(lr_json_get(lr_json_get(processor, "special_tokens"), name), "ids"), *item;
    lr_printable(shown, sizeof shown, name, strlen(name));
    if (!cJSON_IsArray(ids))
        return lr_fail(err, LLMRUN_FORMAT, "%s: post_processor: \"%s\" has no ids in special_tokens", where, shown);
    cJSON_ArrayForEach(item, ids) {
        int32_t **list = after ? &v->suffix : &v->prefix;
        size_t *n = after ? &v->n_suffix : &v->n_prefix;
        int64_t id;
        if (!lr_json_int(item, 0, v->n_tokens - 1, &id) || v->tokens[id].start == LR_NO_TOKEN)
            return lr_fail(err, LLMRUN_FORMAT, "%s: post_processor: id of \"%s\" is not in the vocabulary", where, shown);
        int32_t *grown = lr_realloc(*list, (*n + 1) * sizeof **list);
        if (!grown) return lr_fail_nomem(err, where, (*n + 1) * sizeof **list);
        grown[(*n)++] = (int32_t)id;
        *list = grown;
    }
    return LLMRUN_OK;
}

static llmrun_status read_processor(lr_vocab *v, const cJSON *node, const char *where, llmrun_error *err) {
    if (!node || cJSON_IsNull(node)) return LLMRUN_OK;
    const cJSON *type = lr_json_get(node, "type"), *item;
    if (!cJSON_IsString(type)) return lr_fail(err, LLMRUN_FORMAT, "%s: post_processor: expected an object with a type", where);
    llmrun_status status = LLMRUN_OK;
    if (!strcmp(type->valuestring, "ByteLevel")) return LLMRUN_OK; /* it only moves offsets */
    if (!strcmp(type->valuestring, "Sequence")) {
        cJSON_ArrayForEach(item, lr_json_get(node, "processors")) {
            status = read_processor(v, item, where, err);
            if (status) return status;
        }
        return LLMRUN_OK;
    }
    char shown[64];
    if (strcmp(type->valuestring, "TemplateProcessing") || v->has_template)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: post_processor type \"%s\"%s is not supported", where,
                       lr_printable(shown, sizeof shown, type->valuestring, strlen(type->valuestring)),
                       v->has_template ? " after TemplateProcessing" : "");
    bool after = false;
    v->has_template = true;
    cJSON_ArrayForEach(item, lr_json_get(node, "single")) {
        const cJSON *name = lr_json_get(lr_json_get(item, "SpecialToken"), "id");
        if (cJSON_IsString(name))
            status = take_ids(v, node, name->valuestring, after, where, err);
        else if (lr_json_get(item, "Sequence") && !after)
            after = true;
        else
            status = lr_fail(err, LLMRUN_FORMAT, "%s: post_processor: single is not a list of special tokens around one "
                             "sequence", where);
        if (status) return status;
    }
    return LLMRUN_OK;
}

llmrun_status lr_vocab_read_template(lr_vocab *v, const cJSON *root, const char *where, llmrun_error *err) {
    return read_processor(v, lr_json_get(root, "post_processor"), where, err);
}
