/* Small pieces that the AVX2 matmul files share.                                                                      */
#ifndef LR_KERNELS_CPU_AVX2_H
#define LR_KERNELS_CPU_AVX2_H

#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE float sum8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Bytes 0 .. 15 of each half.                                                                                        */
INLINE __m256i halves(__m128i low, __m128i high) { return _mm256_set_m128i(high, low); }
INLINE __m128i low_nibbles(__m128i v) { return _mm_and_si128(v, _mm_set1_epi8(15)); }
INLINE __m128i high_nibbles(__m128i v) { return low_nibbles(_mm_srli_epi16(v, 4)); }
INLINE __m128i load16b(const void *p) { return _mm_loadu_si128(p); }

#endif
