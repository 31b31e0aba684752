/* NVFP4 and nvfp4 weights, few tokens: 36 bytes of four scales for 16 columns each, and 32 of codes. Of 16 columns byte j
 * of 8 holds columns j and j + 8; a line is two blocks.                                                              */
enum { LINE_BLOCKS = 4, SUMS = 2, PARTS = 1, PLANES = 1, PLANE_BITS = 0, SHIFT = 128, HAS_MIN = 0 };
enum { CELL = 16, BLOCK = 36, GROUP_BYTES = 4 * BLOCK };
#define NAME lr_matmul_block_nvfp4_avx512
#include "kernels/cpu/matmul_blocks_avx512.h"
#include "quant/blocks.h"

INLINE int column(int v, int c) { return 32 * c + 16 * v; }

INLINE void load_line(__m512i u[1][VECTORS], const uint8_t *p, int line, int left) {
    const __m512i table = _mm512_xor_si512(broadcast_16(lr_mxfp4_values), _mm512_set1_epi8((char)0x80));
    p += 2 * BLOCK * line + 4;
    __m512i w = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)p));
    if (left > 2) w = _mm512_inserti64x4(w, _mm256_loadu_si256((const void *)(p + BLOCK)), 1);
    const __m512i low = lookup_low(table, w), high = lookup_high(table, w);
    u[0][0] = _mm512_unpacklo_epi64(low, high);
    u[0][1] = _mm512_unpackhi_epi64(low, high);
}

INLINE __m512 group_scales(__m512 *min, const uint8_t *p, int n) {
    (void)min;
    uint32_t words[4] = { 0 };
    UNROLL for (int b = 0; b < 4; b++)
        if (4 * b < n) memcpy(&words[b], p + b * BLOCK, 4);
    const __m512i most = _mm512_set1_epi32(0x7f);
    const __m512i bits = _mm512_and_si512(_mm512_cvtepu8_epi32(load_16(words)), most);
    const __mmask16 known = _mm512_cmpneq_epi32_mask(bits, most);
    return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_maskz_slli_epi32(known, bits, 20)), _mm512_set1_ps(0x1p119f));
}

/* A factor for each row is the kernel's affair, whichever the format. */
void lr_matmul_nvfp4_avx512(const void *args, int64_t i0, int64_t i1, void *scratch) {
    lr_matmul_block_nvfp4_avx512(args, i0, i1, scratch);
}
