/* matmul_int8_avx512.h for the block formats of codebooks (quant/grids.h): a line is a block.
 *
 * Codebooks are read as they are packed, 16 bits a row: vpermi2w looks 32 rows up among 64 at a time, so that a large
 * codebook takes several, of which the indices' upper bits choose.  What is 16 bits or a byte of each group is kept in
 * the quadword of its sub-block of 32; vpmultishiftqb then makes bytes of group k of all sub-blocks, which are vector k.
 * Codes are SHIFT + value, or SHIFT - value.
 *
 * The includer defines first:
 *   enum { CELL, BYTES, SHIFT, UNIT }  UNIT as in grids.h
 *   NAME, GEMM            of the kernels, this one and that of gemm_grids_avx512.h
 * and afterwards:
 *   load_line             as in matmul_int8_avx512.h
 *   block_half(p)         the f16 scale of the block at p
 *   scale_codes(p)        its scales s, 8 or 16 of them as 32 bits                                                  */
#include "kernels/cpu/avx512.h"
#include "quant/grids.h"

enum { LINE_BLOCKS = 8, SUMS = 32 / CELL, VECTORS = 4, PARTS = VECTORS / SUMS };
enum { PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0, GROUP_BYTES = BYTES * CELL / 16 };
#define RUN 8

#include "kernels/cpu/matmul_int8_avx512.h"

INLINE int column(int v, int c) { return 32 * c + 8 * v; }

INLINE __m128i block_half(const uint8_t *p);
INLINE __m512i scale_codes(const uint8_t *p);

INLINE __m512 block_step(const uint8_t *p) {
    return _mm512_mul_ps(_mm512_broadcastss_ps(_mm_cvtph_ps(block_half(p))), _mm512_set1_ps(1.0f / UNIT));
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    __m512i s = scale_codes(p);
    __m512 step = block_step(p);
    if (CELL == 32) {
        const uint8_t *q = n > 8 ? p + BYTES : p;
        s = _mm512_inserti64x4(s, _mm512_castsi512_si256(scale_codes(q)), 1);
        step = _mm512_insertf32x8(step, _mm512_castps512_ps256(block_step(q)), 1);
    }
    s = _mm512_add_epi32(_mm512_add_epi32(s, s), _mm512_set1_epi32(1));
    return _mm512_mul_ps(step, _mm512_cvtepi32_ps(s));
}

/* The eight nibbles of a word; the sixteen of eight bytes.                                                          */
INLINE __m512i nibbles_8(const uint8_t *p) {
    const __m512i by = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32((int)word), by), _mm512_set1_epi32(15));
}
INLINE __m512i nibbles_16(const uint8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const void *)p);
    const __m128i both = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
    return _mm512_and_si512(_mm512_cvtepu8_epi32(both), _mm512_set1_epi32(15));
}

/* Rows of a codebook of 1 << bits rows.  index has `bits` bits, and anything above.                                 */
INLINE __m512i rows_at(const uint16_t *codes, const int bits, __m512i index) {
    __m512i rows[6]; /* [i]: chosen among 64 << i */
    __mmask32 upper[6];
    UNROLL for (int i = 0; i < bits - 6; i++)
        upper[i] = _mm512_test_epi16_mask(index, _mm512_set1_epi16((short)(64 << i)));
    const unsigned pairs = 1u << (bits - 6);
    _Pragma("GCC unroll 32") for (unsigned n = 0; n < pairs; n++) {
        const __m512i low = _mm512_loadu_si512(codes + 64 * n), high = _mm512_loadu_si512(codes + 64 * n + 32);
        __m512i v = _mm512_permutex2var_epi16(low, index, high);
        int i = 0;
        UNROLL for (unsigned bit = 1; n & bit; bit *= 2, i++) v = _mm512_mask_blend_epi16(upper[i], rows[i], v);
        rows[i] = v;
    }
    return rows[bits - 6];
}

/* Of a codebook so large that 64 loads cost less: the values of group k of all sub-blocks, index[4 q + k] of 8 values. */
INLINE __m512i load_group(const uint64_t *grid, const uint16_t index[32], const int k) {
#define TWO(q) _mm_set_epi64x((int64_t)grid[index[4 * (q) + 4 + k]], (int64_t)grid[index[4 * (q) + k]])
    const __m256i low = _mm256_set_m128i(TWO(2), TWO(0)), high = _mm256_set_m128i(TWO(6), TWO(4));
#undef TWO
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Group k of all sub-blocks, from rows of 8 or from two rows of 4 each; levels hold SHIFT.                          */
INLINE __m512i group_of_8(__m512i rows, __m512i levels, const int k) {
    const __m512i bits = _mm512_set1_epi64((int64_t)(0x0e0c0a0806040200 + 0x1010101010101010 * (uint64_t)k));
    return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(bits, rows), levels);
}
INLINE void groups_of_4(__m512i u[VECTORS], __m512i even, __m512i odd, __m512i levels) {
    const __m512i bits = _mm512_set1_epi64(0x1916131009060300), upper = _mm512_set1_epi8(32);
    const __m512i pairs[2] = { _mm512_mask_blend_epi16(0xaaaaaaaa, even, _mm512_slli_epi32(odd, 16)),
                               _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, 16), odd) };
    UNROLL for (int k = 0; k < VECTORS; k++) {
        const __m512i at = k < 2 ? bits : _mm512_add_epi8(bits, upper);
        u[k] = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(at, pairs[k % 2]), levels);
    }
}
INLINE __m512i shifted(uint64_t levels) {
    return _mm512_add_epi8(_mm512_set1_epi64((int64_t)levels), _mm512_set1_epi8(SHIFT));
}

/* Adds the eighth of each byte's signs, above seven and anything.                                                   */
INLINE __m512i even_signs(__m512i v) {
    v = _mm512_and_si512(v, _mm512_set1_epi8(127));
    __m512i odd = _mm512_xor_si512(v, _mm512_srli_epi16(v, 4));
    odd = _mm512_xor_si512(odd, _mm512_srli_epi16(odd, 2));
    odd = _mm512_xor_si512(odd, _mm512_srli_epi16(odd, 1));
    return _mm512_or_si512(v, _mm512_and_si512(_mm512_slli_epi16(odd, 7), _mm512_set1_epi8((char)0x80)));
}

/* Byte k of a quadword has the signs of its group k.                                                                */
INLINE void negate(__m512i u[VECTORS], __m512i signs) {
    const __m512i bit = _mm512_set1_epi64((int64_t)0x8040201008040201);
    UNROLL for (int k = 0; k < VECTORS; k++) {
        const __m128i at = _mm_set_epi64x(0x0808080808080808 + 0x0101010101010101 * k, 0x0101010101010101 * k);
        const __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(signs, _mm512_broadcast_i32x4(at)), bit);
        u[k] = _mm512_mask_sub_epi8(u[k], set, _mm512_set1_epi8((char)(2 * SHIFT)), u[k]);
    }
}

/* From bits `first`, first + step .. of each quadword on: the upper bytes of its four words, the lower ones 0.         */
INLINE __m512i high_bits(__m512i v, const int first, const int step) {
    const uint64_t at = 0x0001000100010001 * (uint64_t)first + 0x0003000200010000 * (uint64_t)step;
    return _mm512_maskz_multishift_epi64_epi8(0xaaaaaaaaaaaaaaaa, _mm512_set1_epi64((int64_t)(at << 8)), v);
}

/* A byte, two bytes or four of each sub-block, in its quadword.                                                     */
INLINE __m512i bytes_of_blocks(const uint8_t *p) { return _mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)p)); }
INLINE __m512i words_of_blocks(const uint8_t *p) { return _mm512_cvtepu16_epi64(load_16(p)); }
INLINE __m512i fours_of_blocks(const uint8_t *p) { return _mm512_cvtepu32_epi64(_mm256_loadu_si256((const void *)p)); }
/* A byte of each group, 32 of them, as 16 bits.                                                                     */
INLINE __m512i bytes_of_groups(const uint8_t *p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p)); }
