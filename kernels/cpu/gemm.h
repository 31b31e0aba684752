/* Prefill matmul (matmul_many): weights of any format are unpacked once per row group into a panel that suits the
 * multiply instruction, then every token of the pass runs over that panel.
 *
 * A tile is a few weight rows x a few tokens.  Each (row, token) is one lane of one accumulator and is
 * summed over the columns in one fixed order, so results depend neither on row ranges nor on the number of tokens. */
#ifndef LR_GEMM_H
#define LR_GEMM_H

#include "kernels/cpu/cpu.h"

enum {
    LR_GEMM_TOKENS = 16,               /* of a tile at most */
    LR_GEMM_ROW_STEP = 64,             /* what is done per token should serve so many rows */
    LR_GEMM_PANEL_BYTES = 512 * 1024,  /* aim for the panels of a row chunk: half of a usual L2 */
};

/* One tile: y[t][r] of rows x tokens.                                         */
typedef struct lr_gemm_tile {
    const void *panel, *tokens;
    const lr_act *x;
    int64_t token, cols;      /* first token */
    int32_t n_rows, n_tokens;
    float *y;                 /* of the first row and token */
    int64_t y_stride;
    const float *bias;        /* of the first row, or NULL */
    bool accumulate;
} lr_gemm_tile;

/* One way to multiply int8 activations in blocks of 32 columns.  Layouts are known to unpack, pack and tile alone. */
typedef struct lr_gemm {
    int32_t group;            /* rows of a panel */
    int32_t panel_bytes;      /* of a block of columns */
    int32_t tokens_bytes;     /* of a block of columns, a multiple of LR_ALIGN; 0: no pack */
    /* Rows [row, row + n_rows) of w, n_rows <= group, into panel; missing rows are left to chance. */
    void (*unpack)(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows);
    /* Scales of tokens [token, token + n_tokens) of x; missing tokens repeat the last. */
    void (*pack)(void *tokens, const lr_act *x, int64_t token, int32_t n_tokens);
    void (*tile)(const lr_gemm_tile *t);
} lr_gemm;

/* Items [i0, i1) of a matmul, any chunking.                                                                         */
void lr_gemm_run(const lr_gemm *gemm, const lr_matmul_args *a, int64_t i0, int64_t i1, void *scratch);

/* The floating-point kernels of each level: part of lr_gemm_fill_*.                                                 */
void lr_gemm_fill_float_avx2(lr_ops *ops);
void lr_gemm_fill_float_avx512(lr_ops *ops);
/* int8, of formats with a scale for 16 weights.                                                                     */
void lr_gemm_fill_half_avx512(lr_ops *ops);

/* All but unpack, for panels of panel_block and of panel_halves (gemm_quads_avx512.h).                              */
extern const lr_gemm lr_gemm_blocks_avx512, lr_gemm_halves_avx512;
/* Of codebooks, each beside the kernel for few tokens.                                                              */
#define LR_GEMM_GRIDS(X)                                                                                             \
    X(IQ2_XXS, iq2_xxs) X(IQ2_XS, iq2_xs) X(IQ2_S, iq2_s) X(IQ3_XXS, iq3_xxs) X(IQ3_S, iq3_s) X(IQ1_S, iq1_s)        \
    X(IQ1_M, iq1_m)
#define LR_GEMM_GRID(id, format) void lr_gemm_##format##_avx512(const void *args, int64_t i0, int64_t i1, void *scratch);
LR_GEMM_GRIDS(LR_GEMM_GRID)
#undef LR_GEMM_GRID

/* Writes n sums, of consecutive rows of one token.                                                                  */
static inline void lr_gemm_store(float *y, const float *sums, int32_t n, const float *bias, bool accumulate) {
    for (int32_t i = 0; i < n; i++) {
        const float v = bias ? sums[i] + bias[i] : sums[i];
        y[i] = accumulate ? y[i] + v : v;
    }
}

#endif
