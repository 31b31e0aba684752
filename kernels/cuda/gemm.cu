/* Matrix products of passes of more than LR_GPU_FEW tokens: which kernel takes which.  Dense weights go to cuBLAS where
 * it was found; all that tensor cores can take to gemm.cuh, in the largest tile that keeps the device busy; the rest to
 * plain FMAs.                                                                                                        */
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/gemm_table.cuh"

/* The largest tile that fits, that most of its tokens use, and that there are enough of.                             */
static gemm_kernel choose(const lr_device *d, const gemm_format *f, const lr_matmul_args *m, int count) {
    for (int i = 0; i < GEMM_TILES - 1; i++) {
        gemm_kernel k = f->kernel(i);
        int64_t row_tiles = 0;
        for (int j = 0; j < count; j++) row_tiles += gemm_tiles_of(m[j].w.rows, k.rows);
        bool is_busy = 4 * row_tiles * gemm_tiles_of(m->x.n, k.tokens) >= 3 * (int64_t)d->n_sms;
        if (is_busy && m->x.n > k.tokens / 2 && k.shared_bytes <= gemm_most_shared(d)) return k;
    }
    return f->kernel(GEMM_TILES - 1);
}

static cudaError_t run_tiles(lr_device *d, const gemm_format *f, const lr_matmul_args *m, int count) {
    gemm_kernel k = choose(d, f, m, count);
    gemm_args a = gemm_args_of(k, m, count);
    double bytes = 0, flops = 0;
    a.token_tiles = gemm_tiles_of(m->x.n, k.tokens);
    for (int i = 0; i < count; i++) {
        bytes += gemm_bytes(&m[i]);
        flops += gemm_flops(&m[i]);
    }
    return gemm_launch(d, k, a, a.token_tiles, bytes, flops);
}

cudaError_t gpu_gemm(lr_device *d, const lr_matmul_args *m, int count) {
    cudaError_t e = cudaSuccess;
    for (int i = 0, next; i < count && e == cudaSuccess; i = next) {
        const gemm_format *f = gemm_format_of<false>(d, &m[i]);
        next = i + 1;
        if (gpu_cublas_takes(d, &m[i])) {
            e = gpu_cublas_gemm(d, &m[i]);
        } else if (!f) {
            e = gpu_gemm_fma(d, &m[i]);
        } else { /* with those that follow in the same format */
            while (next < count && gemm_format_of<false>(d, &m[next]) == f && !gpu_cublas_takes(d, &m[next])) next++;
            e = run_tiles(d, f, m + i, next - i);
        }
    }
    return e;
}
