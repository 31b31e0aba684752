/* What the AVX-512 prefill matmuls share: transpositions, and the end of a tile.                                    */
#ifndef LR_GEMM_AVX512_H
#define LR_GEMM_AVX512_H

#include <immintrin.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

enum { LR_GEMM_ROWS_AVX512 = 16 }; /* of a panel: one lane each */

/* In each 128-bit lane, a 4 x 4 transposition of 32-bit values.                                                     */
static inline void lr_transpose_lanes(__m512i v[4]) {
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, c);
    v[1] = _mm512_unpackhi_epi64(a, c);
    v[2] = _mm512_unpacklo_epi64(b, d);
    v[3] = _mm512_unpackhi_epi64(b, d);
}

/* A 16 x 16 transposition of 32-bit values.                                                                         */
static inline void lr_transpose_16(__m512i v[16]) {
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) lr_transpose_lanes(v + i);
    /* v[4 i + c] holds rows 4 i .. 4 i + 3 of columns c, c + 4, c + 8, c + 12. */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512i a = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88), b = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xdd);
        const __m512i e = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88);
        const __m512i f = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xdd);
        v[c] = _mm512_shuffle_i32x4(a, e, 0x88);
        v[4 + c] = _mm512_shuffle_i32x4(b, f, 0x88);
        v[8 + c] = _mm512_shuffle_i32x4(a, e, 0xdd);
        v[12 + c] = _mm512_shuffle_i32x4(b, f, 0xdd);
    }
}

/* Writes the sums of a tile with room for n tokens.                                                                 */
static inline __attribute__((always_inline)) void lr_gemm_store_avx512(const lr_gemm_tile *t, const __m512 *sums,
                                                                       const int n) {
    const __mmask16 rows = (__mmask16)((1u << t->n_rows) - 1);
    const __m512 bias = t->bias ? _mm512_maskz_loadu_ps(rows, t->bias) : _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) {
        if (i >= t->n_tokens) return;
        float *y = t->y + i * t->y_stride;
        __m512 v = sums[i];
        if (t->bias) v = _mm512_add_ps(v, bias);
        if (t->accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, y), v);
        _mm512_mask_storeu_ps(y, rows, v);
    }
}

/* Calls tile(t, n) with the smallest n that has room for the tokens: code for few tokens is worth its bytes.        */
#define LR_GEMM_TILE_SIZES(tile, t, ...)                                                                             \
    switch (((t)->n_tokens + 3) / 4) {                                                                               \
    case 1: tile(t, 4, ##__VA_ARGS__); break;                                                                        \
    case 2: tile(t, 8, ##__VA_ARGS__); break;                                                                        \
    case 3: tile(t, 12, ##__VA_ARGS__); break;                                                                       \
    default: tile(t, 16, ##__VA_ARGS__); break;                                                                      \
    }

#endif
