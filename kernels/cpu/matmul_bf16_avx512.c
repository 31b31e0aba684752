/* bf16 weights, few tokens.                                                                                           */
#include "kernels/cpu/avx512.h"

#define VALUE uint16_t
#define NAME lr_matmul_bf16_avx512
INLINE __m512 load16(const uint16_t *p, __mmask16 mask) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p)), 16));
}
#include "kernels/cpu/matmul_float_avx512.h"
