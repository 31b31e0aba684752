/* Prefill matmul in f32 for AVX2: f32, f16, bf16, nf4 and block weights, decoded into panels, times f32 activations.
 *
 * A panel is 4 groups of 16 rows, [group][column][16 rows]; a tile is 16 rows x 6 tokens in 12 registers.           */
#include <immintrin.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_float.h"

enum { LANES = 8, GROUP = 2 * LANES, DECODED = 256 }; /* DECODED: columns decoded at a time, a multiple of every block */

/* ---- the tile ---- */

/* One group; `rows` of it exist. */
static inline __attribute__((always_inline)) void tile_of(const lr_gemm_float_tile *t, const int n,
                                                          const int32_t group) {
    const int32_t row = group * GROUP, n_rows = (int32_t)lr_min(GROUP, t->n_rows - row);
    const float *w = (const float *)t->panel + row * t->n_cols;
    const float *x[LR_GEMM_FLOAT_TOKENS];
    __m256 sums[LR_GEMM_FLOAT_TOKENS][2];
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
        const float *from = t->sums + i * LR_GEMM_FLOAT_ROWS + row;
        x[i] = (const float *)(const void *)(t->x + i * t->x_stride);
        sums[i][0] = t->is_first ? _mm256_setzero_ps() : _mm256_load_ps(from);
        sums[i][1] = t->is_first ? _mm256_setzero_ps() : _mm256_load_ps(from + LANES);
    }
    for (int64_t c = 0; c < t->n_cols; c++, w += GROUP) {
        const __m256 low = _mm256_load_ps(w), high = _mm256_load_ps(w + LANES);
#pragma GCC unroll 6
        for (int i = 0; i < n; i++) {
            const __m256 v = _mm256_broadcast_ss(x[i] + c);
            sums[i][0] = _mm256_fmadd_ps(low, v, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(high, v, sums[i][1]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
        float *to = t->sums + i * LR_GEMM_FLOAT_ROWS + row;
        _mm256_store_ps(to, sums[i][0]);
        _mm256_store_ps(to + LANES, sums[i][1]);
        if (!t->is_last) continue;
        lr_gemm_store(t->y + i * t->y_stride + row, to, n_rows, t->bias ? t->bias + row : NULL, t->accumulate);
    }
}

static void tile(const lr_gemm_float_tile *t) {
    for (int32_t group = 0; group * GROUP < t->n_rows; group++) {
        LR_GEMM_FLOAT_TILE_SIZES(tile_of, t, group)
    }
}

/* ---- weights ---- */

/* Writes v, 8 rows of 8 columns, as 8 columns of 8 rows, GROUP floats apart. */
static inline void store_transposed(float *to, const __m256 v[LANES]) {
    __m256 a[LANES], b[LANES];
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 2) {
        a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = _mm256_shuffle_ps(a[i + j], a[i + 2 + j], 0x44);
            b[i + 2 * j + 1] = _mm256_shuffle_ps(a[i + j], a[i + 2 + j], 0xee);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm256_store_ps(to + i * GROUP, _mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
        _mm256_store_ps(to + (i + 4) * GROUP, _mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
    }
}

static void unpack(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows, int64_t col, int64_t n_cols) {
    const lr_format_traits *f = &lr_formats[w->format];
    for (int32_t r0 = 0; r0 < n_rows; r0 += LANES) {
        float *group = (float *)panel + r0 / GROUP * GROUP * n_cols + r0 % GROUP;
        for (int64_t c0 = 0; c0 < n_cols; c0 += DECODED) {
            const int64_t n = lr_min(DECODED, n_cols - c0), block = (col + c0) / f->block;
            _Alignas(32) float rows[LANES][DECODED];
            for (int r = 0; r < LANES; r++) { /* missing rows repeat the last */
                const int64_t at = row + lr_min(r0 + r, n_rows - 1);
                const uint8_t *scales = lr_row_scales(w, at);
                f->decode(rows[r], lr_row_quants(w, at) + block * f->quant_bytes,
                          scales ? scales + block * f->scale_bytes : NULL, n);
            }
            int64_t c = 0;
            for (; c + LANES <= n; c += LANES) {
                __m256 v[LANES];
#pragma GCC unroll 8
                for (int r = 0; r < LANES; r++) v[r] = _mm256_load_ps(rows[r] + c);
                store_transposed(group + (c0 + c) * GROUP, v);
            }
            for (; c < n; c++)
                for (int r = 0; r < LANES; r++) group[(c0 + c) * GROUP + r] = rows[r][c];
        }
    }
}

/* ---- the table ---- */

static void gemm_f32_avx2(const void *args, int64_t i0, int64_t i1, void *scratch) {
    static const lr_gemm_float gemm = { sizeof(float), unpack, tile };
    lr_gemm_float_run(&gemm, args, i0, i1, scratch);
}

/* One kernel for all formats: the matrix says how its rows are decoded. */
void lr_gemm_fill_float_avx2(lr_ops *ops) {
#define LR_FORMAT(id, format, block, quant_bytes, scale_bytes, bits, file)                                             \
    ops->matmul_many[id] = (lr_matmul_kernel){ "gemm_" format "_avx2", LR_ACT_F32, LR_GEMM_FLOAT_ROWS, gemm_f32_avx2 };
#include "quant/formats.def"
#undef LR_FORMAT
}
