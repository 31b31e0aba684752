/* Q4_0 weights, few tokens: 18 bytes of d and 16 of codes. Byte j of a block's 16 holds columns j and j + 16.        */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 8, HAS_MIN = 0 };
enum { CELL = 32, BLOCK = 18, GROUP_BYTES = 16 * BLOCK };
#define NAME lr_matmul_block_q4_0_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    nibbles(u[0], strided_16(p + 4 * BLOCK * line + 2, BLOCK, left));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    return strided_halves(p, BLOCK, n);
}
