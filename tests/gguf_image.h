/* GGUF images for tests: a tiny llama model (dim 32, hidden 32, 1 layer, 2 heads, 8 tokens) of which a case may change one
 * value or one tensor.                                                                                                */
#ifndef TESTS_GGUF_IMAGE_H
#define TESTS_GGUF_IMAGE_H

#include "loaders/gguf.h"
#include "tests/model_files.h"

typedef struct builder {
    uint8_t bytes[1 << 16];
    size_t n;
} builder;

static inline void put(builder *b, const void *bytes, size_t n) {
    assert_true(b->n + n <= sizeof b->bytes);
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}
static inline void put_u32(builder *b, uint32_t v) { put(b, &v, sizeof v); }
static inline void put_u64(builder *b, uint64_t v) { put(b, &v, sizeof v); }
static inline void put_text(builder *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

/* A value, written by what it is. */
typedef struct entry {
    const char *key;
    lr_gguf_type type;
    double number;
    const char *text;  /* STRING */
    const void *raw;   /* else these bytes follow the type */
    size_t n_raw;
} entry;

static const entry model_entries[] = {
    { .key = "general.architecture", .type = LR_GGUF_STRING, .text = "llama" },
    { .key = "llama.block_count", .type = LR_GGUF_U32, .number = 1 },
    { .key = "llama.embedding_length", .type = LR_GGUF_U32, .number = 32 },
    { .key = "llama.feed_forward_length", .type = LR_GGUF_U32, .number = 32 },
    { .key = "llama.attention.head_count", .type = LR_GGUF_U32, .number = 2 },
    { .key = "llama.attention.head_count_kv", .type = LR_GGUF_U32, .number = 1 },
    { .key = "llama.attention.layer_norm_rms_epsilon", .type = LR_GGUF_F32, .number = 1e-5 },
    { .key = "llama.rope.freq_base", .type = LR_GGUF_F32, .number = 1e4 },
    { .key = "llama.context_length", .type = LR_GGUF_U64, .number = 128 },
    { .key = "llama.vocab_size", .type = LR_GGUF_I32, .number = 8 },
    { .key = "tokenizer.ggml.bos_token_id", .type = LR_GGUF_U32, .number = 1 },
    { .key = "tokenizer.ggml.eos_token_id", .type = LR_GGUF_U32, .number = 2 },
};

/* type: id of the file.  shape: innermost first. */
typedef struct tensor_row {
    const char *name;
    uint32_t type, n_dims;
    uint64_t shape[4];
    uint64_t bytes;
    uint64_t shift; /* added to its offset */
} tensor_row;

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8 };
static const tensor_row model_tensors[] = {
    { "token_embd.weight", F16, 2, { 32, 8 }, 512, 0 },
    { "output_norm.weight", F32, 1, { 32 }, 128, 0 },
    { "blk.0.attn_norm.weight", F32, 1, { 32 }, 128, 0 },
    { "blk.0.attn_q.weight", Q8_0, 2, { 32, 32 }, 1088, 0 },
    { "blk.0.attn_k.weight", Q8_0, 2, { 32, 16 }, 544, 0 },
    { "blk.0.attn_v.weight", Q4_0, 2, { 32, 16 }, 288, 0 },
    { "blk.0.attn_output.weight", F16, 2, { 32, 32 }, 2048, 0 },
    { "blk.0.ffn_norm.weight", F32, 1, { 32 }, 128, 0 },
    { "blk.0.ffn_gate.weight", F32, 2, { 32, 32 }, 4096, 0 },
    { "blk.0.ffn_up.weight", Q4_0, 2, { 32, 32 }, 576, 0 },
    { "blk.0.ffn_down.weight", Q4_0, 2, { 32, 32 }, 576, 0 },
};

static inline void put_entry(builder *b, const entry *e) {
    put_text(b, e->key);
    put_u32(b, (uint32_t)e->type);
    if (e->raw) put(b, e->raw, e->n_raw);
    else if (e->type == LR_GGUF_STRING) put_text(b, e->text);
    else if (e->type == LR_GGUF_F32) put(b, &(float){ (float)e->number }, 4);
    else if (e->type == LR_GGUF_U64) put_u64(b, (uint64_t)e->number);
    else if (e->type == LR_GGUF_I32) put(b, &(int32_t){ (int32_t)e->number }, 4);
    else put_u32(b, (uint32_t)e->number);
}

/* The model with `change` in the place of the value of that key (or after all), and `other` in that of the tensor of that
 * name (or after all); either may be NULL.  n_header: where the data section begins.                                 */
__attribute__((unused)) static void build_model(builder *b, const entry *change, const tensor_row *other, size_t *n_header) {
    size_t n_entries = LR_COUNT(model_entries), n_tensors = LR_COUNT(model_tensors);
    const entry *entries[LR_COUNT(model_entries) + 1];
    const tensor_row *tensors[LR_COUNT(model_tensors) + 1];
    bool placed = !change;
    for (size_t i = 0; i < n_entries; i++) {
        bool here = change && strcmp(change->key, model_entries[i].key) == 0;
        entries[i] = here ? change : &model_entries[i];
        placed |= here;
    }
    if (!placed) entries[n_entries++] = change;
    placed = !other;
    for (size_t i = 0; i < n_tensors; i++) {
        bool here = other && strcmp(other->name, model_tensors[i].name) == 0;
        tensors[i] = here ? other : &model_tensors[i];
        placed |= here;
    }
    if (!placed) tensors[n_tensors++] = other;

    b->n = 0;
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, n_tensors);
    put_u64(b, n_entries);
    for (size_t i = 0; i < n_entries; i++) put_entry(b, entries[i]);
    uint64_t offset = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const tensor_row *t = tensors[i];
        put_text(b, t->name);
        put_u32(b, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims && d < 4; d++) put_u64(b, t->shape[d]);
        put_u32(b, t->type);
        put_u64(b, offset + t->shift);
        offset += (t->bytes + 31) / 32 * 32;
    }
    while (b->n % 32) put(b, "", 1);
    *n_header = b->n;
    for (uint64_t i = 0; i < offset; i++) put(b, &(uint8_t){ (uint8_t)(i % 8) }, 1);
}

#endif
