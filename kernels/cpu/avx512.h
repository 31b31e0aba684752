/* Small pieces that the AVX-512 matmul files share.                                                                  */
#ifndef LR_KERNELS_CPU_AVX512_H
#define LR_KERNELS_CPU_AVX512_H

#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* The same 16 bytes in every 16-byte lane.                                                                           */
INLINE __m512i broadcast_16(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(p)); }

INLINE __m128i load_16(const void *p) { return _mm_loadu_si128(p); }

/* table[low nibble] and table[high nibble] of each byte, for a table of 16 bytes in every 16-byte lane: vpermb takes six
 * bits of the index, so the nibble needs no mask.                                                                     */
INLINE __m512i lookup_low(__m512i table, __m512i v) { return _mm512_permutexvar_epi8(v, table); }
INLINE __m512i lookup_high(__m512i table, __m512i v) { return lookup_low(table, _mm512_srli_epi32(v, 4)); }

/* MXFP4's scales, halved, of exponents e: 2^(e - 128), below 2^-126 the mantissa's bits, and 255 is NaN.                    */
INLINE __m512 mxfp4_scales(__m128i e8) {
    const __m512i e = _mm512_cvtepu8_epi32(e8), one = _mm512_set1_epi32(1);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    const __m512i tiny = _mm512_sllv_epi32(_mm512_set1_epi32(1 << 21), e);
    const __m512i bits = _mm512_mask_blend_epi32(_mm512_cmple_epu32_mask(e, one), normal, tiny);
    const __mmask16 nan = _mm512_cmpeq_epu32_mask(e, _mm512_set1_epi32(255));
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(nan, bits, _mm512_set1_epi32(0x7fc00000)));
}

#endif
