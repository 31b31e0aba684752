/* Vectors of floats for kernels that are written once and compiled for AVX2 and AVX-512: W lanes each, operators
 * + - * / work on them.  Only for files with the suffix of an instruction set.                                       */
#ifndef LR_VEC_H
#define LR_VEC_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

enum { W = 16 };
typedef __m512 vf;
typedef __m512i vi;
#define VF(op) _mm512_##op
#define VI(op) _mm512_##op##_si512

INLINE __mmask16 v_first(int n) { return (__mmask16)((1u << n) - 1); }
/* The first n lanes (0..W); nothing beyond them is touched, the others are zero.                                     */
INLINE vf v_load_n(const float *x, int n) { return _mm512_maskz_loadu_ps(v_first(n), x); }
INLINE void v_store_n(float *x, vf v, int n) { _mm512_mask_storeu_ps(x, v_first(n), v); }
INLINE vf v_only(vf v, int n) { return _mm512_maskz_mov_ps(v_first(n), v); }
INLINE vf v_load_f16(const void *x) { return _mm512_cvtph_ps(_mm256_loadu_si256(x)); }
INLINE vf v_load_f16_n(const void *x, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), x)); }
INLINE vf v_load_i8(const int8_t *x) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)x)));
}
INLINE void v_store_i8(int8_t *x, vi v) { _mm_storeu_si128((void *)x, _mm512_cvtepi32_epi8(v)); }
INLINE void v_store_u16(uint16_t *x, vi v) { _mm256_storeu_si256((void *)x, _mm512_cvtepi32_epi16(v)); }
INLINE float v_first_lane(vf v) { return _mm512_cvtss_f32(v); }
INLINE float v_sum(vf v) { return _mm512_reduce_add_ps(v); }
INLINE float v_most(vf v) { return _mm512_reduce_max_ps(v); }
INLINE int32_t v_sum_i(vi v) { return _mm512_reduce_add_epi32(v); }
/* p * 2^n, exact where the result is normal.                                                                         */
INLINE vf v_scale(vf p, vf n) { return _mm512_scalef_ps(p, n); }
/* lo <= t < hi ? v : other                                                                                           */
INLINE vf v_between(float t, vf lo, vf hi, vf v, vf other) {
    vf at = _mm512_set1_ps(t);
    __mmask16 in = _mm512_cmp_ps_mask(lo, at, _CMP_LE_OQ) & _mm512_cmp_ps_mask(at, hi, _CMP_LT_OQ);
    return _mm512_mask_blend_ps(in, other, v);
}
/* a < b ? yes : no */
INLINE vf v_where_less(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
INLINE vi v_pick_nan(vf test, vi where_nan, vi other) {
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(test, test, _CMP_UNORD_Q), other, where_nan);
}
/* 2 W neighbours -> those at even places, those at odd places.                                                       */
INLINE void v_part(vf a, vf b, vf *even, vf *odd) {
    const vi e = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(e, _mm512_set1_epi32(1)), b);
}
INLINE vf v_swap_halves(vf v) { return _mm512_shuffle_f32x4(v, v, 0x4e); }
INLINE vf v_swap_quarters(vf v) { return _mm512_shuffle_f32x4(v, v, 0xb1); }
INLINE vf v_half_twice(const float *x) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(x)); }
INLINE vf v_quarter_4_times(const float *x) { return _mm512_broadcast_f32x4(_mm_loadu_ps(x)); }
/* A W x W matrix, a[row], is turned.                                                                                 */
INLINE void v_transpose(vf a[16]) {
    vf b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            __m512d p = _mm512_castps_pd(b[i + j]), q = _mm512_castps_pd(b[i + j + 2]);
            a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
            a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
        }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) { /* a[4 i + j]: column j of each quarter, rows 4 i .. 4 i + 3 */
        vf p = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), q = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
        vf r = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd), t = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
        b[j] = _mm512_shuffle_f32x4(p, q, 0x88);
        b[8 + j] = _mm512_shuffle_f32x4(p, q, 0xdd);
        b[4 + j] = _mm512_shuffle_f32x4(r, t, 0x88);
        b[12 + j] = _mm512_shuffle_f32x4(r, t, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) a[i] = b[i];
}
/* Lane i: the sum of the lanes of a[i].                                                                              */
INLINE vf v_sum_each(const vf a[16]) {
    vf b[8], c[4], d[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        b[i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]) + _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d p = _mm512_castps_pd(b[2 * i]), q = _mm512_castps_pd(b[2 * i + 1]);
        c[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q)) + _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        d[i] = _mm512_shuffle_f32x4(c[2 * i], c[2 * i + 1], 0x88) + _mm512_shuffle_f32x4(c[2 * i], c[2 * i + 1], 0xdd);
    return _mm512_shuffle_f32x4(d[0], d[1], 0x88) + _mm512_shuffle_f32x4(d[0], d[1], 0xdd);
}

#else /* AVX2 */

enum { W = 8 };
typedef __m256 vf;
typedef __m256i vi;
#define VF(op) _mm256_##op
#define VI(op) _mm256_##op##_si256

INLINE vi v_first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INLINE vf v_load_n(const float *x, int n) { return n == W ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, v_first(n)); }
INLINE void v_store_n(float *x, vf v, int n) {
    if (n == W) _mm256_storeu_ps(x, v); /* masked stores are slow where they mask nothing, too */
    else _mm256_maskstore_ps(x, v_first(n), v);
}
INLINE vf v_only(vf v, int n) { return _mm256_and_ps(v, _mm256_castsi256_ps(v_first(n))); }
INLINE vf v_load_f16(const void *x) { return _mm256_cvtph_ps(_mm_loadu_si128(x)); }
INLINE vf v_load_f16_n(const void *x, int n) {
    uint16_t h[8] = {0};
    memcpy(h, x, (size_t)n * sizeof *h);
    return v_load_f16(h);
}
INLINE vf v_load_i8(const int8_t *x) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)x)));
}
INLINE __m128i v_pack_16(vi v) { return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)); }
INLINE void v_store_i8(int8_t *x, vi v) {
    _mm_storel_epi64((void *)x, _mm_packs_epi16(v_pack_16(v), _mm_setzero_si128()));
}
INLINE void v_store_u16(uint16_t *x, vi v) {
    _mm_storeu_si128((void *)x, _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}
INLINE float v_first_lane(vf v) { return _mm256_cvtss_f32(v); }
INLINE float v_sum(vf v) {
    __m128 s = _mm256_castps256_ps128(v) + _mm256_extractf128_ps(v, 1);
    s += _mm_movehl_ps(s, s);
    return _mm_cvtss_f32(s + _mm_movehdup_ps(s));
}
INLINE float v_most(vf v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ps(s, _mm_movehdup_ps(s)));
}
INLINE int32_t v_sum_i(vi v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
}
INLINE vf v_power_of_two(vi n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
INLINE vf v_scale(vf p, vf n) { /* in two steps: 2^n alone may not be a normal number */
    vi whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return p * v_power_of_two(half) * v_power_of_two(_mm256_sub_epi32(whole, half));
}
INLINE vf v_between(float t, vf lo, vf hi, vf v, vf other) {
    vf at = _mm256_set1_ps(t);
    return _mm256_blendv_ps(other, v,
                            _mm256_and_ps(_mm256_cmp_ps(lo, at, _CMP_LE_OQ), _mm256_cmp_ps(at, hi, _CMP_LT_OQ)));
}
INLINE vf v_where_less(vf a, vf b, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
INLINE vi v_pick_nan(vf test, vi where_nan, vi other) {
    return _mm256_blendv_epi8(other, where_nan, _mm256_castps_si256(_mm256_cmp_ps(test, test, _CMP_UNORD_Q)));
}
INLINE vf v_in_order(vf v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8)); }
INLINE void v_part(vf a, vf b, vf *even, vf *odd) {
    *even = v_in_order(_mm256_shuffle_ps(a, b, 0x88));
    *odd = v_in_order(_mm256_shuffle_ps(a, b, 0xdd));
}
INLINE vf v_swap_halves(vf v) { return _mm256_permute2f128_ps(v, v, 1); }
INLINE vf v_swap_quarters(vf v) { return _mm256_permute_ps(v, 0x4e); }
INLINE vf v_half_twice(const float *x) { return _mm256_broadcast_ps((const __m128 *)(const void *)x); }
INLINE vf v_quarter_4_times(const float *x) { return _mm256_setr_ps(x[0], x[1], x[0], x[1], x[0], x[1], x[0], x[1]); }
INLINE void v_transpose(vf a[8]) {
    vf b[8];
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* 4 x 4 within each half */
        vf p = _mm256_unpacklo_ps(a[i], a[i + 1]), q = _mm256_unpackhi_ps(a[i], a[i + 1]);
        vf r = _mm256_unpacklo_ps(a[i + 2], a[i + 3]), t = _mm256_unpackhi_ps(a[i + 2], a[i + 3]);
        b[i] = _mm256_shuffle_ps(p, r, 0x44);
        b[i + 1] = _mm256_shuffle_ps(p, r, 0xee);
        b[i + 2] = _mm256_shuffle_ps(q, t, 0x44);
        b[i + 3] = _mm256_shuffle_ps(q, t, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_permute2f128_ps(b[i], b[4 + i], 0x20);
        a[4 + i] = _mm256_permute2f128_ps(b[i], b[4 + i], 0x31);
    }
}
INLINE vf v_sum_each(const vf a[8]) {
    vf b = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    vf c = _mm256_hadd_ps(_mm256_hadd_ps(a[4], a[5]), _mm256_hadd_ps(a[6], a[7]));
    return _mm256_permute2f128_ps(b, c, 0x20) + _mm256_permute2f128_ps(b, c, 0x31);
}

#endif

/* Keeps v in a register: compilers would rather load it again for each use.                                          */
INLINE void v_keep(vf *v) { __asm__("" : "+v"(*v)); }
INLINE vf v_load(const float *x) { return VF(loadu_ps)(x); }
INLINE void v_store(float *x, vf v) { VF(storeu_ps)(x, v); }
INLINE vf v_all(float x) { return VF(set1_ps)(x); }
INLINE vf v_zero(void) { return VF(setzero_ps)(); }
INLINE vf v_fma(vf a, vf b, vf c) { return VF(fmadd_ps)(a, b, c); }
INLINE vf v_max(vf a, vf b) { return VF(max_ps)(a, b); } /* b where either is NaN */
INLINE vf v_min(vf a, vf b) { return VF(min_ps)(a, b); } /* b where either is NaN */
INLINE vf v_abs(vf a) { return VF(max_ps)(a, v_zero() - a); }
INLINE vf v_with_sign(vf size, vf sign) { return VF(or_ps)(size, VF(and_ps)(sign, v_all(-0.0f))); }
INLINE vi v_round(vf a) { return VF(cvtps_epi32)(a); }

/* e^x, error at most 1.1 ulp; 0 from -104 down, inf from 89 up.  Polynomial: Cephes expf.                            */
INLINE vf v_exp(vf x) {
    x = VF(min_ps)(v_all(89.0f), VF(max_ps)(v_all(-104.0f), x));
    vf n = VF(cvtepi32_ps)(v_round(x * v_all(1.44269504f)));
    vf r = v_fma(n, v_all(2.12194440e-4f), v_fma(n, v_all(-0.693359375f), x));
    vf p = v_all(1.9875691500e-4f);
    p = v_fma(p, r, v_all(1.3981999507e-3f));
    p = v_fma(p, r, v_all(8.3334519073e-3f));
    p = v_fma(p, r, v_all(4.1665795894e-2f));
    p = v_fma(p, r, v_all(1.6666665459e-1f));
    p = v_fma(p, r, v_all(5.0000001201e-1f));
    return v_scale(v_fma(p, r * r, r) + v_all(1.0f), n);
}

/* tanh x, error at most 2 ulp.  Polynomial near 0: Cephes tanhf.                                                     */
INLINE vf v_tanh(vf x) {
    vf size = v_abs(x), z = x * x, far = v_all(1.0f) - v_all(2.0f) / (v_exp(size + size) + v_all(1.0f));
    vf p = v_all(-5.70498872745e-3f);
    p = v_fma(p, z, v_all(2.06390887954e-2f));
    p = v_fma(p, z, v_all(-5.37397155531e-2f));
    p = v_fma(p, z, v_all(1.33314422036e-1f));
    p = v_fma(p, z, v_all(-3.33332819422e-1f));
    return v_where_less(size, v_all(0.625f), v_fma(p * z, x, x), v_with_sign(far, x));
}

#endif
