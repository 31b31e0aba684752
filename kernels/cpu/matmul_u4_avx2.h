/* matmul_int8_avx2.h for u4 and u4_32: codes as they are, a word of scale and zero (quant.h) for so many blocks of 32.
 *   enum { WORD_BLOCKS }   1 or 4
 *   NAME, unpack           as there                                                                                   */
#include "kernels/cpu/avx2.h"

enum { PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1, CELLS = 1, GROUP_BYTES = 128 };

INLINE void row_scales(__m256 scale[CELLS], __m256 min[CELLS], const uint8_t *quants, const uint8_t *scales, int64_t first,
                       int n) {
    uint32_t words[8] = { 0 };
    (void)quants;
    memcpy(words, scales + first / WORD_BLOCKS * 4, (size_t)(n / WORD_BLOCKS) * 4);
    __m256i v = _mm256_loadu_si256((const void *)words);
    if (WORD_BLOCKS == 4) v = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    const __m256i low = _mm256_set1_epi32(255);
    scale[0] = _mm256_castsi256_ps(_mm256_andnot_si256(low, v));
    min[0] = _mm256_mul_ps(scale[0], _mm256_cvtepi32_ps(_mm256_and_si256(low, v)));
}

#include "kernels/cpu/matmul_int8_avx2.h"
