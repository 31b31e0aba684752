/* q8_0 weights, few tokens.                                                                                           */
enum { BLOCK_BYTES = 32, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
#define NAME lr_matmul_q8_0_avx2
#include "kernels/cpu/matmul_planes_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    code[0] = _mm256_loadu_si256((const void *)(q + BLOCK_BYTES * b));
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    (void)min;
    *scale = _mm256_cvtph_ps(load16b(s));
}
