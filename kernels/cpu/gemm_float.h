/* Prefill matmul in floating point.  Columns come in blocks so that a panel of weights stays in L2 however long the
 * rows are; sums of unfinished tiles wait in scratch.  Activations are read where they are, few rows at a time: their
 * rows are often a power of two apart, and more of them than a cache has ways would evict each other.               */
#ifndef LR_GEMM_FLOAT_H
#define LR_GEMM_FLOAT_H

#include "kernels/kernels.h"

enum {
    LR_GEMM_FLOAT_ROWS = 64,              /* of a panel */
    LR_GEMM_FLOAT_TOKENS = 6,             /* of a tile at most */
    LR_GEMM_FLOAT_PANEL_BYTES = 256 * 1024,
};

/* LR_GEMM_FLOAT_ROWS x up to LR_GEMM_FLOAT_TOKENS results over a block of columns.                                  */
typedef struct lr_gemm_float_tile {
    const void *panel;
    const char *x;           /* first token's first value of the block */
    int64_t x_stride;        /* bytes from token to token */
    int64_t n_cols;          /* of the block */
    int32_t n_rows, n_tokens;
    bool is_first, is_last;  /* block: sums start at zero; sums go to y */
    float *sums;             /* (n_tokens, LR_GEMM_FLOAT_ROWS), between blocks */
    float *y;                /* of the first row and token */
    int64_t y_stride;
    const float *bias;       /* of the first row, or NULL */
    bool accumulate;
} lr_gemm_float_tile;

typedef struct lr_gemm_float {
    int32_t value_bytes;     /* of a weight in the panel and of an activation */
    /* Rows [row, row + n_rows) x columns [col, col + n_cols) of w into panel; col is a multiple of 1024. */
    void (*unpack)(void *panel, const lr_matrix *w, int64_t row, int32_t n_rows, int64_t col, int64_t n_cols);
    void (*tile)(const lr_gemm_float_tile *t);
} lr_gemm_float;

/* Items [i0, i1) of a matmul, any chunking.                                                                         */
void lr_gemm_float_run(const lr_gemm_float *gemm, const lr_matmul_args *a, int64_t i0, int64_t i1, void *scratch);

/* Calls tile(t, n) with n = t->n_tokens as a constant.                                                              */
#define LR_GEMM_FLOAT_TILE_SIZES(tile, t, ...)                                                                       \
    switch ((t)->n_tokens) {                                                                                         \
    case 1: tile(t, 1, ##__VA_ARGS__); break;                                                                        \
    case 2: tile(t, 2, ##__VA_ARGS__); break;                                                                        \
    case 3: tile(t, 3, ##__VA_ARGS__); break;                                                                        \
    case 4: tile(t, 4, ##__VA_ARGS__); break;                                                                        \
    case 5: tile(t, 5, ##__VA_ARGS__); break;                                                                        \
    default: tile(t, 6, ##__VA_ARGS__); break;                                                                       \
    }

#endif
