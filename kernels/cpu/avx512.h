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

#endif
