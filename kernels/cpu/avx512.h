/* Small pieces that the AVX-512 matmul files share.                                                                  */
#ifndef LR_KERNELS_CPU_AVX512_H
#define LR_KERNELS_CPU_AVX512_H

#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Eight bytes, or two floats, in every 8-byte lane.  p may be unaligned.                                             */
INLINE __m512i broadcast_i64(const void *p) {
    int64_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi64(v);
}
INLINE __m512 broadcast_2ps(const float *p) { return _mm512_castsi512_ps(broadcast_i64(p)); }

/* The same 16 bytes in every 16-byte lane.                                                                           */
INLINE __m512i broadcast_16(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(p)); }

INLINE __m128i load_16(const void *p) { return _mm_loadu_si128(p); }
INLINE __m256i load_32(const void *p) { return _mm256_loadu_si256(p); }

/* table[low nibble] and table[high nibble] of each byte, for a table of 16 bytes in every 16-byte lane: vpermb takes six
 * bits of the index, so the nibble needs no mask.                                                                     */
INLINE __m512i lookup_low(__m512i table, __m512i v) { return _mm512_permutexvar_epi8(v, table); }
INLINE __m512i lookup_high(__m512i table, __m512i v) { return lookup_low(table, _mm512_srli_epi32(v, 4)); }

/* Lane i of the result: lanes 2 i and 2 i + 1 added.                                                                 */
INLINE __m256 pair_sums(__m512 v) {
    __m512 sums = _mm512_add_ps(v, _mm512_permute_ps(v, 0xb1));
    return _mm512_castps512_ps256(_mm512_maskz_compress_ps(0x5555, sums));
}

/* y[t][r .. r + 7] of the rows in mask: adds bias, and what y holds if it accumulates.                                */
INLINE void store_rows8(const lr_matmul_args *a, int64_t t, int64_t r, __mmask8 rows, __m256 sums) {
    float *y = a->y + t * a->y_stride + r;
    if (a->bias) sums = _mm256_add_ps(sums, _mm256_maskz_loadu_ps(rows, a->bias + r));
    if (a->accumulate) sums = _mm256_add_ps(sums, _mm256_maskz_loadu_ps(rows, y));
    _mm256_mask_storeu_ps(y, rows, sums);
}

#endif
