/* GGUF, the container: header, key-values, tensor directory.  Everything is read through a cursor that knows how many
 * bytes are left, so a hostile count or length ends in a sentence before anything is allocated for it.               */
#include "loaders/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ENTRIES = 1000000, /* key-values, and tensors */
    MAX_KEY = 65535,
    MAX_NAME = 127, /* of a tensor; ggml itself reads 63 */
    MAX_ALIGNMENT = 65536,
    SHOWN = 100 /* bytes of a name in a message */
};
static const uint64_t MAX_ELEMENTS = (uint64_t)1 << 30;

/* Bytes of an element; a string has at least its length.                                                             */
static const uint8_t element_bytes[LR_GGUF_N_TYPES] = {
    [LR_GGUF_U8] = 1,     [LR_GGUF_I8] = 1,  [LR_GGUF_U16] = 2, [LR_GGUF_I16] = 2, [LR_GGUF_U32] = 4, [LR_GGUF_I32] = 4,
    [LR_GGUF_F32] = 4,    [LR_GGUF_BOOL] = 1, [LR_GGUF_U64] = 8, [LR_GGUF_I64] = 8, [LR_GGUF_F64] = 8,
    [LR_GGUF_STRING] = 8,
};

/* ---- tensor types ---- */

static const struct {
    uint32_t id;
    lr_dtype dtype;
} types[] = {
    { 0, LR_DT_F32 },     { 1, LR_DT_F16 },    { 2, LR_DT_Q4_0 },    { 3, LR_DT_Q4_1 },   { 6, LR_DT_Q5_0 },
    { 7, LR_DT_Q5_1 },    { 8, LR_DT_Q8_0 },   { 9, LR_DT_Q8_1 },    { 10, LR_DT_Q2_K },  { 11, LR_DT_Q3_K },
    { 12, LR_DT_Q4_K },   { 13, LR_DT_Q5_K },  { 14, LR_DT_Q6_K },   { 15, LR_DT_Q8_K },  { 16, LR_DT_IQ2_XXS },
    { 17, LR_DT_IQ2_XS }, { 18, LR_DT_IQ3_XXS }, { 19, LR_DT_IQ1_S }, { 20, LR_DT_IQ4_NL }, { 21, LR_DT_IQ3_S },
    { 22, LR_DT_IQ2_S },  { 23, LR_DT_IQ4_XS }, { 24, LR_DT_I8 },    { 25, LR_DT_I16 },   { 26, LR_DT_I32 },
    { 27, LR_DT_I64 },    { 28, LR_DT_F64 },   { 29, LR_DT_IQ1_M },  { 30, LR_DT_BF16 },  { 34, LR_DT_TQ1_0 },
    { 35, LR_DT_TQ2_0 },  { 39, LR_DT_MXFP4 }, { 40, LR_DT_NVFP4 },  { 41, LR_DT_Q1_0 },  { 42, LR_DT_Q2_0 },
};

/* Types whose size is not known here: others' and former ones.                                                       */
static const struct {
    uint32_t id;
    const char *name;
} foreign[] = {
    { 4, "Q4_2, no longer part of GGUF" },       { 5, "Q4_3, no longer part of GGUF" },
    { 31, "Q4_0_4_4, no longer part of GGUF" },  { 32, "Q4_0_4_8, no longer part of GGUF" },
    { 33, "Q4_0_8_8, no longer part of GGUF" },  { 36, "IQ4_NL_4_4, no longer part of GGUF" },
    { 37, "IQ4_NL_4_8, no longer part of GGUF" }, { 38, "IQ4_NL_8_8, no longer part of GGUF" },
    { 133, "Q6_0 of ik_llama.cpp" },   { 137, "IQ2_K of ik_llama.cpp" },  { 138, "IQ3_K of ik_llama.cpp" },
    { 139, "IQ4_K of ik_llama.cpp" },  { 140, "IQ5_K of ik_llama.cpp" },  { 141, "IQ6_K of ik_llama.cpp" },
    { 144, "IQ4_KS of ik_llama.cpp" }, { 146, "IQ4_KSS of ik_llama.cpp" }, { 152, "IQ5_KS of ik_llama.cpp" },
    { 153, "IQ2_KT of ik_llama.cpp" }, { 154, "IQ3_KT of ik_llama.cpp" }, { 155, "IQ4_KT of ik_llama.cpp" },
    { 156, "IQ3_KS of ik_llama.cpp" }, { 157, "IQ2_KL of ik_llama.cpp" },
};

/* ---- the cursor ---- */

typedef struct reader {
    const lr_map *m;
    uint64_t at;
    int32_t file;
    uint64_t alignment;
    llmrun_error *err;
} reader;

static uint64_t left(const reader *r) { return r->m->size - r->at; }

/* A little-endian integer of n bytes.                                                                                */
static uint64_t load(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | p[n];
    return v;
}

static llmrun_status take(reader *r, int n, const char *what, uint64_t *out) {
    *out = 0;
    if (left(r) < (uint64_t)n)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: file ends at byte %llu within %s; download incomplete?", r->m->path,
                       (unsigned long long)r->m->size, what);
    *out = load(r->m->data + r->at, n);
    r->at += (uint64_t)n;
    return LLMRUN_OK;
}

static llmrun_status take_text(reader *r, const char *what, lr_gguf_text *out) {
    uint64_t n;
    llmrun_status status = take(r, 8, what, &n);
    if (status) return status;
    if (n > left(r))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s: string of %llu bytes at offset %llu, %llu bytes left", r->m->path,
                       what, (unsigned long long)n, (unsigned long long)(r->at - 8), (unsigned long long)left(r));
    *out = (lr_gguf_text){ (const char *)r->m->data + r->at, (size_t)n };
    r->at += n;
    return LLMRUN_OK;
}

/* Names and keys: some bytes, no NUL, not too many.                                                                  */
static llmrun_status take_name(reader *r, const char *what, size_t most, lr_gguf_text *out) {
    char shown[SHOWN];
    llmrun_status status = take_text(r, what, out);
    if (status) return status;
    if (out->n == 0) return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s is empty", r->m->path, what);
    if (out->n > most)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s of %zu bytes, at most %zu", r->m->path, what, out->n, most);
    if (memchr(out->text, 0, out->n))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: %s \"%s\" has a zero byte", r->m->path, what,
                       lr_printable(shown, sizeof shown, out->text, out->n));
    return LLMRUN_OK;
}

/* ---- key-values ---- */

/* Steps over n elements of a type that is not ARRAY.                                                                 */
static llmrun_status skip_elements(reader *r, lr_gguf_type type, uint64_t n, const char *key) {
    if (n > MAX_ELEMENTS || n > left(r) / element_bytes[type])
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: \"%s\": array of %llu items cannot fit in %llu bytes", r->m->path, key,
                       (unsigned long long)n, (unsigned long long)left(r));
    if (type != LR_GGUF_STRING) {
        r->at += n * element_bytes[type];
        return LLMRUN_OK;
    }
    llmrun_status status = LLMRUN_OK;
    lr_gguf_text text;
    while (n-- > 0 && !status) status = take_text(r, key, &text);
    return status;
}

static llmrun_status take_value(reader *r, lr_gguf_value *v) {
    char key[SHOWN];
    uint64_t type = 0, count = 1;
    llmrun_status status = take_name(r, "a key", MAX_KEY, &v->key);
    if (status) return status;
    lr_printable(key, sizeof key, v->key.text, v->key.n);
    status = take(r, 4, key, &type);
    v->is_array = !status && type == LR_GGUF_ARRAY;
    if (v->is_array) status = take(r, 4, key, &type);
    if (!status && v->is_array) status = take(r, 8, key, &count);
    if (status) return status;
    if (type == LR_GGUF_ARRAY)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: \"%s\": an array of arrays is not part of the format", r->m->path, key);
    if (type >= LR_GGUF_N_TYPES)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: \"%s\": unknown value type %llu", r->m->path, key,
                       (unsigned long long)type);
    v->type = (lr_gguf_type)type;
    v->count = count;
    if (!v->is_array && left(r) < element_bytes[type]) return take(r, element_bytes[type], key, &count);
    v->data = r->m->data + r->at;
    return skip_elements(r, v->type, count, key);
}

static int compare_text(const lr_gguf_text *a, const char *b, size_t n) {
    int order = memcmp(a->text, b, a->n < n ? a->n : n);
    return order ? order : a->n < n ? -1 : a->n > n;
}

static int by_key(const void *a, const void *b) {
    const lr_gguf_value *x = a, *y = b;
    return compare_text(&x->key, y->key.text, y->key.n);
}

const lr_gguf_value *lr_gguf_find(const lr_gguf *g, const char *key) {
    lr_gguf_value want = { .key = { key, strlen(key) } };
    return g->n_values ? bsearch(&want, g->values, g->n_values, sizeof want, by_key) : NULL;
}

static llmrun_status take_values(reader *r, lr_gguf *g, uint64_t n) {
    size_t cap = 0;
    llmrun_status status = LLMRUN_OK;
    for (uint64_t i = 0; i < n && !status; i++) {
        if (!lr_grow(&g->values, &cap, g->n_values + 1, sizeof *g->values))
            return lr_fail_nomem(r->err, r->m->path, (g->n_values + 1) * sizeof *g->values);
        lr_gguf_value *v = &g->values[g->n_values];
        *v = (lr_gguf_value){ 0 };
        status = take_value(r, v);
        if (!status) g->n_values++;
    }
    if (!status && g->n_values) qsort(g->values, g->n_values, sizeof *g->values, by_key);
    char shown[SHOWN];
    for (size_t i = 1; i < g->n_values && !status; i++)
        if (by_key(&g->values[i - 1], &g->values[i]) == 0)
            status = lr_fail(r->err, LLMRUN_FORMAT, "%s: \"%s\" defined twice", r->m->path,
                             lr_printable(shown, sizeof shown, g->values[i].key.text, g->values[i].key.n));
    return status;
}

static llmrun_status find_alignment(reader *r, const lr_gguf *g) {
    const lr_gguf_value *v = lr_gguf_find(g, "general.alignment");
    char got[80];
    r->alignment = 32;
    if (!v) return LLMRUN_OK;
    r->alignment = v->type == LR_GGUF_U32 && !v->is_array ? load(v->data, 4) : 0;
    if (r->alignment >= 8 && r->alignment <= MAX_ALIGNMENT && (r->alignment & (r->alignment - 1)) == 0) return LLMRUN_OK;
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: general.alignment must be u32, a power of two, 8..%d; got %s", r->m->path,
                   (int)MAX_ALIGNMENT, lr_gguf_describe(got, sizeof got, v));
}

/* ---- tensors ---- */

uint32_t lr_gguf_type_id(lr_dtype dtype) {
    for (size_t i = 0; i < LR_COUNT(types); i++)
        if (types[i].dtype == dtype) return types[i].id;
    return UINT32_MAX;
}

static llmrun_status take_type(reader *r, const char *name, lr_dtype *out) {
    uint64_t id;
    llmrun_status status = take(r, 4, name, &id);
    if (status) return status;
    for (size_t i = 0; i < LR_COUNT(types); i++)
        if (types[i].id == id) {
            *out = types[i].dtype;
            return LLMRUN_OK;
        }
    for (size_t i = 0; i < LR_COUNT(foreign); i++)
        if (foreign[i].id == id)
            return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: tensor \"%s\": type %s, is not supported", r->m->path, name,
                           foreign[i].name);
    bool fork = id >= 97 && id < 1000;
    return lr_fail(r->err, fork ? LLMRUN_UNSUPPORTED : LLMRUN_FORMAT, "%s: tensor \"%s\": type %llu is not %s", r->m->path,
                   name, (unsigned long long)id, fork ? "supported; made by ik_llama.cpp?" : "part of the format");
}

/* Dimensions come innermost first; *values is their product.                                                         */
static llmrun_status take_shape(reader *r, const char *name, lr_tensor *t, uint64_t *values) {
    uint64_t n;
    llmrun_status status = take(r, 4, name, &n);
    if (status) return status;
    if (n > 4)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": %llu dimensions, at most 4", r->m->path, name,
                       (unsigned long long)n);
    t->n_dims = (int32_t)n;
    *values = 1;
    for (uint64_t i = n; i-- > 0 && !status;) {
        status = take(r, 8, name, &t->shape[i]);
        if (!status && (t->shape[i] > INT64_MAX || !lr_mul_u64(*values, t->shape[i], values)))
            status = lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": shape overflows 64 bits", r->m->path, name);
    }
    return status;
}

/* One entry of the directory.  Its offset counts from the data section, which begins after the last entry.           */
static llmrun_status take_tensor(reader *r, lr_tensor *t, uint64_t *offset) {
    lr_gguf_text text;
    char name[MAX_NAME + 1];
    uint64_t values = 0, bits;
    *t = (lr_tensor){ .file = r->file };
    llmrun_status status = take_name(r, "a tensor's name", MAX_NAME, &text);
    if (status) return status;
    lr_printable(name, sizeof name, text.text, text.n);
    status = take_shape(r, name, t, &values);
    if (!status) status = take_type(r, name, &t->dtype);
    if (!status) status = take(r, 8, name, offset);
    if (status) return status;
    const struct lr_dtype_traits *type = &lr_dtypes[t->dtype];
    uint64_t inner = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    if (inner % (uint64_t)type->block)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": rows of %llu values do not divide into %s blocks of %d",
                       r->m->path, name, (unsigned long long)inner, type->name, type->block);
    if (!lr_mul_u64(values / (uint64_t)type->block, (uint64_t)type->bits, &bits))
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": shape overflows 64 bits", r->m->path, name);
    t->bytes = bits / 8;
    if (*offset % r->alignment)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor \"%s\": offset %llu is not a multiple of %llu", r->m->path, name,
                       (unsigned long long)*offset, (unsigned long long)r->alignment);
    t->name = lr_strndup(text.text, text.n);
    return t->name ? LLMRUN_OK : lr_fail_nomem(r->err, r->m->path, text.n + 1);
}

/* Offsets to pointers, now that the data section's place is known.                                                   */
static llmrun_status place(const reader *r, lr_tensor *t, uint64_t offset, uint64_t start) {
    char shown[SHOWN];
    uint64_t room = start <= r->m->size ? r->m->size - start : 0;
    if (offset > room || t->bytes > room - offset)
        return lr_fail(r->err, LLMRUN_FORMAT,
                       "%s: tensor \"%s\": %llu bytes from byte %llu on are not inside data section 0..%llu; download "
                       "incomplete? (file has %llu bytes)",
                       r->m->path, lr_printable(shown, sizeof shown, t->name, strlen(t->name)),
                       (unsigned long long)t->bytes, (unsigned long long)offset, (unsigned long long)room,
                       (unsigned long long)r->m->size);
    t->data = t->bytes ? r->m->data + start + offset : r->m->data;
    return LLMRUN_OK;
}

/* ---- the file ---- */

/* Magic, version and the two counts.                                                                                 */
static llmrun_status take_header(reader *r, uint64_t *n_tensors, uint64_t *n_values) {
    uint64_t version;
    if (r->m->size < 4 || memcmp(r->m->data, "GGUF", 4) != 0)
        return lr_fail(r->err, LLMRUN_FORMAT, "%s: expected \"GGUF\" at its first byte; not a GGUF file?", r->m->path);
    r->at = 4;
    llmrun_status status = take(r, 4, "the header", &version);
    if (!status && (version & 0xffff) == 0)
        status = lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: big-endian GGUF is not supported", r->m->path);
    else if (!status && version != 2 && version != 3)
        status = lr_fail(r->err, version == 1 ? LLMRUN_UNSUPPORTED : LLMRUN_FORMAT,
                         "%s: GGUF version %llu not supported (2, 3)", r->m->path, (unsigned long long)version);
    if (!status) status = take(r, 8, "the header", n_tensors);
    if (!status) status = take(r, 8, "the header", n_values);
    if (!status && *n_tensors > MAX_ENTRIES)
        status = lr_fail(r->err, LLMRUN_FORMAT, "%s: tensor count %llu exceeds limit %d", r->m->path,
                         (unsigned long long)*n_tensors, (int)MAX_ENTRIES);
    if (!status && *n_values > MAX_ENTRIES)
        status = lr_fail(r->err, LLMRUN_FORMAT, "%s: key count %llu exceeds limit %d", r->m->path,
                         (unsigned long long)*n_values, (int)MAX_ENTRIES);
    return status;
}

llmrun_status lr_gguf_read(lr_gguf *g, const lr_map *m, int32_t file, lr_tensor **tensors, size_t *n_tensors, size_t *cap,
                           uint64_t *n_header, llmrun_error *err) {
    reader r = { .m = m, .file = file, .err = err };
    uint64_t n = 0, n_values = 0, *offsets = NULL;
    size_t first = *n_tensors, at = first, cap_offsets = 0;
    llmrun_status status = take_header(&r, &n, &n_values);
    if (!status) status = take_values(&r, g, n_values);
    if (!status) status = find_alignment(&r, g);
    for (uint64_t i = 0; i < n && !status; i++) {
        if (!lr_grow(tensors, cap, at + 1, sizeof **tensors) || !lr_grow(&offsets, &cap_offsets, i + 1, sizeof *offsets))
            status = lr_fail_nomem(err, m->path, (at + 1) * sizeof **tensors);
        else
            status = take_tensor(&r, *tensors + at, &offsets[i]);
        if (!status) at++;
    }
    *n_header = r.at;
    uint64_t start = (r.at + r.alignment - 1) & ~(r.alignment - 1); /* r.at is within the file: no overflow */
    for (size_t i = first; i < at && !status; i++) status = place(&r, *tensors + i, offsets[i - first], start);
    if (status) {
        while (at > first) lr_free((void *)(uintptr_t)(*tensors)[--at].name);
        lr_gguf_close(g);
    } else {
        *n_tensors = at;
    }
    lr_free(offsets);
    return status;
}

void lr_gguf_close(lr_gguf *g) {
    lr_free(g->values);
    *g = (lr_gguf){ 0 };
}
