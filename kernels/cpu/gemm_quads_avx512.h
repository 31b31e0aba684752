/* How the AVX-512 int8 prefill matmuls read weights: bytes of 16 rows, in quads of 4 columns that vpdpbusd takes.    */
#ifndef LR_GEMM_QUADS_AVX512_H
#define LR_GEMM_QUADS_AVX512_H

#include "kernels/cpu/gemm_avx512.h"

enum { BLOCK = 32, GROUP = LR_GEMM_ROWS_AVX512 };

/* 32 columns of 16 rows, with a scale for all of them or for each 16: byte i of quad q of row r is column 4 q + i, and a
 * weight is scale * (u - the zero). */
enum { LR_GEMM_ZERO_BLOCKS = 128, LR_GEMM_ZERO_HALVES = 64 };
typedef struct panel_block {
    uint8_t u[BLOCK / 4][GROUP][4];
    float scale[GROUP];
} panel_block;
typedef struct panel_halves {
    uint8_t u[BLOCK / 4][GROUP][4];
    float scale[2][GROUP];
} panel_halves;

/* 4 columns of a token, for every row. */
static inline __m512i quad(const int8_t *q) {
    int32_t v;
    __builtin_memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

/* Pointers to the rows of a group; missing rows repeat the last.  Block formats have their scales among the quants. */
typedef struct group_rows {
    const uint8_t *quants[GROUP], *scales[GROUP];
} group_rows;

static group_rows rows_of(const lr_matrix *w, int64_t row, int32_t n_rows) {
    group_rows g;
    for (int32_t r = 0; r < GROUP; r++) {
        const size_t at = (size_t)(row + lr_min(r, n_rows - 1));
        g.quants[r] = (const uint8_t *)w->quants + at * w->quants_stride;
        g.scales[r] = w->scales ? (const uint8_t *)w->scales + at * w->scales_stride : g.quants[r];
    }
    return g;
}

/* 32 bytes of each row at `at`: quads[q] holds bytes 4 q .. 4 q + 3 of all rows. */
static inline void load_quads_32(__m512i quads[8], const uint8_t *const rows[GROUP], int64_t at) {
    __m512i half[2][4]; /* rows 0..7, rows 8..15; row i and row i + 4 in one register */
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int r = i / 4 * 8 + i % 4;
        const __m256i lo = _mm256_loadu_si256((const __m256i *)(rows[r] + at));
        const __m256i hi = _mm256_loadu_si256((const __m256i *)(rows[r + 4] + at));
        half[i / 4][i % 4] = _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
    }
    lr_transpose_lanes(half[0]);
    lr_transpose_lanes(half[1]);
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        quads[q] = _mm512_shuffle_i32x4(half[0][q], half[1][q], 0x88);
        quads[q + 4] = _mm512_shuffle_i32x4(half[0][q], half[1][q], 0xdd);
    }
}

/* The f16 at byte `at` of each row's scales. */
static inline __m512 load_f16(const group_rows *g, int64_t at) {
    uint16_t h[GROUP];
#pragma GCC unroll 16
    for (int r = 0; r < GROUP; r++) __builtin_memcpy(&h[r], g->scales[r] + at, 2);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)h));
}

/* The word at byte `at` of each row's scales. */
static inline __m512i load_words(const group_rows *g, int64_t at) {
    uint32_t words[GROUP];
#pragma GCC unroll 16
    for (int r = 0; r < GROUP; r++) __builtin_memcpy(&words[r], g->scales[r] + at, 4);
    return _mm512_loadu_si512(words);
}

/* 16 bytes of each row at `at`: quads[q] holds bytes 4 q .. 4 q + 3 of all rows. */
static inline void load_quads_16(__m512i quads[4], const uint8_t *const rows[GROUP], int64_t at) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[i] + at)));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 4] + at)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 8] + at)), 2);
        quads[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 12] + at)), 3);
    }
    lr_transpose_lanes(quads);
}

static inline __m512i low_nibbles(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline __m512i high_nibbles(__m512i v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }

/* f16 in the low halves of 32-bit values. */
static inline __m512 low_f16(__m512i v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }

#endif
