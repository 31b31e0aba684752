/* IQ2_XS weights, few tokens.                                                                                       */
enum { BLOCK = 74, CELLS = 2, UNIT = 8 };
#define NAME lr_matmul_block_iq2_xs_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const uint32_t low = word_at(q + 2 + 8 * s), high = word_at(q + 6 + 8 * s);
    const uint32_t signs = (low >> 9 & 0x7f) | (low >> 18 & 0x3f80) | (high << 5 & 0x1fc000) | (high >> 4 & 0xfe00000);
    const __m256i rows = rows_of_8(lr_grid_iq2_xs, low & 511, low >> 16 & 511, high & 511, high >> 16 & 511);
    code[0] = with_signs(rows, lr_even_signs(signs));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE void scale_codes(__m256i code[2], const uint8_t *p) { nibbles_16(code, p + 66); }
