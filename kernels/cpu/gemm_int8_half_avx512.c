/* Prefill matmul with vpdpbusd for formats with a scale for 16 weights, Q6_K, Q3_K and NVFP4, times int8 activations.
 *
 * As gemm_int8_avx512.c, with two integer sums for a block of 32 columns.  Codes are unsigned bytes u with
 * w = scale * (u - ZERO).                                                                                           */
#include "kernels/cpu/gemm_quads_avx512.h"
#include "quant/blocks.h"

enum { ZERO = LR_GEMM_ZERO_HALVES, QUADS = BLOCK / 4, HALVES = 2 };

typedef struct token_block {
    float d[LR_GEMM_TOKENS];
    int32_t start[HALVES][LR_GEMM_TOKENS]; /* -ZERO * sum of the half's int8 values */
} token_block;

/* ---- the tile ---- */

static inline __attribute__((always_inline)) void tile_of(const lr_gemm_tile *t, const int n) {
    const panel_halves *w = t->panel;
    const token_block *x = t->tokens;
    const int8_t *rows[LR_GEMM_TOKENS];
    __m512 acc[LR_GEMM_TOKENS];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) {
        rows[i] = (const int8_t *)t->x->values + (t->token + lr_min(i, t->n_tokens - 1)) * t->cols;
        acc[i] = _mm512_setzero_ps();
    }
    for (int64_t c = 0; c < t->cols; c += BLOCK, w++, x++) {
        __m512i u[QUADS];
#pragma GCC unroll 8
        for (int q = 0; q < QUADS; q++) u[q] = _mm512_load_si512(w->u[q]);
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            const __m512 d = _mm512_set1_ps(x->d[i]);
            __m512i low = _mm512_set1_epi32(x->start[0][i]), high = _mm512_set1_epi32(x->start[1][i]);
#pragma GCC unroll 4
            for (int q = 0; q < QUADS / 2; q++) {
                low = _mm512_dpbusd_epi32(low, u[q], quad(rows[i] + c + 4 * q));
                high = _mm512_dpbusd_epi32(high, u[q + 4], quad(rows[i] + c + 4 * q + 16));
            }
            __m512 sum = _mm512_mul_ps(_mm512_cvtepi32_ps(low), _mm512_load_ps(w->scale[0]));
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_load_ps(w->scale[1]), sum);
            acc[i] = _mm512_fmadd_ps(sum, d, acc[i]);
        }
    }
    lr_gemm_store_avx512(t, acc, n);
}

static void tile(const lr_gemm_tile *t) { LR_GEMM_TILE_SIZES(tile_of, t) }

/* ---- tokens ---- */

static void pack(void *tokens, const lr_act *a, int64_t token, int32_t n_tokens) {
    const int64_t n_blocks = a->cols / BLOCK;
    token_block *x = tokens;
    for (int i = 0; i < LR_GEMM_TOKENS; i++) { /* missing tokens repeat the last */
        const int64_t row = token + lr_min(i, n_tokens - 1);
        const int8_t *q = (const int8_t *)a->values + row * a->cols;
        for (int64_t b = 0; b < n_blocks; b++) {
            x[b].d[i] = a->d[row * n_blocks + b];
            for (int h = 0; h < HALVES; h++) {
                const __m128i v = _mm_loadu_si128((const __m128i *)(q + b * BLOCK + 16 * h));
                __m128i sum = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(ZERO), v);
                sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
                x[b].start[h][i] = -(_mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 1));
            }
        }
    }
}

const lr_gemm lr_gemm_halves_avx512 = { GROUP, sizeof(panel_halves), sizeof(token_block), NULL, pack, tile };

/* ---- weights ---- */

static inline __m512i two_bits(__m512i v, int shift) {
    return _mm512_and_si512(_mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm512_set1_epi8(3));
}

/* Layout: quant/blocks_k.c. */
static void unpack_q6_k(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i raise = _mm512_set1_epi8(ZERO - 32);
    panel_halves *p = panel;
    for (int64_t b = 0; b < w->cols / 256; b++, p += 8) {
        const int64_t at = 210 * b;
        for (int h = 0; h < 2; h++) {
            __m512i low[2][QUADS], high[QUADS];
            load_quads_32(low[0], g.quants, at + 64 * h);
            load_quads_32(low[1], g.quants, at + 64 * h + 32);
            load_quads_32(high, g.quants, at + 128 + 32 * h);
            for (int k = 0; k < 4; k++)
#pragma GCC unroll 8
                for (int q = 0; q < QUADS; q++) {
                    const __m512i four = k < 2 ? low_nibbles(low[k][q]) : high_nibbles(low[k - 2][q]);
                    const __m512i two = _mm512_slli_epi16(two_bits(high[q], 2 * k), 4);
                    const __m512i code = _mm512_add_epi8(_mm512_or_si512(four, two), raise);
                    _mm512_store_si512(p[4 * h + k].u[q], code);
                }
        }
        const __m512 d = load_f16(&g, at + 208);
        __m512i scales[4];
        load_quads_16(scales, g.quants, at + 192);
        for (int s = 0; s < 16; s++) {
            const __m512i top = _mm512_sll_epi32(scales[s / 4], _mm_cvtsi32_si128(24 - s % 4 * 8));
            _mm512_store_ps(p[s / 2].scale[s % 2], _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24))));
        }
    }
}

/* Codes of 0 .. 7 with a zero of 4 are raised. */
static void unpack_q3_k(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i raise = _mm512_set1_epi8(ZERO - 4), one = _mm512_set1_epi8(1), six = _mm512_set1_epi32(63);
    panel_halves *p = panel;
    for (int64_t b = 0; b < w->cols / 256; b++, p += 8) {
        const int64_t at = 110 * b;
        __m512i mask[QUADS];
        load_quads_32(mask, g.quants, at);
        for (int h = 0; h < 2; h++) {
            __m512i low[QUADS];
            load_quads_32(low, g.quants, at + 32 + 32 * h);
            for (int k = 0; k < 4; k++)
#pragma GCC unroll 8
                for (int q = 0; q < QUADS; q++) {
                    __m512i third = _mm512_srl_epi16(mask[q], _mm_cvtsi32_si128(4 * h + k));
                    third = _mm512_slli_epi16(_mm512_and_si512(third, one), 2);
                    const __m512i code = _mm512_or_si512(two_bits(low[q], 2 * k), third);
                    _mm512_store_si512(p[4 * h + k].u[q], _mm512_add_epi8(code, raise));
                }
        }
        const __m512 d = load_f16(&g, at + 108);
        __m512i v[4]; /* 16 bytes that end with the 12 of the scales: low bits in v[1] and v[2], high ones in v[3] */
        load_quads_16(v, g.quants, at + 92);
        for (int s = 0; s < 16; s++) {
            const __m512i four = s < 8 ? low_nibbles(v[1 + s / 4]) : high_nibbles(v[1 + s / 4 - 2]);
            const __m512i code = _mm512_or_si512(four, _mm512_slli_epi16(two_bits(v[3], s / 4 * 2), 4));
            const __m512i scale = _mm512_and_si512(_mm512_srl_epi32(code, _mm_cvtsi32_si128(s % 4 * 8)), six);
            const __m512i centred = _mm512_sub_epi32(scale, _mm512_set1_epi32(32));
            _mm512_store_ps(p[s / 2].scale[s % 2], _mm512_mul_ps(d, _mm512_cvtepi32_ps(centred)));
        }
    }
}

/* Layout: quant/nvfp4.c.  The factor of a row, where it has one, is part of its scales. */
static void unpack_nvfp4(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)lr_mxfp4_values));
    const __m512i table = _mm512_add_epi8(values, _mm512_set1_epi8(ZERO)), most = _mm512_set1_epi32(0x7f);
    const __m512 half = _mm512_set1_ps(0x1p119f); /* of the scale: the table is twice the values */
    const __m512 factor = w->scales ? _mm512_castsi512_ps(load_words(&g, 0)) : _mm512_set1_ps(1);
    panel_halves *p = panel;
    for (int64_t b = 0; b < w->cols / 64; b++, p += 2) {
        __m512i quads[QUADS];
        uint32_t words[GROUP];
        load_quads_32(quads, g.quants, 36 * b + 4);
#pragma GCC unroll 8
        for (int q = 0; q < QUADS; q++) {
            __m512i *u = (__m512i *)p[q / 4].u[q / 2 % 2 * 4 + q % 2];
            u[0] = _mm512_shuffle_epi8(table, low_nibbles(quads[q]));
            u[2] = _mm512_shuffle_epi8(table, high_nibbles(quads[q]));
        }
#pragma GCC unroll 16
        for (int r = 0; r < GROUP; r++) memcpy(&words[r], g.quants[r] + 36 * b, 4);
        const __m512i scales = _mm512_loadu_si512(words);
        for (int s = 0; s < 4; s++) {
            const __m512i bits = _mm512_and_si512(_mm512_srl_epi32(scales, _mm_cvtsi32_si128(8 * s)), most);
            const __mmask16 known = _mm512_cmpneq_epi32_mask(bits, most);
            const __m512 scale = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_maskz_slli_epi32(known, bits, 20)), half);
            _mm512_store_ps(p[s / 2].scale[s % 2], _mm512_mul_ps(scale, factor));
        }
    }
}

/* ---- the table ---- */

#define GEMM(format)                                                                                                 \
    static void gemm_##format##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {                    \
        static const lr_gemm gemm = {                                                                                \
            GROUP, sizeof(panel_halves), sizeof(token_block), unpack_##format, pack, tile,                           \
        };                                                                                                           \
        lr_gemm_run(&gemm, args, i0, i1, scratch);                                                                   \
    }
GEMM(q6_k)
GEMM(q3_k)
GEMM(nvfp4)

void lr_gemm_fill_half_avx512(lr_ops *ops) {
    ops->matmul_many[LR_BLOCK_Q6_K] = (lr_matmul_kernel){ "gemm_Q6_K_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_q6_k_avx512 };
    ops->matmul_many[LR_BLOCK_Q3_K] = (lr_matmul_kernel){ "gemm_Q3_K_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_q3_k_avx512 };
    ops->matmul_many[LR_BLOCK_NVFP4] = (lr_matmul_kernel){ "gemm_NVFP4_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_nvfp4_avx512 };
    ops->matmul_many[LR_NVFP4] = (lr_matmul_kernel){ "gemm_nvfp4_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_nvfp4_avx512 };
}
