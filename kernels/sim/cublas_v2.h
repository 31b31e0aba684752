/* The part of cuBLAS that the project calls, for the simulator: one product, a thread for each element of the result.
 * It stands first on the include path of a simulator build, and one .cu file includes it.                            */
#ifndef SIMGPU_CUBLAS_V2_H
#define SIMGPU_CUBLAS_V2_H

#include "kernels/cuda/gpu.h"
#include "kernels/sim/simgpu.h"

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68 };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
typedef struct simgpu_cublas {
    cudaStream_t stream;
    void *workspace, *own;
} * cublasHandle_t;

/* The device memory of a handle is what the set-up of the simulator says.                                            */
static inline cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    simgpu_cublas *c = new simgpu_cublas();
    size_t bytes = simgpu_library_overhead();
    if (bytes && cudaMalloc(&c->own, bytes) != cudaSuccess) {
        delete c;
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    *handle = c;
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    if (handle->own) cudaFree(handle->own);
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
/* A workspace is at least aligned to 256 bytes.                                                                      */
static inline cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *base, size_t) {
    if (!base || (uintptr_t)base % 256) return CUBLAS_STATUS_INVALID_VALUE;
    handle->workspace = base;
    return CUBLAS_STATUS_SUCCESS;
}

/* c = alpha op(a) op(b) + beta c, column after column.                                                               */
static inline void simgpu_k_product(bool a_transposed, bool b_transposed, bool bf16, int m, int n, int k, float alpha,
                                    const uint16_t *a, int lda, const uint16_t *b, int ldb, float beta, float *c,
                                    int ldc) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), j = (int)blockIdx.y;
    if (i >= m || j >= n) return;
    auto value = [bf16](uint16_t v) { return bf16 ? simgpu_bf16_to_float(v) : simgpu_half_to_float(v); };
    float sum = 0, *p = c + (size_t)j * (size_t)ldc + i;
    for (size_t l = 0; l < (size_t)k; l++)
        sum += value(a[a_transposed ? (size_t)i * (size_t)lda + l : l * (size_t)lda + (size_t)i]) *
               value(b[b_transposed ? l * (size_t)ldb + (size_t)j : (size_t)j * (size_t)ldb + l]);
    *p = alpha * sum + (beta != 0 ? beta * *p : 0);
}

static inline cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                          int n, int k, const void *alpha, const void *a, cudaDataType_t a_type,
                                          int lda, const void *b, cudaDataType_t b_type, int ldb, const void *beta,
                                          void *c, cudaDataType_t c_type, int ldc, cublasComputeType_t,
                                          cublasGemmAlgo_t) {
    bool leading_fits = lda >= (ta == CUBLAS_OP_N ? m : k) && ldb >= (tb == CUBLAS_OP_N ? k : n) && ldc >= m;
    if (!handle->workspace || a_type != b_type || a_type == CUDA_R_32F || c_type != CUDA_R_32F || !leading_fits)
        return CUBLAS_STATUS_INVALID_VALUE;
    double bytes = 2.0 * k * ((double)m + n) + (*(const float *)beta != 0 ? 8.0 : 4.0) * m * n, flops = 2.0 * m * n * k;
    cudaError_t e = GPU_LAUNCH_COST(bytes, flops, simgpu_k_product, dim3((unsigned)(m + 63) / 64, (unsigned)n),
                                    dim3(64), 0, handle->stream, ta == CUBLAS_OP_T, tb == CUBLAS_OP_T,
                                    a_type == CUDA_R_16BF, m, n, k, *(const float *)alpha, (const uint16_t *)a, lda,
                                    (const uint16_t *)b, ldb, *(const float *)beta, (float *)c, ldc);
    return e == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

#endif
