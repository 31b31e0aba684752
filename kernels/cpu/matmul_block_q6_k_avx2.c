/* Q6_K weights, few tokens. Layout as described in matmul_block_q6_k_avx512.c.                                       */
enum { BLOCK = 210, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 2, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q6_k_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const __m256i low = bits_of(load32b(q + s / 4 * 64 + s % 2 * 32), s % 4 / 2 * 4, 15);
    const __m256i high = bits_of(load32b(q + 128 + s / 4 * 32), s % 4 * 2, 3);
    code[0] = _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 4)), _mm256_set1_epi8(32));
}

ROW_SCALES {
    (void)none, (void)n, (void)min;
    q += first / 8 * BLOCK;
    pairs_to_ps(scale, load16b(q + 192));
    UNROLL for (int c = 0; c < CELLS; c++) scale[c] = _mm256_mul_ps(scale[c], broadcast_half(q + 208));
}
