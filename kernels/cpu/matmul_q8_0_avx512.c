/* q8_0 weights, few tokens.                                                                                           */
enum { LINE_BLOCKS = 2, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
#define NAME lr_matmul_q8_0_avx512
#include "kernels/cpu/matmul_int8_avx512.h"

INLINE void unpack(__m512i u[4], const __m512i w[8], int b) {
    UNROLL for (int i = 0; i < 4; i++) u[i] = _mm512_xor_si512(w[4 * b + i], _mm512_set1_epi8((char)0x80));
}

INLINE void span_scales(span *out, const __m512i s[8]) { half_scales(out, s); }
