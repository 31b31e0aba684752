/* Matrix products of a few tokens, up to three matrices in one launch, with bias and residual.  See gemv.cuh.        */
#include "kernels/cuda/gemv.cuh"

enum { WARPS = 8, LOG_ROWS = 5, WARPS_WANTED = 4096, STEPS_OF_WARP = 4 };
static_assert(WARPS * GEMV_ROWS == 1 << LOG_ROWS && LR_GPU_FEW << LOG_ROWS <= WARPS * 32, "a thread for each output");

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

/* 1 << log_split warps of the block share a row.                                                                      */
template <class Dot, int N>
__global__ void __launch_bounds__(WARPS * 32, N <= 2 ? 3 : 2)
    k_gemv(matrices all, gemv_input x, int units, int log_split) {
    GPU_SHARED(float, parts, [WARPS][GEMV_ROWS * N]);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, block = blockIdx.x, split = 1 << log_split;
    int rows_of_block = 1 << (LOG_ROWS - log_split), group = warp >> log_split;
    int which = all.count > 2 && block >= all.m[2].first_block   ? 2
                : all.count > 1 && block >= all.m[1].first_block ? 1
                                                                 : 0;
    const matrix &m = all.m[which];
    int row0 = (block - m.first_block) * rows_of_block;

    dot_row row[GEMV_ROWS];
    GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
        size_t i = (size_t)min(row0 + group * GEMV_ROWS + r, m.rows - 1);
        row[r] = { m.quants + i * m.quants_stride, m.scales + i * m.scales_stride };
    }
    float sums[GEMV_ROWS * N] = {};
    gemv_dot<Dot, N>(sums, row, x, (warp & (split - 1)) * 32 + lane, units, split * 32);
    warp_sums_to<GEMV_ROWS * N>(parts[warp], sums);
    __syncthreads();

    int r = threadIdx.x & (rows_of_block - 1), t = threadIdx.x >> (LOG_ROWS - log_split);
    if (t >= x.n || row0 + r >= m.rows) return;
    float sum = 0;
    for (int k = 0; k < split; k++) sum += parts[(r / GEMV_ROWS << log_split) + k][r % GEMV_ROWS * N + t];
    float *y = m.y + t * m.y_stride + row0 + r;
    if (m.bias) sum += m.bias[row0 + r];
    *y = m.accumulate ? *y + sum : sum;
}

/* The logarithm of the warps that share a row: few steps for each, and enough warps in all to keep the memory of a large
 * GPU busy.                                                                                                          */
static int log_warps_of_row(int64_t rows, int units) {
    int64_t groups = (rows + GEMV_ROWS - 1) / GEMV_ROWS, steps = (units + 31) / 32;
    int log = 0;
    while (1 << log < WARPS && steps >= 2 << log && (steps > STEPS_OF_WARP << log || groups << log < WARPS_WANTED)) log++;
    return log;
}

template <class Dot> static cudaError_t launch(lr_device *d, const lr_matmul_args *m, int count) {
    const lr_act *x = &m[0].x;
    int64_t rows = 0, units = x->cols / Dot::VALUES;
    double bytes = act_row_bytes(x->format, x->cols) * (double)x->n;
    for (int i = 0; i < count; i++) rows += m[i].w.rows;
    int log_split = log_warps_of_row(rows, (int)units), blocks = 0, rows_of_block = 1 << (LOG_ROWS - log_split);
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
                           gemv_input_of(x), (int)units, log_split);
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
