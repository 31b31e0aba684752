/* Q8_0 weights, few tokens. Layout as described in matmul_block_q8_0_avx512.c.                                       */
enum { BLOCK_BYTES = 34, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 1, GROUP_BYTES = 8 * BLOCK_BYTES };
#define NAME lr_matmul_block_q8_0_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    code[0] = load32b(q + BLOCK_BYTES * b + 2);
}

ROW_SCALES {
    (void)none, (void)min;
    q += first * BLOCK_BYTES;
    scale[0] = strided_halves(q, BLOCK_BYTES, n);
}
