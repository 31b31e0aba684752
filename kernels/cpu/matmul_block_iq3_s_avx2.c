/* IQ3_S weights, few tokens.                                                                                        */
enum { BLOCK = 110, CELLS = 1, UNIT = 1 };
#define NAME lr_matmul_block_iq3_s_avx2
#include "kernels/cpu/matmul_grids_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int s) {
    code[0] = with_signs(rows_of_4(lr_grid_iq3_s, q + 2 + 8 * s, q[66 + s]), word_at(q + 74 + 4 * s));
}

INLINE __m128i block_half(const uint8_t *p) { return _mm_loadu_si16(p); }
INLINE void scale_codes(__m256i code[1], const uint8_t *p) { code[0] = nibbles_8(p + 106); }
