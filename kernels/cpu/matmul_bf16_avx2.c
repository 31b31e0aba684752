/* bf16 weights, few tokens.                                                                                           */
#include "kernels/cpu/avx2.h"

#define VALUE uint16_t
#define NAME lr_matmul_bf16_avx2
INLINE __m256 load8(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
#include "kernels/cpu/matmul_float_avx2.h"
