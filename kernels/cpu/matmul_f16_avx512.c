/* f16 weights, few tokens.                                                                                            */
#include "kernels/cpu/avx512.h"

#define VALUE uint16_t
#define NAME lr_matmul_f16_avx512
INLINE __m512 load16(const uint16_t *p, __mmask16 mask) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p)); }
#include "kernels/cpu/matmul_float_avx512.h"
