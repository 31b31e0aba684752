/* The loops of a floating-point prefill matmul: panels of rows, blocks of columns, tiles of tokens.                 */
#include "kernels/cpu/gemm_float.h"

void lr_gemm_float_run(const lr_gemm_float *gemm, const lr_matmul_args *a, int64_t i0, int64_t i1, void *scratch) {
    const int64_t n = a->x.n, cols = a->w.cols;
    const int64_t block = LR_GEMM_FLOAT_PANEL_BYTES / (LR_GEMM_FLOAT_ROWS * gemm->value_bytes);
    const int64_t n_tiles = (n + LR_GEMM_FLOAT_TOKENS - 1) / LR_GEMM_FLOAT_TOKENS;
    uint8_t *panel = scratch;
    float *sums = (float *)(panel + LR_GEMM_FLOAT_PANEL_BYTES);
    lr_gemm_float_tile t = {
        .panel = panel,
        .x_stride = cols * gemm->value_bytes,
        .y_stride = a->y_stride,
        .accumulate = a->accumulate,
    };

    for (int64_t row = i0; row < i1; row += LR_GEMM_FLOAT_ROWS) {
        t.n_rows = (int32_t)lr_min(LR_GEMM_FLOAT_ROWS, i1 - row);
        t.bias = a->bias ? a->bias + row : NULL;
        for (int64_t col = 0; col < cols; col += block) {
            t.n_cols = lr_min(block, cols - col);
            t.is_first = col == 0;
            t.is_last = col + block >= cols;
            gemm->unpack(panel, &a->w, row, t.n_rows, col, t.n_cols);
            for (int64_t i = 0; i < n_tiles; i++) { /* tiles of nearly equal size */
                const int64_t token = n * i / n_tiles;
                t.n_tokens = (int32_t)(n * (i + 1) / n_tiles - token);
                t.x = (const char *)a->x.values + token * t.x_stride + col * gemm->value_bytes;
                t.sums = sums + token * LR_GEMM_FLOAT_ROWS;
                t.y = a->y + token * a->y_stride + row;
                gemm->tile(&t);
            }
        }
    }
}
