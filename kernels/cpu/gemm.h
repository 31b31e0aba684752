/* Prefill matmul (matmul_many): weights of any format are unpacked once per row group into a panel that suits the
 * multiply instruction, then every token of the pass runs over that panel.
 *
 * A tile is GROUP weight rows x up to LR_GEMM_TOKENS tokens.  Each (row, token) is one lane of one accumulator and is
 * summed over the columns in one fixed order, so results depend neither on row ranges nor on the number of tokens.     */
#ifndef LR_GEMM_H
#define LR_GEMM_H

#include "kernels/kernels.h"

enum {
    LR_GEMM_TOKENS = 16,               /* of a tile, packed together */
    LR_GEMM_ROW_STEP = 64,             /* packed tokens should serve at least that many rows */
    LR_GEMM_PANEL_BYTES = 512 * 1024,  /* aim for the panels of a row chunk: half of a usual L2 */
};

/* One tile: y[t][r] of rows x tokens, from a panel and a packed token block.                                          */
typedef struct lr_gemm_tile {
    const void *panel, *tokens;
    const lr_act *x;
    int64_t token, cols;
    int32_t n_rows, n_tokens; /* valid ones; the padding is computed and dropped */
    float *y;                 /* of the first row and token */
    int64_t y_stride;
    const float *bias;        /* of the first row, or NULL */
    bool accumulate;
} lr_gemm_tile;

/* One way to multiply.  Panels and packed tokens have a layout that only unpack, pack and tile know.                  */
typedef struct lr_gemm {
    int32_t group;            /* rows of a panel */
    int32_t k_step;           /* columns are padded with zeros to a multiple of this */
    int32_t panel_bytes;      /* of k_step columns, a multiple of LR_ALIGN */
    int32_t tokens_bytes;     /* of k_step columns, a multiple of LR_ALIGN */
    /* Rows [row, row + n_rows) of w, n_rows <= group, into panel; missing rows become anything finite.                 */
    void (*unpack)(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows);
    /* Tokens [token, token + n_tokens) of x, n_tokens <= LR_GEMM_TOKENS; missing tokens become anything finite.         */
    void (*pack)(void *tokens, const lr_act *x, int64_t token, int32_t n_tokens);
    void (*tile)(const lr_gemm_tile *t);
} lr_gemm;

/* Items [i0, i1) of a matmul, any chunking.                                                                            */
void lr_gemm_run(const lr_gemm *gemm, const lr_matmul_args *a, int64_t i0, int64_t i1, void *scratch);

/* The floating-point kernels of each level: part of lr_gemm_fill_*.                                                    */
void lr_gemm_fill_float_avx2(lr_ops *ops);
void lr_gemm_fill_float_avx512(lr_ops *ops);

/* Scratch of one thread for matrices of at most max_cols columns; n tokens in the pass.                                */
size_t lr_gemm_scratch_bytes(int64_t max_cols, int64_t n);

#endif
