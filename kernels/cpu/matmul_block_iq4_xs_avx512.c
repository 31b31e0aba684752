/* IQ4_XS weights, few tokens: 136 bytes of d, the high two bits of eight scales, their low four bits, then eight
 * times 16 bytes as in iq4_nl.                                                                                       */
enum { LINE_BLOCKS = 4, SUMS = 1, PARTS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
enum { CELL = 32, BLOCK = 136, GROUP_BYTES = 2 * BLOCK };
#define NAME lr_matmul_block_iq4_xs_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    const __m512i table = _mm512_xor_si512(broadcast_16(lr_iq4_nl_values), _mm512_set1_epi8((char)0x80));
    const __m512i w = _mm512_loadu_si512(p + BLOCK * (line / 2) + 8 + 64 * (line % 2));
    u[0][0] = lookup_low(table, w);
    u[0][1] = lookup_high(table, w);
}

INLINE __m256i eight_scales(const uint8_t *p) {
    uint16_t high;
    uint32_t low;
    memcpy(&high, p + 2, sizeof high);
    memcpy(&low, p + 4, sizeof low);
    const __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)low), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    return _mm256_or_si256(_mm256_and_si256(l, _mm256_set1_epi32(15)),
                           _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    const uint8_t *q = n > 8 ? p + BLOCK : p;
    const __m512i six = _mm512_inserti64x4(_mm512_castsi256_si512(eight_scales(p)), eight_scales(q), 1);
    const __m256 d[2] = {_mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p))),
                         _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(q)))};
    const __m512 both = _mm512_insertf32x8(_mm512_castps256_ps512(d[0]), d[1], 1);
    return _mm512_mul_ps(both, _mm512_cvtepi32_ps(_mm512_sub_epi32(six, _mm512_set1_epi32(32))));
}
