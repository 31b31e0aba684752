/* u4_32 weights, few tokens.  Byte j of a block's 16 holds columns j and j + 16; each has a word of scale and zero.    */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1, AHEAD = 0 };
#define NAME lr_matmul_u4_32_avx512
#include "kernels/cpu/matmul_planes_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void unpack(__m512i u[1][VECTORS], __m512i w) {
    u[0][0] = _mm512_and_si512(w, _mm512_set1_epi8(15));
    u[0][1] = _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi8(15));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    const __m512i words = _mm512_maskz_loadu_epi32(first16(n), p), low = _mm512_set1_epi32(255);
    const __m512 d = _mm512_castsi512_ps(_mm512_andnot_si512(low, words));
    *min = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(low, words)));
    return d;
}
