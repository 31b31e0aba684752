/* Prefill matmul with vpmaddubsw: q8_0, q4_k and iq4_nl weights times int8 activations.
 *
 * vpmaddubsw multiplies unsigned by signed bytes and adds pairs into 16 bits, saturating.  Codes of q4_k are below 16:
 * the eight products of a block fit 16 bits, 8 * 2 * 15 * 127 = 30480.  Weights of q8_0 and iq4_nl lend their sign to
 * the activation, |w| * (x with the sign of w): 2 * 128 * 127 fits, and 32-bit sums follow.  All sums are exact.    */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/gemm.h"

enum { BLOCK = 32, QUADS = BLOCK / 4, GROUP = 8, TOKENS = 4 }; /* TOKENS: of a register tile */

/* 32 columns of 8 rows: byte i of quad q of row r is column 4 q + i.  w = scale * code - min. */
typedef struct panel_block {
    int8_t code[QUADS][GROUP][4];
    float scale[GROUP], min[GROUP];
} panel_block;

/* ---- the tile ---- */

static inline __m256i quad_at(const int8_t *q) {
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

/* Tokens [i0, i0 + n) of t. */
static inline __attribute__((always_inline)) void tile_of(const lr_gemm_tile *t, const int n, const int32_t i0,
                                                          const bool has_min) {
    const int64_t n_blocks = t->cols / BLOCK, token = t->token + i0;
    const int8_t *x = (const int8_t *)t->x->values + token * t->cols;
    const float *d = t->x->d + token * n_blocks, *s = t->x->s + token * n_blocks;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 acc[TOKENS];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) acc[i] = _mm256_setzero_ps();

    for (int64_t b = 0; b < n_blocks; b++) {
        const panel_block *w = (const panel_block *)t->panel + b;
        __m256i sum[TOKENS];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) sum[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int q = 0; q < QUADS; q++) {
            const __m256i code = _mm256_load_si256((const __m256i *)w->code[q]), size = _mm256_abs_epi8(code);
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) {
                const __m256i v = quad_at(x + i * t->cols + b * BLOCK + 4 * q);
                if (has_min) {
                    sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(code, v));
                } else {
                    const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(v, code));
                    sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const __m256i whole = has_min ? _mm256_madd_epi16(sum[i], ones) : sum[i];
            const __m256 scale = _mm256_mul_ps(_mm256_load_ps(w->scale), _mm256_broadcast_ss(d + i * n_blocks + b));
            if (has_min)
                acc[i] = _mm256_fnmadd_ps(_mm256_load_ps(w->min), _mm256_broadcast_ss(s + i * n_blocks + b), acc[i]);
            acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, acc[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        float sums[GROUP];
        _mm256_storeu_ps(sums, acc[i]);
        lr_gemm_store(t->y + (i0 + i) * t->y_stride, sums, t->n_rows, t->bias, t->accumulate);
    }
}

static inline __attribute__((always_inline)) void tile(const lr_gemm_tile *t, const bool has_min) {
    for (int32_t i = 0; i < t->n_tokens; i += TOKENS) {
        switch (t->n_tokens - i) {
        case 1: tile_of(t, 1, i, has_min); break;
        case 2: tile_of(t, 2, i, has_min); break;
        case 3: tile_of(t, 3, i, has_min); break;
        default: tile_of(t, 4, i, has_min); break;
        }
    }
}

static void tile_signed(const lr_gemm_tile *t) { tile(t, false); }
static void tile_min(const lr_gemm_tile *t) { tile(t, true); }

/* ---- weights ---- */

static inline float f16_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}

/* Row r of the group, from one row's planes. */
static void unpack_row_q8_0(panel_block *p, int32_t r, const uint8_t *quants, const uint8_t *scales, int64_t n_blocks) {
    for (int64_t b = 0; b < n_blocks; b++) {
        for (int q = 0; q < QUADS; q++) memcpy(p[b].code[q][r], quants + b * BLOCK + 4 * q, 4);
        p[b].scale[r] = f16_at(scales + 2 * b);
    }
}

static void unpack_row_iq4_nl(panel_block *p, int32_t r, const uint8_t *quants, const uint8_t *scales,
                              int64_t n_blocks) {
    const __m128i table = _mm_loadu_si128((const __m128i *)lr_iq4_nl_values), four = _mm_set1_epi8(15);
    for (int64_t b = 0; b < n_blocks; b++) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(quants + 16 * b));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), four);
        int8_t codes[BLOCK];
        _mm_storeu_si128((__m128i *)codes, _mm_shuffle_epi8(table, _mm_and_si128(bytes, four)));
        _mm_storeu_si128((__m128i *)(codes + 16), _mm_shuffle_epi8(table, high));
        for (int q = 0; q < QUADS; q++) memcpy(p[b].code[q][r], codes + 4 * q, 4);
        p[b].scale[r] = f16_at(scales + 2 * b);
    }
}

static void unpack_row_q4_k(panel_block *p, int32_t r, const uint8_t *quants, const uint8_t *scales, int64_t n_blocks) {
    for (int64_t b = 0; b < n_blocks; b += 8, p += 8, quants += 128, scales += 16) {
        for (int s = 0; s < 4; s++)
            for (int q = 0; q < QUADS; q++) {
                uint32_t bytes;
                memcpy(&bytes, quants + BLOCK * s + 4 * q, 4);
                const uint32_t low = bytes & 0x0f0f0f0f, high = bytes >> 4 & 0x0f0f0f0f;
                memcpy(p[2 * s].code[q][r], &low, 4);
                memcpy(p[2 * s + 1].code[q][r], &high, 4);
            }
        const float d = f16_at(scales), dmin = f16_at(scales + 2);
        const uint8_t *six = scales + 4; /* S of 0..3, M of 0..3, low bits of 4..7; top bits of those above S and M */
        for (int j = 0; j < 4; j++) {
            p[j].scale[r] = d * (float)(six[j] & 63);
            p[j].min[r] = dmin * (float)(six[j + 4] & 63);
            p[j + 4].scale[r] = d * (float)((six[j + 8] & 15) | six[j] >> 6 << 4);
            p[j + 4].min[r] = dmin * (float)(six[j + 8] >> 4 | six[j + 4] >> 6 << 4);
        }
    }
}

/* ---- the table ---- */

#define GEMM(format, kind)                                                                                           \
    static void unpack_##format(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {                      \
        for (int32_t r = 0; r < n_rows; r++)                                                                         \
            unpack_row_##format(panel, r, lr_row_quants(w, row + r), lr_row_scales(w, row + r), w->cols / BLOCK);    \
    }                                                                                                                \
    static void gemm_##format##_avx2(const void *args, int64_t i0, int64_t i1, void *scratch) {                      \
        static const lr_gemm gemm = {                                                                                \
            .group = GROUP, .panel_bytes = sizeof(panel_block), .unpack = unpack_##format, .tile = tile_##kind,      \
        };                                                                                                           \
        lr_gemm_run(&gemm, args, i0, i1, scratch);                                                                   \
    }
GEMM(q8_0, signed)
GEMM(iq4_nl, signed)
GEMM(q4_k, min)

#define ENTRY(format) (lr_matmul_kernel){ "gemm_" #format "_avx2", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_##format##_avx2 }

void lr_gemm_fill_avx2(lr_ops *ops) {
    lr_gemm_fill_float_avx2(ops);
    ops->matmul_many[LR_Q8_0] = ENTRY(q8_0);
    ops->matmul_many[LR_IQ4_NL] = ENTRY(iq4_nl);
    ops->matmul_many[LR_Q4_K] = ENTRY(q4_k);
}
