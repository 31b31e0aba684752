/* nf4 weights, few tokens.  Each 32 bytes hold the low nibbles of one block of 32 and the high nibbles of the next, with
 * one scale.                                                                                                          */
enum { LINE_BLOCKS = 4, PLANES = 3, PLANE_BITS = 7, SHIFT = 128, HAS_MIN = 0 };
#define NAME lr_matmul_nf4_avx512
#include "kernels/cpu/matmul_int8_avx512.h"
#include "kernels/cpu/nf4_values.h"

INLINE void unpack(__m512i u[4 * PLANES], const __m512i w[8], int b) {
    UNROLL for (int i = 0; i < 4; i++) {
        __m512i bytes = w[4 * (b / 2) + i];
        UNROLL for (int plane = 0; plane < PLANES; plane++) {
            __m512i table = broadcast_16(nf4_planes[plane]);
            u[4 * plane + i] = b % 2 ? lookup_high(table, bytes) : lookup_low(table, bytes);
        }
    }
}

INLINE void span_scales(span *out, const __m512i s[8]) {
    for (int i = 0; i < 8; i++) { /* two scales, of 64 weights each */
        __m512 pair = _mm512_mul_ps(_mm512_castsi512_ps(s[i]), _mm512_set1_ps(1 / NF4_UNIT));
        out->scale[4 * i] = out->scale[4 * i + 1] = _mm512_moveldup_ps(pair);
        out->scale[4 * i + 2] = out->scale[4 * i + 3] = _mm512_movehdup_ps(pair);
    }
}
