/* f32 weights, few tokens.                                                                                            */
#include "kernels/cpu/avx512.h"

#define VALUE float
#define NAME lr_matmul_f32_avx512
INLINE __m512 load16(const float *p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
#include "kernels/cpu/matmul_float_avx512.h"
