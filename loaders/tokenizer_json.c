/* tokenizer.json.  The two tables that make up nearly all of it (model.vocab, model.merges) are cut
 * out and read in one pass, the small rest goes through the strict JSON wrapper.                                      */
#include "loaders/tokenizer_vocab.h"

#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/json_scan.h"

enum { MAX_VALUES = 1 << 20 }; /* of the rest: 65,000 added tokens with their flags */

/* ---- cutting ---- */

/* Copies the object at s to *rest, with the values of vocab and merges replaced by null; notes where they were.       */
static bool cut_model(lr_json_scan *s, lr_text *rest, lr_vocab_tables *t, const char **copied) {
    lr_text key = {0};
    bool ok = lr_json_scan_take(s, '{');
    for (bool more = ok && !lr_json_scan_peek(s, '}'); ok && more;) {
        key.n = 0;
        ok = lr_json_scan_string(s, &key) && lr_json_scan_take(s, ':');
        if (!ok) break;
        bool vocab = !strcmp(key.text ? key.text : "", "vocab"), merges = !strcmp(key.text ? key.text : "", "merges");
        const char *value = s->at;
        ok = lr_json_scan_skip(s);
        if (!ok) break;
        if (vocab || merges) {
            *(vocab ? &t->vocab : &t->merges) = value;
            *(vocab ? &t->n_vocab : &t->n_merges) = (size_t)(s->at - value);
            lr_text_add_bytes(rest, *copied, (size_t)(value - *copied));
            lr_text_add(rest, "null");
            *copied = s->at;
        }
        more = lr_json_scan_take(s, ',');
    }
    rest->failed |= key.failed;
    lr_free(key.text);
    return ok && lr_json_scan_take(s, '}');
}

static bool cut(lr_json_scan *s, lr_text *rest, lr_vocab_tables *t) {
    lr_text key = {0};
    const char *copied = s->at;
    bool ok = lr_json_scan_take(s, '{');
    for (bool more = ok && !lr_json_scan_peek(s, '}'); ok && more;) {
        key.n = 0;
        ok = lr_json_scan_string(s, &key) && lr_json_scan_take(s, ':');
        if (!ok) break;
        bool model = !strcmp(key.text ? key.text : "", "model") && lr_json_scan_peek(s, '{');
        ok = model ? cut_model(s, rest, t, &copied) : lr_json_scan_skip(s);
        more = ok && lr_json_scan_take(s, ',');
    }
    rest->failed |= key.failed;
    lr_free(key.text);
    lr_text_add_bytes(rest, copied, (size_t)(s->end - copied));
    return ok;
}

/* ---- model ---- */

/* The kind of model, also for old files that do not say.                                                              */
static const char *model_type(const cJSON *model, const lr_vocab_tables *t) {
    const cJSON *type = lr_json_get(model, "type");
    if (cJSON_IsString(type)) return type->valuestring;
    if (t->vocab && *t->vocab == '[') return "Unigram";
    return t->merges ? "BPE" : "WordPiece or WordLevel";
}

static llmrun_status read_unigram(lr_vocab *v, const cJSON *model, const lr_vocab_tables *t, const char *where,
                                  llmrun_error *err) {
    int64_t unk;
    v->kind = LR_VOCAB_UNIGRAM;
    v->byte_fallback = cJSON_IsTrue(lr_json_get(model, "byte_fallback"));
    if (!t->vocab) return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab is missing", where);
    llmrun_status status = lr_vocab_read_scored(v, t, where, err);
    if (status) return status;
    const cJSON *item = lr_json_get(model, "unk_id");
    if (!item || cJSON_IsNull(item))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: model type \"Unigram\" without unk_id is not supported", where);
    if (!lr_json_int(item, 0, v->n_model - 1, &unk))
        return lr_fail(err, LLMRUN_FORMAT, "%s: model.unk_id: expected an id in 0..%d", where, v->n_model - 1);
    v->unk = (int32_t)unk;
    return LLMRUN_OK;
}

static llmrun_status read_model(lr_vocab *v, const cJSON *root, const lr_vocab_tables *t, const char *where,
                                llmrun_error *err) {
    const cJSON *model = lr_json_get(root, "model");
    char shown[64];
    if (!cJSON_IsObject(model)) return lr_fail(err, LLMRUN_FORMAT, "%s: model: expected an object", where);
    const char *type = model_type(model, t);
    if (!strcmp(type, "Unigram")) return read_unigram(v, model, t, where, err);
    if (strcmp(type, "BPE"))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: model type \"%s\" is not supported; BPE and Unigram are", where,
                       lr_printable(shown, sizeof shown, type, strlen(type)));
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < LR_COUNT(affixes); i++) {
        const cJSON *affix = lr_json_get(model, affixes[i]);
        if (cJSON_IsString(affix) && *affix->valuestring)
            return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: model.%s \"%s\" is not supported", where, affixes[i],
                           lr_printable(shown, sizeof shown, affix->valuestring, strlen(affix->valuestring)));
    }
    const cJSON *dropout = lr_json_get(model, "dropout");
    if (cJSON_IsNumber(dropout) && dropout->valuedouble != 0)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: model.dropout %g is not supported: ids would be random", where,
                       dropout->valuedouble);
    if (!t->vocab) return lr_fail(err, LLMRUN_FORMAT, "%s: model.vocab is missing", where);
    if (!t->merges) return lr_fail(err, LLMRUN_FORMAT, "%s: model.merges is missing", where);

    llmrun_status status = lr_vocab_read_tokens(v, t, where, err);
    if (!status) status = lr_vocab_read_merges(v, t, where, err);
    if (status) return status;
    v->byte_fallback = cJSON_IsTrue(lr_json_get(model, "byte_fallback"));
    v->fuse_unk = cJSON_IsTrue(lr_json_get(model, "fuse_unk"));
    v->ignore_merges = cJSON_IsTrue(lr_json_get(model, "ignore_merges"));
    const cJSON *unk = lr_json_get(model, "unk_token");
    v->unk = -1;
    if (!cJSON_IsString(unk)) return LLMRUN_OK;
    v->unk = lr_vocab_find(v, unk->valuestring, strlen(unk->valuestring));
    if (v->unk < 0)
        return lr_fail(err, LLMRUN_FORMAT, "%s: model.unk_token \"%s\" is not in the vocabulary", where,
                       lr_printable(shown, sizeof shown, unk->valuestring, strlen(unk->valuestring)));
    return LLMRUN_OK;
}

/* ---- added tokens ---- */

static llmrun_status read_added(lr_vocab *v, const cJSON *item, size_t index, const char *where, llmrun_error *err) {
    const cJSON *content = lr_json_get(item, "content");
    int64_t id;
    char shown[80];
    if (!cJSON_IsString(content))
        return lr_fail(err, LLMRUN_FORMAT, "%s: added_tokens[%zu].content: expected a string", where, index);
    size_t n = strlen(content->valuestring);
    if (n == 0) return lr_fail(err, LLMRUN_FORMAT, "%s: added_tokens[%zu].content is empty", where, index);
    if (n > LR_ADDED_MAX_BYTES)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added_tokens[%zu].content has %zu bytes, at most %d", where, index, n,
                       LR_ADDED_MAX_BYTES);
    lr_printable(shown, sizeof shown, content->valuestring, n);
    if (!lr_json_int(lr_json_get(item, "id"), 0, LR_VOCAB_MAX - 1, &id))
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\": id is not an integer in 0..%d", where, shown,
                       LR_VOCAB_MAX - 1);
    int32_t known = lr_vocab_find(v, content->valuestring, n);
    if (known >= 0 && known != id)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\": id %d, but model.vocab says %d", where, shown, (int)id,
                       (int)known);
    if (known < 0 && v->tokens[id].start != LR_NO_TOKEN)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\": id %d belongs to another token", where, shown, (int)id);
    char *text = lr_strndup(content->valuestring, n);
    if (!text) return lr_fail_nomem(err, where, n);
    v->added[v->n_added++] = (lr_added){
        .id = (int32_t)id,
        .text = text,
        .n = (uint32_t)n,
        .special = cJSON_IsTrue(lr_json_get(item, "special")),
        .normalized = cJSON_IsTrue(lr_json_get(item, "normalized")),
        .lstrip = cJSON_IsTrue(lr_json_get(item, "lstrip")),
        .rstrip = cJSON_IsTrue(lr_json_get(item, "rstrip")),
        .single_word = cJSON_IsTrue(lr_json_get(item, "single_word")),
    };
    if (known < 0) v->tokens[id] = (lr_token){0, 0};
    return LLMRUN_OK;
}

static int compare_added(const void *a, const void *b) {
    return strcmp(((const lr_added *)a)->text, ((const lr_added *)b)->text);
}

static llmrun_status read_all_added(lr_vocab *v, const cJSON *root, const char *where, llmrun_error *err) {
    const cJSON *list = lr_json_get(root, "added_tokens"), *item;
    if (!list || cJSON_IsNull(list)) return LLMRUN_OK;
    if (!cJSON_IsArray(list)) return lr_fail(err, LLMRUN_FORMAT, "%s: added_tokens: expected an array", where);
    size_t n = 0, index = 0;
    int64_t id, max_id = -1;
    cJSON_ArrayForEach(item, list) {
        n++;
        if (lr_json_int(lr_json_get(item, "id"), 0, LR_VOCAB_MAX - 1, &id)) max_id = lr_max(id, max_id);
    }
    llmrun_status status = lr_vocab_reserve(v, (int32_t)max_id, err);
    if (status) return status;
    v->added = lr_zalloc(n, sizeof *v->added);
    if (!v->added) return lr_fail_nomem(err, where, n * sizeof *v->added);
    cJSON_ArrayForEach(item, list) {
        status = read_added(v, item, index++, where, err);
        if (status) return status;
    }
    qsort(v->added, v->n_added, sizeof *v->added, compare_added);
    for (size_t i = 1; i < v->n_added; i++)
        if (!compare_added(v->added + i - 1, v->added + i))
            return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\" is defined twice", where, v->added[i].text);
    return LLMRUN_OK;
}

/* ---- the whole ---- */

llmrun_status lr_vocab_parse(lr_vocab *v, const char *json, size_t n, const char *where, llmrun_error *err) {
    lr_vocab_tables tables = {0};
    lr_text rest = {0};
    cJSON *root = NULL;
    lr_json_scan s = {json, json, json + n};
    v->unk = v->bos = v->eos = v->ends[0] = v->ends[1] = -1;
    bool well_formed = cut(&s, &rest, &tables);
    llmrun_status status = rest.failed ? lr_fail_nomem(err, where, rest.cap) : LLMRUN_OK;
    if (!status) status = lr_json_parse(&root, rest.text ? rest.text : "", rest.n, MAX_VALUES, where, err);
    if (!status && !well_formed)
        status = lr_fail(err, LLMRUN_FORMAT, "%s: malformed at byte %zu", where, (size_t)(s.at - json));
    if (!status) status = lr_json_unique(lr_json_get(root, "model"), where, err);
    if (!status) status = read_model(v, root, &tables, where, err);
    if (!status) status = read_all_added(v, root, where, err);
    if (!status) status = lr_vocab_read_steps(v, root, where, err);
    if (!status) status = lr_vocab_read_template(v, root, where, err);
    lr_json_close(root);
    lr_free(rest.text);
    return status;
}

static void close_steps(lr_steps *s) {
    for (size_t i = 0; i < s->n; i++) {
        lr_free(s->items[i].pattern);
        lr_free(s->items[i].content);
    }
    lr_free(s->items);
}

void lr_vocab_close(lr_vocab *v) {
    for (size_t i = 0; i < v->n_added; i++) lr_free(v->added[i].text);
    lr_free(v->added);
    close_steps(&v->normalizer);
    close_steps(&v->pre_tokenizer);
    close_steps(&v->decoder);
    lr_free(v->text);
    lr_free(v->tokens);
    lr_free(v->merges);
    lr_free(v->scores);
    lr_free(v->types);
    lr_charsmap_close(&v->charsmap);
    lr_free(v->slots);
    lr_free(v->prefix);
    lr_free(v->suffix);
    memset(v, 0, sizeof *v);
}
