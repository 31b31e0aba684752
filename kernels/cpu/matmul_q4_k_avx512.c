/* q4_k weights, few tokens.  Each 32 bytes hold the low nibbles of one block of 32 and the high nibbles of the next; high
 * ones are used as they lie, 16 times too large, with a sixteenth of the scale.  The 16 scale bytes of 256 weights: f16 d, f16 dmin, then bytes A[4] B[4] C[4] with the 6-bit scales S and mins M of its
 * eight blocks:  S[i] = A[i] & 63, M[i] = B[i] & 63, and S[i + 4] = C[i] & 15 | A[i] >> 6 << 4,
 * M[i + 4] = C[i] >> 4 | B[i] >> 6 << 4, for i < 4.                                                                   */
enum { LINE_BLOCKS = 4, PLANES = 1, PLANE_BITS = 0, SHIFT = 0, HAS_MIN = 1 };
#define NAME lr_matmul_q4_k_avx512
#include "kernels/cpu/matmul_int8_avx512.h"

INLINE void unpack(__m512i u[4], const __m512i w[8], int b) {
    UNROLL for (int i = 0; i < 4; i++) {
        u[i] = _mm512_and_si512(w[4 * (b / 2) + i], _mm512_set1_epi8((char)(b % 2 ? 0xf0 : 0x0f)));
    }
}

/* Byte `even` of each dword in the row's first lane, byte `odd` in its second, as float.                              */
INLINE __m512 bytes_ps(__m512i v, int even, int odd) {
    const char e = (char)even, o = (char)odd, none = -1;
    __m128i from = _mm_setr_epi8(e, none, none, none, 4 + o, none, none, none,
                                 8 + e, none, none, none, 12 + o, none, none, none);
    return _mm512_cvtepi32_ps(_mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(from)));
}

INLINE void span_scales(span *out, const __m512i s[8]) {
    const __m512i low6 = _mm512_set1_epi8(63), low4 = _mm512_set1_epi8(15), bits45 = _mm512_set1_epi8(48);
    for (int k = 0; k < 4; k++) { /* 256 weights each */
        __m512 both = _mm512_cvtph_ps(_mm512_cvtepi64_epi32(s[2 * k]));
        __m512 d = _mm512_moveldup_ps(both), dmin = _mm512_movehdup_ps(both);
        __m512i a = _mm512_shuffle_epi32(s[2 * k], 0xf5), b = _mm512_shuffle_epi32(s[2 * k + 1], 0xa0);
        __m512i c = _mm512_shuffle_epi32(s[2 * k + 1], 0xf5); /* in both lanes of the row */
        __m512i scales[2] = { _mm512_and_si512(a, low6),
                              _mm512_or_si512(_mm512_and_si512(c, low4),
                                              _mm512_and_si512(_mm512_srli_epi32(a, 2), bits45)) };
        __m512i mins[2] = { _mm512_and_si512(b, low6),
                            _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(c, 4), low4),
                                            _mm512_and_si512(_mm512_srli_epi32(b, 2), bits45)) };
        __m512 d16 = _mm512_mul_ps(d, _mm512_set1_ps(1.0f / 16));
        UNROLL for (int i = 0; i < 8; i++)
            out->scale[8 * k + i] = _mm512_mul_ps(i % 2 ? d16 : d, bytes_ps(scales[i / 4], i % 4, i % 4));
        UNROLL for (int i = 0; i < 4; i++)
            out->min[4 * k + i] = _mm512_mul_ps(dmin, bytes_ps(mins[i / 2], i % 2 * 2, i % 2 * 2 + 1));
    }
}
