/* Q2_K weights, few tokens: 84 bytes of 16 scales and mins of four bits, 64 bytes of codes as the low bits of Q3_K,
 * d and dmin.                                                                                                        */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 1, HAS_MIN = 2 };
enum { CELL = 16, BLOCK = 84, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_q2_k_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"

INLINE int column(int v, int c) { return 64 * v + 16 * c; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    const __m512i bits = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(p + 16 + 32 * line)));
    UNROLL for (int v = 0; v < 2; v++) {
        const __m512i by = _mm512_inserti64x4(_mm512_set1_epi32(4 * v), _mm256_set1_epi32(4 * v + 2), 1);
        u[0][v] = _mm512_and_si512(_mm512_srlv_epi32(bits, by), _mm512_set1_epi8(3));
    }
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)n;
    const __m512i both = _mm512_cvtepu8_epi32(load_16(p));
    const __m512 d = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p + 80)));
    const __m512 dmin = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p + 82)));
    *min = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
}
