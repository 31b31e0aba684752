/* Shapes of published models for the planner's tests: hyperparameters, the tensor list that bind would make, and a plan
 * input with stand-ins for the kernels' sizes.  Include it after cmocka.h.                                            */
#ifndef TEST_PLAN_MODELS_H
#define TEST_PLAN_MODELS_H

#include "runtime/plan.h"

enum { HAS_HEAD = 1, HAS_QKV_BIAS = 2, HAS_QK_NORM = 4 };

typedef struct model {
    const char *name;
    lr_hparams h;
    unsigned has;
    uint64_t n_params; /* as published, 0: not checked */
} model;

#define SHAPE(layers, d, heads, kv, hd, ff, vocab, ctx) \
    .n_layers = layers, .dim = d, .n_heads = heads, .n_kv_heads = kv, .head_dim = hd, .hidden_dim = ff, \
    .n_vocab = vocab, .n_ctx_train = ctx, .n_rot = hd

static const model models[] = {
    { "llama-2-7b", { SHAPE(32, 4096, 32, 32, 128, 11008, 32000, 4096) }, HAS_HEAD, 6738415616 },
    { "llama-2-13b", { SHAPE(40, 5120, 40, 40, 128, 13824, 32000, 4096) }, HAS_HEAD, 13015864320 },
    { "llama-2-70b", { SHAPE(80, 8192, 64, 8, 128, 28672, 32000, 4096) }, HAS_HEAD, 68976648192 },
    { "llama-3-8b", { SHAPE(32, 4096, 32, 8, 128, 14336, 128256, 8192) }, HAS_HEAD, 8030261248 },
    { "llama-3.1-8b", { SHAPE(32, 4096, 32, 8, 128, 14336, 128256, 131072) }, HAS_HEAD, 8030261248 },
    { "mistral-7b", { SHAPE(32, 4096, 32, 8, 128, 14336, 32000, 32768), .window = 4096 }, HAS_HEAD, 7241732096 },
    { "qwen2-0.5b", { SHAPE(24, 896, 14, 2, 64, 4864, 151936, 32768) }, HAS_QKV_BIAS, 494032768 },
    { "qwen2-7b", { SHAPE(28, 3584, 28, 4, 128, 18944, 152064, 32768) }, HAS_HEAD | HAS_QKV_BIAS, 7615616512 },
    { "qwen2-7b, upper half windowed", { SHAPE(28, 3584, 28, 4, 128, 18944, 152064, 32768), .window = 1024,
      .layer_flags = { [0 ... 13] = LR_LAYER_FULL } }, HAS_HEAD | HAS_QKV_BIAS, 7615616512 },
    { "qwen3-0.6b", { SHAPE(28, 1024, 16, 8, 128, 3072, 151936, 40960) }, HAS_QK_NORM, 596049920 },
    { "qwen3-8b", { SHAPE(36, 4096, 32, 8, 128, 12288, 151936, 40960) }, HAS_HEAD | HAS_QK_NORM, 8190735360 },
    { "tinyllama-1.1b", { SHAPE(22, 2048, 32, 4, 64, 5632, 32000, 2048) }, HAS_HEAD, 1100048384 },
    { "stories260k", { SHAPE(5, 64, 8, 4, 8, 172, 512, 512) }, 0, 0 },
    { "odd", { SHAPE(3, 100, 5, 1, 20, 270, 777, 1000) }, HAS_HEAD, 0 },
};

enum { MOST_TENSORS = 2 + 1024 * 20 };

static void add_tensor(lr_plan_input *in, lr_plan_tensor *list, lr_format file, lr_role role, int32_t layer,
                       int64_t rows, int64_t cols) {
    list[in->n_tensors++] = (lr_plan_tensor){ .role = role, .layer = layer, .rows = rows, .cols = cols,
                                              .file_format = file, .aligned = true };
}

/* Fills list (MOST_TENSORS) and points `in` at it.                                                                    */
static void list_tensors(lr_plan_input *in, lr_plan_tensor *list, const model *m, lr_format file) {
    const lr_hparams *h = &m->h;
    int64_t q = (int64_t)h->n_heads * h->head_dim, kv = (int64_t)h->n_kv_heads * h->head_dim;
    in->model = h;
    in->tensors = list;
    in->n_tensors = 0;
    add_tensor(in, list, file, LR_EMBED, -1, h->n_vocab, h->dim);
    for (int32_t i = 0; i < h->n_layers; i++) {
        add_tensor(in, list, file, LR_ATTN_NORM, i, h->dim, 1);
        add_tensor(in, list, file, LR_WQ, i, q, h->dim);
        add_tensor(in, list, file, LR_WK, i, kv, h->dim);
        add_tensor(in, list, file, LR_WV, i, kv, h->dim);
        add_tensor(in, list, file, LR_WO, i, h->dim, q);
        if (m->has & HAS_QKV_BIAS) {
            add_tensor(in, list, file, LR_BQ, i, q, 1);
            add_tensor(in, list, file, LR_BK, i, kv, 1);
            add_tensor(in, list, file, LR_BV, i, kv, 1);
        }
        if (m->has & HAS_QK_NORM) {
            add_tensor(in, list, file, LR_Q_NORM, i, h->head_dim, 1);
            add_tensor(in, list, file, LR_K_NORM, i, h->head_dim, 1);
        }
        add_tensor(in, list, file, LR_FFN_NORM, i, h->dim, 1);
        add_tensor(in, list, file, LR_W_GATE, i, h->hidden_dim, h->dim);
        add_tensor(in, list, file, LR_W_UP, i, h->hidden_dim, h->dim);
        add_tensor(in, list, file, LR_W_DOWN, i, h->dim, h->hidden_dim);
    }
    add_tensor(in, list, file, LR_OUT_NORM, -1, h->dim, 1);
    if (m->has & HAS_HEAD) add_tensor(in, list, file, LR_HEAD, -1, h->n_vocab, h->dim);
}

static lr_plan_tensor list[MOST_TENSORS];

/* ---- the input: simple stand-ins for the kernels' own sizes ---- */

static size_t scratch_bytes(int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim) {
    return (size_t)(max_cols * 4 + lr_min(n, 16) * n_heads + head_dim + 5);
}

static size_t partial_bytes(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads, int32_t head_dim) {
    int64_t splits = lr_min(64, ((int64_t)n_ctx + 255) / 256) * lr_max(1, 2 - n_kv_heads);
    return n_ctx <= 256 ? 0 : (size_t)(lr_min(n_rows, 16) * splits * n_heads * (head_dim + 2)) * 4;
}

/* f16 and bf16 weights take bf16 inputs, f32 takes f32, quantized ones int8.                                          */
static const lr_ops *test_ops(void) {
    static lr_ops ops = { .few_tokens = 8 };
    for (int f = 0; f < LR_N_FORMATS; f++) {
        ops.matmul_few[f].act = LR_ACT_F32;
        ops.matmul_many[f].act = f == LR_F32 ? LR_ACT_F32 : lr_format_is_plain((lr_format)f) ? LR_ACT_BF16 : LR_ACT_Q8;
    }
    return &ops;
}

static lr_plan_input input_for(const model *m, lr_format file) {
    lr_plan_input in = {
        .quant = LR_FORMAT_NONE, .kv = LR_FORMAT_NONE, .n_sessions = 1, .n_threads = 2, .use_mmap = true,
        .host = { .name = "cpu", .budget_bytes = (uint64_t)1 << 50, .granule_bytes = LR_ALIGN },
        .host_fixed_bytes = 1234567, .ops = test_ops(), .scratch_bytes = scratch_bytes, .partial_bytes = partial_bytes,
    };
    list_tensors(&in, list, m, file);
    return in;
}

static inline void must_fit(lr_plan *plan, const lr_plan_input *in) {
    llmrun_error err = { 0 };
    if (lr_plan_make(plan, in, &err) != LLMRUN_OK) fail_msg("%s", err.message);
}

static inline const model *model_named(const char *name) {
    for (size_t i = 0; i < LR_COUNT(models); i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    fail_msg("no model %s", name);
    return NULL;
}

static inline uint32_t draw(uint64_t *rng, uint32_t n) {
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*rng >> 33) % n);
}

/* Damaged documents of a plan: a status, never a crash, and never another plan under the same hash.                   */
static inline void replay_damaged(const lr_plan_input *in, const lr_plan *plan, const lr_text *json, int times,
                                  uint64_t *rng) {
    for (int k = 0; k < times; k++) {
        lr_plan again;
        char *copy = strdup(json->text);
        assert_non_null(copy);
        copy[draw(rng, (uint32_t)json->n)] = (char)(32 + draw(rng, 95));
        if (lr_plan_replay(&again, in, copy, NULL) == LLMRUN_OK) assert_int_equal(again.hash, plan->hash);
        lr_plan_close(&again);
        free(copy);
    }
}

#endif
