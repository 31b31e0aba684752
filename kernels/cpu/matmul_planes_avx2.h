/* matmul_int8_avx2.h for formats with a plane of codes and one of scales: 16 bytes of scales belong to eight blocks.
 *   enum { BLOCK_BYTES }    of 32 codes
 *   scales8(scale, min, s)  of the eight blocks whose scale bytes are at s; min may stay unset without HAS_MIN        */
#include "kernels/cpu/avx2.h"

enum { CELLS = 1, GROUP_BYTES = 8 * BLOCK_BYTES };

INLINE void scales8(__m256 *scale, __m256 *min, const uint8_t *s);

INLINE void row_scales(__m256 scale[CELLS], __m256 min[CELLS], const uint8_t *quants, const uint8_t *scales, int64_t first,
                       int n) {
    uint8_t bytes[16] = { 0 };
    (void)quants;
    min[0] = _mm256_setzero_ps();
    memcpy(bytes, scales + 2 * first, 2 * (size_t)n);
    scales8(&scale[0], &min[0], bytes);
}

#include "kernels/cpu/matmul_int8_avx2.h"
