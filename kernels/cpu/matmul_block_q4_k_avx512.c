/* Q4_K weights, few tokens: 144 bytes of d, dmin, 12 packed scales and mins, then codes as in q4_k.                  */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1 };
enum { CELL = 32, BLOCK = 144, GROUP_BYTES = 2 * BLOCK };
#define NAME lr_matmul_block_q4_k_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"
#include "kernels/cpu/six_bits_avx512.h"

INLINE int column(int v, int c) { return 64 * (c / 2) + 16 * (c % 2) + 32 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    nibbles(u[0], _mm512_loadu_si512(p + BLOCK * (line / 2) + 16 + 64 * (line % 2)));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    return six_bit_scales(min, _mm256_set_m128i(n > 8 ? load_16(p + BLOCK) : _mm_setzero_si128(), load_16(p)));
}
