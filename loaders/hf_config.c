/* config.json and its siblings as flat key-values: {"a": {"b": [1, 2]}} gives a.b = array of 2, a.b.0 = 1, a.b.1 = 2.
 * What a key means is for models/ to decide.                                                                         */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/loader.h"

enum { MAX_FILE = 64 << 20, MAX_VALUES = 1 << 20, MAX_KEY = 1024, MAX_TEXT = 256 << 20 };

/* ---- reading ---- */

typedef struct flattener {
    lr_config *c;
    size_t cap;
    size_t n_text;          /* bytes of keys and strings so far: nested long keys must not multiply */
    char key[MAX_KEY + 32]; /* of the value at hand */
    llmrun_error *err;
} flattener;

static llmrun_status add_value(flattener *f, const cJSON *item, size_t n_key) {
    lr_config *c = f->c;
    size_t n_string = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    f->n_text += n_key + n_string;
    if (f->n_text > MAX_TEXT)
        return lr_fail(f->err, LLMRUN_FORMAT, "%s: keys and strings exceed %d bytes", c->path, (int)MAX_TEXT);
    if (!lr_grow(&c->values, &f->cap, c->n_values + 1, sizeof *c->values)) return lr_fail_nomem(f->err, c->path, n_key);
    lr_value v = { .key = lr_strndup(f->key, n_key) };
    if (!v.key) return lr_fail_nomem(f->err, c->path, n_key);
    if (cJSON_IsString(item)) {
        v.type = LR_VALUE_STRING;
        v.string = lr_strdup(item->valuestring);
        if (!v.string) {
            lr_free(v.key);
            return lr_fail_nomem(f->err, c->path, n_string);
        }
    } else if (cJSON_IsArray(item)) {
        v.type = LR_VALUE_ARRAY;
        v.number = cJSON_GetArraySize(item);
    } else if (cJSON_IsNumber(item)) {
        v.type = LR_VALUE_NUMBER;
        v.number = item->valuedouble;
    } else if (cJSON_IsBool(item)) {
        v.type = LR_VALUE_BOOL;
        v.number = cJSON_IsTrue(item);
    }
    c->values[c->n_values++] = v;
    return LLMRUN_OK;
}

/* Adds the members of an object or array below the key of n_key bytes.  As deep as JSON may nest, LR_JSON_DEPTH.     */
static llmrun_status add_members(flattener *f, const cJSON *parent, size_t n_key) {
    size_t index = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, parent) {
        size_t n = n_key, room = sizeof f->key - n_key;
        if (item->string)
            n += (size_t)snprintf(f->key + n_key, room, n_key ? ".%s" : "%s", item->string);
        else
            n += (size_t)snprintf(f->key + n_key, room, n_key ? ".%zu" : "%zu", index++);
        if (n > MAX_KEY)
            return lr_fail(f->err, LLMRUN_FORMAT, "%s: key of %zu bytes, at most %d", f->c->path, n, (int)MAX_KEY);
        llmrun_status s = cJSON_IsObject(item) ? LLMRUN_OK : add_value(f, item, n);
        if (!s && (cJSON_IsObject(item) || cJSON_IsArray(item))) s = add_members(f, item, n);
        if (s) return s;
    }
    return LLMRUN_OK;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const lr_value *)a)->key, ((const lr_value *)b)->key);
}

llmrun_status lr_config_sort(lr_config *c, llmrun_error *err) {
    char shown[128];
    if (c->n_values) qsort(c->values, c->n_values, sizeof *c->values, by_key);
    for (size_t i = 1; i < c->n_values; i++) {
        const char *key = c->values[i].key;
        if (strcmp(c->values[i - 1].key, key) == 0)
            return lr_fail(err, LLMRUN_FORMAT, "%s: \"%s\" defined twice", c->path,
                           lr_printable(shown, sizeof shown, key, strlen(key)));
    }
    return LLMRUN_OK;
}

llmrun_status lr_config_read(lr_config *c, const char *path, llmrun_error *err) {
    *c = (lr_config){ .path = lr_strdup(path) };
    if (!c->path) return lr_fail_nomem(err, path, strlen(path) + 1);
    cJSON *json = NULL;
    llmrun_status status = lr_json_read(&json, path, MAX_FILE, MAX_VALUES, err);
    if (!status && !cJSON_IsObject(json)) status = lr_fail(err, LLMRUN_FORMAT, "%s: expected a JSON object", path);
    if (!status) {
        flattener f = { .c = c, .err = err };
        status = add_members(&f, json, 0);
    }
    if (!status) status = lr_config_sort(c, err);
    lr_json_close(json);
    if (status) lr_config_close(c);
    return status;
}

llmrun_status lr_config_hoist(lr_config *c, const char *prefix, llmrun_error *err) {
    size_t n = strlen(prefix);
    for (size_t i = 0; i < c->n_values; i++) { /* marked first: searching needs the order */
        char *key = c->values[i].key;
        if (strncmp(key, prefix, n) == 0 && !lr_config_find(c, key + n)) key[n - 1] = '/';
    }
    for (size_t i = 0; i < c->n_values; i++) {
        char *key = c->values[i].key;
        if (strncmp(key, prefix, n - 1) == 0 && key[n - 1] == '/') memmove(key, key + n, strlen(key + n) + 1);
    }
    return lr_config_sort(c, err);
}

void lr_config_close(lr_config *c) {
    for (size_t i = 0; i < c->n_values; i++) {
        lr_free(c->values[i].key);
        lr_free(c->values[i].string);
    }
    lr_free(c->values);
    lr_free(c->path);
    *c = (lr_config){ 0 };
}

/* ---- typed access ---- */

const lr_value *lr_config_find(const lr_config *c, const char *key) {
    size_t lo = 0, hi = c->n_values;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(key, c->values[mid].key);
        if (order == 0) return &c->values[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

bool lr_config_has(const lr_config *c, const char *key) {
    const lr_value *v = lr_config_find(c, key);
    return v && v->type != LR_VALUE_NULL;
}

const char *lr_config_first(const lr_config *c, const char *const *keys, size_t n) {
    for (size_t i = 0; i < n && keys[i]; i++)
        if (lr_config_has(c, keys[i])) return keys[i];
    return keys[0];
}

/* What a message says that it found.                                                                                 */
static const char *describe(char *buf, size_t size, const lr_value *v) {
    char text[64];
    switch (v ? v->type : LR_VALUE_NULL) {
    case LR_VALUE_BOOL: snprintf(buf, size, "%s", v->number != 0 ? "true" : "false"); break;
    case LR_VALUE_NUMBER: snprintf(buf, size, "%.17g", v->number); break;
    case LR_VALUE_STRING:
        snprintf(buf, size, "\"%s\"", lr_printable(text, sizeof text, v->string, strlen(v->string)));
        break;
    case LR_VALUE_ARRAY: snprintf(buf, size, "an array of %.0f", v->number); break;
    default: snprintf(buf, size, "%s", v ? "null" : "nothing"); break;
    }
    return buf;
}

static const char *path_of(const lr_config *c) { return c->path ? c->path : "config.json"; }

llmrun_status lr_config_int(const lr_config *c, const char *key, int64_t lo, int64_t hi, int64_t fallback, int64_t *out,
                            llmrun_error *err) {
    const lr_value *v = lr_config_find(c, key);
    char got[80];
    if ((!v || v->type == LR_VALUE_NULL) && fallback >= lo) {
        *out = fallback;
        return LLMRUN_OK;
    }
    /* Beyond 2^53 a double no longer tells neighbouring integers apart. */
    bool whole = v && v->type == LR_VALUE_NUMBER && fabs(v->number) <= (double)LR_JSON_MAX_INT &&
                 v->number == floor(v->number);
    if (!whole || (int64_t)v->number < lo || (int64_t)v->number > hi)
        return lr_fail(err, LLMRUN_FORMAT, "%s: \"%s\" must be an integer %lld..%lld, got %s", path_of(c), key,
                       (long long)lo, (long long)hi, describe(got, sizeof got, v));
    *out = (int64_t)v->number;
    return LLMRUN_OK;
}

llmrun_status lr_config_number(const lr_config *c, const char *key, double fallback, double *out, llmrun_error *err) {
    const lr_value *v = lr_config_find(c, key);
    char got[80];
    if ((!v || v->type == LR_VALUE_NULL) && !isnan(fallback)) {
        *out = fallback;
        return LLMRUN_OK;
    }
    bool positive = !(fallback <= 0);
    if (!v || v->type != LR_VALUE_NUMBER || !isfinite(v->number) || (positive && v->number <= 0))
        return lr_fail(err, LLMRUN_FORMAT, "%s: \"%s\" must be a finite number%s, got %s", path_of(c), key,
                       positive ? " > 0" : "", describe(got, sizeof got, v));
    *out = v->number;
    return LLMRUN_OK;
}

const char *lr_config_string(const lr_config *c, const char *key) {
    const lr_value *v = lr_config_find(c, key);
    return v && v->type == LR_VALUE_STRING ? v->string : NULL;
}

bool lr_config_bool(const lr_config *c, const char *key, bool fallback) {
    const lr_value *v = lr_config_find(c, key);
    return v && v->type == LR_VALUE_BOOL ? v->number != 0 : fallback;
}
