/* iq4_nl weights, few tokens.  Byte j of a block's 16 holds columns j and j + 16.                                     */
enum { LINE_BLOCKS = 4, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
#define NAME lr_matmul_iq4_nl_avx512
#include "kernels/cpu/matmul_int8_avx512.h"

INLINE void unpack(__m512i u[4], const __m512i w[8], int b) {
    const __m512i table = _mm512_xor_si512(broadcast_16(lr_iq4_nl_values), _mm512_set1_epi8((char)0x80));
    UNROLL for (int i = 0; i < 2; i++) {
        u[i] = lookup_low(table, w[2 * b + i]);
        u[i + 2] = lookup_high(table, w[2 * b + i]);
    }
}

INLINE void span_scales(span *out, const __m512i s[8]) { half_scales(out, s); }
