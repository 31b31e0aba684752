/* iq4_nl weights, few tokens.  Byte j of a block's 16 holds columns j and j + 16.                                     */
enum { BLOCK_BYTES = 16, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
#define NAME lr_matmul_iq4_nl_avx2
#include "kernels/cpu/matmul_planes_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    const __m256i table = _mm256_broadcastsi128_si256(load16b(lr_iq4_nl_values));
    __m128i bytes = load16b(q + BLOCK_BYTES * b);
    code[0] = _mm256_shuffle_epi8(table, halves(low_nibbles(bytes), high_nibbles(bytes)));
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    (void)min;
    *scale = _mm256_cvtph_ps(load16b(s));
}
