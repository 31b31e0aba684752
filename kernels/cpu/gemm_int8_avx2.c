/* Prefill matmul for AVX2. */
#include "kernels/cpu/cpu.h"

void lr_gemm_fill_avx2(lr_ops *ops) { (void)ops; }
