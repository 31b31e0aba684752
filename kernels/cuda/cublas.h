/* cuBLAS without a link to it: the library is looked for at run time, and our own kernels serve where it is missing. */
#ifndef LR_CUDA_CUBLAS_H
#define LR_CUDA_CUBLAS_H

#include "kernels/cuda/device.h"

/* Fills d->cublas; leaves it NULL, which is no error, where there is no library or it does not work.  Takes device
 * memory: a part of lr_device_info.overhead_bytes.                                                                   */
void gpu_cublas_open(lr_device *d);
void gpu_cublas_close(lr_device *d);
/* cuBLAS works in so many bytes at base, memory that the plan carries.  Until it has been given them it is not used.
 * False: it refused, and d->cublas is closed.                                                                        */
bool gpu_cublas_workspace(lr_device *d, void *base, uint64_t bytes);
/* Is there a library to load?  Takes no device memory.                                                                */
bool gpu_cublas_found(void);

bool gpu_cublas_takes(const lr_device *d, const lr_matmul_args *m);
cudaError_t gpu_cublas_gemm(lr_device *d, const lr_matmul_args *m);

#endif
