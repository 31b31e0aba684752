/* The GGUF reader: metadata, tensor directory, split files, and files that lie.                                      */
#include "tests/gguf_image.h"

#include <math.h>

#include "loaders/weights.h"
#include "runtime/bind.h"

static builder image_bytes; /* too large for a stack */

/* What lr_checkpoint_open makes of a file, of bytes in memory: exactly n, so that a sanitizer sees a read beyond.     */
static llmrun_status load(const uint8_t *bytes, size_t n, lr_checkpoint *c, lr_binding *b, llmrun_error *e) {
    size_t cap = 0;
    uint64_t n_header;
    *c = (lr_checkpoint){ .files = lr_zalloc(1, sizeof *c->files), .dir = lr_strdup("dir") };
    *b = (lr_binding){ 0 };
    uint8_t *copy = lr_alloc_aligned(n);
    assert_true(c->files && c->dir && copy);
    memcpy(copy, bytes, n);
    c->files[0] = (lr_map){ .data = copy, .size = n, .path = lr_strdup("m.gguf"), .heap = true, .fd = -1 };
    c->n_files = 1;
    llmrun_status status = lr_gguf_read(&c->gguf, &c->files[0], 0, &c->tensors, &c->n_tensors, &cap, &n_header, e);
    if (!status) status = lr_weights_sort(c, e);
    if (!status) status = lr_gguf_config(&c->config, &c->gguf, "m.gguf", e);
    if (!status) status = lr_bind(b, c, e);
    return status;
}

static llmrun_status load_model(const entry *change, const tensor_row *other, lr_checkpoint *c, lr_binding *b) {
    size_t n_header;
    build_model(&image_bytes, change, other, &n_header);
    return load(image_bytes.bytes, image_bytes.n, c, b, &err);
}

static void release(lr_checkpoint *c, lr_binding *b) {
    lr_binding_close(b);
    lr_checkpoint_close(c);
}

/* ---- what is there ---- */

static void a_model(void **state) {
    (void)state;
    lr_checkpoint c;
    lr_binding b;
    EXPECT_OK(load_model(NULL, NULL, &c, &b));
    const lr_hparams *h = &b.hparams;
    assert_string_equal(b.family->name, "llama");
    assert_int_equal(h->n_layers, 1);
    assert_int_equal(h->head_dim, 16);
    assert_int_equal(h->n_kv_heads, 1);
    assert_int_equal(h->n_vocab, 8);
    assert_int_equal(h->n_ctx_train, 128);
    assert_int_equal(h->bos, 1);
    assert_true(h->n_eos == 1 && h->eos[0] == 2);
    assert_true(h->rope_adjacent); /* the container's order of rows */
    const lr_tensor *t = lr_checkpoint_find(&c, "blk.0.attn_k.weight");
    assert_non_null(t);
    assert_true(t->n_dims == 2 && t->shape[0] == 16 && t->shape[1] == 32 && t->bytes == 544 && t->dtype == LR_DT_Q8_0);
    assert_int_equal(t->data[0], 0);
    int64_t v = lr_binding_find(&b, LR_WV, 0);
    assert_true(v >= 0 && b.tensors[v].file_format == LR_BLOCK_Q4_0 && b.tensors[v].aligned);
    release(&c, &b);
}

/* Every value type, alone and in arrays.                                                                             */
static void values(void **state) {
    (void)state;
    static const struct { const char *key; lr_gguf_type type; const char *bytes; size_t n; double number; } row[] = {
        { "u8", LR_GGUF_U8, "\xfe", 1, 254 },           { "i8", LR_GGUF_I8, "\xfe", 1, -2 },
        { "u16", LR_GGUF_U16, "\xfe\xff", 2, 65534 },   { "i16", LR_GGUF_I16, "\xfe\xff", 2, -2 },
        { "u32", LR_GGUF_U32, "\1\0\0\x80", 4, 2147483649.0 }, { "i32", LR_GGUF_I32, "\xff\xff\xff\xff", 4, -1 },
        { "f32", LR_GGUF_F32, "\0\0\xc0\x3f", 4, 1.5 }, { "bool", LR_GGUF_BOOL, "\1", 1, 1 },
        { "u64", LR_GGUF_U64, "\0\0\0\0\1\0\0\0", 8, 4294967296.0 },
        { "i64", LR_GGUF_I64, "\xfd\xff\xff\xff\xff\xff\xff\xff", 8, -3 },
        { "f64", LR_GGUF_F64, "\0\0\0\0\0\0\4\xc0", 8, -2.5 },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++)
        for (int array = 0; array < 2; array++) {
            builder raw = { .n = 0 };
            lr_checkpoint c;
            lr_binding b;
            int64_t whole;
            char item[16];
            if (array) {
                put_u32(&raw, row[i].type);
                put_u64(&raw, 2);
                put(&raw, "\0\0\0\0\0\0\0\0", row[i].n);
            }
            put(&raw, row[i].bytes, row[i].n);
            entry e = { row[i].key, array ? LR_GGUF_ARRAY : row[i].type, 0, NULL, raw.bytes, raw.n };
            EXPECT_OK(load_model(&e, NULL, &c, &b));
            const lr_gguf_value *v = lr_gguf_find(&c.gguf, row[i].key);
            uint64_t last = array ? 1 : 0;
            assert_non_null(v);
            assert_true(v->count == last + 1 && v->is_array == (array == 1));
            assert_true(lr_gguf_number_at(v, last) == row[i].number && isnan(lr_gguf_number_at(v, last + 1)));
            bool has_int = row[i].type != LR_GGUF_F32 && row[i].type != LR_GGUF_F64;
            assert_int_equal(lr_gguf_int_at(v, last, &whole), has_int);
            if (has_int) assert_true((double)whole == row[i].number);
            snprintf(item, sizeof item, array ? "%s.1" : "%s", row[i].key);
            const lr_value *flat = lr_config_find(&c.config, item);
            assert_true(flat && flat->number == row[i].number);
            release(&c, &b);
        }
}

static void strings(void **state) {
    (void)state;
    builder raw = { .n = 0 };
    put_u32(&raw, LR_GGUF_STRING);
    put_u64(&raw, 3);
    put_text(&raw, "one");
    put_text(&raw, "");
    put_u64(&raw, 2);
    put(&raw, "a\0", 2);
    entry e = { "tokenizer.ggml.tokens", LR_GGUF_ARRAY, 0, NULL, raw.bytes, raw.n };
    lr_checkpoint c;
    lr_binding b;
    EXPECT_OK(load_model(&e, NULL, &c, &b));
    const lr_gguf_value *v = lr_gguf_find(&c.gguf, e.key);
    lr_gguf_strings s = lr_gguf_strings_of(v);
    lr_gguf_text t;
    assert_true(lr_gguf_next(&s, &t) && t.n == 3 && memcmp(t.text, "one", 3) == 0);
    assert_true(lr_gguf_next(&s, &t) && t.n == 0);
    assert_true(lr_gguf_next(&s, &t) && t.n == 2 && t.text[1] == 0);
    assert_false(lr_gguf_next(&s, &t));
    assert_string_equal(lr_config_string(&c.config, "tokenizer.ggml.tokens.0"), "one");
    assert_null(lr_config_string(&c.config, "tokenizer.ggml.tokens.2")); /* no C string */
    assert_false(lr_gguf_string(v, &t));
    assert_true(lr_gguf_string(lr_gguf_find(&c.gguf, "general.architecture"), &t) && t.n == 5);
    s = lr_gguf_strings_of(lr_gguf_find(&c.gguf, "absent"));
    assert_false(lr_gguf_next(&s, &t));
    release(&c, &b);
}

/* ---- metadata that lies: the sentence says what and where ---- */

#define U32(key, v) { key, LR_GGUF_U32, v, NULL, NULL, 0 }
#define TEXT(key, v) { key, LR_GGUF_STRING, 0, v, NULL, 0 }
#define FLOAT(key, v) { key, LR_GGUF_F32, v, NULL, NULL, 0 }
#define RAW(key, type, bytes) { key, type, 0, NULL, bytes, sizeof bytes - 1 }

static void lying_values(void **state) {
    (void)state;
    static const struct { entry e; llmrun_status status; const char *words; } row[] = {
        { TEXT("general.architecture", "zzz"), LLMRUN_UNSUPPORTED, "architecture \"zzz\" is not supported; known: llama" },
        { U32("general.architecture", 1), LLMRUN_FORMAT, "expected \"general.architecture\", found none" },
        { TEXT("llama.block_count", "one"), LLMRUN_FORMAT, "\"llama.block_count\" must be an integer 1..1024, got \"one\"" },
        { U32("llama.block_count", 0), LLMRUN_FORMAT, "must be an integer 1..1024, got 0" },
        { U32("llama.block_count", 2147483648.0), LLMRUN_FORMAT, "must be an integer 1..1024, got 2147483648" },
        { FLOAT("llama.block_count", 1.5), LLMRUN_FORMAT, "must be an integer 1..1024, got 1.5" },
        { U32("llama.block_count", 2), LLMRUN_FORMAT, "tensor \"blk.1.attn_norm.weight\" is missing" },
        { U32("llama.attention.head_count", 0), LLMRUN_FORMAT, "head_count\" must be an integer 1..16384, got 0" },
        { U32("llama.attention.head_count", 3), LLMRUN_FORMAT, "not a multiple of attention.head_count 3" },
        { U32("llama.attention.head_count_kv", 3), LLMRUN_FORMAT, "must be a multiple of" },
        { U32("llama.attention.key_length", 7), LLMRUN_FORMAT, "head_dim must be even" },
        { U32("llama.embedding_length", 64), LLMRUN_FORMAT, "expected shape [8,64] from the metadata, got [8,32]" },
        { U32("llama.feed_forward_length", 64), LLMRUN_FORMAT, "expected shape [64,32] from the metadata, got [32,32]" },
        { FLOAT("llama.attention.layer_norm_rms_epsilon", NAN), LLMRUN_FORMAT, "must be a finite number > 0, got nan" },
        { FLOAT("llama.attention.layer_norm_rms_epsilon", 0), LLMRUN_FORMAT, "must be a finite number > 0, got 0" },
        { FLOAT("llama.attention.layer_norm_rms_epsilon", -1), LLMRUN_FORMAT, "must be a finite number > 0, got -1" },
        { FLOAT("llama.rope.freq_base", INFINITY), LLMRUN_FORMAT, "freq_base\" must be a finite number > 0" },
        { FLOAT("llama.rope.freq_base", 0.5), LLMRUN_FORMAT, "rope_theta must be at least 1" },
        { U32("llama.rope.dimension_count", 17), LLMRUN_FORMAT, "rotated dims must be even and within head_dim" },
        { U32("llama.rope.dimension_count", 18), LLMRUN_FORMAT, "rotated dims must be even and within head_dim" },
        { TEXT("llama.rope.scaling.type", "su"), LLMRUN_UNSUPPORTED, "rope.scaling.type \"su\" is not supported" },
        { FLOAT("llama.rope.scaling.factor", 0), LLMRUN_FORMAT, "factor\" must be a finite number > 0" },
        { U32("llama.context_length", 0), LLMRUN_FORMAT, "context_length\" must be an integer" },
        { U32("llama.vocab_size", 0), LLMRUN_FORMAT, "vocab_size\" must be an integer" },
        { U32("llama.vocab_size", 9), LLMRUN_FORMAT, "token_embd.weight: expected shape [9,32]" },
        { U32("tokenizer.ggml.bos_token_id", 8), LLMRUN_FORMAT, "bos_token_id 8 outside vocabulary 0..7" },
        { U32("tokenizer.ggml.eos_token_id", 2147483647), LLMRUN_FORMAT, "eos_token_id 2147483647 outside vocabulary 0..7" },
        { U32("general.alignment", 0), LLMRUN_FORMAT, "general.alignment must be u32, a power of two, 8..65536; got u32 0" },
        { U32("general.alignment", 3), LLMRUN_FORMAT, "got u32 3" },
        { U32("general.alignment", 4), LLMRUN_FORMAT, "got u32 4" },
        { U32("general.alignment", 2147483648.0), LLMRUN_FORMAT, "got u32 2147483648" },
        { { "general.alignment", LR_GGUF_I32, 32, NULL, NULL, 0 }, LLMRUN_FORMAT, "got i32 32" },
        { TEXT("general.alignment", "32"), LLMRUN_FORMAT, "got a string" },
        { RAW("llama.block_count", LR_GGUF_ARRAY, "\4\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0"), LLMRUN_UNSUPPORTED,
          "layers that differ are not supported" },
        { RAW("x", LR_GGUF_ARRAY, "\x09\0\0\0\1\0\0\0\0\0\0\0"), LLMRUN_FORMAT, "an array of arrays" },
        { RAW("x", LR_GGUF_ARRAY, "\x0d\0\0\0\1\0\0\0\0\0\0\0"), LLMRUN_FORMAT, "\"x\": unknown value type 13" },
        { RAW("x", LR_GGUF_ARRAY, "\0\0\0\0\0\0\0\0\2\0\0\0"), LLMRUN_FORMAT, "array of 8589934592 items cannot fit in" },
        { RAW("x", LR_GGUF_ARRAY, "\x08\0\0\0\0\0\0\0\2\0\0\0"), LLMRUN_FORMAT, "array of 8589934592 items cannot fit in" },
        { RAW("x", LR_GGUF_ARRAY, "\x08\0\0\0\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\x3f"), LLMRUN_FORMAT,
          "string of 4611686018427387903 bytes at offset" },
        { RAW("x", (lr_gguf_type)13, ""), LLMRUN_FORMAT, "\"x\": unknown value type 13" },
        { RAW("x", (lr_gguf_type)0xffffffff, ""), LLMRUN_FORMAT, "unknown value type 4294967295" },
        { RAW("x", LR_GGUF_STRING, "\xff\xff\xff\xff\xff\xff\xff\x7f"), LLMRUN_FORMAT, "string of 9223372036854775807 bytes" },
        { U32("", 1), LLMRUN_FORMAT, "a key is empty" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        lr_checkpoint c;
        lr_binding b;
        EXPECT_FAIL(load_model(&row[i].e, NULL, &c, &b), row[i].status, row[i].words);
        release(&c, &b);
    }
}

static void lying_tensors(void **state) {
    (void)state;
    static const struct { tensor_row t; llmrun_status status; const char *words; } row[] = {
        { { "blk.0.attn_q.weight", 41, 2, { 256, 4 }, 144, 0 }, LLMRUN_UNSUPPORTED, "m.gguf: blk.0.attn_q.weight: type Q1_0 is not supported for weights; expected F32, F16 or BF16, Q2_K to Q8_0, IQ1_S to IQ4_XS" },
        { { "blk.0.attn_q.weight", 16, 2, { 32, 32 }, 1, 0 }, LLMRUN_FORMAT, "do not divide into IQ2_XXS blocks of 256" },
        { { "blk.0.attn_q.weight", Q8_0, 2, { 32, 33 }, 1122, 0 }, LLMRUN_FORMAT, "expected shape [32,32] from the metadata, got [33,32]" },
        { { "blk.0.attn_q.weight", 39, 2, { 33, 32 }, 1, 0 }, LLMRUN_FORMAT, "rows of 33 values do not divide into MXFP4 blocks of 32" },
        { { "blk.0.attn_q.weight", 12, 2, { 32, 32 }, 1, 0 }, LLMRUN_FORMAT, "do not divide into Q4_K blocks of 256" },
        { { "blk.0.attn_q.weight", 24, 2, { 32, 32 }, 1024, 0 }, LLMRUN_UNSUPPORTED, "blk.0.attn_q.weight: type I8 is not supported" },
        { { "blk.0.attn_q.weight", 28, 2, { 32, 32 }, 8192, 0 }, LLMRUN_UNSUPPORTED, "type F64 is not supported" },
        { { "blk.0.attn_q.weight", 9, 2, { 32, 32 }, 1152, 0 }, LLMRUN_UNSUPPORTED, "type Q8_1 is not supported" },
        { { "blk.0.attn_q.weight", 4, 2, { 32, 32 }, 1, 0 }, LLMRUN_UNSUPPORTED, "type Q4_2, no longer part of GGUF" },
        { { "blk.0.attn_q.weight", 139, 2, { 32, 32 }, 1, 0 }, LLMRUN_UNSUPPORTED, "tensor \"blk.0.attn_q.weight\": type IQ4_K of ik_llama.cpp" },
        { { "blk.0.attn_q.weight", 222, 2, { 32, 32 }, 1, 0 }, LLMRUN_UNSUPPORTED, "type 222 is not supported; made by ik_llama.cpp?" },
        { { "blk.0.attn_q.weight", 9999, 2, { 32, 32 }, 1, 0 }, LLMRUN_FORMAT, "type 9999 is not part of the format" },
        { { "blk.0.attn_norm.weight", Q8_0, 1, { 32 }, 34, 0 }, LLMRUN_UNSUPPORTED, "type Q8_0 is not supported for vectors" },
        { { "blk.0.attn_norm.weight", F32, 5, { 32, 1, 1, 1 }, 128, 0 }, LLMRUN_FORMAT, "5 dimensions, at most 4" },
        { { "blk.0.attn_norm.weight", F32, 0xffffffff, { 32 }, 128, 0 }, LLMRUN_FORMAT, "4294967295 dimensions, at most 4" },
        { { "blk.0.attn_norm.weight", F32, 0, { 0 }, 4, 0 }, LLMRUN_FORMAT, "expected shape [32] from the metadata, got []" },
        { { "blk.0.attn_norm.weight", F32, 1, { 0 }, 0, 0 }, LLMRUN_FORMAT, "expected shape [32] from the metadata, got [0]" },
        { { "blk.0.attn_norm.weight", F32, 1, { 1ull << 63 }, 0, 0 }, LLMRUN_FORMAT, "shape overflows 64 bits" },
        { { "blk.0.attn_norm.weight", F32, 2, { 1ull << 40, 1ull << 40 }, 0, 0 }, LLMRUN_FORMAT, "shape overflows 64 bits" },
        { { "blk.0.attn_norm.weight", F32, 1, { 1ull << 62 }, 0, 0 }, LLMRUN_FORMAT, "shape overflows 64 bits" },
        { { "blk.0.attn_norm.weight", F32, 1, { 1ull << 40 }, 0, 0 }, LLMRUN_FORMAT, "are not inside data section 0.." },
        { { "blk.0.attn_norm.weight", F32, 1, { 32 }, 128, 1 }, LLMRUN_FORMAT, "is not a multiple of 32" },
        { { "blk.0.attn_norm.weight", F32, 1, { 32 }, 128, 1ull << 40 }, LLMRUN_FORMAT, "are not inside data section 0.." },
        { { "blk.0.attn_norm.weight", F32, 1, { 32 }, 128, 0xfffffffffffffd00 }, LLMRUN_FORMAT, "are not inside data section" },
        { { "blk.0.ffn_down.weight", Q4_0, 2, { 32, 33 }, 0, 0 }, LLMRUN_FORMAT, "594 bytes from byte" },
        { { "blk.0.surprise.weight", F32, 1, { 32 }, 128, 0 }, LLMRUN_UNSUPPORTED, "tensor \"blk.0.surprise.weight\" is not part of llama with 1 layers" },
        { { "rope_freqs.weight", F32, 1, { 9 }, 36, 0 }, LLMRUN_FORMAT, "rope_freqs.weight: expected shape [8]" },
        { { "rope_freqs.weight", F16, 1, { 8 }, 16, 0 }, LLMRUN_FORMAT, "expected F32 values above 0, element 0 is not" },
        { { "", F32, 1, { 8 }, 32, 0 }, LLMRUN_FORMAT, "a tensor's name is empty" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        lr_checkpoint c;
        lr_binding b;
        EXPECT_FAIL(load_model(NULL, &row[i].t, &c, &b), row[i].status, row[i].words);
        release(&c, &b);
    }
    /* A type that is known but not computed with is named with its tensor, and is exit 7. */
    static const struct { uint32_t id; const char *name; } types[] = {
        { 41, "Q1_0" }, { 42, "Q2_0" },
    };
    for (size_t i = 0; i < LR_COUNT(types); i++) {
        tensor_row t = { "blk.0.ffn_up.weight", types[i].id, 2, { 256, 32 }, 32 * 256, 0 };
        char words[80];
        lr_checkpoint c;
        lr_binding b;
        snprintf(words, sizeof words, "m.gguf: blk.0.ffn_up.weight: type %s is not supported for weights", types[i].name);
        EXPECT_FAIL(load_model(NULL, &t, &c, &b), LLMRUN_UNSUPPORTED, words);
        release(&c, &b);
    }
}

/* Two of a kind: keys, tensors.                                                                                      */
static void twice(void **state) {
    (void)state;
    lr_checkpoint c;
    lr_binding b;
    size_t n;
    build_model(&image_bytes, NULL, NULL, &n);
    uint8_t *at = memmem(image_bytes.bytes, image_bytes.n, "attn_k.weight", 13);
    at[5] = 'q';
    EXPECT_FAIL(load(image_bytes.bytes, image_bytes.n, &c, &b, &err), LLMRUN_FORMAT, "tensor \"blk.0.attn_q.weight\" defined twice");
    release(&c, &b);
    build_model(&image_bytes, NULL, NULL, &n);
    at = memmem(image_bytes.bytes, image_bytes.n, "bos_token_id", 12);
    memcpy(at, "eos", 3);
    EXPECT_FAIL(load(image_bytes.bytes, image_bytes.n, &c, &b, &err), LLMRUN_FORMAT, "\"tokenizer.ggml.eos_token_id\" defined twice");
    release(&c, &b);
}

static void lying_headers(void **state) {
    (void)state;
    static const struct { const char *bytes; size_t n; llmrun_status status; const char *words; } row[] = {
        { "", 0, LLMRUN_FORMAT, "expected \"GGUF\" at its first byte" },
        { "GGU", 3, LLMRUN_FORMAT, "expected \"GGUF\" at its first byte" },
        { "GGJT\3\0\0\0", 8, LLMRUN_FORMAT, "expected \"GGUF\" at its first byte" },
        { "GGUF", 4, LLMRUN_FORMAT, "file ends at byte 4 within the header; download incomplete?" },
        { "GGUF\0\0\0\0", 8, LLMRUN_UNSUPPORTED, "big-endian" },
        { "GGUF\0\0\0\3", 8, LLMRUN_UNSUPPORTED, "big-endian" },
        { "GGUF\1\0\0\0", 8, LLMRUN_UNSUPPORTED, "GGUF version 1 not supported (2, 3)" },
        { "GGUF\x63\0\0\0", 8, LLMRUN_FORMAT, "GGUF version 99 not supported (2, 3)" },
        { "GGUF\3\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0", 24, LLMRUN_FORMAT, "tensor count 1152921504606846976 exceeds limit" },
        { "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10", 24, LLMRUN_FORMAT, "key count 1152921504606846976 exceeds limit" },
        { "GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 24, LLMRUN_FORMAT, "exceeds limit 1000000" },
        { "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24, LLMRUN_FORMAT, "file ends at byte 24 within a key" },
        { "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, LLMRUN_FORMAT, "file ends at byte 24 within a tensor's name" },
        { "GGUF\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, LLMRUN_FORMAT, "expected \"general.architecture\"" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        lr_checkpoint c;
        lr_binding b;
        /* Without values nothing says that it is GGUF, so binding asks for a config. */
        const char *words = row[i].n == 24 && row[i].bytes[4] == 2 ? "" : row[i].words;
        EXPECT_FAIL(load((const uint8_t *)row[i].bytes, row[i].n, &c, &b, &err), row[i].status, words);
        release(&c, &b);
    }
}

/* ---- files that are damaged anywhere ---- */

/* Every prefix is an error of the file.                                                                              */
static void prefixes(void **state) {
    (void)state;
    static builder whole;
    size_t n_header, n = 0;
    build_model(&whole, NULL, NULL, &n_header);
    for (size_t k = 0; k < whole.n - 31; k += k < n_header ? 1 : 37, n++) { /* the last tensor's padding may be absent */
        lr_checkpoint c;
        lr_binding b;
        err = (llmrun_error){ 0 };
        if (load(whole.bytes, k, &c, &b, &err) != LLMRUN_FORMAT) fail_msg("the first %zu bytes: %s", k, err.message);
        assert_non_null(strstr(err.message, "m.gguf"));
        release(&c, &b);
    }
    print_message("%zu truncated files\n", n);
    assert_true(n > 500);
}

/* Extreme numbers written over the header at every place: an error of the file, or a change that does no harm.       */
static void extremes(void **state) {
    (void)state;
    static const uint64_t numbers[] = { 0, 1, 0x7fffffff, 0x80000001, 0xffffffff, 0x100000001, 0x7fffffffffffffff,
                                        0x8000000000000001, 0xffffffffffffffff, 0xffffffffffffffe0 };
    static builder whole, changed;
    size_t n_header, n_refused = 0, n = 0;
    build_model(&whole, NULL, NULL, &n_header);
    for (size_t at = 4; at + 8 <= n_header; at++)
        for (size_t i = 0; i < LR_COUNT(numbers); i++, n++) {
            lr_checkpoint c;
            lr_binding b;
            changed = whole;
            memcpy(changed.bytes + at, &numbers[i], i < 5 ? 4 : 8);
            err = (llmrun_error){ 0 };
            llmrun_status status = load(changed.bytes, changed.n, &c, &b, &err);
            if (status && status != LLMRUN_FORMAT && status != LLMRUN_UNSUPPORTED)
                fail_msg("byte %zu, number %zu: status %d: %s", at, i, status, err.message);
            if (status) assert_true(strlen(err.message) > 10);
            n_refused += status != LLMRUN_OK;
            release(&c, &b);
        }
    print_message("%zu of %zu changed files refused\n", n_refused, n);
    assert_true(n_refused > n / 2);
}

/* ---- files and directories ---- */

static llmrun_status open_at(const char *path) {
    static const char *const none[] = { NULL };
    lr_checkpoint c;
    llmrun_status status = lr_checkpoint_open(&c, path, none, &err);
    if (!status) lr_checkpoint_close(&c);
    return status;
}

/* Part `no` (from 0) of a model split in `count`: its tensor, and split keys.                                         */
static void write_part(const char *dir, const char *name, uint16_t no, uint16_t count, int32_t total, const char *tensor) {
    builder *b = &image_bytes;
    b->n = 0;
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, 1);
    put_u64(b, 4);
    put_entry(b, &(entry)TEXT("general.architecture", "llama"));
    put_entry(b, &(entry){ "split.no", LR_GGUF_U16, 0, NULL, &no, 2 });
    put_entry(b, &(entry){ "split.count", LR_GGUF_U16, 0, NULL, &count, 2 });
    put_entry(b, &(entry){ "split.tensors.count", LR_GGUF_I32, total, NULL, NULL, 0 });
    put_text(b, tensor);
    put_u32(b, 1);
    put_u64(b, 8);
    put_u32(b, F32);
    put_u64(b, 0);
    while (b->n % 32) put(b, "", 1);
    for (int i = 0; i < 8; i++) put(b, &(float){ no }, 4);
    write_bytes(dir, name, b->bytes, b->n);
}

static void split_files(void **state) {
    (void)state;
    static const char *const names[] = { "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf" };
    static const char *const none[] = { NULL };
    char *dir = new_directory();
    for (int i = 0; i < 3; i++) {
        char tensor[16];
        snprintf(tensor, sizeof tensor, "t%d", i);
        write_part(dir, names[i], (uint16_t)i, 3, 3, tensor);
    }
    for (int i = 0; i < 4; i++) { /* any part, or the directory */
        lr_checkpoint c;
        float x;
        EXPECT_OK(lr_checkpoint_open(&c, i < 3 ? path_in(dir, names[i]) : dir, none, &err));
        assert_true(c.n_files == 3 && c.n_tensors == 3);
        memcpy(&x, lr_checkpoint_find(&c, "t2")->data, sizeof x);
        assert_true(x == 2);
        lr_checkpoint_close(&c);
    }
    write_part(dir, names[1], 2, 3, 3, "t1");
    EXPECT_FAIL(open_at(dir), LLMRUN_FORMAT, "by its name part 2 of 3, by its metadata 3 of 3");
    write_part(dir, names[1], 1, 4, 3, "t1");
    EXPECT_FAIL(open_at(dir), LLMRUN_FORMAT, "by its name part 2 of 3, by its metadata 2 of 4");
    write_part(dir, names[1], 1, 3, 3, "t0");
    EXPECT_FAIL(open_at(dir), LLMRUN_FORMAT, "tensor \"t0\" defined twice");
    write_part(dir, names[1], 1, 3, 3, "t1");
    write_part(dir, names[0], 0, 3, 4, "t0");
    EXPECT_FAIL(open_at(dir), LLMRUN_FORMAT, "expected 4 tensors in 3 parts, found 3");
    write_part(dir, "alone.gguf", 1, 3, 3, "t0");
    EXPECT_FAIL(open_at(path_in(dir, "alone.gguf")), LLMRUN_FORMAT, "its name must end in -00002-of-00003.gguf");
    EXPECT_FAIL(open_at(dir), LLMRUN_ARG, "2 GGUF models; give the path of one");
    assert_int_equal(rename(path_in(dir, "alone.gguf"), path_in(dir, "mmproj-f16.gguf")), 0);
    write_part(dir, names[0], 0, 3, 3, "t0");
    EXPECT_OK(open_at(dir)); /* a vision tower is no model */
    assert_int_equal(unlink(path_in(dir, names[2])), 0);
    EXPECT_FAIL(open_at(path_in(dir, names[0])), LLMRUN_FORMAT, "part 3 of 3 missing: m-00003-of-00003.gguf");
    remove_tree(dir);
}

static void part_names(void **state) {
    (void)state;
    static const struct { const char *name; int no, count; } row[] = {
        { "a-00001-of-00001.gguf", 1, 1 }, { "dir/b-12345-of-12346.gguf", 12345, 12346 }, { "A-00002-OF-00003.GGUF", 2, 3 },
        { "-00001-of-00002.gguf", 0, 0 },  { "a-00000-of-00002.gguf", 0, 0 },  { "a-00003-of-00002.gguf", 0, 0 },
        { "a-0001-of-0002.gguf", 0, 0 },   { "a-00001-of-00002.ggu", 0, 0 },   { "a-0000x-of-00002.gguf", 0, 0 },
        { "a.gguf", 0, 0 },                { "", 0, 0 },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        int no = 0, count = 0;
        assert_int_equal(lr_gguf_part_of(row[i].name, &no, &count), row[i].count > 0);
        if (row[i].count) assert_true(no == row[i].no && count == row[i].count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model),       cmocka_unit_test(values),       cmocka_unit_test(strings),
        cmocka_unit_test(lying_values),  cmocka_unit_test(lying_tensors), cmocka_unit_test(twice),
        cmocka_unit_test(lying_headers), cmocka_unit_test(prefixes),     cmocka_unit_test(extremes),
        cmocka_unit_test(split_files),   cmocka_unit_test(part_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
