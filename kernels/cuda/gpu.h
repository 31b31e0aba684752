/* The portable CUDA dialect: the one header that a .cu file includes first.  The same source is compiled by nvcc for
 * hardware and by g++ for the simulator (kernels/sim/), where every thread of a kernel is a fiber.
 *
 * Rules for kernels:
 *   - GPU_SHARED, GPU_DYN_SHARED, GPU_LAUNCH, GPU_UNROLL, GPU_ARCH; no <<<>>>, __shared__, asm, __CUDA_ARCH__.
 *   - _sync intrinsics with an explicit mask; __syncwarp between the lanes' accesses to shared memory.
 *   - gpu_wait_for_queue first in kernels that gpu_early_queue launches.
 *   - One __syncthreads a line, never under a condition that differs within the block.
 *   - No spinning between threads or blocks, no mutable __device__ variables, no host memory but pinned memory.
 *   - Explicit conversions of half and bf16; own non-blocking streams; every returned error checked.
 * What the simulator cannot prove: operand order of PTX, fences between blocks, occupancy, bank conflicts, speed.    */
#ifndef LR_GPU_H
#define LR_GPU_H

#include <stddef.h>
#include <stdint.h>
#include <utility>

#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

/* A queue for kernels.  early: they may be launched before what is ahead of them has ended (programmatic dependent
 * launch), and so must begin with gpu_wait_for_queue, ahead of which they read nothing that a kernel or a copy writes. */
struct gpu_queue {
    cudaStream_t stream;
    bool early;
    gpu_queue(cudaStream_t s, bool is_early = false) : stream(s), early(is_early) {}
    operator cudaStream_t() const { return stream; }
};

#ifdef SIMGPU

#define GPU_ARCH SIMGPU_ARCH
#define GPU_UNROLL
#define GPU_STRING_OF(x) #x
#define GPU_STRING(x) GPU_STRING_OF(x)

/* GPU_SHARED(float, tile, [2][64]): a variable of the block, poisoned with NaN / -1, with red zones under ASan.      */
#define GPU_SHARED(T, name, ...)                                                                                       \
    static char name##_key;                                                                                            \
    using name##_type = T __VA_ARGS__;                                                                                 \
    auto &name =                                                                                                       \
        *(name##_type *)simgpu::shared_variable(&name##_key, sizeof(name##_type), alignof(name##_type), #name)
#define GPU_DYN_SHARED(T, name) T *name = (T *)simgpu::shared_dynamic()

#define GPU_LAUNCH_COST(bytes, flops, ...)                                                                             \
    simgpu::launch_kernel(__FILE__ ":" GPU_STRING(__LINE__) ": " #__VA_ARGS__, bytes, flops, __VA_ARGS__)

#else

#ifdef __CUDA_ARCH__
#define GPU_ARCH __CUDA_ARCH__
#else
#define GPU_ARCH 0
#endif
#define GPU_UNROLL _Pragma("unroll")
#define GPU_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#define GPU_DYN_SHARED(T, name)                                                                                        \
    extern __shared__ __align__(128) unsigned char gpu_dynamic_shared[];                                               \
    T *name = reinterpret_cast<T *>(gpu_dynamic_shared)

/* Plain C++ instead of <<<>>>: arguments are converted and counted, and the error comes back.                        */
template <class... P, class... A>
static inline cudaError_t gpu_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, gpu_queue queue,
                                     A &&...arguments) {
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = queue.stream;
    config.attrs = &early;
    config.numAttrs = queue.early;
    return cudaLaunchKernelEx(&config, kernel, std::forward<A>(arguments)...);
}
#define GPU_LAUNCH_COST(bytes, flops, ...) ((void)(bytes), (void)(flops), gpu_launch(__VA_ARGS__))

#endif

/* GPU_LAUNCH(kernel<..>, dim3 grid, dim3 block, shared bytes, stream, arguments..) -> cudaError_t.
 * GPU_LAUNCH_COST(bytes moved, flops, kernel, ..): the same, with its cost on the virtual clock of the simulator.    */
#define GPU_LAUNCH(...) GPU_LAUNCH_COST(0, 0, __VA_ARGS__)

#define GPU_FULL_WARP 0xffffffffu

#include "kernels/cuda/ptx.cuh"

#endif
