/* IQ1_S weights, few tokens.                                                                                        */
enum { BLOCK = 50, CELLS = 1, UNIT = 8 };
#define NAME lr_matmul_block_iq1_s_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const uint8_t *row = q + 2 + 4 * s;
    const int high = q[34 + 2 * s] | q[35 + 2 * s] << 8, zero = LR_IQ1_ZERO - (high >> 15 ? 0 : LR_IQ1_UP);
    const __m256i rows = rows_of_8(lr_grid_iq1, row[0] | (high << 8 & 1792), row[1] | (high << 5 & 1792),
                                   row[2] | (high << 2 & 1792), row[3] | (high >> 1 & 1792));
    code[0] = _mm256_sub_epi8(rows, _mm256_set1_epi8((char)zero));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE void scale_codes(__m256i code[1], const uint8_t *p) {
    const __m256i words = _mm256_cvtepu16_epi32(load16b(p + 34));
    code[0] = _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7));
}
