/* q4_k weights, few tokens.  Layout and scales as described in matmul_q4_k_avx512.c.                                  */
enum { BLOCK_BYTES = 16, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 1 };
#define NAME lr_matmul_q4_k_avx2
#include "kernels/cpu/matmul_int8_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, int64_t b) {
    __m256i bytes = _mm256_loadu_si256((const void *)(q + 32 * (b / 2)));
    code[0] = _mm256_and_si256(b % 2 ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(15));
}

/* Eight bytes, low ones in `low`, to float.                                                                          */
INLINE __m256 bytes_ps(uint32_t low, uint32_t high) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)((uint64_t)high << 32 | low))));
}

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s) {
    uint32_t v[4];
    memcpy(v, s, sizeof v);
    const uint32_t a = v[1], b = v[2], c = v[3];
    __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128((int)v[0]));
    *scale = _mm256_mul_ps(_mm256_broadcastss_ps(both), bytes_ps(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)));
    *min = _mm256_mul_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(both)),
                         bytes_ps(b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)));
}
