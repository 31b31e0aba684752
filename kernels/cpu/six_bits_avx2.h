/* Scales and mins of q4_k, Q4_K and Q5_K: see six_bits_avx512.h.                                                      */
#include "kernels/cpu/avx2.h"

/* Eight bytes, low ones in `low`, to float.                                                                          */
INLINE __m256 bytes_ps(uint32_t low, uint32_t high) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)((uint64_t)high << 32 | low))));
}

/* Of the eight blocks whose 16 bytes are at s.                                                                        */
INLINE void six_bit_scales(__m256 *scale, __m256 *min, const uint8_t *s) {
    uint32_t v[4];
    memcpy(v, s, sizeof v);
    const uint32_t a = v[1], b = v[2], c = v[3];
    __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128((int)v[0]));
    *scale = _mm256_mul_ps(_mm256_broadcastss_ps(both), bytes_ps(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)));
    *min = _mm256_mul_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(both)),
                         bytes_ps(b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)));
}
