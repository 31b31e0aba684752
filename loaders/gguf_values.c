/* GGUF metadata: typed access, and the neutral key-values that models/ and runtime/bind.c read.                      */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"

enum {
    MAX_LISTED = 1024,    /* elements of an array that become values of their own */
    MAX_LISTED_KEY = 256, /* bytes of its key: each element has a copy */
    MAX_STRING = 1 << 20
};

/* ---- typed access ---- */

/* Element i as it is in the file.  Unaligned, little-endian like this machine.                                       */
#define LOAD(type, v, i) (__extension__({ type x_; memcpy(&x_, (v)->data + (i) * sizeof x_, sizeof x_); x_; }))

bool lr_gguf_int_at(const lr_gguf_value *v, uint64_t i, int64_t *out) {
    if (!v || i >= v->count) return false;
    uint64_t large = 0;
    switch (v->type) {
    case LR_GGUF_U8:
    case LR_GGUF_BOOL: *out = v->data[i]; break;
    case LR_GGUF_I8: *out = (int8_t)v->data[i]; break;
    case LR_GGUF_U16: *out = LOAD(uint16_t, v, i); break;
    case LR_GGUF_I16: *out = LOAD(int16_t, v, i); break;
    case LR_GGUF_U32: *out = LOAD(uint32_t, v, i); break;
    case LR_GGUF_I32: *out = LOAD(int32_t, v, i); break;
    case LR_GGUF_I64: *out = LOAD(int64_t, v, i); break;
    case LR_GGUF_U64:
        large = LOAD(uint64_t, v, i);
        *out = (int64_t)large;
        break;
    default: return false;
    }
    return large <= INT64_MAX;
}

double lr_gguf_number_at(const lr_gguf_value *v, uint64_t i) {
    int64_t whole;
    if (!v || i >= v->count) return NAN;
    switch (v->type) {
    case LR_GGUF_F32: return (double)LOAD(float, v, i);
    case LR_GGUF_F64: return LOAD(double, v, i);
    case LR_GGUF_U64: return (double)LOAD(uint64_t, v, i);
    default: return lr_gguf_int_at(v, i, &whole) ? (double)whole : NAN;
    }
}

lr_gguf_strings lr_gguf_strings_of(const lr_gguf_value *v) {
    bool strings = v && v->is_array && v->type == LR_GGUF_STRING;
    return (lr_gguf_strings){ strings ? v->data : NULL, strings ? v->count : 0 };
}

bool lr_gguf_next(lr_gguf_strings *s, lr_gguf_text *out) {
    uint64_t n;
    if (s->left == 0) return false;
    memcpy(&n, s->at, sizeof n);
    *out = (lr_gguf_text){ (const char *)s->at + sizeof n, (size_t)n };
    s->at += sizeof n + n;
    s->left--;
    return true;
}

bool lr_gguf_string(const lr_gguf_value *v, lr_gguf_text *out) {
    if (!v || v->is_array || v->type != LR_GGUF_STRING) return false;
    lr_gguf_strings one = { v->data, 1 };
    return lr_gguf_next(&one, out);
}

const char *lr_gguf_describe(char *buf, size_t size, const lr_gguf_value *v) {
    static const char *const names[LR_GGUF_N_TYPES] = { "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                        "bool", "string", "array", "u64", "i64", "f64" };
    if (!v)
        snprintf(buf, size, "nothing");
    else if (v->is_array)
        snprintf(buf, size, "an array of %llu %s", (unsigned long long)v->count, names[v->type]);
    else if (v->type == LR_GGUF_STRING)
        snprintf(buf, size, "a string");
    else
        snprintf(buf, size, "%s %.17g", names[v->type], lr_gguf_number_at(v, 0));
    return buf;
}

/* ---- neutral key-values ---- */

typedef struct flattener {
    lr_config *c;
    size_t cap;
    llmrun_error *err;
} flattener;

static llmrun_status add(flattener *f, const char *key, lr_value v, const lr_gguf_text *string) {
    lr_config *c = f->c;
    if (!lr_grow(&c->values, &f->cap, c->n_values + 1, sizeof *c->values))
        return lr_fail_nomem(f->err, c->path, (c->n_values + 1) * sizeof *c->values);
    v.key = lr_strdup(key);
    v.string = string && v.key ? lr_strndup(string->text, string->n) : NULL;
    if (!v.key || (string && !v.string)) {
        lr_free(v.key);
        return lr_fail_nomem(f->err, c->path, strlen(key) + (string ? string->n : 0));
    }
    c->values[c->n_values++] = v;
    return LLMRUN_OK;
}

/* Element i of v; text: where it is a string.  One that no C string can hold, or of a size that nobody compares, counts
 * as null.                                                                                                            */
static llmrun_status add_element(flattener *f, const char *key, const lr_gguf_value *v, uint64_t i,
                                 const lr_gguf_text *text) {
    lr_value out = { .type = LR_VALUE_NUMBER };
    if (v->type == LR_GGUF_STRING) {
        bool fits = text->n <= MAX_STRING && !memchr(text->text, 0, text->n);
        out.type = fits ? LR_VALUE_STRING : LR_VALUE_NULL;
        return add(f, key, out, fits ? text : NULL);
    }
    out.number = lr_gguf_number_at(v, i);
    if (v->type == LR_GGUF_BOOL) {
        out.type = LR_VALUE_BOOL;
        out.number = out.number != 0;
    }
    return add(f, key, out, NULL);
}

static llmrun_status add_value(flattener *f, const lr_gguf_value *v) {
    lr_text key = { 0 };
    lr_gguf_text text = { 0 };
    lr_text_add_bytes(&key, v->key.text, v->key.n);
    size_t n_key = key.n;
    llmrun_status status = key.failed ? lr_fail_nomem(f->err, f->c->path, v->key.n) : LLMRUN_OK;
    if (!status && !v->is_array) {
        lr_gguf_string(v, &text);
        status = add_element(f, key.text, v, 0, &text);
    } else if (!status) {
        status = add(f, key.text, (lr_value){ .type = LR_VALUE_ARRAY, .number = (double)v->count }, NULL);
    }
    lr_gguf_strings strings = lr_gguf_strings_of(v);
    for (uint64_t i = 0; v->is_array && v->count <= MAX_LISTED && n_key <= MAX_LISTED_KEY && i < v->count && !status; i++) {
        key.n = n_key;
        lr_text_add(&key, ".%llu", (unsigned long long)i);
        lr_gguf_next(&strings, &text);
        status = key.failed ? lr_fail_nomem(f->err, f->c->path, key.cap) : add_element(f, key.text, v, i, &text);
    }
    lr_free(key.text);
    return status;
}

llmrun_status lr_gguf_config(lr_config *c, const lr_gguf *g, const char *path, llmrun_error *err) {
    *c = (lr_config){ .path = lr_strdup(path) };
    if (!c->path) return lr_fail_nomem(err, path, strlen(path) + 1);
    flattener f = { .c = c, .err = err };
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < g->n_values && !status; i++) status = add_value(&f, &g->values[i]);
    if (!status) status = lr_config_sort(c, err);
    if (status) lr_config_close(c);
    return status;
}
