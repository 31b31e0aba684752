/* safetensors: u64 header length, JSON header, data.  Every rule of the format is checked, so that whoever reads a
 * tensor later may trust its range: the tensors tile the data section exactly, and each has the bytes of its shape.
 * A header may have 100 MB, so only one tensor's entry at a time becomes a tree.                                     */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/json_scan.h"
#include "loaders/loader.h"

enum { MAX_HEADER = 100000000, MAX_TENSORS = 1000000, MAX_VALUES = 64 /* of an entry */, NAME_TEXT = 128 };

/* The format's own names.  LR_DT_UNKNOWN: legal in a file, but nothing here computes with it.                        */
static const struct { const char *name; lr_dtype dtype; uint8_t bits; } dtypes[] = {
    { "BF16", LR_DT_BF16, 16 },      { "F16", LR_DT_F16, 16 },        { "F32", LR_DT_F32, 32 },
    { "F64", LR_DT_F64, 64 },        { "F8_E4M3", LR_DT_F8_E4M3, 8 }, { "F8_E5M2", LR_DT_F8_E5M2, 8 },
    { "F8_E8M0", LR_DT_F8_E8M0, 8 }, { "I8", LR_DT_I8, 8 },           { "U8", LR_DT_U8, 8 },
    { "I16", LR_DT_I16, 16 },        { "U16", LR_DT_U16, 16 },        { "I32", LR_DT_I32, 32 },
    { "U32", LR_DT_U32, 32 },        { "I64", LR_DT_I64, 64 },        { "U64", LR_DT_U64, 64 },
    { "BOOL", LR_DT_BOOL, 8 },       { "C64", LR_DT_C64, 64 },        { "F4", LR_DT_F4, 4 },
    { "F6_E2M3", LR_DT_F6_E2M3, 6 }, { "F6_E3M2", LR_DT_F6_E3M2, 6 }, { "F8_E4M3FNUZ", LR_DT_UNKNOWN, 8 },
    { "F8_E5M2FNUZ", LR_DT_UNKNOWN, 8 },
};

typedef struct reader {
    const char *path;
    uint64_t file_bytes;
    const uint8_t *data; /* the data section */
    uint64_t n_data;
    int32_t file;
    llmrun_error *err;
} reader;

/* Fails with "PATH: tensor "NAME": " and the sentence.                                                               */
static llmrun_status bad(const reader *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static llmrun_status bad(const reader *r, const char *name, const char *format, ...) {
    char sentence[512], shown[NAME_TEXT];
    va_list ap;
    va_start(ap, format);
    vsnprintf(sentence, sizeof sentence, format, ap);
    va_end(ap);
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": %s", r->path,
                   lr_printable(shown, sizeof shown, name, strlen(name)), sentence);
}

/* "BF16 [4,4]" */
static const char *describe(char *buf, size_t size, const char *dtype, const lr_tensor *t) {
    size_t n = (size_t)snprintf(buf, size, "%s [", dtype);
    for (int32_t i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(buf + n, size - n, i ? ",%llu" : "%llu", (unsigned long long)t->shape[i]);
    if (n < size) snprintf(buf + n, size - n, "]");
    return buf;
}

static llmrun_status read_dtype(const reader *r, const char *name, const cJSON *item, lr_tensor *t, size_t *row) {
    char got[80];
    if (cJSON_IsString(item))
        for (size_t i = 0; i < LR_COUNT(dtypes); i++) {
            if (strcmp(item->valuestring, dtypes[i].name) != 0) continue;
            t->dtype = dtypes[i].dtype;
            *row = i;
            return LLMRUN_OK;
        }
    return bad(r, name, "dtype %s not supported; known: BF16, F16, F32, F64, F8_E4M3, I8, U8 ...",
               lr_json_describe(got, sizeof got, item));
}

static llmrun_status read_shape(const reader *r, const char *name, const cJSON *item, lr_tensor *t, uint64_t *values) {
    char got[80];
    if (!cJSON_IsArray(item))
        return bad(r, name, "shape: expected an array, got %s", lr_json_describe(got, sizeof got, item));
    const cJSON *dim;
    *values = 1;
    cJSON_ArrayForEach(dim, item) {
        int64_t v;
        if (t->n_dims == (int32_t)LR_COUNT(t->shape))
            return bad(r, name, "shape: expected at most %d dimensions", (int)LR_COUNT(t->shape));
        if (!lr_json_int(dim, 0, LR_JSON_MAX_INT, &v))
            return bad(r, name, "shape: expected integers from 0 to 2^53 - 1, got %s",
                       lr_json_describe(got, sizeof got, dim));
        t->shape[t->n_dims++] = (uint64_t)v;
        if (!lr_mul_u64(*values, (uint64_t)v, values)) return bad(r, name, "shape overflows 64 bits");
    }
    return LLMRUN_OK;
}

static llmrun_status read_range(const reader *r, const char *name, const cJSON *item, uint64_t *begin, uint64_t *end) {
    const cJSON *first = cJSON_IsArray(item) ? item->child : NULL, *second = first ? first->next : NULL;
    int64_t b, e;
    char got[80];
    if (!second || second->next) return bad(r, name, "data_offsets: expected an array of two integers");
    if (!lr_json_int(first, 0, LR_JSON_MAX_INT, &b) || !lr_json_int(second, 0, LR_JSON_MAX_INT, &e))
        return bad(r, name, "data_offsets: expected integers from 0 to 2^53 - 1, got %s",
                   lr_json_describe(got, sizeof got, lr_json_int(first, 0, LR_JSON_MAX_INT, &b) ? second : first));
    *begin = (uint64_t)b;
    *end = (uint64_t)e;
    if (b > e || *end > r->n_data)
        return bad(r, name, "bytes %lld..%lld not inside data section 0..%llu%s (file has %llu bytes)", (long long)b,
                   (long long)e, (unsigned long long)r->n_data, b > e ? "" : "; download incomplete?",
                   (unsigned long long)r->file_bytes);
    return LLMRUN_OK;
}

/* The three members of an entry; more, or fewer, are refused.                                                        */
static llmrun_status read_entry(const reader *r, const char *name, const cJSON *entry, const cJSON *part[3]) {
    static const char *const keys[3] = { "dtype", "shape", "data_offsets" };
    const cJSON *item;
    char text[80];
    if (!cJSON_IsObject(entry)) return bad(r, name, "expected an object, got %s", lr_json_describe(text, 80, entry));
    cJSON_ArrayForEach(item, entry) {
        size_t k = 0;
        while (k < 3 && strcmp(item->string, keys[k]) != 0) k++;
        if (k == 3)
            return bad(r, name, "key \"%s\" is not part of the format",
                       lr_printable(text, sizeof text, item->string, strlen(item->string)));
        part[k] = item;
    }
    for (size_t k = 0; k < 3; k++)
        if (!part[k]) return bad(r, name, "\"%s\" is missing", keys[k]);
    return LLMRUN_OK;
}

/* One tensor from the n bytes of JSON that describe it.                                                              */
static llmrun_status read_tensor(const reader *r, const char *name, const char *json, size_t n, lr_tensor *t) {
    const cJSON *part[3] = { 0 };
    cJSON *entry = NULL;
    uint64_t values = 0, bits, begin = 0, end = 0;
    size_t row = 0;
    char text[256], where[512];
    snprintf(where, sizeof where, "%s: tensor \"%s\"", r->path, lr_printable(text, NAME_TEXT, name, strlen(name)));
    *t = (lr_tensor){ .file = r->file };
    llmrun_status status = lr_json_parse(&entry, json, n, MAX_VALUES, where, r->err);
    if (!status) status = read_entry(r, name, entry, part);
    if (!status) status = read_dtype(r, name, part[0], t, &row);
    if (!status) status = read_shape(r, name, part[1], t, &values);
    if (!status) status = read_range(r, name, part[2], &begin, &end);
    if (status) goto done;
    describe(text, sizeof text, dtypes[row].name, t);
    if (!lr_mul_u64(values, dtypes[row].bits, &bits))
        status = bad(r, name, "shape overflows 64 bits: %s", text);
    else if (bits % 8 != 0)
        status = bad(r, name, "%s does not fill whole bytes", text);
    else if (end - begin != bits / 8)
        status = bad(r, name, "%s needs %llu bytes, offsets give %llu", text, (unsigned long long)(bits / 8),
                     (unsigned long long)(end - begin));
    if (status) goto done;
    t->bytes = end - begin;
    t->data = r->data + begin;
    t->name = lr_strdup(name);
    if (!t->name) status = lr_fail_nomem(r->err, r->path, strlen(name) + 1);
done:
    lr_json_close(entry);
    return status;
}

/* Its content is for people; only the types are checked.  scratch is overwritten.                                    */
static llmrun_status skip_metadata(const reader *r, lr_json_scan *s, lr_text *scratch) {
    if (!lr_json_scan_take(s, '{'))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: header: __metadata__ must be an object", r->path);
    while (!lr_json_scan_take(s, '}')) {
        scratch->n = 0;
        if (!lr_json_scan_string(s, scratch)) return lr_fail_nomem(r->err, r->path, scratch->cap);
        lr_json_scan_take(s, ':');
        if (!lr_json_scan_peek(s, '"'))
            return lr_fail(r->err, LLMRUN_FORMAT, "%s: header: __metadata__ must map strings to strings", r->path);
        lr_json_scan_skip(s);
        lr_json_scan_take(s, ',');
    }
    return LLMRUN_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lr_tensor *)a)->name, ((const lr_tensor *)b)->name);
}

static llmrun_status check_names(const reader *r, lr_tensor *t, size_t n) {
    char shown[NAME_TEXT];
    if (n) qsort(t, n, sizeof *t, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(t[i - 1].name, t[i].name) == 0)
            return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\" defined twice", r->path,
                           lr_printable(shown, sizeof shown, t[i].name, strlen(t[i].name)));
    return LLMRUN_OK;
}

static int by_data(const void *a, const void *b) {
    const lr_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty tensors come before the one that starts there */
}

/* No hole, no overlap, nothing behind the last tensor.                                                               */
static llmrun_status check_tiling(const reader *r, lr_tensor *t, size_t n) {
    uint64_t at = 0;
    if (n) qsort(t, n, sizeof *t, by_data);
    for (size_t i = 0; i < n; i++) {
        uint64_t begin = (uint64_t)(t[i].data - r->data);
        if (begin != at)
            return bad(r, t[i].name, "begins at byte %llu of the data section, expected %llu (%s)",
                       (unsigned long long)begin, (unsigned long long)at, begin < at ? "overlap" : "hole");
        at = begin + t[i].bytes;
    }
    if (at != r->n_data)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: %llu bytes after the last tensor; file is not plain safetensors",
                       r->path, (unsigned long long)(r->n_data - at));
    return LLMRUN_OK;
}

/* The header's bytes: between the length field and the data section.                                                 */
static llmrun_status find_header(const lr_map *m, uint64_t *n_header, llmrun_error *err) {
    uint64_t n = 0;
    if (m->size < 8)
        return lr_fail(err, LLMRUN_FORMAT, "%s: file is %llu bytes, header needs at least 8; download incomplete?",
                       m->path, (unsigned long long)m->size);
    for (int i = 7; i >= 0; i--) n = n << 8 | m->data[i];
    if (n > MAX_HEADER)
        return lr_fail(err, LLMRUN_FORMAT, "%s: header length %llu exceeds limit %d; not a safetensors file?", m->path,
                       (unsigned long long)n, (int)MAX_HEADER);
    if (8 + n > m->size)
        return lr_fail(err, LLMRUN_FORMAT, "%s: header ends at byte %llu, file has %llu; download incomplete?", m->path,
                       (unsigned long long)(8 + n), (unsigned long long)m->size);
    if (n == 0 || m->data[8] != '{')
        return lr_fail(err, LLMRUN_FORMAT, "%s: header: expected '{' at its first byte", m->path);
    *n_header = n;
    return LLMRUN_OK;
}

static llmrun_status check_header(const lr_map *m, uint64_t n_header, llmrun_error *err) {
    lr_text where = { 0 };
    lr_text_add(&where, "%s: header", m->path);
    llmrun_status status = where.failed ? lr_fail_nomem(err, m->path, where.cap)
                                        : lr_json_check(m->data + 8, (size_t)n_header, where.text, err);
    lr_free(where.text);
    return status;
}

llmrun_status lr_safetensors_read(const lr_map *m, int32_t file, lr_tensor **tensors, size_t *n_tensors, size_t *cap,
                                  llmrun_error *err) {
    lr_text name = { 0 };
    uint64_t n_header = 0;
    size_t first = *n_tensors, n = first;
    bool metadata = false;
    llmrun_status status = find_header(m, &n_header, err);
    if (!status) status = check_header(m, n_header, err);
    if (status) return status;
    const char *header = (const char *)m->data + 8;
    reader r = { .path = m->path, .file_bytes = m->size, .data = m->data + 8 + n_header,
                 .n_data = m->size - 8 - n_header, .file = file, .err = err };
    lr_json_scan s = { header, header, header + n_header };
    lr_json_scan_take(&s, '{');
    while (!status && !lr_json_scan_take(&s, '}')) {
        name.n = 0;
        if (!lr_json_scan_string(&s, &name)) { /* the header is well-formed: only memory can fail */
            status = lr_fail_nomem(err, m->path, name.cap);
            break;
        }
        lr_json_scan_take(&s, ':');
        if (strcmp(name.text, "__metadata__") == 0) {
            status = metadata ? lr_fail(err, LLMRUN_FORMAT, "%s: header: \"__metadata__\" defined twice", m->path)
                              : skip_metadata(&r, &s, &name);
            metadata = true;
        } else if (n - first == MAX_TENSORS) {
            status = lr_fail(err, LLMRUN_FORMAT, "%s: more than %d tensors", m->path, (int)MAX_TENSORS);
        } else if (!lr_grow(tensors, cap, n + 1, sizeof **tensors)) {
            status = lr_fail_nomem(err, m->path, (n + 1) * sizeof **tensors);
        } else {
            const char *entry = s.at;
            lr_json_scan_skip(&s);
            status = read_tensor(&r, name.text, entry, (size_t)(s.at - entry), *tensors + n);
            if (!status) n++;
        }
        lr_json_scan_take(&s, ',');
    }
    if (!status) status = check_names(&r, n > first ? *tensors + first : NULL, n - first);
    if (!status) status = check_tiling(&r, n > first ? *tensors + first : NULL, n - first);
    if (status)
        while (n > first) lr_free((void *)(uintptr_t)(*tensors)[--n].name);
    else
        *n_tensors = n;
    lr_free(name.text);
    return status;
}

void lr_tensors_free(lr_tensor *tensors, size_t n) {
    for (size_t i = 0; i < n; i++) lr_free((void *)(uintptr_t)tensors[i].name);
    lr_free(tensors);
}
