/* Prefill matmul with vpdpbusd: q8_0, q4_k, iq4_nl and MXFP4 weights, those of the block formats that have a scale for 32 of them,
 * times int8 activations.
 *
 * All these formats become unsigned bytes u with w = scale * (u - zero) or scale * u - min, in blocks of 32 columns.
 * The 8 registers of a block stay loaded while 16 tokens pass; each token's 4-byte groups come as broadcasts.  Integer
 * sums are exact; what is rounded is one multiplication and one fma per block, in f32.                              */
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/gemm_quads_avx512.h"
#include "quant/blocks.h"

enum { ZERO = LR_GEMM_ZERO_BLOCKS };

typedef struct panel_block_min {
    uint8_t u[BLOCK / 4][GROUP][4];
    float scale[GROUP], min[GROUP];
} panel_block_min;

/* Of 32 columns of 16 tokens. */
typedef struct token_block {
    float d[LR_GEMM_TOKENS];
    union {
        int32_t start[LR_GEMM_TOKENS]; /* -ZERO * sum of q: where the integer sum starts */
        float s[LR_GEMM_TOKENS];       /* d * sum of q: what a min is worth */
    };
} token_block;

/* ---- the tile ---- */

static inline __attribute__((always_inline)) void tile_of(const lr_gemm_tile *t, const int n, const bool has_min) {
    const size_t step = has_min ? sizeof(panel_block_min) : sizeof(panel_block);
    const uint8_t *panel = t->panel;
    const token_block *x = t->tokens;
    const int8_t *rows[LR_GEMM_TOKENS];
    __m512 acc[LR_GEMM_TOKENS];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++)
        rows[i] = (const int8_t *)t->x->values + (t->token + lr_min(i, t->n_tokens - 1)) * t->cols;
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) acc[i] = _mm512_setzero_ps();

    for (int64_t c = 0; c < t->cols; c += BLOCK, panel += step, x++) {
        const panel_block_min *w = (const panel_block_min *)panel; /* min is read only where it is */
        __m512i u[BLOCK / 4];
#pragma GCC unroll 8
        for (int q = 0; q < BLOCK / 4; q++) u[q] = _mm512_load_si512(w->u[q]);
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            const __m512 scale = _mm512_mul_ps(_mm512_load_ps(w->scale), _mm512_set1_ps(x->d[i]));
            if (has_min) acc[i] = _mm512_fnmadd_ps(_mm512_load_ps(w->min), _mm512_set1_ps(x->s[i]), acc[i]);
            __m512i sum = has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(x->start[i]);
#pragma GCC unroll 8
            for (int q = 0; q < BLOCK / 4; q++) sum = _mm512_dpbusd_epi32(sum, u[q], quad(rows[i] + c + 4 * q));
            acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc[i]);
        }
    }
    lr_gemm_store_avx512(t, acc, n);
}

static void tile_zero(const lr_gemm_tile *t) { LR_GEMM_TILE_SIZES(tile_of, t, false) }
static void tile_min(const lr_gemm_tile *t) { LR_GEMM_TILE_SIZES(tile_of, t, true) }

/* ---- tokens ---- */

/* n <= 16 floats at `at` of each token's row, transposed. */
static inline void load_floats(__m512i v[16], const float *const rows[LR_GEMM_TOKENS], int64_t at, int64_t n) {
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 16
    for (int i = 0; i < LR_GEMM_TOKENS; i++) v[i] = _mm512_maskz_loadu_epi32(mask, rows[i] + at);
    lr_transpose_16(v);
}

static void pack(token_block *x, const lr_act *a, int64_t token, int32_t n_tokens, bool has_min) {
    const int64_t n_blocks = a->cols / BLOCK;
    const float *d[LR_GEMM_TOKENS], *s[LR_GEMM_TOKENS];
    for (int32_t i = 0; i < LR_GEMM_TOKENS; i++) {
        const int64_t row = token + lr_min(i, n_tokens - 1);
        d[i] = a->d + row * n_blocks;
        s[i] = a->s + row * n_blocks;
    }
    for (int64_t b = 0; b < n_blocks; b += 16, x += 16) {
        const int64_t n = lr_min(16, n_blocks - b);
        __m512i v[16];
        load_floats(v, d, b, n);
        for (int64_t j = 0; j < n; j++) _mm512_store_si512(x[j].d, v[j]);
        load_floats(v, s, b, n);
        for (int64_t j = 0; j < n; j++) {
            const __m512 vs = _mm512_castsi512_ps(v[j]), vd = _mm512_load_ps(x[j].d);
            if (has_min) {
                _mm512_store_ps(x[j].s, vs);
            } else { /* |sum| <= 32 * 127 and rcp14's error is 2^-14, so the nearest integer is the sum */
                const __mmask16 some = _mm512_cmp_ps_mask(vd, _mm512_setzero_ps(), _CMP_NEQ_OQ);
                const __m512i sum = _mm512_cvtps_epi32(_mm512_mul_ps(vs, _mm512_maskz_rcp14_ps(some, vd)));
                _mm512_store_si512(x[j].start, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)));
            }
        }
    }
}

static void pack_zero(void *tokens, const lr_act *x, int64_t token, int32_t n) { pack(tokens, x, token, n, false); }
static void pack_min(void *tokens, const lr_act *x, int64_t token, int32_t n) { pack(tokens, x, token, n, true); }

const lr_gemm lr_gemm_blocks_avx512 = { GROUP, sizeof(panel_block), sizeof(token_block), NULL, pack_zero, tile_zero };

/* ---- weights ---- */

/* Where rows have their codes and scales: from block to block, and of the first block's codes.  Formats with planes have
 * codes from byte 0 on, and scales in a plane; in block formats a block's scales come first. */
typedef struct layout {
    int64_t stride, codes, scales_stride;
} layout;

static inline __attribute__((always_inline)) void unpack_bytes(panel_block *p, const lr_matrix *w, int64_t row,
                                                               int32_t n_rows, const layout at) {
    const group_rows g = rows_of(w, row, n_rows);
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        __m512i quads[8];
        load_quads_32(quads, g.quants, b * at.stride + at.codes);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++)
            _mm512_store_si512(p[b].u[q], _mm512_xor_si512(quads[q], _mm512_set1_epi8((char)ZERO)));
        _mm512_store_ps(p[b].scale, load_f16(&g, b * at.scales_stride));
    }
}

/* Codes into a table of 16 values: byte j has those of columns j and j + 16. */
static inline __m512i table_of(const int8_t values[16]) {
    return _mm512_broadcast_i32x4(_mm_xor_si128(_mm_loadu_si128((const __m128i *)values), _mm_set1_epi8((char)ZERO)));
}
static inline void look_up(panel_block *p, const uint8_t *const rows[GROUP], int64_t at, __m512i table) {
    __m512i quads[4];
    load_quads_16(quads, rows, at);
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        _mm512_store_si512(p->u[q], _mm512_shuffle_epi8(table, low_nibbles(quads[q])));
        _mm512_store_si512(p->u[q + 4], _mm512_shuffle_epi8(table, high_nibbles(quads[q])));
    }
}

static inline __attribute__((always_inline)) void unpack_table(panel_block *p, const lr_matrix *w, int64_t row,
                                                               int32_t n_rows, const int8_t values[16], const layout at) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i table = table_of(values);
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        look_up(&p[b], g.quants, b * at.stride + at.codes, table);
        _mm512_store_ps(p[b].scale, load_f16(&g, b * at.scales_stride));
    }
}

/* The exponent comes first. */
static inline void unpack_mxfp4(panel_block *p, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i table = table_of(lr_mxfp4_values);
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        uint8_t e[GROUP];
#pragma GCC unroll 16
        for (int r = 0; r < GROUP; r++) e[r] = g.quants[r][17 * b];
        look_up(&p[b], g.quants, 17 * b + 1, table);
        _mm512_store_ps(p[b].scale, mxfp4_scales(load_16(e)));
    }
}

/* Blocks of 64 with an f32 scale. */
static inline void unpack_words_i8(panel_block *p, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        __m512i quads[8];
        load_quads_32(quads, g.quants, b * BLOCK);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++)
            _mm512_store_si512(p[b].u[q], _mm512_xor_si512(quads[q], _mm512_set1_epi8((char)ZERO)));
        _mm512_store_si512(p[b].scale, load_words(&g, b / 2 * 4));
    }
}

/* Scale and min of words at byte `at` (quant.h). */
static inline void unpack_word(panel_block_min *p, const group_rows *g, int64_t at) {
    const __m512i words = load_words(g, at), low = _mm512_set1_epi32(255);
    const __m512 d = _mm512_castsi512_ps(_mm512_andnot_si512(low, words));
    _mm512_store_ps(p->scale, d);
    _mm512_store_ps(p->min, _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(low, words))));
}

static inline void unpack_words_u4(panel_block_min *p, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    for (int64_t b = 0; b < w->cols / BLOCK; b += 2) {
        __m512i quads[8];
        load_quads_32(quads, g.quants, b * 16);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) {
            _mm512_store_si512(p[b].u[q], low_nibbles(quads[q]));
            _mm512_store_si512(p[b + 1].u[q], high_nibbles(quads[q]));
        }
        unpack_word(&p[b], &g, b / 4 * 4);
        unpack_word(&p[b + 1], &g, b / 4 * 4);
    }
}

static inline void unpack_words_u4_32(panel_block_min *p, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        __m512i quads[4];
        load_quads_16(quads, g.quants, b * 16);
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            _mm512_store_si512(p[b].u[q], low_nibbles(quads[q]));
            _mm512_store_si512(p[b].u[q + 4], high_nibbles(quads[q]));
        }
        unpack_word(&p[b], &g, b * 4);
    }
}

/* Byte j % 4 of the 6-bit values, times f. */
static inline __m512 six_bits(__m512i v, int j, __m512 f) {
    const __m512i six = _mm512_and_si512(_mm512_srli_epi32(v, 8 * (j % 4)), _mm512_set1_epi32(63));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(six), f);
}

/* Scale and min of eight blocks, from 16 bytes: words of all rows: d and dmin; S and M of sub-blocks 0..3 with top bits of
 * 4..7; their low bits. */
static inline void unpack_six_bits(panel_block_min *p, const group_rows *g, int64_t at) {
    const __m512i six = _mm512_set1_epi8(63), four = _mm512_set1_epi8(15), top = _mm512_set1_epi8(48);
    __m512i v[4];
    load_quads_16(v, g->scales, at);
    const __m512 d = low_f16(v[0]), dmin = low_f16(_mm512_srli_epi32(v[0], 16));
    const __m512i scales[2] = {
        _mm512_and_si512(v[1], six),
        _mm512_or_si512(_mm512_and_si512(v[3], four), _mm512_and_si512(_mm512_srli_epi16(v[1], 2), top)),
    };
    const __m512i mins[2] = {
        _mm512_and_si512(v[2], six),
        _mm512_or_si512(high_nibbles(v[3]), _mm512_and_si512(_mm512_srli_epi16(v[2], 2), top)),
    };
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        _mm512_store_ps(p[j].scale, six_bits(scales[j / 4], j, d));
        _mm512_store_ps(p[j].min, six_bits(mins[j / 4], j, dmin));
    }
}

/* Bit j of each byte as 16, or nothing where there are no fifth bits. */
static inline __m512i fifth_bit(__m512i v, int j, const bool has_fifth) {
    if (!has_fifth) return _mm512_setzero_si512();
    return _mm512_and_si512(_mm512_slli_epi16(_mm512_srl_epi16(v, _mm_cvtsi32_si128(j)), 4), _mm512_set1_epi8(16));
}

static inline __attribute__((always_inline)) void unpack_k(panel_block_min *p, const lr_matrix *w, int64_t row,
                                                           int32_t n_rows, const layout at, const bool has_fifth) {
    const group_rows g = rows_of(w, row, n_rows);
    for (int64_t b = 0; b < w->cols / 256; b++, p += 8) {
        __m512i fifth[8] = { _mm512_setzero_si512() };
        if (has_fifth) load_quads_32(fifth, g.quants, b * at.stride + 16);
        for (int s = 0; s < 4; s++) {
            __m512i quads[8];
            load_quads_32(quads, g.quants, b * at.stride + at.codes + 32 * s);
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) {
                const __m512i more = fifth_bit(fifth[q], 2 * s, has_fifth), next = fifth_bit(fifth[q], 2 * s + 1, has_fifth);
                _mm512_store_si512(p[2 * s].u[q], _mm512_or_si512(low_nibbles(quads[q]), more));
                _mm512_store_si512(p[2 * s + 1].u[q], _mm512_or_si512(high_nibbles(quads[q]), next));
            }
        }
        unpack_six_bits(p, &g, b * at.scales_stride);
    }
}

/* Eight blocks share d; scale s has bits 2 s of a half word above bits 4 s of a word. */
static void unpack_iq4_xs(panel_block *p, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i table = table_of(lr_iq4_nl_values), four = _mm512_set1_epi32(15), two = _mm512_set1_epi32(3);
    for (int64_t b = 0; b < w->cols / 256; b++, p += 8) {
        __m512i v[4];
        load_quads_16(v, g.quants, 136 * b);
        const __m512 d = low_f16(v[0]);
        for (int s = 0; s < 8; s++) {
            const __m512i low = _mm512_and_si512(_mm512_srl_epi32(v[1], _mm_cvtsi32_si128(4 * s)), four);
            const __m512i high = _mm512_and_si512(_mm512_srl_epi32(v[0], _mm_cvtsi32_si128(16 + 2 * s)), two);
            const __m512i scale = _mm512_sub_epi32(_mm512_or_si512(low, _mm512_slli_epi32(high, 4)), _mm512_set1_epi32(32));
            look_up(&p[s], g.quants, 136 * b + 8 + 16 * s, table);
            _mm512_store_ps(p[s].scale, _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale)));
        }
    }
}

/* ---- the table ---- */

static const int8_t q4_0_values[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };

#define GEMM(id, format, block, kind, unpack_call)                                                                   \
    static void unpack_##format(void *p, const lr_matrix *w, int64_t row, int32_t n_rows) { unpack_call; }            \
    static void gemm_##format##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {                    \
        static const lr_gemm gemm = {                                                                                \
            GROUP, sizeof(block), sizeof(token_block), unpack_##format, pack_##kind, tile_##kind,                    \
        };                                                                                                           \
        lr_gemm_run(&gemm, args, i0, i1, scratch);                                                                   \
    }
#define AT(stride, codes, scales_stride) ((layout){ stride, codes, scales_stride })
#define FORMATS                                                                                                      \
    GEMM(LR_Q8_0, q8_0, panel_block, zero, unpack_bytes(p, w, row, n_rows, AT(32, 0, 2)))                            \
    GEMM(LR_BLOCK_Q8_0, Q8_0, panel_block, zero, unpack_bytes(p, w, row, n_rows, AT(34, 2, 34)))                     \
    GEMM(LR_IQ4_NL, iq4_nl, panel_block, zero, unpack_table(p, w, row, n_rows, lr_iq4_nl_values, AT(16, 0, 2)))      \
    GEMM(LR_BLOCK_IQ4_NL, IQ4_NL, panel_block, zero, unpack_table(p, w, row, n_rows, lr_iq4_nl_values, AT(18, 2, 18))) \
    GEMM(LR_BLOCK_Q4_0, Q4_0, panel_block, zero, unpack_table(p, w, row, n_rows, q4_0_values, AT(18, 2, 18)))        \
    GEMM(LR_BLOCK_MXFP4, MXFP4, panel_block, zero, unpack_mxfp4(p, w, row, n_rows))                                  \
    GEMM(LR_BLOCK_IQ4_XS, IQ4_XS, panel_block, zero, unpack_iq4_xs(p, w, row, n_rows))                               \
    GEMM(LR_I8, i8, panel_block, zero, unpack_words_i8(p, w, row, n_rows))                                                 \
    GEMM(LR_U4, u4, panel_block_min, min, unpack_words_u4(p, w, row, n_rows))                                              \
    GEMM(LR_U4_32, u4_32, panel_block_min, min, unpack_words_u4_32(p, w, row, n_rows))                                     \
    GEMM(LR_Q4_K, q4_k, panel_block_min, min, unpack_k(p, w, row, n_rows, AT(128, 0, 16), false))                    \
    GEMM(LR_BLOCK_Q4_K, Q4_K, panel_block_min, min, unpack_k(p, w, row, n_rows, AT(144, 16, 144), false))            \
    GEMM(LR_BLOCK_Q5_K, Q5_K, panel_block_min, min, unpack_k(p, w, row, n_rows, AT(176, 48, 176), true))
FORMATS
#undef GEMM

void lr_gemm_fill_avx512(lr_ops *ops) {
    lr_gemm_fill_float_avx512(ops);
    lr_gemm_fill_half_avx512(ops);
#define GEMM(id, format, block, kind, unpack_call)                                                                   \
    ops->matmul_many[id] =                                                                                           \
        (lr_matmul_kernel){ "gemm_" #format "_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_##format##_avx512 };
    FORMATS
#undef GEMM
#define GRID(id, format)                                                                                             \
    ops->matmul_many[LR_BLOCK_##id] =                                                                                \
        (lr_matmul_kernel){ "gemm_" #id "_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, lr_gemm_##format##_avx512 };
    LR_GEMM_GRIDS(GRID)
#undef GRID
}
