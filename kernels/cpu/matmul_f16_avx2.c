/* f16 weights, few tokens.                                                                                            */
#include "kernels/cpu/avx2.h"

#define VALUE uint16_t
#define NAME lr_matmul_f16_avx2
INLINE __m256 load8(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
#include "kernels/cpu/matmul_float_avx2.h"
