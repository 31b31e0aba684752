/* fp4 weights, few tokens.  Layout as described in matmul_fp4_avx512.c.                                               */
enum { BLOCK_BYTES = 16, PLANES = 2, PLANE_BITS = 7, HAS_MIN = 0 };
#define NAME lr_matmul_fp4_avx2
#include "kernels/cpu/matmul_planes_avx2.h"
#include "kernels/cpu/fp4_values.h"

INLINE void unpack(__m256i code[PLANES], const uint8_t *q, const int b) {
    __m256i codes = _mm256_loadu_si256((const void *)(q + 32 * (b / 2)));
    codes = _mm256_and_si256(b % 2 ? _mm256_srli_epi16(codes, 4) : codes, _mm256_set1_epi8(15));
    const __m128i high = _mm_sub_epi8(load16b(fp4_planes[0]), _mm_set1_epi8(2)); /* signed */
    code[0] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(high), codes);
    code[1] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16b(fp4_planes[1])), codes);
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    (void)min; /* four scales, of two blocks each */
    __m256i twice = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(load16b(s)), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    *scale = _mm256_mul_ps(_mm256_castsi256_ps(twice), _mm256_set1_ps(1 / FP4_UNIT));
}
