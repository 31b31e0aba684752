/* Memory of a device: its one arena, pinned host memory, copies.  See kernels/backend.h.                             */
#include "kernels/cuda/parts.h"

/* ---- arena ---- */

llmrun_status gpu_arena_open(lr_device *d, uint64_t bytes, void **base, llmrun_error *err) {
    *base = NULL;
    if (d->arena || bytes == 0)
        return d->host->fail(err, LLMRUN_INTERNAL, "%s:%d: arena: expected one of more than 0 bytes, once",
                             platform_name, d->index);
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = platform_arena_open(d, bytes);
    if (e == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, total_bytes = 0;
        cudaGetLastError();
        cudaMemGetInfo(&free_bytes, &total_bytes);
        return d->host->fail(err, LLMRUN_VRAM,
                             "%s:%d: arena: needs %llu bytes of device memory, %zu of %zu are free; a smaller --vram "
                             "keeps more of the model in host memory",
                             platform_name, d->index, (unsigned long long)bytes, free_bytes, total_bytes);
    }
    if (e != cudaSuccess) return gpu_status(d, e, "arena", err);
    d->arena_bytes = bytes;
    *base = d->arena;
    return LLMRUN_OK;
}

void gpu_arena_close(lr_device *d) {
    if (!d->arena) return;
    cudaSetDevice(d->index);
    platform_arena_close(d); /* its errors are those of work before it: whoever queued that has them */
    cudaGetLastError();
    d->arena = NULL;
    d->arena_bytes = d->arena_mapped = 0;
}

/* ---- pinned memory ---- */

llmrun_status gpu_pinned_open(lr_device *d, uint64_t bytes, void **base, llmrun_error *err) {
    *base = NULL;
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = cudaMallocHost(base, bytes);
    if (e != cudaErrorMemoryAllocation) return gpu_status(d, e, "pinned memory", err);
    cudaGetLastError();
    return d->host->fail(err, LLMRUN_NOMEM, "%s:%d: pinned memory: the system does not give %llu bytes", platform_name,
                         d->index, (unsigned long long)bytes);
}

void gpu_pinned_close(lr_device *d, void *base) {
    if (!base) return;
    cudaSetDevice(d->index);
    cudaFreeHost(base);
    cudaGetLastError();
}

/* ---- copies ---- */

static cudaError_t copy(lr_device *d, lr_queue q, void *to, size_t to_pitch, const void *from, size_t from_pitch,
                        size_t bytes, size_t rows, cudaMemcpyKind kind) {
    if (bytes == 0 || rows == 0) return cudaSuccess;
    cudaError_t e = cudaSetDevice(d->index);
    if (e != cudaSuccess) return e;
    if (rows == 1) return cudaMemcpyAsync(to, from, bytes, kind, d->queue[q]);
    return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, bytes, rows, kind, d->queue[q]);
}

llmrun_status gpu_copy_in(lr_device *d, lr_queue q, void *dst, size_t dst_pitch, const void *pinned, size_t pitch,
                          size_t bytes, size_t rows, llmrun_error *err) {
    cudaError_t e = copy(d, q, dst, dst_pitch, pinned, pitch, bytes, rows, cudaMemcpyHostToDevice);
    return gpu_status(d, e, "copy to the device", err);
}

llmrun_status gpu_copy_out(lr_device *d, lr_queue q, void *pinned, size_t pitch, const void *src, size_t src_pitch,
                           size_t bytes, size_t rows, llmrun_error *err) {
    cudaError_t e = copy(d, q, pinned, pitch, src, src_pitch, bytes, rows, cudaMemcpyDeviceToHost);
    return gpu_status(d, e, "copy from the device", err);
}

/* Where the devices cannot reach each other, the driver itself goes by way of pinned memory.                         */
llmrun_status gpu_copy_peer(lr_device *d, lr_queue q, void *dst, lr_device *from, const void *src, size_t bytes,
                            llmrun_error *err) {
    if (bytes == 0) return LLMRUN_OK;
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) platform_join(d, from);
    if (e == cudaSuccess) e = cudaMemcpyPeerAsync(dst, d->index, src, from->index, bytes, d->queue[q]);
    return gpu_status(d, e, "copy from another device", err);
}
