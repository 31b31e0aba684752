/* The loops of an int8 prefill matmul: chunks of rows whose panels fit the cache, then blocks of tokens, then tiles. */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_float.h"

enum { BLOCK = 32 };

size_t lr_gemm_scratch_bytes(int64_t max_cols, int64_t n) {
    /* A block of columns: 16 rows of codes, with scale and min, and of 16 tokens scale and two sums. */
    const int64_t n_blocks = max_cols / BLOCK, panel = n_blocks * 16 * (BLOCK + 8), tokens = n_blocks * 16 * 12;
    const int64_t int8 = tokens + lr_max(panel, LR_GEMM_PANEL_BYTES);
    const int64_t floats = LR_GEMM_FLOAT_PANEL_BYTES + n * LR_GEMM_FLOAT_ROWS * (int64_t)sizeof(float);
    return (size_t)lr_max(int8, floats);
}

void lr_gemm_run(const lr_gemm *gemm, const lr_matmul_args *a, int64_t i0, int64_t i1, void *scratch) {
    const int64_t cols = a->w.cols, n_blocks = cols / BLOCK;
    const size_t group_bytes = (size_t)n_blocks * (size_t)gemm->panel_bytes;
    const int64_t n_groups_max = lr_max(1, (int64_t)(LR_GEMM_PANEL_BYTES / group_bytes));
    uint8_t *tokens = scratch, *panels = tokens + (size_t)n_blocks * (size_t)gemm->tokens_bytes;

    for (int64_t row0 = i0; row0 < i1;) {
        /* Chunks of equal size: a last one of few rows would read all tokens for little. */
        const int64_t groups_left = (i1 - row0 + gemm->group - 1) / gemm->group;
        const int64_t n_chunks = (groups_left + n_groups_max - 1) / n_groups_max;
        const int64_t row1 = lr_min(i1, row0 + (groups_left + n_chunks - 1) / n_chunks * gemm->group);
        const int64_t n_groups = (row1 - row0 + gemm->group - 1) / gemm->group;
        for (int64_t g = 0; g < n_groups; g++) {
            const int64_t row = row0 + g * gemm->group;
            gemm->unpack(panels + (size_t)g * group_bytes, &a->w, row, (int32_t)lr_min(gemm->group, row1 - row));
        }

        for (int64_t token = 0; token < a->x.n; token += LR_GEMM_TOKENS) {
            lr_gemm_tile t = {
                .tokens = tokens,
                .x = &a->x,
                .token = token,
                .cols = cols,
                .n_tokens = (int32_t)lr_min(LR_GEMM_TOKENS, a->x.n - token),
                .y_stride = a->y_stride,
                .accumulate = a->accumulate,
            };
            if (gemm->pack) gemm->pack(tokens, &a->x, token, t.n_tokens);
            for (int64_t g = 0; g < n_groups; g++) {
                const int64_t row = row0 + g * gemm->group;
                t.panel = panels + (size_t)g * group_bytes;
                t.n_rows = (int32_t)lr_min(gemm->group, row1 - row);
                t.y = a->y + token * a->y_stride + row;
                t.bias = a->bias ? a->bias + row : NULL;
                gemm->tile(&t);
            }
        }
        row0 = row1;
    }
}
