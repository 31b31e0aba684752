/* NVFP4 and nvfp4 weights, few tokens. Layout as described in matmul_block_nvfp4_avx512.c.                           */
enum { BLOCK = 36, PLANES = 1, PLANE_BITS = 0, HAS_MIN = 0 };
enum { CELLS = 2, GROUP_BYTES = 4 * BLOCK };
#define NAME lr_matmul_block_nvfp4_avx2
#include "kernels/cpu/matmul_blocks_avx2.h"
#include "quant/blocks.h"

INLINE void unpack(__m256i code[1], const uint8_t *q, const int b) {
    const __m256i table = _mm256_broadcastsi128_si256(load16b(lr_mxfp4_values));
    const __m128i bytes = load16b(q + b / 2 * BLOCK + 4 + b % 2 * 16);
    const __m128i low = low_nibbles(bytes), high = high_nibbles(bytes);
    code[0] = _mm256_shuffle_epi8(table, halves(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high)));
}

INLINE __m256 scales_of(__m128i bytes) {
    const __m256i most = _mm256_set1_epi32(0x7f), bits = _mm256_and_si256(_mm256_cvtepu8_epi32(bytes), most);
    const __m256i known = _mm256_andnot_si256(_mm256_cmpeq_epi32(bits, most), _mm256_slli_epi32(bits, 20));
    return _mm256_mul_ps(_mm256_castsi256_ps(known), _mm256_set1_ps(0x1p119f));
}

ROW_SCALES {
    (void)none, (void)min;
    uint32_t words[4] = { 0 };
    q += first / 2 * BLOCK;
    for (int b = 0; b < n / 2; b++) memcpy(&words[b], q + b * BLOCK, 4);
    const __m128i even = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, -1, -1, -1, -1, -1, -1, -1, -1);
    scale[0] = scales_of(_mm_shuffle_epi8(load16b(words), even));
    scale[1] = scales_of(_mm_shuffle_epi8(_mm_srli_si128(load16b(words), 1), even));
}

/* A factor for each row is the kernel's affair, whichever the format. */
void lr_matmul_nvfp4_avx2(const void *args, int64_t i0, int64_t i1, void *scratch) {
    lr_matmul_block_nvfp4_avx2(args, i0, i1, scratch);
}
