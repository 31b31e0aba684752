/* iq4_nl weights, few tokens.  Byte j of a block's 16 holds columns j and j + 16.                                     */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0, AHEAD = 0 };
#define NAME lr_matmul_iq4_nl_avx512
#include "kernels/cpu/matmul_planes_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void unpack(__m512i u[1][VECTORS], __m512i w) {
    const __m512i table = _mm512_xor_si512(broadcast_16(lr_iq4_nl_values), _mm512_set1_epi8((char)0x80));
    u[0][0] = lookup_low(table, w);
    u[0][1] = lookup_high(table, w);
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    return half_scales(p, n);
}
