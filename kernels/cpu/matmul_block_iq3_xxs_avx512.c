/* IQ3_XXS weights: d, an index for each 4 weights, for each 32 a word of signs and scale.                */
enum { CELL = 32, BYTES = 98, SHIFT = 64, UNIT = 4 };
#define NAME lr_matmul_block_iq3_xxs_avx512
#define GEMM lr_gemm_iq3_xxs_avx512
#include "kernels/cpu/matmul_grids_avx512.h"

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    p += BYTES * line;
    const __m512i v = _mm512_loadu_si512(p + 2), even = rows_at(lr_codes_iq3_xxs, 8, v);
    const __m512i odd = rows_at(lr_codes_iq3_xxs, 8, _mm512_srli_epi16(v, 8));
    groups_of_4(u[0], even, odd, shifted(LR_LEVELS_8(LR_LEVEL_IQ3_XXS)));
    negate(u[0], even_signs(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x150e0700), fours_of_blocks(p + 66))));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) {
    return _mm512_castsi256_si512(_mm256_srli_epi32(_mm256_loadu_si256((const void *)(p + 66)), 28));
}

#include "kernels/cpu/gemm_grids_avx512.h"
