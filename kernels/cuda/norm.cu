/* RMS norm, and its result packed.  Source: Zhang and Sennrich, arXiv:1910.07467.                                    */
#include "kernels/cuda/rows.cuh"

struct norm_row {
    const float *x, *w;
    int64_t stride;
    float eps, scale;

    __device__ __forceinline__ void begin(int64_t t, int64_t n) {
        float sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += ROW_THREADS) sum += x[t * stride + i] * x[t * stride + i];
        scale = 1.0f / sqrtf(block_reduce<false>(sum) / (float)n + eps);
    }
    __device__ __forceinline__ float at(int64_t t, int64_t i) const { return x[t * stride + i] * scale * w[i]; }
};

cudaError_t gpu_norm(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out) {
    norm_row row = { a->x, a->w, a->x_stride, a->eps, 0 };
    double bytes_read = 4.0 * (double)a->dim * (double)(rows + 1);
    return launch_rows(d, row, true, bytes_read, a->y, a->y_stride, out, rows, a->dim);
}
