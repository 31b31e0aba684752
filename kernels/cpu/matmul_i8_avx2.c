/* i8 weights, few tokens.                                                                                             */
enum { BLOCK_BYTES = 32, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
#define NAME lr_matmul_i8_avx2
#include "kernels/cpu/matmul_planes_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    code[0] = _mm256_loadu_si256((const void *)(q + BLOCK_BYTES * b));
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    (void)min; /* four scales, of two blocks each */
    *scale = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_castsi128_ps(load16b(s))),
                                      _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
