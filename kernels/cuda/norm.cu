/* RMSNorm and LayerNorm, and their result packed.
 * Sources: Zhang and Sennrich, arXiv:1910.07467; Ba et al., arXiv:1607.06450.                                        */
#include "kernels/cuda/rows.cuh"

struct norm_row {
    lr_norm_args a;
    float mean, scale;

    __device__ __forceinline__ void begin(int64_t t, int64_t n) {
        const float *x = a.x + t * a.x_stride;
        float sum = 0;
        mean = 0;
        if (a.center) {
            for (int64_t i = threadIdx.x; i < n; i += ROW_THREADS) sum += x[i];
            mean = block_reduce<false>(sum) / (float)n;
            sum = 0;
        }
        for (int64_t i = threadIdx.x; i < n; i += ROW_THREADS) sum += (x[i] - mean) * (x[i] - mean);
        scale = 1.0f / sqrtf(block_reduce<false>(sum) / (float)n + a.eps);
    }
    __device__ __forceinline__ float at(int64_t t, int64_t i) const {
        float v = (a.x[t * a.x_stride + i] - mean) * scale * a.w[i];
        if (a.b) v += a.b[i];
        return a.accumulate ? a.y[t * a.y_stride + i] + v : v;
    }
};

cudaError_t gpu_norm(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out) {
    norm_row row = { *a, 0, 0 };
    double bytes_read = 4.0 * (double)a->dim * ((double)rows * (a->accumulate ? 2 : 1) + (a->b ? 2 : 1));
    return launch_rows(d, row, true, bytes_read, a->y, a->y_stride, out, rows, a->dim);
}
