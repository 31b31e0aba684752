/* IQ4_XS weights, few tokens. Layout as described in matmul_block_iq4_xs_avx512.c.                                   */
enum { BLOCK = 136, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 1, GROUP_BYTES = BLOCK };
#define NAME lr_matmul_block_iq4_xs_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const __m256i table = _mm256_broadcastsi128_si256(load16b(lr_iq4_nl_values));
    code[0] = _mm256_shuffle_epi8(table, nibbles(q + 8 + 16 * s));
}

ROW_SCALES {
    (void)none, (void)n, (void)min;
    q += first / 8 * BLOCK;
    uint16_t high;
    uint32_t low;
    memcpy(&high, q + 2, sizeof high);
    memcpy(&low, q + 4, sizeof low);
    const __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)low), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i six = _mm256_or_si256(_mm256_and_si256(l, _mm256_set1_epi32(15)),
                                        _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4));
    scale[0] = _mm256_cvtepi32_ps(_mm256_sub_epi32(six, _mm256_set1_epi32(32)));
    scale[0] = _mm256_mul_ps(scale[0], broadcast_half(q));
}
