/* Matrix products of the experts in passes of more than LR_GPU_FEW tokens: the tiles of gemm.cuh, each with the matrix of
 * one expert and rows that chose it.                                                                                 */
#include "kernels/cuda/gemm_table.cuh"

/* The smallest tile that most experts' rows fit: no weight is decoded more often than needed.                        */
static gemm_kernel choose(const lr_device *d, const gemm_format *f, double rows_of_expert) {
    for (int i = 0; i < GEMM_TILES - 1; i++) {
        gemm_kernel k = f->kernel(i);
        double least = i ? k.tokens / 4.0 : k.tokens / 2.0;
        if (rows_of_expert > least && k.shared_bytes <= gemm_most_shared(d)) return k;
    }
    return f->kernel(GEMM_TILES - 1);
}

int gpu_gemm_group_tokens(const lr_device *d, const lr_matmul_args *m, double rows_of_expert) {
    const gemm_format *f = gemm_format_of<true>(d, m);
    return f ? choose(d, f, rows_of_expert).tokens : GEMM_FMA_TOKENS;
}

cudaError_t gpu_gemm_groups(lr_device *d, const lr_matmul_args *m, int count, const gemm_groups *groups,
                            double rows_of_expert) {
    const gemm_format *f = gemm_format_of<true>(d, m);
    cudaError_t e = cudaSuccess;
    for (int i = 0; i < count && !f && e == cudaSuccess; i++) e = gpu_gemm_fma_groups(d, &m[i], groups);
    if (!f) return e;
    gemm_kernel k = choose(d, f, rows_of_expert);
    gemm_args a = gemm_args_of(k, m, count);
    double bytes = 0, flops = 0;
    a.groups = *groups;
    for (int i = 0; i < count; i++) {
        bytes += gemm_group_bytes(&m[i], groups);
        flops += gemm_group_flops(&m[i], groups);
    }
    return gemm_launch(d, k, a, groups->n_tiles, bytes, flops);
}
