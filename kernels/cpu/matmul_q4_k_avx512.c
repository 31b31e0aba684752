/* q4_k weights, few tokens.  Each 32 bytes hold the low nibbles of one block of 32 and the high nibbles of the next; for
 * the 16 scale bytes of 256 weights see six_bits_avx512.h.                                                            */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1, AHEAD = 3072 };
#define NAME lr_matmul_q4_k_avx512
#include "kernels/cpu/matmul_planes_avx512.h"
#include "kernels/cpu/six_bits_avx512.h"

INLINE int column(int v, int c) { return 64 * (c / 2) + 16 * (c % 2) + 32 * v; }

/* High nibbles stay where they are: codes 16 times too large, for a sixteenth of the scale.                           */
INLINE void unpack(__m512i u[1][VECTORS], __m512i w) {
    u[0][0] = _mm512_and_si512(w, _mm512_set1_epi8(0x0f));
    u[0][1] = _mm512_andnot_si512(_mm512_set1_epi8(0x0f), w);
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    const __m512 unit = _mm512_mask_blend_ps(0xaaaa, _mm512_set1_ps(1), _mm512_set1_ps(1.0f / 16)); /* see unpack */
    return _mm512_mul_ps(six_bit_scales(min, _mm256_maskz_loadu_epi64((__mmask8)((1 << n / 4) - 1), p)), unit);
}
