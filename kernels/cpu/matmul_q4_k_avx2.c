/* q4_k weights, few tokens.  Layout as described in matmul_q4_k_avx512.c.                                             */
enum { BLOCK_BYTES = 16, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1 };
#define NAME lr_matmul_q4_k_avx2
#include "kernels/cpu/matmul_planes_avx2.h"
#include "kernels/cpu/six_bits_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    __m256i bytes = _mm256_loadu_si256((const void *)(q + 32 * (b / 2)));
    code[0] = _mm256_and_si256(b % 2 ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(15));
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) { six_bit_scales(scale, min, s); }
