/* Scales and mins of q4_k, Q4_K and Q5_K: f16 d, f16 dmin, then bytes A[4] B[4] C[4] with the 6-bit scales S and mins M
 * of eight blocks of 32:  S[i] = A[i] & 63, M[i] = B[i] & 63, and S[i + 4] = C[i] & 15 | A[i] >> 6 << 4,
 * M[i + 4] = C[i] >> 4 | B[i] >> 6 << 4, for i < 4.                                                                   */
#include "kernels/cpu/avx512.h"

/* The bytes of `bytes` at the 16 places given, as floats.                                                             */
INLINE __m512 bytes_at(__m512i bytes, __m128i places) {
    return _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(0x1111111111111111, _mm512_cvtepu8_epi32(places), bytes));
}

/* d * S (returned) and dmin * M of 16 blocks.  v: bytes d (2), dmin (2), A, B, C; twice.                              */
INLINE __m512 six_bit_scales(__m512 *min, __m256i v) {
    /* In every 16 bytes S[0 .. 3], M[0 .. 3], S[4 .. 7], M[4 .. 7]: low bits from A B C C, high ones from A B.         */
    const __m128i from = _mm_setr_epi8(0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 4, 12, 20, 28);
    const __m256i at = _mm256_broadcastsi128_si256(from);
    const __m256i low = _mm256_multishift_epi64_epi8(at, _mm256_shuffle_epi32(v, _MM_SHUFFLE(3, 3, 2, 1)));
    const __m256i high = _mm256_srli_epi32(_mm256_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 2, 1)), 2);
    const __m256i low_bits = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0f0f0f0f0f0f0f0f, 0x3f3f3f3f3f3f3f3f));
    const __m256i high_bits = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x3030303030303030, 0));
    const __m512i both =
        _mm512_castsi256_si512(_mm256_or_si256(_mm256_and_si256(low, low_bits), _mm256_and_si256(high, high_bits)));
    const __m512 s = bytes_at(both, _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27));
    const __m512 m = bytes_at(both, _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
    /* d and dmin of eight blocks, then of the other eight. */
    const __m128i halves = _mm_unpacklo_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m512 d = _mm512_castps128_ps512(_mm_cvtph_ps(halves));
    const __m512i second = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
    *min = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_add_epi32(second, _mm512_set1_epi32(1)), d), m);
    return _mm512_mul_ps(_mm512_permutexvar_ps(second, d), s);
}
