/* IQ1_M weights, few tokens.                                                                                        */
enum { BLOCK = 56, CELLS = 2, UNIT = 8 };
#define NAME lr_matmul_block_iq1_m_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

/* Bit 3 of each of four nibbles: the group's values are shifted down.                                               */
INLINE __m256i zeros(int high) {
    const __m256i bit = _mm256_setr_epi64x(8, 8 << 4, 8 << 8, 8 << 12);
    const __m256i down = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(high), bit), bit);
    return _mm256_blendv_epi8(_mm256_set1_epi8(LR_IQ1_ZERO - LR_IQ1_UP), _mm256_set1_epi8(LR_IQ1_ZERO), down);
}

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const uint8_t *row = q + 4 * s;
    const int high = q[32 + 2 * s] | q[33 + 2 * s] << 8;
    const __m256i rows = rows_of_8(lr_grid_iq1, row[0] | (high << 8 & 1792), row[1] | (high << 4 & 1792),
                                   row[2] | (high & 1792), row[3] | (high >> 4 & 1792));
    code[0] = _mm256_sub_epi8(rows, zeros(high));
}

INLINE __m128i block_half(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p + 48, sizeof v);
    return _mm_cvtsi32_si128((int)((v >> 12 & 0xf) | (v >> 24 & 0xf0) | (v >> 36 & 0xf00) | (v >> 48 & 0xf000)));
}
/* Two of 3 bits for each sub-block, two sub-blocks in a word.                                                       */
INLINE void scale_codes(__m256i code[2], const uint8_t *p) {
    const __m128i words = _mm_loadl_epi64((const void *)(p + 48));
    const __m256i twice = _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(words, words));
    const __m256i by = _mm256_setr_epi32(0, 6, 0, 6, 0, 6, 0, 6), six = _mm256_srlv_epi32(twice, by);
    code[0] = _mm256_and_si256(six, _mm256_set1_epi32(7));
    code[1] = _mm256_and_si256(_mm256_srli_epi32(six, 3), _mm256_set1_epi32(7));
}
