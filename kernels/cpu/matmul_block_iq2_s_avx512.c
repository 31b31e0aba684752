/* IQ2_S weights: d, for each 8 weights 8 bits of an index and 8 signs; two more bits; nibbles of scales. */
enum { CELL = 16, BYTES = 82, SHIFT = 64, UNIT = 8 };
#define NAME lr_matmul_block_iq2_s_avx512
#define GEMM lr_gemm_iq2_s_avx512
#include "kernels/cpu/matmul_grids_avx512.h"

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left, (void)line;
    const __m512i levels = shifted(LR_LEVELS_4(LR_LEVEL_IQ2)), high = high_bits(bytes_of_blocks(p + 66), 0, 2);
    const __m512i rows = rows_at(lr_codes_iq2_s, 10, _mm512_or_si512(bytes_of_groups(p + 2), high));
    UNROLL for (int k = 0; k < VECTORS; k++) u[0][k] = group_of_8(rows, levels, k);
    negate(u[0], fours_of_blocks(p + 34));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) { return nibbles_16(p + 74); }

#include "kernels/cpu/gemm_grids_avx512.h"
