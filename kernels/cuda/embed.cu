/* Token embedding: decodes one row of the table for each token.                                                      */
#include "kernels/cuda/dot_formats.cuh"

enum { EMBED_THREADS = 256 };

template <class Dot>
__global__ void __launch_bounds__(EMBED_THREADS)
    k_embed(float *x, const int32_t *ids, const uint8_t *quants, const uint8_t *scales, size_t quants_stride,
            size_t scales_stride, int cols, float scale, bool accumulate) {
    gpu_wait_for_queue();
    size_t id = (size_t)ids[blockIdx.x];
    dot_row row = { quants + id * quants_stride, scales + id * scales_stride };
    int i = (int)(blockIdx.y * EMBED_THREADS + threadIdx.x);
    float *to = x + (size_t)blockIdx.x * (size_t)cols + (size_t)i;
    if (i < cols) *to = Dot::value(row, i) * scale + (accumulate ? *to : 0.0f);
}

cudaError_t gpu_embed(lr_device *d, const lr_embed_args *a, int64_t n) {
    const lr_matrix *w = &a->table;
    dim3 grid((unsigned)n, (unsigned)((w->cols + EMBED_THREADS - 1) / EMBED_THREADS));
    size_t row_bytes = 4 * (size_t)w->cols * (a->accumulate ? 2 : 1);
    double bytes = (double)n * (double)(w->quants_stride + w->scales_stride + row_bytes);
    if (n <= 0) return cudaSuccess;
    switch (w->format) {
#define EMBED(format, dot, odd)                                                                                        \
    case format:                                                                                                       \
        return GPU_LAUNCH_COST(bytes, 0, k_embed<dot>, grid, dim3(EMBED_THREADS), 0, gpu_early_queue(d), a->x, \
                               a->ids, (const uint8_t *)w->quants, (const uint8_t *)w->scales, w->quants_stride,       \
                               w->scales_stride, (int)w->cols, a->scale, a->accumulate);
        GPU_DOT_FORMATS(EMBED)
#undef EMBED
        default: return cudaErrorInvalidValue;
    }
}
