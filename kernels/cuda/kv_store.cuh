/* What brings new rows into a cache: the sequence that a row belongs to, norm and rotary embedding, and a row of one
 * head in the format of the cache.  A warp takes a row.
 * Sources: Su et al., arXiv:2104.09864 (rope); quant/q8_0_lanes.h (the same bytes).                                  */
#ifndef LR_KV_STORE_CUH
#define LR_KV_STORE_CUH

#include "kernels/cuda/attention.cuh"

enum { LANES = 32 };

/* The sequence that has this row of the pass; NULL: none.                                                            */
GPU_FN const lr_seq *sequence_of(const lr_seq *seqs, int n, int64_t row) {
    int below = 0; /* first of row <= the row, or the first of all */
    for (int above = n; above - below > 1;) {
        int middle = (below + above) / 2;
        if (seqs[middle].row <= row) below = middle;
        else above = middle;
    }
    const lr_seq *seq = seqs + below;
    return n > 0 && row >= seq->row && row < seq->row + seq->n ? seq : nullptr;
}

/* RMSNorm; LayerNorm (center).                                                                                       */
GPU_FN void norm(float *x, const float *w, int dim, float eps, bool center, int lane) {
    float sum = 0, mean = 0;
    for (int i = lane; i < dim && center; i += LANES) sum += x[i];
    if (center) mean = warp_sum(sum) / (float)dim;
    sum = 0;
    for (int i = lane; i < dim; i += LANES) sum += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf(warp_sum(sum) / (float)dim + eps);
    for (int i = lane; i < dim; i += LANES) x[i] = (x[i] - mean) * scale * w[i];
    __syncwarp();
}

GPU_FN void rotate(float *x, const float *cos_sin, int n_rot, bool adjacent, int lane) {
    for (int i = lane; i < n_rot / 2; i += LANES) {
        int first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + n_rot / 2;
        float x0 = x[first], x1 = x[second], c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        x[first] = x0 * c - x1 * s;
        x[second] = x0 * s + x1 * c;
    }
    __syncwarp();
}

/* A block of 32 values, one a lane.  The codes are nearest for d before it is rounded to f16; outside of the normal
 * range of f16, for the stored d.                                                                                    */
GPU_FN void store_q8(int8_t *quants, unsigned short *scale, float v, int lane) {
    float d = warp_max(fabsf(v)) / 127.0f;
    __half h = __float2half_rn(fminf(d, 65504.0f));
    if (d < 6.103515625e-5f || d > 65504.0f) d = __half2float(h);
    float inverse = d > 0 ? 1.0f / d : 0.0f;
    quants[lane] = (int8_t)__float2int_rn(fminf(fmaxf(v * inverse, -127.0f), 127.0f));
    if (lane == 0) *scale = __half_as_ushort(h);
}

/* The rotation of a row in shared memory: the sums of kernels/cpu/rotate.h, and so its bits.                          */
GPU_FN void rotate_shared(float *x, int n, int lane) {
    for (int size = LR_KV_ROTATED_MOST; n > 0; x += size, n -= size) {
        while (size > n) size /= 2;
        for (int away = 1; away < size; away *= 2) {
            for (int pair = lane; pair < size / 2; pair += LANES) {
                int i = pair / away * 2 * away + pair % away;
                float a = x[i], b = x[i + away];
                x[i] = a + b;
                x[i + away] = a - b;
            }
            __syncwarp();
        }
        float scale = 1 / sqrtf((float)size);
        for (int i = lane; i < size; i += LANES) x[i] *= scale;
        __syncwarp();
    }
}

/* Rounded, whatever it is added to.                                                                                   */
GPU_FN float product(float a, float b) {
#ifdef SIMGPU
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}

/* The code of iq4_nl whose value is nearest to x, and that value.                                                     */
GPU_FN int code_of(float x, float *value) {
    constexpr float values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    int code = 0;
    *value = values[0];
    GPU_UNROLL for (int k = 0; k < 15; k++) {
        bool above = x > (values[k] + values[k + 1]) / 2;
        code += above;
        *value = above ? values[k + 1] : *value;
    }
    return code;
}

/* A block of 32 values by half a warp.  Each of its lanes tries one scale; the best gets the codes.  The bytes are
 * those of quant/iq4_nl_lanes.h.                                                                                     */
GPU_FN void store_q4(uint8_t *quants, unsigned short *scale, const float *x, int lane) {
    int trial = lane % 16;
    float peak = 0, q, xq = 0, qq = 0;
    for (int i = 0; i < 32; i++) peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
    float inverse = (float)(-96 - 4 * trial) / peak;
    for (int i = 0; i < 32; i++) {
        code_of(product(inverse, x[i]), &q);
        xq += product(q, x[i]);
        qq += q * q; /* exact */
    }
    float d = xq / qq, gain = product(xq, xq) / qq;
    gain = gain > 0 ? gain : 0.0f;
    GPU_UNROLL for (int bit = 8; bit; bit >>= 1) { /* the first of the best */
        float other = __shfl_xor_sync(GPU_FULL_WARP, gain, bit), its_d = __shfl_xor_sync(GPU_FULL_WARP, d, bit);
        int its_trial = __shfl_xor_sync(GPU_FULL_WARP, trial, bit);
        bool better = other > gain || (other == gain && its_trial < trial);
        gain = better ? other : gain;
        d = better ? its_d : d;
        trial = better ? its_trial : trial;
    }
    if (!(peak != 0)) d = 0;
    unsigned short h = __half_as_ushort(__float2half_rn(fminf(fabsf(d), 65504.0f))) | (d < 0 ? 0x8000 : 0);
    d = __half2float(__ushort_as_half(h));
    inverse = d != 0 ? 1 / d : 0.0f;
    int i = lane % 16;
    int low = code_of(product(x[i], inverse), &q), high = code_of(product(x[i + 16], inverse), &q);
    quants[i] = (uint8_t)(low | high << 4);
    if (i == 0) *scale = h;
}

/* x: in shared memory; of a rotated cache it is overwritten.                                                         */
GPU_FN void kv_store(const lr_kv_layer &kv, int head, int position, bool is_v, float *x, int lane) {
    cache_head cache(kv, head, kv.format);
    cache_row row = cache.row(cache.slot(position));
    uint64_t to_v = is_v ? cache.half : 0;
    uint8_t *quants = (uint8_t *)row.k + to_v, *scales = (uint8_t *)row.k_scales + to_v;
    if (kv.format == LR_Q8_0) {
        for (int i = 0; i < kv.head_dim; i += LANES)
            store_q8((int8_t *)quants + i, (unsigned short *)scales + i / LANES, x[i + lane], lane);
        return;
    }
    if (kv.format == LR_KV_ROTATED) {
        rotate_shared(x, kv.head_dim, lane);
        for (int i = 0; i < kv.head_dim; i += 64) { /* two blocks, or the last one twice */
            int block = min(i + 2 * (lane & 16), kv.head_dim - 32) / 32;
            store_q4(quants + 16 * block, (unsigned short *)scales + block, x + 32 * block, lane);
        }
        return;
    }
    for (int i = lane; i < kv.head_dim; i += LANES) {
        if (kv.format == LR_F32) ((float *)quants)[i] = x[i];
        else ((unsigned short *)quants)[i] = __half_as_ushort(__float2half_rn(x[i]));
    }
}

#endif
