/* Inside of a GPU backend: an open device, and the functions that queue kernels on its compute queue.  One .cu file for
 * each; backend.cu puts them into the table of kernels/backend.h, where their arguments are described.               */
#ifndef LR_CUDA_DEVICE_H
#define LR_CUDA_DEVICE_H

#include "kernels/cuda/gpu.h"

extern "C" {
#include "kernels/backend.h"
}

struct lr_device {
    const lr_backend_host *host;
    int index;
    int arch;   /* 750, 800, .. 1200 */
    int n_sms;
    bool early; /* decode kernels are launched early (gpu_queue) */
    cudaStream_t queue[LR_N_QUEUES];
    void *arena;
    uint64_t arena_bytes;
    uint64_t arena_mapped; /* bytes of addresses, granules mapped into them; 0: the arena is from cudaMalloc */
    struct cublas *cublas; /* NULL: our own kernels serve everything */
};

/* For kernels that begin with gpu_wait_for_queue.                                                                    */
static inline gpu_queue gpu_early_queue(const lr_device *d) { return { d->queue[LR_QUEUE_COMPUTE], d->early }; }

/* What addresses and strides of weights must be multiples of.  Block formats ask for no more than blocks in a row have
 * by themselves.                                                                                                     */
static inline size_t gpu_weights_align(lr_format format) {
    size_t block = (size_t)lr_formats[format].quant_bytes, power = block & (~block + 1);
    return lr_format_is_blocks(format) && power < 16 ? power : 16;
}

cudaError_t gpu_embed(lr_device *d, const lr_embed_args *a, int64_t n);
cudaError_t gpu_norm(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out);
cudaError_t gpu_pack(lr_device *d, const lr_pack_args *a);
/* Passes of at most LR_GPU_FEW rows: the weights are read once (gemv*.cu).                                            */
cudaError_t gpu_gemv(lr_device *d, const lr_matmul_args *m, int count);
cudaError_t gpu_gemv_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out);
/* Longer passes: tiles on tensor cores (gemm*.cu).                                                                    */
cudaError_t gpu_gemm(lr_device *d, const lr_matmul_args *m, int count);
cudaError_t gpu_glu(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out);
cudaError_t gpu_gate_rows(lr_device *d, const lr_gate_rows_args *a, int64_t rows);
cudaError_t gpu_route(lr_device *d, const lr_route_args *a, int64_t rows);
cudaError_t gpu_experts(lr_device *d, const lr_experts_args *a);
cudaError_t gpu_qkv(lr_device *d, const lr_qkv_args *a, const lr_pass_shape *s);
/* Few rows of each sequence: the context is split (attention_few.cu).  Many: flash attention (attention_many.cu).     */
cudaError_t gpu_attention_few(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out);
cudaError_t gpu_attention_many(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out);
/* Of caches whose V is K (attention_latent.cu), and what stands before and after it (latent.cu).                      */
cudaError_t gpu_attention_latent(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out);
cudaError_t gpu_latent(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s);
cudaError_t gpu_heads(lr_device *d, const lr_heads_args *a);
/* Gated delta nets (delta.cu).                                                                                        */
cudaError_t gpu_delta(lr_device *d, const lr_delta_args *a, const lr_pass_shape *s);

#endif
