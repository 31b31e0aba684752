/* IQ3_S weights: d, 8 bits of an index for each 4 weights, then the ninth ones; signs; nibbles of scales. */
enum { CELL = 32, BYTES = 110, SHIFT = 16, UNIT = 1 };
#define NAME lr_matmul_block_iq3_s_avx512
#define GEMM lr_gemm_iq3_s_avx512
#include "kernels/cpu/matmul_grids_avx512.h"

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    p += BYTES * line;
    const __m512i v = _mm512_loadu_si512(p + 2), ninth = bytes_of_blocks(p + 66);
    const __m512i low = _mm512_and_si512(v, _mm512_set1_epi16(255)), high = _mm512_srli_epi16(v, 8);
    const __m512i even = rows_at(lr_codes_iq3_s, 9, _mm512_or_si512(low, high_bits(ninth, 0, 2)));
    const __m512i odd = rows_at(lr_codes_iq3_s, 9, _mm512_or_si512(high, high_bits(ninth, 1, 2)));
    groups_of_4(u[0], even, odd, shifted(LR_LEVELS_8(LR_LEVEL_IQ3_S)));
    negate(u[0], fours_of_blocks(p + 74));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) { return nibbles_8(p + 106); }

#include "kernels/cpu/gemm_grids_avx512.h"
