/* Q5_K weights, few tokens. Layout as described in matmul_block_q5_k_avx512.c.                                       */
enum { BLOCK = 176, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1 };
enum { CELLS = 1, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q5_k_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"
#include "kernels/cpu/six_bits_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const __m256i low = bits_of(load32b(q + 48 + 32 * (s / 2)), s % 2 * 4, 15), high = bits_of(load32b(q + 16), s, 1);
    code[0] = _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
}

ROW_SCALES {
    (void)none, (void)n;
    q += first / 8 * BLOCK;
    six_bit_scales(&scale[0], &min[0], q);
}
