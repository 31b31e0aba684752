/* Prefill matmul with vdpbf16ps (f16, bf16, nf4 and block weights as bf16, times bf16 activations) and in f32.
 *
 * A register holds one 32-bit unit, a bf16 pair of columns or an f32, of 16 rows; a tile is 4 registers x 6 tokens. */
#include "kernels/cpu/gemm_avx512.h"
#include "kernels/cpu/gemm_float.h"

enum { LANES = 16, REGISTERS = LR_GEMM_FLOAT_ROWS / LANES };

/* ---- the tile ---- */

static inline __attribute__((always_inline)) void step(__m512 (*sums)[REGISTERS], const __m512i *w, __m512i x, int i,
                                                       const bool is_bf16) {
#pragma GCC unroll 4
    for (int r = 0; r < REGISTERS; r++)
        sums[i][r] = is_bf16 ? _mm512_dpbf16_ps(sums[i][r], (__m512bh)w[r], (__m512bh)x)
                             : _mm512_fmadd_ps(_mm512_castsi512_ps(w[r]), _mm512_castsi512_ps(x), sums[i][r]);
}

static inline __m512i unit_at(const char *x) {
    int32_t v;
    __builtin_memcpy(&v, x, 4);
    return _mm512_set1_epi32(v);
}

static inline __attribute__((always_inline)) void tile_of(const lr_gemm_float_tile *t, const int n,
                                                          const bool is_bf16) {
    const int64_t n_units = is_bf16 ? t->n_cols / 2 : t->n_cols;
    const __m512i *w = t->panel;
    const char *x[LR_GEMM_FLOAT_TOKENS];
    __m512 sums[LR_GEMM_FLOAT_TOKENS][REGISTERS];
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
        x[i] = t->x + i * t->x_stride;
#pragma GCC unroll 4
        for (int r = 0; r < REGISTERS; r++)
            sums[i][r] = t->is_first ? _mm512_setzero_ps()
                                     : _mm512_load_ps(t->sums + i * LR_GEMM_FLOAT_ROWS + r * LANES);
    }
    for (int64_t k = 0; k < n_units; k++, w += REGISTERS) {
        const __m512i v[REGISTERS] = { w[0], w[1], w[2], w[3] };
#pragma GCC unroll 6
        for (int i = 0; i < n; i++) step(sums, v, unit_at(x[i] + 4 * k), i, is_bf16);
    }
    if (is_bf16 && t->n_cols % 2) { /* half a pair: what follows the row is not ours to read */
#pragma GCC unroll 6
        for (int i = 0; i < n; i++) {
            uint16_t last;
            __builtin_memcpy(&last, x[i] + 4 * n_units, 2);
            step(sums, w, _mm512_set1_epi32(last), i, true);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < REGISTERS; r++) {
        const int32_t n_rows = t->n_rows - r * LANES;
        if (n_rows <= 0) return;
        const __mmask16 mask = n_rows >= LANES ? 0xffff : (__mmask16)((1u << n_rows) - 1);
        const __m512 bias = t->bias ? _mm512_maskz_loadu_ps(mask, t->bias + r * LANES) : _mm512_setzero_ps();
#pragma GCC unroll 6
        for (int i = 0; i < n; i++) {
            float *y = t->y + i * t->y_stride + r * LANES;
            if (!t->is_last) {
                _mm512_store_ps(t->sums + i * LR_GEMM_FLOAT_ROWS + r * LANES, sums[i][r]);
                continue;
            }
            __m512 v = sums[i][r];
            if (t->bias) v = _mm512_add_ps(v, bias);
            if (t->accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
            _mm512_mask_storeu_ps(y, mask, v);
        }
    }
}

static void tile_bf16(const lr_gemm_float_tile *t) { LR_GEMM_FLOAT_TILE_SIZES(tile_of, t, true) }
static void tile_f32(const lr_gemm_float_tile *t) { LR_GEMM_FLOAT_TILE_SIZES(tile_of, t, false) }

/* ---- weights: 16 units of a row in a register ---- */

static inline __m512i to_bf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/* mask: of the columns that exist. */
static inline __m512i load_f32(const lr_matrix *w, int64_t row, int64_t col, __mmask32 mask) {
    return _mm512_maskz_loadu_epi32((__mmask16)mask, (const float *)lr_row_quants(w, row) + col);
}

static inline __m512i load_bf16(const lr_matrix *w, int64_t row, int64_t col, __mmask32 mask) {
    return _mm512_maskz_loadu_epi16(mask, (const uint16_t *)lr_row_quants(w, row) + col);
}

static inline __m512i load_f16(const lr_matrix *w, int64_t row, int64_t col, __mmask32 mask) {
    const __m512i h = load_bf16(w, row, col, mask);
    return to_bf16(_mm512_cvtph_ps(_mm512_castsi512_si256(h)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)));
}

/* Half a block of 64: the low nibbles of its bytes, or the high ones. */
static inline __m512i load_nf4(const lr_matrix *w, int64_t row, int64_t col, __mmask32 mask) {
    (void)mask; /* cols is a multiple of 64 */
    const __m512 table = _mm512_loadu_ps(lr_nf4_values);
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)(lr_row_quants(w, row) + col / 64 * 32));
    const __m512 scale = _mm512_set1_ps(((const float *)lr_row_scales(w, row))[col / 64]);
    const __m256i codes = col % 64 ? _mm256_srli_epi16(bytes, 4) : bytes; /* vpermps looks at 4 bits */
    const __m512i low = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(codes));
    const __m512i high = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(codes, 1));
    return to_bf16(_mm512_mul_ps(_mm512_permutexvar_ps(low, table), scale),
                   _mm512_mul_ps(_mm512_permutexvar_ps(high, table), scale));
}

/* panel[unit][row].  Registers all of whose rows are missing stay as they are. */
static inline __attribute__((always_inline)) void
unpack(__m512i *panel, const lr_matrix *w, int64_t row, int32_t n_rows, int64_t col, int64_t n_cols,
       const int step_cols, __m512i (*load)(const lr_matrix *w, int64_t row, int64_t col, __mmask32 mask)) {
    for (int r = 0; r * LANES < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c += step_cols) {
            const int64_t left = lr_min(step_cols, n_cols - c);
            const __mmask32 mask = (__mmask32)(((uint64_t)1 << left) - 1);
            __m512i v[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) v[i] = load(w, row + lr_min(r * LANES + i, n_rows - 1), col + c, mask);
            lr_transpose_16(v);
            const int64_t unit = c / step_cols * LANES;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) panel[(unit + i) * REGISTERS + r] = v[i];
        }
}

/* Any format of blocks: 256 columns of 16 rows are decoded at a time; 32 of them are a step of the above. */
static void unpack_blocks(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows, int64_t col, int64_t n_cols) {
    enum { DECODED = 256 };
    const lr_format_traits *f = &lr_formats[w->format];
    _Alignas(64) float x[LANES][DECODED];
    for (int r = 0; r * LANES < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c += DECODED) {
            const int64_t n = lr_min(DECODED, n_cols - c), block = (col + c) / f->block;
            for (int i = 0; i < LANES; i++) {
                const int64_t at = row + lr_min(r * LANES + i, n_rows - 1);
                const uint8_t *scales = lr_row_scales(w, at);
                f->decode(x[i], lr_row_quants(w, at) + block * f->quant_bytes,
                          scales ? scales + block * f->scale_bytes : NULL, n);
            }
            for (int64_t k = 0; k < n; k += 32) {
                __m512i v[LANES];
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) v[i] = to_bf16(_mm512_load_ps(x[i] + k), _mm512_load_ps(x[i] + k + 16));
                lr_transpose_16(v);
                __m512i *to = (__m512i *)panel + (c + k) / 2 * REGISTERS + r;
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) to[i * REGISTERS] = v[i];
            }
        }
}

/* ---- the table ---- */

#define GEMM(format, kind, size, act)                                                         \
    static void unpack_##format(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows, int64_t col,           \
                                int64_t n_cols) {                                                                    \
        unpack(panel, w, row, n_rows, col, n_cols, 64 / (size), load_##format);                               \
    }                                                                                                                \
    static void gemm_##format##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {                    \
        static const lr_gemm_float gemm = { size, unpack_##format, tile_##kind };                     \
        lr_gemm_float_run(&gemm, args, i0, i1, scratch);                                                             \
    }                                                                                                                \
    static const lr_matmul_kernel kernel_##format = {                                                                \
        "gemm_" #format "_avx512", act, LR_GEMM_FLOAT_ROWS, gemm_##format##_avx512,                                  \
    };
GEMM(f32, f32, 4, LR_ACT_F32)
GEMM(f16, bf16, 2, LR_ACT_BF16)
GEMM(bf16, bf16, 2, LR_ACT_BF16)
GEMM(nf4, bf16, 2, LR_ACT_BF16)

static void gemm_blocks_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {
    static const lr_gemm_float gemm = { 2, unpack_blocks, tile_bf16 };
    lr_gemm_float_run(&gemm, args, i0, i1, scratch);
}

void lr_gemm_fill_float_avx512(lr_ops *ops) {
#define LR_FORMAT(id, format, block, quant_bytes, scale_bytes, bits, file)                                             \
    ops->matmul_many[id] =                                                                                             \
        (lr_matmul_kernel){ "gemm_" format "_avx512", LR_ACT_BF16, LR_GEMM_FLOAT_ROWS, gemm_blocks_avx512 };
#include "quant/formats.def"
#undef LR_FORMAT
    ops->matmul_many[LR_F32] = kernel_f32;
    ops->matmul_many[LR_F16] = kernel_f16;
    ops->matmul_many[LR_BF16] = kernel_bf16;
    ops->matmul_many[LR_NF4] = kernel_nf4;
}
