/* Dense products by cuBLAS, which has kernels for each architecture that we do not write.  What it does not do stands
 * in a kernel after it, and before it where the product is added to y: a scale for each token, a bias for each row.
 * The simulator has a cuBLAS of its own (kernels/sim/cublas_v2.h).                                                   */
#include "kernels/cuda/cublas.h"

#include "kernels/cuda/gemm.h"

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#include <dlfcn.h>

/* Its header has the C function and an overload of the same name.                                                    */
typedef cublasStatus_t (*gemm_ex)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                                  const void *alpha, const void *a, cudaDataType_t, int lda, const void *b,
                                  cudaDataType_t, int ldb, const void *beta, void *c, cudaDataType_t, int ldc,
                                  cublasComputeType_t, cublasGemmAlgo_t);
static_assert(sizeof(static_cast<gemm_ex>(&cublasGemmEx)) > 0, "the declaration that is called is cuBLAS's own");

struct cublas {
    void *library; /* NULL in the simulator */
    cublasHandle_t handle;
    bool has_workspace;
#define CUBLAS_FUNCTION(name) decltype(&name) name##_p
    CUBLAS_FUNCTION(cublasCreate_v2);
    CUBLAS_FUNCTION(cublasDestroy_v2);
    CUBLAS_FUNCTION(cublasSetStream_v2);
    CUBLAS_FUNCTION(cublasSetWorkspace_v2);
    gemm_ex cublasGemmEx_p;
#undef CUBLAS_FUNCTION
};

/* ---- finding it ---- */

#ifdef SIMGPU
static bool load(struct cublas *c) {
    c->cublasCreate_v2_p = cublasCreate_v2;
    c->cublasDestroy_v2_p = cublasDestroy_v2;
    c->cublasSetStream_v2_p = cublasSetStream_v2;
    c->cublasSetWorkspace_v2_p = cublasSetWorkspace_v2;
    c->cublasGemmEx_p = cublasGemmEx;
    return true;
}
static void unload(struct cublas *) {}
#else
static bool load(struct cublas *c) {
    static const char *const names[] = { "libcublas.so.13", "libcublas.so.12" };
    for (size_t i = 0; i < LR_COUNT(names) && !c->library; i++) c->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!c->library) return false;
#define CUBLAS_FIND(name) (c->name##_p = (decltype(c->name##_p))dlsym(c->library, #name)) != NULL
    return CUBLAS_FIND(cublasCreate_v2) && CUBLAS_FIND(cublasDestroy_v2) && CUBLAS_FIND(cublasSetStream_v2) &&
           CUBLAS_FIND(cublasSetWorkspace_v2) && CUBLAS_FIND(cublasGemmEx);
#undef CUBLAS_FIND
}
static void unload(struct cublas *c) {
    if (c->library) dlclose(c->library);
}
#endif

bool gpu_cublas_found(void) {
    struct cublas c = {};
    bool found = load(&c);
    unload(&c);
    return found;
}

void gpu_cublas_open(lr_device *d) {
    struct cublas *c = (struct cublas *)d->host->alloc(sizeof *c);
    if (!c) return;
    bool works = load(c) && c->cublasCreate_v2_p(&c->handle) == CUBLAS_STATUS_SUCCESS;
    d->cublas = c;
    if (!works || c->cublasSetStream_v2_p(c->handle, d->queue[LR_QUEUE_COMPUTE]) != CUBLAS_STATUS_SUCCESS)
        gpu_cublas_close(d);
}

void gpu_cublas_close(lr_device *d) {
    struct cublas *c = d->cublas;
    if (!c) return;
    if (c->handle) c->cublasDestroy_v2_p(c->handle);
    unload(c);
    d->host->free(c);
    d->cublas = NULL;
}

bool gpu_cublas_workspace(lr_device *d, void *base, uint64_t bytes) {
    struct cublas *c = d->cublas;
    if (!c) return false;
    c->has_workspace = c->cublasSetWorkspace_v2_p(c->handle, base, bytes) == CUBLAS_STATUS_SUCCESS;
    if (!c->has_workspace) gpu_cublas_close(d);
    return d->cublas != NULL;
}

/* ---- products ---- */

bool gpu_cublas_takes(const lr_device *d, const lr_matmul_args *m) {
    if (!d->cublas || !d->cublas->has_workspace) return false;
    return m->w.format == LR_F16 || (m->w.format == LR_BF16 && d->arch >= 800);
}

enum { EPILOGUE_THREADS = 256 };

/* y = y / d: what a product then adds to, before all is multiplied by d.  Nearly all tokens have scale 1: no cost.    */
__global__ void k_unscale(float *y, int64_t stride, const float *d, int rows) {
    float scale = d[blockIdx.y];
    int row = (int)(blockIdx.x * EPILOGUE_THREADS + threadIdx.x);
    if (scale != 1.0f && row < rows) y[blockIdx.y * stride + row] /= scale;
}

/* y = y * d + bias                                                                                                   */
__global__ void k_scale_bias(float *y, int64_t stride, const float *d, const float *bias, int rows) {
    float scale = d ? d[blockIdx.y] : 1.0f;
    int row = (int)(blockIdx.x * EPILOGUE_THREADS + threadIdx.x);
    if (row >= rows || (scale == 1.0f && !bias)) return;
    float *p = y + blockIdx.y * stride + row;
    *p = *p * scale + (bias ? bias[row] : 0.0f);
}

/* cuBLAS counts along columns first: to it y is rows x n, the weights are cols x rows and transposed, x is cols x n. */
static cudaError_t multiply(struct cublas *c, const lr_matmul_args *m) {
    const float one = 1.0f, beta = m->accumulate ? 1.0f : 0.0f;
    cudaDataType_t type = m->w.format == LR_F16 ? CUDA_R_16F : CUDA_R_16BF;
    cublasStatus_t status =
        c->cublasGemmEx_p(c->handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)m->w.rows, (int)m->x.n, (int)m->w.cols, &one,
                          m->w.quants, type, (int)(m->w.quants_stride / 2), m->x.values, type, (int)m->x.cols, &beta,
                          m->y, CUDA_R_32F, (int)m->y_stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
    cudaError_t e = cudaPeekAtLastError();
    return e != cudaSuccess ? e : cudaErrorUnknown;
}

cudaError_t gpu_cublas_gemm(lr_device *d, const lr_matmul_args *m) {
    cudaStream_t stream = d->queue[LR_QUEUE_COMPUTE];
    const float *scale = m->x.format == LR_ACT_F16 ? m->x.d : NULL;
    int rows = (int)m->w.rows;
    cudaError_t e = cudaSuccess;
    enum { MOST = 65535 }; /* tokens in the second dimension of a grid */
    for (int64_t t = 0; t < m->x.n && e == cudaSuccess; t += MOST) {
        lr_matmul_args part = *m;
        part.x.n = lr_min(MOST, m->x.n - t);
        part.y += t * m->y_stride;
        part.x.values = (const uint16_t *)m->x.values + t * m->x.cols;
        dim3 grid((unsigned)(rows + EPILOGUE_THREADS - 1) / EPILOGUE_THREADS, (unsigned)part.x.n);
        if (m->accumulate && scale)
            e = GPU_LAUNCH_COST(4.0 * (double)part.x.n, 0, k_unscale, grid, dim3(EPILOGUE_THREADS), 0, stream, part.y,
                                m->y_stride, scale + t, rows);
        if (e == cudaSuccess) e = multiply(d->cublas, &part);
        if (e == cudaSuccess && (m->bias || scale)) {
            double bytes = m->bias ? 8.0 * (double)part.x.n * (double)rows : 4.0 * (double)part.x.n;
            e = GPU_LAUNCH_COST(bytes, 0, k_scale_bias, grid, dim3(EPILOGUE_THREADS), 0, stream, part.y, m->y_stride,
                                scale ? scale + t : NULL, m->bias, rows);
        }
    }
    return e;
}

#else /* built without cuBLAS's header */

void gpu_cublas_open(lr_device *) {}
void gpu_cublas_close(lr_device *) {}
bool gpu_cublas_workspace(lr_device *, void *, uint64_t) { return false; }
bool gpu_cublas_found(void) { return false; }
bool gpu_cublas_takes(const lr_device *, const lr_matmul_args *) { return false; }
cudaError_t gpu_cublas_gemm(lr_device *, const lr_matmul_args *) { return cudaErrorInvalidValue; }

#endif
