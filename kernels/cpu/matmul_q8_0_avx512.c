/* q8_0 weights, few tokens.                                                                                           */
enum { LINE_BLOCKS = 2, SUMS = 1, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0, AHEAD = 0 };
#define NAME lr_matmul_q8_0_avx512
#include "kernels/cpu/matmul_planes_avx512.h"

INLINE int column(int v, int c) { return 64 * v + 16 * c; }

INLINE void unpack(__m512i u[1][VECTORS], __m512i w) { u[0][0] = _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)); }

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    return half_scales(p, n);
}
