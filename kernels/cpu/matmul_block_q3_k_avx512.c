/* Q3_K weights, few tokens: 110 bytes, as in quant/blocks_k.c. Of each half of 128 codes 32 bytes have the low two
 * bits of codes l, l + 32, l + 64, l + 96; bit 4 h + k of mask byte l is the third bit of code l + 32 k of half h.   */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 4, HAS_MIN = 0 };
enum { CELL = 16, BLOCK = 110, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q3_k_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 64 * v + 16 * c; }

INLINE __m512i in_halves(int low, int high) {
    return _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
}

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    const __m512i mask = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)p));
    const __m512i bits = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(p + 32 + 32 * line)));
    UNROLL for (int v = 0; v < 2; v++) {
        const uint32_t which = 0x01010101u << (4 * line + 2 * v);
        const __m512i two = _mm512_and_si512(_mm512_srlv_epi32(bits, in_halves(4 * v, 4 * v + 2)), _mm512_set1_epi8(3));
        const __mmask64 third = _mm512_test_epi8_mask(mask, in_halves((int)which, (int)(which << 1)));
        u[0][v] = _mm512_mask_add_epi8(two, third, two, _mm512_set1_epi8(4));
    }
}

/* Twelve bytes A[4] B[4] C[4]: low four bits of scales in the nibbles of A and B, high two bits of scale i in bits
 * 2 (i / 4) of C[i % 4].                                                                                              */
INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min, (void)n;
    uint64_t low;
    uint32_t high;
    memcpy(&low, p + 96, sizeof low);
    memcpy(&high, p + 104, sizeof high);
    const __m128i nibbles16 = _mm_and_si128(_mm_set_epi64x((int64_t)(low >> 4), (int64_t)low), _mm_set1_epi8(15));
    const __m128i pairs = _mm_srlv_epi32(_mm_set1_epi32((int)high), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i six = _mm_or_si128(nibbles16, _mm_slli_epi16(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4));
    const __m512i scale = _mm512_sub_epi32(_mm512_cvtepu8_epi32(six), _mm512_set1_epi32(32));
    return _mm512_mul_ps(_mm512_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p + 108))), _mm512_cvtepi32_ps(scale));
}
