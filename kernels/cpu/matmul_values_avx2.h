/* Matmul for few tokens of weights that are 16 values (nf4, fp4), AVX2: as matmul_values_avx512.h, same names.        */
enum { BLOCK_BYTES = 16, HAS_MIN = 0 };
#include "kernels/cpu/matmul_planes_avx2.h"

INLINE void unpack(__m256i code[PLANES], const uint8_t *q, const int b) {
    __m256i codes = _mm256_loadu_si256((const void *)(q + 32 * (b / 2)));
    codes = _mm256_and_si256(b % 2 ? _mm256_srli_epi16(codes, 4) : codes, _mm256_set1_epi8(15));
    UNROLL for (int plane = 0; plane < PLANES; plane++) { /* signed bytes: one that turns negative owes the plane above 1 */
        __m128i table = load16b(VALUES[plane]);
        if (plane == 0) table = _mm_sub_epi8(table, _mm_set1_epi8((char)SHIFT));
        if (plane + 1 < PLANES)
            table = _mm_sub_epi8(table, _mm_cmplt_epi8(load16b(VALUES[plane + 1]), _mm_setzero_si128()));
        code[plane] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
    }
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    (void)min; /* four scales, of two blocks each */
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256i scales = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(load16b(s)), twice);
    *scale = _mm256_mul_ps(_mm256_castsi256_ps(scales), _mm256_set1_ps(1 / UNIT));
}
