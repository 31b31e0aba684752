/* Q3_K weights, few tokens. Layout as described in matmul_block_q3_k_avx512.c.                                       */
enum { BLOCK = 110, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 2, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q3_k_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const __m256i low = bits_of(load32b(q + 32 + s / 4 * 32), s % 4 * 2, 3), third = bits_of(load32b(q), s, 1);
    code[0] = _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(third, 2)), _mm256_set1_epi8(4));
}

ROW_SCALES {
    (void)none, (void)n, (void)min;
    q += first / 8 * BLOCK;
    const __m128i low = load16b(q + 92); /* of it the upper 12 bytes are the packed scales */
    const __m128i a = _mm_srli_si128(low, 4), nibble = _mm_unpacklo_epi64(low_nibbles(a), high_nibbles(a));
    const __m128i pairs = _mm_srlv_epi32(_mm_shuffle_epi32(low, 0xff), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i six = _mm_or_si128(nibble, _mm_slli_epi16(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4));
    pairs_to_ps(scale, _mm_sub_epi8(six, _mm_set1_epi8(32)));
    UNROLL for (int c = 0; c < CELLS; c++) scale[c] = _mm256_mul_ps(scale[c], broadcast_half(q + 108));
}
