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

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

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

/* Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low mantissa bits; |x| < 2^22.                  */
#define ROUNDER 12582912.0f
static inline vf v_round(vf x) { return (x + ROUNDER) - ROUNDER; }
/* The same as an integer.                                                                                            */
static inline vi v_round_i(vf x) { return (vi)(x + ROUNDER) - 0x4b400000; }

/* Low bytes of the lanes to out[LANES].                                                                              */
static inline void v_store_bytes(uint8_t *out, vi v) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8((__m512i)v));
#else
    int32_t lane[LANES];
    memcpy(lane, &v, sizeof v);
    for (int i = 0; i < LANES; i++) out[i] = (uint8_t)lane[i];
#endif
}

static inline float v_max_lane(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps(v);
#else
    float lane[LANES], most;
    memcpy(lane, &v, sizeof v);
    most = lane[0];
    for (int i = 1; i < LANES; i++) most = lane[i] > most ? lane[i] : most;
    return most;
#endif
}
static inline float v_min_lane(vf v) { return -v_max_lane(-v); }

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
