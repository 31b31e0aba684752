/* IQ2_XXS weights: d, then for each 32 weights four indices and a word of signs and scale.               */
enum { CELL = 32, BYTES = 66, SHIFT = 64, UNIT = 8 };
#define NAME lr_matmul_block_iq2_xxs_avx512
#define GEMM lr_gemm_iq2_xxs_avx512
#include "kernels/cpu/matmul_grids_avx512.h"

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    const __m512i v = _mm512_loadu_si512(p + BYTES * line + 2), levels = shifted(LR_LEVELS_4(LR_LEVEL_IQ2));
    const __m128i wide = _mm_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 8, -1, 9, -1, 10, -1, 11, -1);
    const __m512i rows = rows_at(lr_codes_iq2_xxs, 8, _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(wide)));
    UNROLL for (int k = 0; k < VECTORS; k++) u[0][k] = group_of_8(rows, levels, k);
    negate(u[0], even_signs(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x352e2720), v)));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) {
    return _mm512_castsi256_si512(_mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_loadu_si512(p + 2), 60)));
}

#include "kernels/cpu/gemm_grids_avx512.h"
