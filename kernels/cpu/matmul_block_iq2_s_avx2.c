/* IQ2_S weights, few tokens.                                                                                        */
enum { BLOCK = 82, CELLS = 2, UNIT = 8 };
#define NAME lr_matmul_block_iq2_s_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    const uint8_t *row = q + 2 + 4 * s;
    const int high = q[66 + s];
    const __m256i rows = rows_of_8(lr_grid_iq2_s, row[0] | (high << 8 & 768), row[1] | (high << 6 & 768),
                                   row[2] | (high << 4 & 768), row[3] | (high << 2 & 768));
    code[0] = with_signs(rows, word_at(q + 34 + 4 * s));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE void scale_codes(__m256i code[2], const uint8_t *p) { nibbles_16(code, p + 74); }
