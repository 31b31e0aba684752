/* Q2_K weights, few tokens. Layout as described in matmul_block_q2_k_avx512.c.                                       */
enum { BLOCK = 84, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 2 };
enum { CELLS = 2, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q2_k_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    code[0] = bits_of(load32b(q + 16 + s / 4 * 32), s % 4 * 2, 3);
}

ROW_SCALES {
    (void)none, (void)n;
    q += first / 8 * BLOCK;
    const __m128i both = load16b(q);
    pairs_to_ps(scale, low_nibbles(both));
    pairs_to_ps(min, high_nibbles(both));
    UNROLL for (int c = 0; c < CELLS; c++) {
        scale[c] = _mm256_mul_ps(scale[c], broadcast_half(q + 80));
        min[c] = _mm256_mul_ps(min[c], broadcast_half(q + 82));
    }
}
