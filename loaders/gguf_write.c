/* The metadata and tensor directory of a GGUF v3 file, for tensors that are written behind them.                     */
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/write.h"

enum { ALIGNMENT = 32 };

static void add_u32(lr_text *t, uint32_t value) { lr_text_add_bytes(t, &value, sizeof value); }
static void add_u64(lr_text *t, uint64_t value) { lr_text_add_bytes(t, &value, sizeof value); }

static void add_text(lr_text *t, const char *text, size_t n) {
    add_u64(t, n);
    lr_text_add_bytes(t, text, n);
}

static void begin(lr_gguf_meta *m, const char *key, uint32_t type) {
    add_text(&m->bytes, key, strlen(key));
    add_u32(&m->bytes, type);
    m->n++;
}

void lr_gguf_add_u32(lr_gguf_meta *m, const char *key, uint32_t value) {
    begin(m, key, LR_GGUF_U32);
    add_u32(&m->bytes, value);
}

void lr_gguf_add_f32(lr_gguf_meta *m, const char *key, float value) {
    begin(m, key, LR_GGUF_F32);
    lr_text_add_bytes(&m->bytes, &value, sizeof value);
}

void lr_gguf_add_bool(lr_gguf_meta *m, const char *key, bool value) {
    begin(m, key, LR_GGUF_BOOL);
    lr_text_add_bytes(&m->bytes, &(char){value}, 1);
}

void lr_gguf_add_string(lr_gguf_meta *m, const char *key, const char *text, size_t n) {
    begin(m, key, LR_GGUF_STRING);
    add_text(&m->bytes, text, n);
}

void lr_gguf_add_array(lr_gguf_meta *m, const char *key, int type, uint64_t count) {
    begin(m, key, LR_GGUF_ARRAY);
    add_u32(&m->bytes, (uint32_t)type);
    add_u64(&m->bytes, count);
}

void lr_gguf_add_element(lr_gguf_meta *m, const char *text, size_t n) { add_text(&m->bytes, text, n); }

/* Bytes of a value's elements in its file.                                                                           */
static size_t value_bytes(const lr_gguf_value *v) {
    static const uint8_t sizes[LR_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (v->type != LR_GGUF_STRING) return (size_t)v->count * sizes[v->type];
    lr_gguf_strings s = {v->data, v->count};
    for (lr_gguf_text text; lr_gguf_next(&s, &text);) continue;
    return (size_t)(s.at - v->data);
}

void lr_gguf_add_value(lr_gguf_meta *m, const lr_gguf_value *v) {
    add_text(&m->bytes, v->key.text, v->key.n);
    add_u32(&m->bytes, v->is_array ? LR_GGUF_ARRAY : v->type);
    if (v->is_array) {
        add_u32(&m->bytes, v->type);
        add_u64(&m->bytes, v->count);
    }
    lr_text_add_bytes(&m->bytes, v->data, value_bytes(v));
    m->n++;
}

llmrun_status lr_gguf_layout(lr_out_tensor *tensors, size_t n, const lr_gguf_meta *meta, lr_text *header,
                             uint64_t *file_bytes, llmrun_error *err) {
    uint64_t data = 0, end = 0;
    bool fits = true;
    *header = (lr_text){.failed = meta->bytes.failed};
    lr_text_add_bytes(header, "GGUF", 4);
    add_u32(header, 3);
    add_u64(header, n);
    add_u64(header, meta->n);
    lr_text_add_bytes(header, meta->bytes.text, meta->bytes.n);
    for (size_t i = 0; i < n && fits; i++) {
        lr_out_tensor *t = &tensors[i];
        fits = lr_align_u64(data, ALIGNMENT, &t->offset) && lr_add_u64(t->offset, t->bytes, &data);
        add_text(header, t->name, strlen(t->name));
        add_u32(header, (uint32_t)t->n_dims);
        for (int32_t d = t->n_dims; d-- > 0;) add_u64(header, t->shape[d]); /* innermost first */
        add_u32(header, lr_gguf_type_id(t->dtype));
        add_u64(header, t->offset);
    }
    while (header->n % ALIGNMENT && !header->failed) lr_text_add_bytes(header, "", 1);
    if (header->failed) return lr_fail_nomem(err, "GGUF header", header->n);
    for (size_t i = 0; i < n; i++) tensors[i].offset += header->n;
    if (fits && lr_align_u64(data, ALIGNMENT, &end) && lr_add_u64(header->n, end, file_bytes)) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_FORMAT, "GGUF: the size of all tensors overflows 64 bits");
}
