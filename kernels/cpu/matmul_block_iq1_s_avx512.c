/* IQ1_S weights: d, 8 bits of an index for each 8 weights, for each 32 its other bits, scale and shift.  */
enum { CELL = 32, BYTES = 50, SHIFT = 9, UNIT = 8 };
#define NAME lr_matmul_block_iq1_s_avx512
#define GEMM lr_gemm_iq1_s_avx512
#include "kernels/cpu/matmul_grids_avx512.h"
_Static_assert((int)SHIFT == (int)LR_IQ1_ZERO, "codes are as in the codebook");

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left;
    p += BYTES * line;
    const __m512i levels = _mm512_set1_epi64(LR_LEVELS_4(LR_LEVEL_IQ1)), v = words_of_blocks(p + 34);
    const __m512i rows = rows_at(lr_codes_iq1, 11, _mm512_or_si512(bytes_of_groups(p + 2), high_bits(v, 0, 3)));
    const __mmask8 up = _mm512_testn_epi64_mask(v, _mm512_set1_epi64(0x8000));
    UNROLL for (int k = 0; k < VECTORS; k++) {
        u[0][k] = group_of_8(rows, levels, k);
        u[0][k] = _mm512_mask_or_epi64(u[0][k], up, u[0][k], _mm512_set1_epi8(LR_IQ1_UP));
    }
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE __m512i scale_codes(const uint8_t *p) {
    const __m256i words = _mm256_cvtepu16_epi32(load_16(p + 34));
    return _mm512_castsi256_si512(_mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7)));
}

#include "kernels/cpu/gemm_grids_avx512.h"
