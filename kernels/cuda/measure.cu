/* What a device can do, measured in a fraction of a second: reading its memory, matrix products, copies from the host.
 * Each is run once to warm up, then the best of a few.                                                                */
#include "kernels/cuda/parts.h"

enum { READ_THREADS = 512, READ_BLOCKS_PER_SM = 4, REPEATS = 4 };
enum : uint64_t { READ_BYTES = (uint64_t)1 << 30, LEAST_READ_BYTES = 64 << 20, LINK_BYTES = 64 << 20 };
enum { SIDE = 4096, ROWS = 2048 }; /* of the matrix product */

/* Reads n blocks of 64 bytes; the result is stored only if it is a value that no data has by chance.                 */
static __global__ void k_read(const uint4 *p, uint64_t n, unsigned *never) {
    unsigned x = 0;
    uint64_t step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += 4 * step) {
        uint4 v[4];
        GPU_UNROLL
        for (int j = 0; j < 4; j++) v[j] = i + j * step < n ? __ldcs(p + i + j * step) : make_uint4(0, 0, 0, 0);
        GPU_UNROLL
        for (int j = 0; j < 4; j++) x += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (x == 0x9e3779b9u) *never = x;
}

static cudaError_t read_memory(lr_device *d, uint64_t bytes) {
    return GPU_LAUNCH(k_read, dim3((unsigned)(d->n_sms * READ_BLOCKS_PER_SM)), dim3(READ_THREADS), 0,
                      d->queue[LR_QUEUE_COMPUTE], (const uint4 *)d->arena, bytes / sizeof(uint4), (unsigned *)d->arena);
}

/* y = x w^T in f16, all three in the arena: w, x, y one after another.                                               */
static cudaError_t multiply(lr_device *d) {
    char *base = (char *)d->arena;
    size_t w_bytes = (size_t)SIDE * SIDE * sizeof(uint16_t), x_bytes = lr_act_bytes(LR_ACT_F16, ROWS, SIDE);
    lr_matmul_args m = {};
    m.w.format = LR_F16;
    m.w.rows = m.w.cols = SIDE;
    m.w.quants = base;
    m.w.quants_stride = SIDE * sizeof(uint16_t);
    m.x = lr_act_at(LR_ACT_F16, ROWS, SIDE, base + w_bytes);
    m.y = (float *)(base + w_bytes + x_bytes);
    m.y_stride = SIDE;
    return gpu_gemm(d, &m, 1);
}

static cudaError_t copy_in(lr_device *d, const void *pinned) {
    return cudaMemcpyAsync(d->arena, pinned, LINK_BYTES, cudaMemcpyHostToDevice, d->queue[LR_QUEUE_COMPUTE]);
}

/* Seconds of the fastest run.                                                                                        */
template <class Work> static cudaError_t best_of(lr_device *d, Work work, double *seconds) {
    cudaEvent_t from = NULL, to = NULL;
    cudaStream_t queue = d->queue[LR_QUEUE_COMPUTE];
    cudaError_t e = cudaEventCreate(&from);
    if (e == cudaSuccess) e = cudaEventCreate(&to);
    if (e == cudaSuccess) e = work();
    *seconds = 1e9;
    for (int i = 0; i < REPEATS && e == cudaSuccess; i++) {
        float milliseconds = 0;
        e = cudaEventRecord(from, queue);
        if (e == cudaSuccess) e = work();
        if (e == cudaSuccess) e = cudaEventRecord(to, queue);
        if (e == cudaSuccess) e = cudaEventSynchronize(to);
        if (e == cudaSuccess) e = cudaEventElapsedTime(&milliseconds, from, to);
        if (e == cudaSuccess && milliseconds > 0 && milliseconds * 1e-3 < *seconds) *seconds = milliseconds * 1e-3;
    }
    if (from) cudaEventDestroy(from);
    if (to) cudaEventDestroy(to);
    return e;
}

static cudaError_t run_all(lr_device *d, uint64_t read_bytes, const void *pinned, lr_device_info *rates) {
    double seconds;
    cudaError_t e = cudaMemsetAsync(d->arena, 0, read_bytes, d->queue[LR_QUEUE_COMPUTE]); /* no NaN to slow anything */
    if (e == cudaSuccess) e = best_of(d, [=] { return read_memory(d, read_bytes); }, &seconds);
    if (e != cudaSuccess) return e;
    rates->read_bytes_per_s = (double)read_bytes / seconds;
    e = best_of(d, [=] { return multiply(d); }, &seconds);
    if (e != cudaSuccess) return e;
    rates->flops_per_s = 2.0 * SIDE * SIDE * ROWS / seconds;
    e = best_of(d, [=] { return copy_in(d, pinned); }, &seconds);
    if (e == cudaSuccess) rates->link_bytes_per_s = (double)LINK_BYTES / seconds;
    return e;
}

llmrun_status gpu_measure(lr_device *d, lr_device_info *rates, llmrun_error *err) {
    if (platform_rates(d, rates)) return LLMRUN_OK;
    size_t free_bytes = 0, total_bytes = 0;
    void *arena = NULL, *pinned = NULL;
    uint64_t needed = (uint64_t)SIDE * SIDE * sizeof(uint16_t) + lr_act_bytes(LR_ACT_F16, ROWS, SIDE) +
                      (uint64_t)ROWS * SIDE * sizeof(float);
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (e != cudaSuccess) return gpu_status(d, e, "measuring", err);
    uint64_t read_bytes = free_bytes / 2 < READ_BYTES ? free_bytes / 2 : READ_BYTES;
    if (read_bytes < LEAST_READ_BYTES) read_bytes = LEAST_READ_BYTES;
    llmrun_status status = gpu_arena_open(d, read_bytes > needed ? read_bytes : needed, &arena, err);
    if (status != LLMRUN_OK) return status;
    status = gpu_pinned_open(d, LINK_BYTES, &pinned, err);
    if (status == LLMRUN_OK) status = gpu_status(d, run_all(d, read_bytes, pinned, rates), "measuring", err);
    if (pinned) gpu_pinned_close(d, pinned);
    gpu_arena_close(d);
    return status;
}
