/* f32 weights, few tokens.                                                                                            */
#include "kernels/cpu/avx2.h"

#define VALUE float
#define NAME lr_matmul_f32_avx2
INLINE __m256 load8(const float *p) { return _mm256_loadu_ps(p); }
#include "kernels/cpu/matmul_float_avx2.h"
