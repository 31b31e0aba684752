/* Matmul for few tokens of weights that are 16 values (nf4, fp4), AVX-512.  Each 32 bytes hold the low nibbles of one
 * block of 32 and the high nibbles of the next, with one scale.  The includer defines first:
 *   enum { PLANES, PLANE_BITS, SHIFT }  the values are UNIT times too large, plus SHIFT in the highest of PLANES bytes
 *   VALUES                  [PLANES][16] those bytes, PLANE_BITS apart
 *   UNIT, NAME              of the kernel                                                                            */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, HAS_MIN = 0, AHEAD = 3072 };
#include "kernels/cpu/matmul_planes_avx512.h"

INLINE int column(int v, int c) { return 64 * (c / 2) + 16 * (c % 2) + 32 * v; }

INLINE void unpack(__m512i u[PLANES][VECTORS], __m512i w) {
    UNROLL for (int plane = 0; plane < PLANES; plane++) {
        const __m512i table = broadcast_16(VALUES[plane]);
        u[plane][0] = lookup_low(table, w);
        u[plane][1] = lookup_high(table, w);
    }
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    (void)min;
    __m512 scales = _mm512_maskz_loadu_ps(first16(n / 2), p);
    return _mm512_mul_ps(_mm512_permutexvar_ps(twice, scales), _mm512_set1_ps(1 / UNIT));
}
