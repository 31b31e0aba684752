/* matmul_int8_avx2.h for block formats.  The format says in row_scales what its scales are, and where.                */
#include "kernels/cpu/avx2.h"

/* f16 at p, p + stride ..., n <= 8 of them; 0 beyond.                                                                 */
INLINE __m256 strided_halves(const uint8_t *p, const int stride, int n) {
    uint16_t h[8] = { 0 };
    for (int i = 0; i < n; i++) memcpy(&h[i], p + i * stride, sizeof *h);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)h));
}

/* The codes of 16 bytes: low nibbles, then high ones.                                                                 */
INLINE __m256i nibbles(const uint8_t *p) {
    const __m128i bytes = load16b(p);
    return halves(low_nibbles(bytes), high_nibbles(bytes));
}

/* value where bit i of the 32 bits is set, else 0; of those at p.                                                     */
INLINE __m256i where_set(uint32_t bits, int value) {
    const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit), _mm256_set1_epi8((char)value));
}
INLINE __m256i where_bits(const uint8_t *p, int value) {
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return where_set(bits, value);
}

/* Bits shift .. of each byte, masked.                                                                                 */
INLINE __m256i bits_of(__m256i v, int shift, int mask) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8((char)mask));
}

INLINE __m256i load32b(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
INLINE __m256 broadcast_half(const uint8_t *p) { return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p))); }
INLINE __m256 bytes_to_ps(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }

/* The values of even and of odd bytes: two cells of eight blocks.                                                     */
INLINE void pairs_to_ps(__m256 cells[2], __m128i bytes) {
    const __m128i even = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, -1, -1, -1, -1, -1, -1, -1, -1);
    cells[0] = bytes_to_ps(_mm_shuffle_epi8(bytes, even));
    cells[1] = bytes_to_ps(_mm_shuffle_epi8(_mm_srli_si128(bytes, 1), even));
}

#define ROW_SCALES                                                                                                     \
    INLINE void row_scales(__m256 scale[CELLS], __m256 min[CELLS], const uint8_t *q, const uint8_t *none,              \
                           int64_t first, int n)

#include "kernels/cpu/matmul_int8_avx2.h"
