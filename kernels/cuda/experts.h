/* Inside of the routed experts' products: what experts.cu, experts_few.cu and gemm_groups.cu share.                  */
#ifndef LR_CUDA_EXPERTS_H
#define LR_CUDA_EXPERTS_H

#include "kernels/cuda/device.h"

/* Up to LR_GPU_FEW tokens: every chosen expert of a token reads its matrices for that token alone.  h: packed as gate and
 * up read it; hidden: (n k) rows that down reads, to be written and read; rows: see lr_gpu_experts_room.              */
cudaError_t gpu_experts_few(lr_device *d, const lr_experts_args *a, const lr_act *h, const lr_act *hidden, float *rows);

/* Experts whose columns are in orders of their own (lr_matrix.perm of the first one: (n_experts, cols)) have rows of h
 * packed for each pair.  x: (rows, cols) floats, of which `of` pairs one after another read one; out: (pairs, cols).   */
cudaError_t gpu_experts_reorder(lr_device *d, const lr_experts_args *a, const int32_t *perm, const float *x, int of,
                                const lr_act *out);

/* Experts whose weights a pass reads, at most: for the virtual clock.                                                 */
static inline double experts_read(const lr_experts_args *a) { return (double)lr_min(a->n * a->k, a->n_experts); }

#endif
