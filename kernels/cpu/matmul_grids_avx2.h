/* matmul_blocks_avx2.h for the block formats of codebooks (quant/grids.h): rows are loaded one by one.
 * The includer defines before:
 *   enum { BLOCK, CELLS, UNIT }  UNIT as in grids.h
 *   NAME                         of the kernel
 * and afterwards:
 *   unpack                       as in matmul_int8_avx2.h
 *   block_half(p)                the f16 scale of the block at p
 *   scale_codes(code, p)         its scales s by cell                                                               */
#include "quant/grids.h"

enum { PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0, GROUP_BYTES = BLOCK };

#include "kernels/cpu/matmul_blocks_avx2.h"

INLINE __m128i block_half(const uint8_t *p);
INLINE void scale_codes(__m256i code[CELLS], const uint8_t *p);

ROW_SCALES {
    (void)none, (void)n, (void)min;
    q += first / 8 * BLOCK;
    const __m256 step = _mm256_mul_ps(_mm256_broadcastss_ps(_mm_cvtph_ps(block_half(q))), _mm256_set1_ps(1.0f / UNIT));
    __m256i code[CELLS];
    scale_codes(code, q);
    UNROLL for (int c = 0; c < CELLS; c++) {
        const __m256i odd = _mm256_add_epi32(_mm256_add_epi32(code[c], code[c]), _mm256_set1_epi32(1));
        scale[c] = _mm256_mul_ps(step, _mm256_cvtepi32_ps(odd));
    }
}

INLINE uint32_t word_at(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The nibbles of a word; those of eight bytes, low ones and high ones.                                              */
INLINE __m256i nibbles_8(const uint8_t *p) {
    const __m256i by = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)word_at(p)), by), _mm256_set1_epi32(15));
}
INLINE void nibbles_16(__m256i code[2], const uint8_t *p) {
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
    code[0] = _mm256_and_si256(bytes, _mm256_set1_epi32(15));
    code[1] = _mm256_srli_epi32(bytes, 4);
}

/* The values of four groups, from their rows of 8 or from two rows of 4 each.                                       */
INLINE __m256i rows_of_8(const uint64_t *grid, int a, int b, int c, int d) {
    return _mm256_setr_epi64x((int64_t)grid[a], (int64_t)grid[b], (int64_t)grid[c], (int64_t)grid[d]);
}
INLINE __m256i rows_of_4(const uint32_t *grid, const uint8_t *p, uint32_t ninth) {
#define ROW(i) (int)grid[p[i] | (ninth << (8 - i) & 256)]
    return _mm256_setr_epi32(ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7));
#undef ROW
}
/* Negative where a bit of signs is set.                                                                             */
INLINE __m256i with_signs(__m256i values, uint32_t signs) {
    const __m256i mask = where_set(signs, -1);
    return _mm256_sub_epi8(_mm256_xor_si256(values, mask), mask);
}
