/* IQ1_M weights: 8 bits of an index for each 8 weights, then nibbles of its other bits and shift; scales
 * of 3 bits for 16 weights, d above them.                                                                           */
enum { CELL = 16, BYTES = 56, SHIFT = 9, UNIT = 8 };
#define NAME lr_matmul_block_iq1_m_avx512
#define GEMM lr_gemm_iq1_m_avx512
#include "kernels/cpu/matmul_grids_avx512.h"
_Static_assert((int)SHIFT == (int)LR_IQ1_ZERO, "codes are as in the codebook");

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    (void)left, (void)line;
    const __m512i levels = _mm512_set1_epi64(LR_LEVELS_4(LR_LEVEL_IQ1)), v = words_of_blocks(p + 32);
    const __m512i rows = rows_at(lr_codes_iq1, 11, _mm512_or_si512(bytes_of_groups(p), high_bits(v, 0, 4)));
    UNROLL for (int k = 0; k < VECTORS; k++) {
        const __mmask8 up = _mm512_testn_epi64_mask(v, _mm512_set1_epi64(8 << 4 * k));
        u[0][k] = group_of_8(rows, levels, k);
        u[0][k] = _mm512_mask_or_epi64(u[0][k], up, u[0][k], _mm512_set1_epi8(LR_IQ1_UP));
    }
}

INLINE __m128i block_half(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p + 48, sizeof v);
    return _mm_cvtsi32_si128((int)((v >> 12 & 0xf) | (v >> 24 & 0xf0) | (v >> 36 & 0xf00) | (v >> 48 & 0xf000)));
}
INLINE __m512i scale_codes(const uint8_t *p) {
    const __m512i words = _mm512_castsi256_si512(_mm256_cvtepu16_epi32(_mm_loadl_epi64((const void *)(p + 48))));
    const __m512i of = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i by = _mm512_setr_epi32(0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9);
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_permutexvar_epi32(of, words), by), _mm512_set1_epi32(7));
}

#include "kernels/cpu/gemm_grids_avx512.h"
