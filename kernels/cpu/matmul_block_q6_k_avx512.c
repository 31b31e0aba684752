/* Q6_K weights, few tokens: 210 bytes, as in quant/blocks_k.c. Of each half of 128 codes 64 bytes have the low four
 * bits * (low nibbles: codes 0 .. 63), 32 bytes the high two of codes l, l + 32, l + 64, l + 96. A scale for 16
 * codes.                                                                                                             */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 32, HAS_MIN = 0 };
enum { CELL = 16, BLOCK = 210, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q6_k_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 64 * v + 16 * c; }

/* Two bits of each byte, moved to 0x30 by a rotation of its own in each half.                                         */
INLINE __m512i high_bits(__m512i bits, int low_half, int high_half) {
    const __m512i by = _mm512_inserti64x4(_mm512_set1_epi32(low_half), _mm256_set1_epi32(high_half), 1);
    return _mm512_and_si512(_mm512_rolv_epi32(bits, by), _mm512_set1_epi8(0x30));
}

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    const __m512i bits = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(p + 128 + 32 * line)));
    nibbles(u[0], _mm512_loadu_si512(p + 64 * line));
    u[0][0] = _mm512_or_si512(u[0][0], high_bits(bits, 4, 2));
    u[0][1] = _mm512_or_si512(u[0][1], high_bits(bits, 0, 30));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min, (void)n;
    const __m512 d = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p + 208)));
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16(p + 192))));
}
