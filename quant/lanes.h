/* A small vector vocabulary for code that is written once and compiled for each instruction set (encoders.h).
 *
 * A vector has LANES values: 16, 8 or 4.  Only operations that round the same everywhere are here, and sums run in an
 * order that does not depend on LANES, so every instruction set produces the same bytes.  Include it only from files
 * that encoders_body.h pulls in.                                                                                      */
#ifndef LR_LANES_H
#define LR_LANES_H

#include "quant/quant.h"

#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define V_X86(op) _mm512_##op
#elif defined(__AVX2__)
#define LANES 8
#define V_X86(op) _mm256_##op
#else
#define LANES 4
#define V_X86(op) _mm_##op
#endif

/* Of functions that take weights or NULL: both kinds are compiled, neither asks at run time.                          */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

static inline vf v_load(const float *x) {
    vf v;
    memcpy(&v, x, sizeof v);
    return v;
}
static inline void v_store(float *x, vf v) { memcpy(x, &v, sizeof v); }
static inline vf v_all(float x) { return x - (vf){0}; } /* - keeps the sign of -0 */
static inline vi v_all_i(int32_t x) { return x + (vi){0}; }
static inline vi v_bits(vf x) { return (vi)x; }
/* m ? a : b, for a mask m of a comparison.                                                                           */
static inline vf v_pick(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }

/* a < b ? a : b, so b where either is NaN; v_max likewise.                                                            */
static inline vf v_min(vf a, vf b) {
#if defined(__SSE2__)
    return V_X86(min_ps)(a, b);
#else
    return v_pick(a < b, a, b);
#endif
}
static inline vf v_max(vf a, vf b) {
#if defined(__SSE2__)
    return V_X86(max_ps)(a, b);
#else
    return v_pick(a > b, a, b);
#endif
}
static inline vf v_abs(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* Nearest integer, ties to even.  |x| < 2^22: adding 1.5 * 2^23 leaves it in the low mantissa bits.                  */
#define V_ROUNDER 12582912.0f
static inline vf v_round(vf x) {
#if defined(__AVX512F__)
    return _mm512_roundscale_ps(x, 0);
#elif defined(__AVX2__)
    return _mm256_round_ps(x, 0);
#else
    return (x + V_ROUNDER) - V_ROUNDER;
#endif
}
static inline vi v_round_i(vf x) { return (vi)(x + V_ROUNDER) - 0x4b400000; }

/* a * b + c where every intermediate value is a small integer, so that fusing changes nothing.                       */
static inline vf v_mul_add_exact(vf a, vf b, vf c) {
#if defined(__AVX512F__) || defined(__FMA__)
    return V_X86(fmadd_ps)(a, b, c);
#else
    return a * b + c;
#endif
}

/* How many of the 15 ascending midpoints lie below x: the code of the nearest of 16 values (NaN: 0).                 */
static inline vi v_code16(vf x, const float midpoints[15]) {
#if defined(__AVX512F__)
    __m512 table = _mm512_maskz_loadu_ps(0x7fff, midpoints);
    __m512i code = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(x, _mm512_set1_ps(midpoints[7]), _CMP_GT_OQ), 8);
    for (int step = 4; step; step /= 2) {
        __m512 mid = _mm512_permutexvar_ps(_mm512_add_epi32(code, _mm512_set1_epi32(step - 1)), table);
        code = _mm512_mask_add_epi32(code, _mm512_cmp_ps_mask(x, mid, _CMP_GT_OQ), code, _mm512_set1_epi32(step));
    }
    return (vi)code;
#else
    vi code = {0};
    for (int k = 0; k < 15; k++) code -= x > midpoints[k]; /* a true comparison is -1 */
    return code;
#endif
}

/* The nearest of 16 values itself.  steps[k] = value k + 1 - value k, both exact.                                     */
static inline vf v_value16(vf x, const float midpoints[15], const float values[16], const float steps[15]) {
#if defined(__AVX512F__)
    (void)steps;
    return _mm512_permutexvar_ps((__m512i)v_code16(x, midpoints), _mm512_loadu_ps(values));
#else
    vf value = v_all(values[0]);
    for (int k = 0; k < 15; k++) value += (vf)(v_bits(v_all(steps[k])) & (x > midpoints[k]));
    return value;
#endif
}

/* Low bytes of the lanes to out[LANES].                                                                              */
static inline void v_store_bytes(uint8_t *out, vi v) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8((__m512i)v));
#elif defined(__AVX2__)
    __m256i low = _mm256_shuffle_epi8((__m256i)v, _mm256_set1_epi32(0x0c080400));
    int32_t half[2] = {_mm256_extract_epi32(low, 0), _mm256_extract_epi32(low, 4)};
    memcpy(out, half, sizeof half);
#else
    for (int i = 0; i < LANES; i++) out[i] = (uint8_t)v[i];
#endif
}

/* LANES 16-bit values, zero-extended, and back (low halves).                                                          */
static inline vu v_load_halves(const void *src) {
    vh h;
    memcpy(&h, src, sizeof h);
    return __builtin_convertvector(h, vu);
}
static inline void v_store_halves(void *out, vu v) {
    vh h = __builtin_convertvector(v, vh);
    memcpy(out, &h, sizeof h);
}

static inline float v_max_lane(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps(v);
#elif defined(__AVX2__)
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
#else
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
#endif
}
static inline float v_min_lane(vf v) { return -v_max_lane(-v); }

/* Index of the first largest of 16 values; no NaN.                                                                   */
static inline int best_of_16(const float x[16]) {
#if defined(__AVX512F__)
    __m512 v = _mm512_loadu_ps(x);
    return __builtin_ctz(_mm512_cmpeq_ps_mask(v, _mm512_set1_ps(_mm512_reduce_max_ps(v))));
#else
    int best = 0;
    for (int i = 1; i < 16; i++) best = x[i] > x[best] ? i : best;
    return best;
#endif
}

/* Sum of 32 values, in the order of a tree of halves.                                                                */
static inline float sum_of_32(const float x[32]) {
    float t[16];
    for (int i = 0; i < 16; i++) t[i] = x[i] + x[i + 16];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) t[i] += t[i + half];
    return t[0];
}

/* f16 of a scale: finite always, so that one huge value does not turn its block into NaN.                            */
static inline uint16_t scale_f16(float x) {
    x = x < 65504.0f ? x : 65504.0f;
#if defined(__F16C__)
    return (uint16_t)_cvtss_sh(x, 0);
#else
    return lr_f32_to_f16(x);
#endif
}
static inline float scale_f32(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return lr_f16_to_f32(h);
#endif
}

#endif
