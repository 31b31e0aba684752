/* IQ2_XXS weights, few tokens.                                                                                      */
enum { BLOCK = 66, CELLS = 1, UNIT = 8 };
#define NAME lr_matmul_block_iq2_xxs_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    q += 2 + 8 * s;
    code[0] = with_signs(rows_of_8(lr_grid_iq2_xxs, q[0], q[1], q[2], q[3]), lr_even_signs(word_at(q + 4)));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE void scale_codes(__m256i code[1], const uint8_t *p) {
    const __m256i odd = _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7);
    const __m256i low = _mm256_permutevar8x32_epi32(load32b(p + 2), odd);
    const __m256i high = _mm256_permutevar8x32_epi32(load32b(p + 34), odd);
    code[0] = _mm256_srli_epi32(_mm256_blend_epi32(low, high, 0xf0), 28);
}
