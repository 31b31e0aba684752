/* IQ2_XS weights: d, then for each 8 weights an index of 9 bits and 7 signs; nibbles of scales.          */
enum { CELL = 16, BYTES = 74, SHIFT = 64, UNIT = 8 };
#define NAME lr_matmul_block_iq2_xs_avx512
#define GEMM lr_gemm_iq2_xs_avx512
#include "kernels/cpu/matmul_grids_avx512.h"

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left, (void)line;
    const __m512i v = _mm512_loadu_si512(p + 2), levels = shifted(LR_LEVELS_4(LR_LEVEL_IQ2));
    const __m512i rows = rows_at(lr_codes_iq2_xs, 9, v);
    UNROLL for (int k = 0; k < VECTORS; k++) u[0][k] = group_of_8(rows, levels, k);
    negate(u[0], even_signs(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x39291909), v)));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) { return nibbles_16(p + 66); }

#include "kernels/cpu/gemm_grids_avx512.h"
