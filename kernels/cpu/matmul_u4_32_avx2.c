/* u4_32 weights, few tokens.  Byte j of a block's 16 holds columns j and j + 16.                                      */
enum { WORD_BLOCKS = 1 };
#define NAME lr_matmul_u4_32_avx2
#include "kernels/cpu/matmul_u4_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    const __m128i bytes = load16b(q + 16 * b);
    code[0] = halves(low_nibbles(bytes), high_nibbles(bytes));
}
