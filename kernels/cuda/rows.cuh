/* Kernels that make one row of values from another: a block a row, or several where nothing of the whole row is needed.
 * Row::begin(t, n), called by the whole block, finds what row t needs; Row::at(t, i) is value i.                     */
#ifndef LR_ROWS_CUH
#define LR_ROWS_CUH

#include "kernels/cuda/pack.cuh"

enum { ROW_THREADS = 512 };

/* y: plain floats, or NULL.  FORMAT LR_ACT_NONE: no packed rows.                                                     */
template <class Row, int FORMAT>
__global__ void __launch_bounds__(ROW_THREADS) k_rows(Row row, float *y, int64_t y_stride, lr_act out, int64_t n) {
    gpu_wait_for_queue();
    int64_t t = blockIdx.x, first = (int64_t)blockIdx.y * ROW_THREADS + threadIdx.x,
            step = (int64_t)gridDim.y * ROW_THREADS;
    float inverse_d = 1;
    row.begin(t, n);
    if (FORMAT == LR_ACT_F16) {
        float most = 0;
        for (int64_t i = threadIdx.x; i < n; i += ROW_THREADS) most = fmaxf(most, fabsf(row.at(t, i)));
        float d = f16_row_scale(block_reduce<true>(most));
        inverse_d = 1.0f / d;
        if (threadIdx.x == 0) ((float *)out.d)[t] = d;
    }
    for (int64_t i = first; i - threadIdx.x % 32 < n; i += step) { /* whole warps */
        bool inside = i < n;
        float v = inside ? row.at(t, i) : 0.0f;
        if (y && inside) y[t * y_stride + i] = v;
        put<FORMAT>(out, t, i, v, inside, inverse_d);
    }
}

/* whole: a block has a whole row.                                                                                    */
template <class Row>
static cudaError_t launch_rows(lr_device *d, const Row &row, bool whole, double bytes_read, float *y, int64_t y_stride,
                               const lr_act *out, int64_t rows, int64_t n) {
    lr_act none = {};
    lr_act_format format = out ? out->format : LR_ACT_NONE;
    void (*kernel)(Row, float *, int64_t, lr_act, int64_t) = nullptr;
    switch (format) {
        case LR_ACT_NONE: kernel = k_rows<Row, LR_ACT_NONE>; break;
        case LR_ACT_F32: kernel = k_rows<Row, LR_ACT_F32>; break;
        case LR_ACT_BF16: kernel = k_rows<Row, LR_ACT_BF16>; break;
        case LR_ACT_F16: kernel = k_rows<Row, LR_ACT_F16>; break;
        case LR_ACT_Q8: kernel = k_rows<Row, LR_ACT_Q8>; break;
        default: return cudaErrorInvalidValue;
    }
    if (rows <= 0 || n <= 0) return cudaSuccess;
    int64_t parts = whole || format == LR_ACT_F16 ? 1 : lr_min(64, (n + 4 * ROW_THREADS - 1) / (4 * ROW_THREADS));
    double bytes = bytes_read + (double)rows * ((y ? 4 * (double)n : 0) + (out ? act_row_bytes(format, n) : 0));
    dim3 grid((unsigned)rows, (unsigned)parts);
    return GPU_LAUNCH_COST(bytes, 4.0 * (double)rows * (double)n, kernel, grid, dim3(ROW_THREADS), 0,
                           gpu_early_queue(d), row, y, y_stride, out ? *out : none, n);
}

#endif
