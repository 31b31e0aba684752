/* u4 weights, few tokens.  Each 32 bytes hold the low nibbles of one block of 32 and the high nibbles of the next; four
 * blocks share a word of scale and zero (quant.h).                                                                    */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1, AHEAD = 0 };
#define NAME lr_matmul_u4_avx512
#include "kernels/cpu/matmul_planes_avx512.h"

INLINE int column(int v, int c) { return 64 * (c / 2) + 16 * (c % 2) + 32 * v; }

/* High nibbles stay where they are: codes 16 times too large, for a sixteenth of the scale.                           */
INLINE void unpack(__m512i u[1][VECTORS], __m512i w) {
    u[0][0] = _mm512_and_si512(w, _mm512_set1_epi8(0x0f));
    u[0][1] = _mm512_andnot_si512(_mm512_set1_epi8(0x0f), w);
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    const __m512i four_times = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), low = _mm512_set1_epi32(255);
    const __m512i words = _mm512_permutexvar_epi32(four_times, _mm512_maskz_loadu_epi32(first16(n / 4), p));
    const __m512 d = _mm512_castsi512_ps(_mm512_andnot_si512(low, words));
    *min = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(low, words)));
    return _mm512_mask_mul_ps(d, 0xaaaa, d, _mm512_set1_ps(1.0f / 16)); /* see unpack */
}
