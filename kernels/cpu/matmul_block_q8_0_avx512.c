/* Q8_0 weights, few tokens: 34 bytes of d and 32 codes.                                                              */
enum { LINE_BLOCKS = 2, SUMS = 1, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
enum { CELL = 32, BLOCK = 34, GROUP_BYTES = 16 * BLOCK };
#define NAME lr_matmul_block_q8_0_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 64 * v + 16 * c; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    p += 2 * BLOCK * line + 2;
    __m512i w = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)p));
    if (left > 1) w = _mm512_inserti64x4(w, _mm256_loadu_si256((const void *)(p + BLOCK)), 1);
    u[0][0] = _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    return strided_halves(p, BLOCK, n);
}
