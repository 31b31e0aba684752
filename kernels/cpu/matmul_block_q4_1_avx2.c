/* Q4_1 weights, few tokens. Layout as described in matmul_block_q4_1_avx512.c.                                       */
enum { BLOCK_BYTES = 20, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1 };
enum { CELLS = 1, GROUP_BYTES = 8 * BLOCK_BYTES };
#define NAME lr_matmul_block_q4_1_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    code[0] = nibbles(q + BLOCK_BYTES * b + 4);
}

ROW_SCALES {
    (void)none;
    q += first * BLOCK_BYTES;
    scale[0] = strided_halves(q, BLOCK_BYTES, n);
    min[0] = _mm256_sub_ps(_mm256_setzero_ps(), strided_halves(q + 2, BLOCK_BYTES, n)); /* added in this format */
}
