/* u4 weights, few tokens.  Each 32 bytes hold the low nibbles of one block of 32 and the high nibbles of the next.     */
enum { WORD_BLOCKS = 4 };
#define NAME lr_matmul_u4_avx2
#include "kernels/cpu/matmul_u4_avx2.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    __m256i bytes = _mm256_loadu_si256((const void *)(q + 32 * (b / 2)));
    code[0] = _mm256_and_si256(b % 2 ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(15));
}
