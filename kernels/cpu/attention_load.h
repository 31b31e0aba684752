/* What both halves of attention on vectors share: K and V as floats, and where results go.                           */
#ifndef LR_ATTENTION_LOAD_H
#define LR_ATTENTION_LOAD_H

#include "kernels/cpu/attention.h"

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rotate.h"
#include "kernels/cpu/vec.h"

enum { TILE = LR_ATT_TILE };

/* W codes of iq4_nl as their values: those of dimension d on, where d is a multiple of W.                             */
INLINE vf load_codes(const uint8_t *row, int d) {
    int shift = d / 4 & 4; /* the upper half of a block is in the high nibbles */
    row += d / 32 * 16;
#if defined(__AVX512F__)
    const vf values = _mm512_setr_ps(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    vi codes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)row));
    return _mm512_permutexvar_ps(_mm512_srl_epi32(codes, _mm_cvtsi32_si128(shift)), values);
#else
    const __m128i values = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    __m128i codes = _mm_srl_epi64(_mm_loadl_epi64((const void *)(row + (d & 8))), _mm_cvtsi32_si128(shift));
    codes = _mm_shuffle_epi8(values, _mm_and_si128(codes, _mm_set1_epi8(15)));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
#endif
}

INLINE vf load_scale(const uint8_t *scales, int d) {
    uint16_t scale;
    memcpy(&scale, scales + d / 32 * 2, sizeof scale);
    return v_all(_cvtsh_ss(scale));
}

/* n (1..W) values of a row from dimension d on; others are zero.                                                     */
INLINE vf load_kv(lr_format format, const uint8_t *row, const uint8_t *scales, int d, int n) {
    if (format == LR_F32) return n == W ? v_load((const float *)row + d) : v_load_n((const float *)row + d, n);
    if (format == LR_F16) return n == W ? v_load_f16(row + 2 * d) : v_load_f16_n(row + 2 * d, n);
    /* whole blocks of 32 */
    vf values = format == LR_Q8_0 ? v_load_i8((const int8_t *)row + d) : load_codes(row, d);
    return values * load_scale(scales, d);
}

/* n values of neighbouring rows to floats; f32 stays where it is.                                  */
static const float *to_floats(lr_format format, float *tile, const uint8_t *quants, const uint8_t *scales, int32_t n) {
    int32_t i = 0;
    if (format == LR_F32) return (const float *)(const void *)quants;
    if (format == LR_F16)
        for (; i + W <= n; i += W) v_store(tile + i, load_kv(LR_F16, quants, NULL, i, W));
    else if (format == LR_Q8_0)
        for (; i + W <= n; i += W) v_store(tile + i, load_kv(LR_Q8_0, quants, scales, i, W));
    else
        for (; i < n; i += 32)
            for (int j = 0; j < 32; j += W) v_store(tile + i + j, load_kv(LR_KV_ROTATED, quants, scales, i + j, W));
    if (i < n) v_store_n(tile + i, load_kv(LR_F16, quants, NULL, i, n - i), n - i);
    return tile;
}

/* n scores (a multiple of W) become softcap * tanh(score / softcap).                                                 */
static void cap_scores(const lr_attention_args *a, float *score, int32_t n) {
    if (!(a->softcap > 0)) return;
    vf cap = v_all(a->softcap), inverse = v_all(1.0f / a->softcap);
    for (int32_t i = 0; i < n; i += W) v_store(score + i, cap * v_tanh(v_load(score + i) * inverse));
}

/* Where the result of query i goes, and the factor that finishes it.                                                 */
static float *result(const lr_attention_args *a, const lr_att_item *it, int32_t i, float most, float sum,
                     float *factor) {
    int32_t r = i / it->group, g = i % it->group, head = it->kv_head * it->group + g;
    if (it->partial) {
        float *at = it->partial + r * it->row_stride + g * it->head_stride;
        at[lr_att_v_dim(a)] = most;
        at[lr_att_v_dim(a) + 1] = sum;
        *factor = 1.0f;
        return at;
    }
    *factor = lr_att_factor(a, head, most, sum);
    return a->out + (it->row + r) * a->out_stride + (int64_t)head * lr_att_v_dim(a);
}

#endif
