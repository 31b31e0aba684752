/* The platform on hardware: memory of a device by CUDA's virtual memory management, what the driver says of it.
 * See parts.h.                                                                                                        */
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/parts.h"

#include <cuda.h>
#include <string.h>

const char *const platform_name = "cuda";
double (*const platform_clock)(void) = NULL;
void (*const platform_host_work)(double seconds) = NULL;
const char *platform_detail(cudaError_t) { return ""; }

enum : uint64_t { MIB = 1 << 20, GRANULE = 2 * MIB, CHUNK = 256 * MIB };
/* A context keeps 3.0 to 3.15 MiB for each multiprocessor (stacks, mostly); kernels, queues, graphs come on top.     */
enum : uint64_t { CONTEXT_KIB_PER_SM = 3328, MODULES = 128 * MIB, LIBRARY = 128 * MIB };

llmrun_status platform_set_up(const lr_backend_host *services, const char *config, int n_open, llmrun_error *err) {
    int n = 0;
    (void)n_open;
    if (config && strcmp(config, "early") != 0)
        return services->fail(err, LLMRUN_ARG, "cuda: expected no set-up of devices or early, got \"%s\"", config);
    cudaError_t e = cudaGetDeviceCount(&n);
    cudaGetLastError();
    if (e == cudaSuccess && n > 0) return LLMRUN_OK;
    if (e == cudaSuccess || e == cudaErrorNoDevice)
        return services->fail(err, LLMRUN_DEVICE, "cuda: the driver knows no device");
    if (e == cudaErrorInsufficientDriver) /* also where there is none at all */
        return services->fail(err, LLMRUN_DEVICE, "cuda: no CUDA driver, or one older than CUDA %d.%d",
                              CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return services->fail(err, LLMRUN_DEVICE, "cuda: the driver does not work: %s (%s)", cudaGetErrorString(e),
                          cudaGetErrorName(e));
}

/* What runs there is code of its own generation, or made from the PTX of the last architecture.                       */
bool platform_waits(int arch) {
    static const int compiled[] = { __CUDA_ARCH_LIST__ };
    return arch >= 900 && compiled[sizeof compiled / sizeof *compiled - 1] >= 900;
}

/* By NVML no context is made.  A slice of a device has less memory than NVML tells of the whole.                     */
static cudaError_t find_free(int index, lr_device_info *info) {
    char bus_id[32];
    uint64_t total_bytes;
    cudaError_t e = cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, index);
    if (e == cudaSuccess && nvml_memory(bus_id, &info->free_bytes, &total_bytes) &&
        total_bytes <= info->total_bytes + info->total_bytes / 8)
        return cudaSuccess;
    size_t free_now = 0, total_now = 0;
    e = cudaSetDevice(index);
    if (e == cudaSuccess) e = cudaMemGetInfo(&free_now, &total_now);
    info->free_bytes = free_now;
    return e;
}

cudaError_t platform_describe(int index, int n_sms, lr_device_info *info) {
    info->granule_bytes = GRANULE;
    info->overhead_bytes = (uint64_t)n_sms * CONTEXT_KIB_PER_SM * 1024 + MODULES;
    info->library_bytes = gpu_cublas_found() ? LR_GPU_CUBLAS_WORKSPACE : 0;
    info->library_overhead = LIBRARY;
    return find_free(index, info);
}

uint64_t platform_used_bytes(const lr_device *d) {
    char bus_id[32];
    if (cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, d->index) != cudaSuccess) return 0;
    return nvml_used_bytes(bus_id);
}

bool platform_rates(const lr_device *, lr_device_info *) { return false; }

/* ---- virtual memory management: the driver's functions, found at run time ---- */

struct driver {
    decltype(&cuMemAddressReserve) reserve;
    decltype(&cuMemAddressFree) unreserve;
    decltype(&cuMemCreate) create;
    decltype(&cuMemRelease) release;
    decltype(&cuMemMap) map;
    decltype(&cuMemUnmap) unmap;
    decltype(&cuMemSetAccess) set_access;
};

template <class Function> static bool find(const char *name, Function *function) {
    cudaDriverEntryPointQueryResult found;
    void *p = NULL;
#if CUDART_VERSION >= 12050
    cudaError_t e = cudaGetDriverEntryPointByVersion(name, &p, 10020, cudaEnableDefault, &found);
#else
    cudaError_t e = cudaGetDriverEntryPoint(name, &p, cudaEnableDefault, &found);
#endif
    *function = (Function)p;
    return e == cudaSuccess && found == cudaDriverEntryPointSuccess && p;
}

static bool find_driver(driver *v) {
    bool ok = find("cuMemAddressReserve", &v->reserve) && find("cuMemAddressFree", &v->unreserve) &&
              find("cuMemCreate", &v->create) && find("cuMemRelease", &v->release) && find("cuMemMap", &v->map) &&
              find("cuMemUnmap", &v->unmap) && find("cuMemSetAccess", &v->set_access);
    cudaGetLastError();
    return ok;
}

/* Maps memory of the device to [base, base + bytes), chunk by chunk; each is freed when it is unmapped.              */
static CUresult map_range(const driver *v, int index, CUdeviceptr base, uint64_t bytes, uint64_t *mapped) {
    CUmemAllocationProp memory = {};
    memory.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    memory.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    memory.location.id = index;
    CUresult r = CUDA_SUCCESS;
    while (*mapped < bytes && r == CUDA_SUCCESS) {
        uint64_t n = bytes - *mapped < CHUNK ? bytes - *mapped : CHUNK;
        CUmemGenericAllocationHandle handle;
        r = v->create(&handle, n, &memory, 0);
        if (r != CUDA_SUCCESS) break;
        r = v->map(base + *mapped, n, 0, handle, 0);
        v->release(handle);
        if (r == CUDA_SUCCESS) *mapped += n;
    }
    return r;
}

/* The device itself, and all that can reach it, may read and write.                                                  */
static CUresult open_range(const driver *v, int index, CUdeviceptr base, uint64_t bytes) {
    int n = 0, reaches = 0;
    cudaGetDeviceCount(&n);
    CUresult r = CUDA_SUCCESS;
    for (int i = 0; i < n && r == CUDA_SUCCESS; i++) {
        if (i != index && (cudaDeviceCanAccessPeer(&reaches, i, index) != cudaSuccess || !reaches)) continue;
        CUmemAccessDesc access = {};
        access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
        access.location.id = i;
        access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        CUresult one = v->set_access(base, bytes, &access, 1);
        if (i == index) r = one; /* a peer that cannot is copied by way of the host */
    }
    return r;
}

static void unmap_range(const driver *v, CUdeviceptr base, uint64_t mapped, uint64_t bytes) {
    if (mapped) v->unmap(base, mapped);
    v->unreserve(base, bytes);
}

cudaError_t platform_arena_open(lr_device *d, uint64_t bytes) {
    driver v;
    CUdeviceptr base = 0;
    uint64_t rounded = (bytes + GRANULE - 1) / GRANULE * GRANULE, mapped = 0;
    if (!find_driver(&v) || v.reserve(&base, rounded, GRANULE, 0, 0) != CUDA_SUCCESS)
        return cudaMalloc(&d->arena, bytes);
    CUresult r = map_range(&v, d->index, base, rounded, &mapped);
    if (r == CUDA_SUCCESS) r = open_range(&v, d->index, base, rounded);
    if (r == CUDA_SUCCESS) {
        d->arena = (void *)base;
        d->arena_mapped = rounded;
        return cudaSuccess;
    }
    unmap_range(&v, base, mapped, rounded);
    return r == CUDA_ERROR_OUT_OF_MEMORY ? cudaErrorMemoryAllocation : cudaMalloc(&d->arena, bytes);
}

cudaError_t platform_arena_close(lr_device *d) {
    driver v;
    if (!d->arena_mapped) return cudaFree(d->arena);
    cudaError_t e = cudaDeviceSynchronize(); /* as cudaFree does: nothing may use it any more */
    if (find_driver(&v)) unmap_range(&v, (CUdeviceptr)d->arena, d->arena_mapped, d->arena_mapped);
    return e;
}

/* Mapped arenas are open to peers already.                                                                           */
void platform_join(lr_device *d, lr_device *from) {
    int reaches = 0;
    if (from->arena_mapped || d->index == from->index) return;
    if (cudaDeviceCanAccessPeer(&reaches, d->index, from->index) == cudaSuccess && reaches)
        cudaDeviceEnablePeerAccess(from->index, 0);
    cudaGetLastError(); /* enabled already */
}
