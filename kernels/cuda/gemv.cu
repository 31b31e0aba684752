/* Matrix products of a few tokens, up to three matrices in one launch, with bias and residual.  See gemv.cuh.        */
#include "kernels/cuda/gemv_tile.cuh"

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

GPU_FN const matrix &matrix_of_block(const matrices &all) {
    int block = blockIdx.x;
    if (all.count > 2 && block >= all.m[2].first_block) return all.m[2];
    return all.count > 1 && block >= all.m[1].first_block ? all.m[1] : all.m[0];
}

GPU_FN void store(const matrix &m, int row, int t, float sum) {
    float *y = m.y + t * m.y_stride + row;
    if (m.bias) sum += m.bias[row];
    *y = m.accumulate ? *y + sum : sum;
}

/* 1 << log_split warps of the block share a row.                                                                     */
template <class Dot, int N>
__global__ void __launch_bounds__(WARPS * 32, gemv_blocks<Dot, N>())
    k_gemv(matrices all, gemv_input x, int units, int log_split) {
    GPU_SHARED(float, parts, [WARPS][GEMV_ROWS * N]);
    const matrix &m = matrix_of_block(all);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, split = 1 << log_split, group = warp >> log_split;
    int rows_of_block = 1 << (LOG_ROWS - log_split), row0 = ((int)blockIdx.x - m.first_block) * rows_of_block;

    dot_row row[GEMV_ROWS];
    GPU_UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
        size_t i = (size_t)min(row0 + group * GEMV_ROWS + r, m.rows - 1);
        row[r] = { m.quants + i * m.quants_stride, m.scales + i * m.scales_stride };
    }
    unsigned first = (unsigned)((warp & (split - 1)) * 32 + lane);
    gemv_wait(x, row, m.quants_stride, first);
    float sums[GEMV_ROWS * N] = {};
    gemv_dot<Dot, N>(sums, row, x, first, units, split * 32);
    warp_sums_to<GEMV_ROWS * N>(parts[warp], sums);
    __syncthreads();

    int r = threadIdx.x & (rows_of_block - 1), t = threadIdx.x >> (LOG_ROWS - log_split);
    if (t >= x.n || row0 + r >= m.rows) return;
    float sum = 0;
    for (int k = 0; k < split; k++) sum += parts[(r / GEMV_ROWS << log_split) + k][r % GEMV_ROWS * N + t];
    store(m, row0 + r, t, sum);
}

/* On tensor cores: the block's warps share TILE_ROWS rows.                                                           */
template <class Dot>
__global__ void __launch_bounds__(TILE_WARPS * 32, tile_blocks<Dot>())
    k_gemv_tile(matrices all, gemv_input x, int units) {
    GPU_SHARED(float, parts, [TILE_WARPS][TILE_SUMS]);
    const matrix &m = matrix_of_block(all);
    int row0 = ((int)blockIdx.x - m.first_block) * TILE_ROWS;
    gpu_wait_for_queue();
    tile_product<Dot>(parts, m.quants, m.scales, m.quants_stride, m.scales_stride, row0, m.rows, x, units);
    __syncthreads();
    int r = threadIdx.x % TILE_ROWS, t = threadIdx.x / TILE_ROWS;
    if (t < x.n && row0 + r < m.rows) store(m, row0 + r, t, tile_sum(parts, r, t));
}

/* The logarithm of the warps that share a row: few steps for each, and enough warps in all to keep the memory of a
 * large GPU busy.                                                                                                    */
static int log_warps_of_row(int64_t rows, int units) {
    int64_t groups = (rows + GEMV_ROWS - 1) / GEMV_ROWS, steps = (units + 31) / 32;
    int log = 0;
    while (1 << log < WARPS && steps >= 2 << log && (steps > STEPS_OF_WARP << log || groups << log < WARPS_WANTED))
        log++;
    return log;
}

/* As kernels take them; returns the number of blocks.                                                                */
static unsigned lay_out(matrices *all, const lr_matmul_args *m, int count, int rows_of_block) {
    int blocks = 0;
    all->count = count;
    for (int i = 0; i < count; i++) {
        const lr_matrix *w = &m[i].w;
        all->m[i] = { (const uint8_t *)w->quants,
                      (const uint8_t *)w->scales,
                      w->quants_stride,
                      w->scales_stride,
                      m[i].bias,
                      m[i].y,
                      m[i].y_stride,
                      (int)w->rows,
                      blocks,
                      m[i].accumulate };
        blocks += (int)((w->rows + rows_of_block - 1) / rows_of_block);
    }
    return (unsigned)blocks;
}

template <class Dot> static cudaError_t launch(lr_device *d, const lr_matmul_args *m, int count) {
    const lr_act *x = &m[0].x;
    const gemv_input input = gemv_input_of(x, d->early);
    int64_t rows = 0, units = x->cols / Dot::VALUES;
    double bytes = act_row_bytes(x->format, x->cols) * (double)x->n;
    for (int i = 0; i < count; i++) {
        rows += m[i].w.rows;
        bytes += gemv_weight_bytes(&m[i].w);
        bytes += 4.0 * (double)m[i].w.rows * ((double)x->n * (m[i].accumulate ? 2 : 1) + (m[i].bias ? 1 : 0));
    }
    double flops = 2.0 * (double)x->n * (double)rows * (double)x->cols;
    gpu_queue queue = gpu_early_queue(d);
    matrices all = {};
    auto by_lanes = [&](auto n) {
        int log_split = log_warps_of_row(rows, (int)units);
        dim3 grid(lay_out(&all, m, count, 1 << (LOG_ROWS - log_split)));
        return GPU_LAUNCH_COST(bytes, flops, k_gemv<Dot, decltype(n)::value>, grid, dim3(WARPS * 32), 0, queue, all,
                               input, (int)units, log_split);
    };
    auto by_tiles = [&](auto dot) {
        dim3 grid(lay_out(&all, m, count, TILE_ROWS));
        return GPU_LAUNCH_COST(bytes, flops, k_gemv_tile<decltype(dot)>, grid, dim3(TILE_WARPS * 32), 0, queue, all,
                               input, (int)units);
    };
    return gemv_by_tokens<Dot>(x->n, by_lanes, by_tiles);
}

/* A launch for each run of matrices of one format.                                                                   */
cudaError_t gpu_gemv(lr_device *d, const lr_matmul_args *m, int count) {
    for (int i = 0, alike; i < count; i += alike) {
        if (!gemv_takes(&m[i])) return cudaErrorInvalidValue;
        for (alike = 1; i + alike < count && alike < GEMV_MATRICES && gemv_is_alike(&m[i], &m[i + alike]);) alike++;
        cudaError_t error = gemv_by_format(&m[i], [&](auto dot) { return launch<decltype(dot)>(d, m + i, alike); });
        if (error) return error;
    }
    return cudaSuccess;
}
