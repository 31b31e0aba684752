/* MXFP4 weights, few tokens. Layout as described in matmul_block_mxfp4_avx512.c.                                     */
enum { BLOCK_BYTES = 17, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 1, GROUP_BYTES = 8 * BLOCK_BYTES };
#define NAME lr_matmul_block_mxfp4_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"
#include "quant/blocks.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    const __m256i table = _mm256_broadcastsi128_si256(load16b(lr_mxfp4_values));
    code[0] = _mm256_shuffle_epi8(table, nibbles(q + BLOCK_BYTES * b + 1));
}

ROW_SCALES {
    (void)none, (void)min;
    q += first * BLOCK_BYTES;
    float scales[8] = { 0 };
    for (int i = 0; i < n; i++) scales[i] = lr_mxfp4_scale(q[i * BLOCK_BYTES]);
    scale[0] = _mm256_loadu_ps(scales);
}
