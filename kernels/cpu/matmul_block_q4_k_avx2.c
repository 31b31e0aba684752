/* Q4_K weights, few tokens. Layout as described in matmul_block_q4_k_avx512.c.                                       */
enum { BLOCK = 144, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1 };
enum { CELLS = 1, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q4_k_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"
#include "kernels/cpu/six_bits_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    code[0] = bits_of(load32b(q + 16 + 32 * (s / 2)), s % 2 * 4, 15);
}

ROW_SCALES {
    (void)none, (void)n;
    q += first / 8 * BLOCK;
    six_bit_scales(&scale[0], &min[0], q);
}
