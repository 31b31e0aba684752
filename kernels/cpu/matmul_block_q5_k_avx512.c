/* Q5_K weights, few tokens: 176 bytes of d, dmin, 12 packed scales and mins, 32 bytes of fifth bits (bit s of byte l
 * * belongs to code l of block s), then low bits as in Q4_K.                                                         */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1 };
enum { CELL = 32, BLOCK = 176, GROUP_BYTES = 2 * BLOCK };
#define NAME lr_matmul_block_q5_k_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"
#include "kernels/cpu/six_bits_avx512.h"

INLINE int column(int v, int c) { return 64 * (c / 2) + 16 * (c % 2) + 32 * v; }

/* 16 where the lower half of `bits` has bit `low`, and the upper half bit `low + 2`.                                   */
INLINE __m512i fifth(__m512i bits, int low) {
    const __m512i which = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << low)), _mm256_set1_epi8((char)(4 << low)), 1);
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(bits, which), _mm512_set1_epi8(16));
}

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    p += BLOCK * (line / 2);
    const __m512i bits = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(p + 16)));
    nibbles(u[0], _mm512_loadu_si512(p + 48 + 64 * (line % 2)));
    UNROLL for (int v = 0; v < 2; v++) u[0][v] = _mm512_or_si512(u[0][v], fifth(bits, 4 * (line % 2) + v));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    return six_bit_scales(min, _mm256_set_m128i(n > 8 ? load_16(p + BLOCK) : _mm_setzero_si128(), load_16(p)));
}
