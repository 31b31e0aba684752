/* Scales and mins of q4_k, Q4_K and Q5_K: f16 d, f16 dmin, then bytes A[4] B[4] C[4] with the 6-bit scales S and mins M
 * of eight blocks of 32:  S[i] = A[i] & 63, M[i] = B[i] & 63, and S[i + 4] = C[i] & 15 | A[i] >> 6 << 4,
 * M[i + 4] = C[i] >> 4 | B[i] >> 6 << 4, for i < 4.                                                                   */
#include "kernels/cpu/avx512.h"

/* f16 number i and i + 8 of v, each in eight lanes.                                                                   */
INLINE __m512 spread_halves(__m256i v, int i) {
    const __m256i from = _mm256_inserti128_si256(_mm256_set1_epi16((short)i), _mm_set1_epi16((short)(i + 8)), 1);
    return _mm512_cvtph_ps(_mm256_permutexvar_epi16(from, v));
}

/* d * S (returned) and dmin * M of 16 blocks.  v: dwords d and dmin, A, B, C; twice.                                  */
INLINE __m512 six_bit_scales(__m512 *min, __m256i v) {
    const __m256i c = _mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0xff), _mm256_setr_epi32(0, 0, 4, 0, 0, 0, 4, 0));
    const __m256i first = _mm256_and_si256(v, _mm256_set1_epi8(63)); /* S[0 .. 3] in dword 1, M[0 .. 3] in dword 2 */
    const __m256i last = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(v, 2), _mm256_set1_epi8(48)),
                                         _mm256_and_si256(c, _mm256_set1_epi8(15))); /* and S[4 .. 7], M[4 .. 7] */
    const __m256i s = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(first, last), 0x0d);
    const __m256i m = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(first, last), 0x08);
    *min = _mm512_mul_ps(spread_halves(v, 1), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(m))));
    return _mm512_mul_ps(spread_halves(v, 0), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(s))));
}
