/* Matrix products of a few tokens, up to three matrices in one launch, with bias and residual.  See gemv.cuh.        */
#include "kernels/cuda/gemv.cuh"

enum { WARPS = 8, WARPS_WANTED = 4096, STEPS_OF_WARP = 4 };

struct matrix {
    const uint8_t *quants, *scales;
    size_t quants_stride, scales_stride;
    const float *bias;
    float *y;
    int64_t y_stride;
    int rows, first_block, accumulate;
};
struct matrices {
    matrix m[GEMV_MATRICES];
    int count;
};

/* A row is cut into units; split warps of the block share it.                                                        */
template <class Dot, int N>
__global__ void __launch_bounds__(WARPS * 32, N == 1 ? 4 : N == 2 ? 3 : 2)
    k_gemv(matrices all, gemv_input x, int units, int split) {
    GPU_SHARED(float, parts, [WARPS][GEMV_ROWS * N]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, block = blockIdx.x, rows_of_block = WARPS / split * GEMV_ROWS;
    int which = all.count > 2 && block >= all.m[2].first_block   ? 2
                : all.count > 1 && block >= all.m[1].first_block ? 1
                                                                 : 0;
    const matrix &m = all.m[which];
    int row0 = (block - m.first_block) * rows_of_block;

    dot_row row[GEMV_ROWS];
    GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
        size_t i = (size_t)min(row0 + warp / split * GEMV_ROWS + r, m.rows - 1);
        row[r] = { m.quants + i * m.quants_stride, m.scales + i * m.scales_stride };
    }
    float sums[GEMV_ROWS * N] = {};
    gemv_dot<Dot, N>(sums, row, x, warp % split * 32 + lane, units, split * 32);
    warp_sums_to<GEMV_ROWS * N>(parts[warp], sums);
    __syncthreads();

    for (int i = threadIdx.x; i < rows_of_block * x.n; i += WARPS * 32) {
        int t = i / rows_of_block, r = i % rows_of_block;
        if (row0 + r >= m.rows) continue;
        float sum = 0;
        for (int k = 0; k < split; k++) sum += parts[r / GEMV_ROWS * split + k][r % GEMV_ROWS * N + t];
        float *y = m.y + t * m.y_stride + row0 + r;
        if (m.bias) sum += m.bias[row0 + r];
        *y = m.accumulate ? *y + sum : sum;
    }
}

/* Warps that share a row: few steps for each warp, and enough warps in all to keep a large GPU's memory busy.         */
static int warps_of_row(int64_t rows, int units) {
    int64_t groups = (rows + GEMV_ROWS - 1) / GEMV_ROWS, steps = (units + 31) / 32;
    int split = 1;
    while (split < WARPS && steps >= 2 * split && (steps > STEPS_OF_WARP * split || groups * split < WARPS_WANTED))
        split *= 2;
    return split;
}

template <class Dot> static cudaError_t launch(lr_device *d, const lr_matmul_args *m, int count) {
    const lr_act *x = &m[0].x;
    int64_t rows = 0, units = x->cols / Dot::VALUES;
    double bytes = act_row_bytes(x->format, x->cols) * (double)x->n;
    for (int i = 0; i < count; i++) rows += m[i].w.rows;
    int split = warps_of_row(rows, (int)units), blocks = 0, rows_of_block = WARPS / split * GEMV_ROWS;
    matrices all = {};
    all.count = count;
    for (int i = 0; i < count; i++) {
        const lr_matrix *w = &m[i].w;
        all.m[i] = { (const uint8_t *)w->quants, (const uint8_t *)w->scales, w->quants_stride, w->scales_stride,
                     m[i].bias, m[i].y, m[i].y_stride, (int)w->rows, blocks, m[i].accumulate };
        blocks += (int)((w->rows + rows_of_block - 1) / rows_of_block);
        bytes += gemv_weight_bytes(w) + 4.0 * (double)w->rows * ((double)x->n * (m[i].accumulate ? 2 : 1) + (m[i].bias ? 1 : 0));
    }
    return GPU_LAUNCH_COST(bytes, 2.0 * (double)x->n * (double)rows * (double)x->cols, GEMV_OF_TOKENS(k_gemv, Dot, x->n),
                           dim3((unsigned)blocks), dim3(WARPS * 32), 0, d->queue[LR_QUEUE_COMPUTE], all,
                           gemv_input_of(x), (int)units, split);
}

/* A launch for each run of matrices of one format.                                                                   */
cudaError_t gpu_gemv(lr_device *d, const lr_matmul_args *m, int count) {
    for (int i = 0, alike; i < count; i += alike) {
        if (!gemv_takes(&m[i])) return cudaErrorInvalidValue;
        for (alike = 1; i + alike < count && alike < GEMV_MATRICES && gemv_is_alike(&m[i], &m[i + alike]);) alike++;
        cudaError_t error =
            gemv_by_format(&m[i], [&](auto dot) { return launch<decltype(dot)>(d, m + i, alike); });
        if (error) return error;
    }
    return cudaSuccess;
}
