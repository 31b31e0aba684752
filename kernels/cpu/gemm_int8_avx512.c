/* Prefill matmul with vpdpbusd: q8_0, q4_k and iq4_nl weights times int8 activations.
 *
 * All three formats become unsigned bytes u with w = scale * (u - zero) or scale * u - min, in blocks of 32 columns.
 * The 8 registers of a block stay loaded while 16 tokens pass; each token's 4-byte groups come as broadcasts.  Integer
 * sums are exact; what is rounded is one multiplication and one fma per block, in f32.                              */
#include "kernels/cpu/gemm_avx512.h"

enum { BLOCK = 32, GROUP = LR_GEMM_ROWS_AVX512, ZERO = 128 };

/* 32 columns of 16 rows: byte i of quad q of row r is column 4 q + i. */
typedef struct panel_block {
    uint8_t u[BLOCK / 4][GROUP][4];
    float scale[GROUP];
} panel_block;
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

static inline __m512i quad(const int8_t *q) {
    int32_t v;
    __builtin_memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

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

/* ---- weights ---- */

/* Pointers to the rows of a group; missing rows repeat the last. */
typedef struct group_rows {
    const uint8_t *quants[GROUP], *scales[GROUP];
} group_rows;

static group_rows rows_of(const lr_matrix *w, int64_t row, int32_t n_rows) {
    group_rows g;
    for (int32_t r = 0; r < GROUP; r++) {
        const size_t at = (size_t)(row + lr_min(r, n_rows - 1));
        g.quants[r] = (const uint8_t *)w->quants + at * w->quants_stride;
        g.scales[r] = (const uint8_t *)w->scales + at * w->scales_stride;
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

static void unpack_q8_0(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    panel_block *p = panel;
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        __m512i quads[8];
        load_quads_32(quads, g.quants, b * BLOCK);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++)
            _mm512_store_si512(p[b].u[q], _mm512_xor_si512(quads[q], _mm512_set1_epi8((char)ZERO)));
        _mm512_store_ps(p[b].scale, load_f16(&g, 2 * b));
    }
}

static void unpack_iq4_nl(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m128i values = _mm_loadu_si128((const __m128i *)lr_iq4_nl_values);
    const __m512i table = _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8((char)ZERO)));
    panel_block *p = panel;
    for (int64_t b = 0; b < w->cols / BLOCK; b++) {
        __m512i quads[4];
        load_quads_16(quads, g.quants, 16 * b);
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            _mm512_store_si512(p[b].u[q], _mm512_shuffle_epi8(table, low_nibbles(quads[q])));
            _mm512_store_si512(p[b].u[q + 4], _mm512_shuffle_epi8(table, high_nibbles(quads[q])));
        }
        _mm512_store_ps(p[b].scale, load_f16(&g, 2 * b));
    }
}

/* f16 in the low halves of 32-bit values. */
static inline __m512 low_f16(__m512i v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }
/* Byte j % 4 of the 6-bit values, times f. */
static inline __m512 six_bits(__m512i v, int j, __m512 f) {
    const __m512i six = _mm512_and_si512(_mm512_srli_epi32(v, 8 * (j % 4)), _mm512_set1_epi32(63));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(six), f);
}

static void unpack_q4_k(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows) {
    const group_rows g = rows_of(w, row, n_rows);
    const __m512i six = _mm512_set1_epi8(63), four = _mm512_set1_epi8(15), top = _mm512_set1_epi8(48);
    panel_block_min *p = panel;
    for (int64_t b = 0; b < w->cols / 256; b++, p += 8) {
        for (int s = 0; s < 4; s++) {
            __m512i quads[8];
            load_quads_32(quads, g.quants, 128 * b + 32 * s);
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) {
                _mm512_store_si512(p[2 * s].u[q], low_nibbles(quads[q]));
                _mm512_store_si512(p[2 * s + 1].u[q], high_nibbles(quads[q]));
            }
        }
        /* Words of all rows: d and dmin; S and M of sub-blocks 0..3 with top bits of 4..7; their low bits. */
        __m512i v[4];
        load_quads_16(v, g.scales, 16 * b);
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
}

/* ---- the table ---- */

#define GEMM(format, block, kind)                                                                                    \
    static void gemm_##format##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {                    \
        static const lr_gemm gemm = {                                                                                \
            GROUP, sizeof(block), sizeof(token_block), unpack_##format, pack_##kind, tile_##kind,             \
        };                                                                                                           \
        lr_gemm_run(&gemm, args, i0, i1, scratch);                                                                   \
    }
GEMM(q8_0, panel_block, zero)
GEMM(iq4_nl, panel_block, zero)
GEMM(q4_k, panel_block_min, min)

#define ENTRY(format) \
    (lr_matmul_kernel){ "gemm_" #format "_avx512", LR_ACT_Q8, LR_GEMM_ROW_STEP, gemm_##format##_avx512 }

void lr_gemm_fill_avx512(lr_ops *ops) {
    lr_gemm_fill_float_avx512(ops);
    ops->matmul_many[LR_Q8_0] = ENTRY(q8_0);
    ops->matmul_many[LR_IQ4_NL] = ENTRY(iq4_nl);
    ops->matmul_many[LR_Q4_K] = ENTRY(q4_k);
}
