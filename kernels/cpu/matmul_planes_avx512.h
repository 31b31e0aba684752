/* matmul_int8_avx512.h for formats with a plane of codes and one of scales: a line is 64 bytes of codes.
 *   unpack(u, w)          u[plane][v] = byte `plane` of the codes of vector v of line w
 *   enum { AHEAD }        from a line on: the bytes to the one that is prefetched meanwhile.  0: none, the processor's
 *                         own prefetch does better where a line takes less than about 2 ns                            */
#include "kernels/cpu/avx512.h"

enum { CELL = 32, GROUP_BYTES = 1024 / LINE_BLOCKS, VECTORS = SUMS * PARTS };

INLINE void unpack(__m512i u[PLANES][VECTORS], __m512i w);

INLINE void load_line(__m512i u[PLANES][VECTORS], const uint8_t *p, int line, int left) {
    p += 64 * line;
    if (AHEAD) _mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0);
    if (left >= LINE_BLOCKS)
        unpack(u, _mm512_loadu_si512(p));
    else
        unpack(u, _mm512_maskz_loadu_epi8((1ull << (64 / LINE_BLOCKS * left)) - 1, p));
}

#include "kernels/cpu/matmul_int8_avx512.h"
