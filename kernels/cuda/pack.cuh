/* Writing activations in the formats of lr_act, and sums over a block.                                               */
#ifndef LR_PACK_CUH
#define LR_PACK_CUH

#include "kernels/cuda/device.h"

GPU_FN float warp_sum(float v) {
    GPU_UNROLL for (int bit = 16; bit; bit >>= 1) v += __shfl_xor_sync(GPU_FULL_WARP, v, bit);
    return v;
}
GPU_FN int warp_sum(int v) {
    GPU_UNROLL for (int bit = 16; bit; bit >>= 1) v += __shfl_xor_sync(GPU_FULL_WARP, v, bit);
    return v;
}
GPU_FN float warp_max(float v) {
    GPU_UNROLL for (int bit = 16; bit; bit >>= 1) v = fmaxf(v, __shfl_xor_sync(GPU_FULL_WARP, v, bit));
    return v;
}
/* Over a block of whole warps; every thread gets the result.  The order is fixed.                                    */
template <bool MAX> GPU_FN float block_reduce(float v) {
    GPU_SHARED(float, parts, [32]);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = MAX ? warp_max(v) : warp_sum(v);
    if (lane == 0) parts[warp] = v;
    __syncthreads();
    v = lane < warps ? parts[lane] : 0; /* maxima are of magnitudes */
    v = MAX ? warp_max(v) : warp_sum(v);
    __syncthreads(); /* before the next use */
    return v;
}

/* Bytes of a packed row, for the clock of the simulator.                                                             */
static inline double act_row_bytes(lr_act_format format, int64_t cols) {
    double values = (double)cols;
    return format == LR_ACT_F32 ? 4 * values : format == LR_ACT_Q8 ? 1.25 * values : 2 * values;
}

/* A warp writes 32 neighbouring values of row t of out, value i by the lane i % 32, as int8 with a common scale.     */
GPU_FN void put_q8(const lr_act &out, int64_t t, int64_t i, float v) {
    float scale = warp_max(fabsf(v)) / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    if (!isfinite(inverse)) inverse = scale = 0.0f; /* a block below 4e-37 is zero */
    int q = __float2int_rn(v * inverse), sum = warp_sum(q);
    ((int8_t *)out.values)[t * out.cols + i] = (int8_t)q;
    if (i % 32) return;
    int64_t block = (t * out.cols + i) / 32;
    ((float *)out.d)[block] = scale;
    ((float *)out.s)[block] = scale * (float)sum;
}

/* The power of two, 1 at least, that brings values of this magnitude into the range of f16.                          */
GPU_FN float f16_row_scale(float most) {
    float d = 1;
    while (most * (1.0f / d) > 65504.0f && most < INFINITY) d *= 2;
    return d;
}

/* Value i of row t; inside: it exists.  A block of q8 is a warp's, all lanes call.                                   */
template <int FORMAT> GPU_FN void put(const lr_act &out, int64_t t, int64_t i, float v, bool inside, float inverse_d) {
    if (FORMAT == LR_ACT_Q8) {
        if (i / 32 * 32 < out.cols) put_q8(out, t, i, v);
    } else if (inside) {
        int64_t at = t * out.cols + i;
        if (FORMAT == LR_ACT_F32) ((float *)out.values)[at] = v;
        if (FORMAT == LR_ACT_F16) ((unsigned short *)out.values)[at] = __half_as_ushort(__float2half_rn(v * inverse_d));
        if (FORMAT == LR_ACT_BF16) ((unsigned short *)out.values)[at] = __bfloat16_as_ushort(__float2bfloat16_rn(v));
    }
}

#endif
