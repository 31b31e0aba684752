/* MXFP4 weights, few tokens: 17 bytes of exponent and 16 of codes. Byte j of a block's 16 holds columns j and j +
 * 16.                                                                                                                */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
enum { CELL = 32, BLOCK = 17, GROUP_BYTES = 16 * BLOCK };
#define NAME lr_matmul_block_mxfp4_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"
#include "quant/blocks.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    const __m512i table = _mm512_xor_si512(broadcast_16(lr_mxfp4_values), _mm512_set1_epi8((char)0x80));
    const __m512i w = strided_16(p + 4 * BLOCK * line + 1, BLOCK, left);
    u[0][0] = lookup_low(table, w);
    u[0][1] = lookup_high(table, w);
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    uint8_t e[16] = {0};
    for (int i = 0; i < n; i++) e[i] = p[i * BLOCK];
    return mxfp4_scales(load_16(e));
}
