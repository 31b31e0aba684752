/* Q4_1 weights, few tokens: 20 bytes of d, m and 16 of codes. Byte j of a block's 16 holds columns j and j + 16.     */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1 };
enum { CELL = 32, BLOCK = 20, GROUP_BYTES = 16 * BLOCK };
#define NAME lr_matmul_block_q4_1_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    nibbles(u[0], strided_16(p + 4 * BLOCK * line + 4, BLOCK, left));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    *min = _mm512_sub_ps(_mm512_setzero_ps(), strided_halves(p + 2, BLOCK, n)); /* added in this format */
    return strided_halves(p, BLOCK, n);
}
