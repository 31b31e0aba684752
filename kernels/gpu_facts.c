/* Facts about the GPU kernels that the planner and the backends share.  See backend.h.                               */
#include "kernels/backend.h"

/* Few tokens: what keeps up with reading the weights, int8 products for quantized ones; and what a block of a kernel can
 * pack from 32 values alone, which f16 with the scale of its row is not.  Many: tensor cores, on weights that a tile
 * decodes to f16, or bf16 as they are; f32 weights keep their precision.                                              */
lr_act_format lr_gpu_act(lr_format weights, int64_t n) {
    static const lr_act_format few[LR_N_FORMATS] = {
        [LR_F32] = LR_ACT_F32, [LR_F16] = LR_ACT_F32,   [LR_BF16] = LR_ACT_F32, [LR_Q8_0] = LR_ACT_Q8,
        [LR_Q4_K] = LR_ACT_Q8, [LR_IQ4_NL] = LR_ACT_Q8, [LR_NF4] = LR_ACT_Q8, [LR_FP4] = LR_ACT_Q8,
        [LR_U4] = LR_ACT_Q8,   [LR_U4_32] = LR_ACT_Q8,  [LR_I8] = LR_ACT_Q8,  [LR_FP8] = LR_ACT_F32,
    };
    static const lr_act_format many[LR_N_FORMATS] = {
        [LR_F32] = LR_ACT_F32,  [LR_F16] = LR_ACT_F16,   [LR_BF16] = LR_ACT_BF16, [LR_Q8_0] = LR_ACT_F16,
        [LR_Q4_K] = LR_ACT_F16, [LR_IQ4_NL] = LR_ACT_F16, [LR_NF4] = LR_ACT_F16,  [LR_FP4] = LR_ACT_F16,
        [LR_U4] = LR_ACT_F16,   [LR_U4_32] = LR_ACT_F16,  [LR_I8] = LR_ACT_F16,   [LR_FP8] = LR_ACT_F16,
    };
    if (weights >= 0 && lr_format_is_blocks(weights)) return n <= LR_GPU_FEW ? LR_ACT_Q8 : LR_ACT_F16;
    if (weights < 0 || weights > LR_FP8) return LR_ACT_NONE;
    return n <= LR_GPU_FEW ? few[weights] : many[weights];
}

/* Takes so many bytes off the end; returns where they are.                                                            */
static size_t take(size_t *end, size_t bytes) {
    size_t at = *end;
    *end += lr_aligned(bytes);
    return at;
}

/* What gate and up left is no longer needed when down writes.                                                         */
lr_gpu_experts_room lr_gpu_experts_lay_out(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden,
                                           lr_format ordered, lr_format down) {
    lr_gpu_experts_room r = { 0 };
    int64_t n_pairs = n * k;
    r.hidden = take(&r.bytes, lr_act_bytes(lr_gpu_act(down, n), n_pairs, hidden));
    if (ordered != LR_FORMAT_NONE) r.in = take(&r.bytes, lr_act_bytes(lr_gpu_act(ordered, n), n_pairs, dim));
    if (n <= LR_GPU_FEW) {
        if (ordered != LR_FORMAT_NONE) r.rows = take(&r.bytes, (size_t)n_pairs * (size_t)hidden * sizeof(float));
        return r;
    }
    r.n_tiles = (int32_t)(n_pairs / LR_GPU_EXPERTS_TILE + lr_min(n_pairs, n_experts));
    r.rows = take(&r.bytes, (size_t)n_pairs * (size_t)lr_max(2 * hidden, dim) * sizeof(float));
    r.tokens = take(&r.bytes, (size_t)n_pairs * sizeof(int32_t));
    r.pairs = take(&r.bytes, (size_t)n_pairs * sizeof(int32_t));
    r.tiles = take(&r.bytes, (size_t)r.n_tiles * 4 * sizeof(int32_t));
    return r;
}

/* Long passes take more than short ones.                                                                              */
size_t lr_gpu_experts_bytes(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden,
                            lr_format ordered, lr_format down) {
    return lr_gpu_experts_lay_out(n, k, n_experts, dim, hidden, ordered, down).bytes;
}

enum { SPLITS_MOST = 64, SPLIT_LEAST = 64, BLOCKS_WANTED = 256 };

/* Enough blocks to fill a large GPU, none shorter than SPLIT_LEAST positions where the context is full.               */
int32_t lr_gpu_attention_splits(int32_t n_kv_heads, int32_t n_ctx) {
    int64_t wanted = ((int64_t)BLOCKS_WANTED + n_kv_heads - 1) / lr_max(1, n_kv_heads);
    int64_t most = lr_min(SPLITS_MOST, ((int64_t)n_ctx + SPLIT_LEAST - 1) / SPLIT_LEAST);
    return (int32_t)lr_max(1, lr_min(wanted, most));
}

/* Each split of a few rows leaves its maximum, its sum and its weighted values; more rows take turns.                  */
size_t lr_gpu_attention_partial_bytes(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads,
                                      int32_t head_dim) {
    size_t splits = (size_t)lr_gpu_attention_splits(n_kv_heads, n_ctx), rows = (size_t)lr_min(n_rows, LR_GPU_FEW);
    return splits * rows * (size_t)n_heads * (size_t)(head_dim + 2) * sizeof(float);
}

bool lr_gpu_attention_takes(lr_format kv, int32_t head_dim) {
    return (kv == LR_F16 || kv == LR_Q8_0 || kv == LR_F32 || kv == LR_KV_ROTATED) && head_dim > 0 && head_dim <= 256 &&
           head_dim % lr_formats[kv].block == 0;
}

/* Of queries' heads, packed row by row, each begins a block.                                                          */
bool lr_gpu_latent_takes(lr_format kv, int32_t kv_rank, int32_t n_nope, int32_t n_rot) {
    /* Formats whose blocks have 64 values or more read the scales of a head's activations in pairs. */
    if (n_nope % 64 == 0 && n_rot % 64 != 0) return false;
    return (kv == LR_F16 || kv == LR_Q8_0) && kv_rank <= 512 && kv_rank % 16 == 0 && n_rot % 16 == 0 &&
           (n_nope + n_rot) % 32 == 0 && (kv_rank + n_rot) <= 576 && (kv_rank + n_rot) % lr_formats[kv].block == 0;
}

bool lr_gpu_delta_takes(int32_t k_dim, int32_t v_dim, int32_t taps) {
    return k_dim <= LR_DELTA_MOST && v_dim <= LR_DELTA_MOST && taps <= LR_DELTA_TAPS;
}
