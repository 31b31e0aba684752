/* q8_0 weights: a step is one block, a lane owns a quarter of it.                                                    */
#ifndef LR_TILE_Q8_0_CUH
#define LR_TILE_Q8_0_CUH

#include "kernels/cuda/tile.cuh"

struct tile_q8_0 {
    enum { COLUMNS = 32, ROW_BYTES = 32, SCALE_BYTES = 4 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int) { return t; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *row) { return (unsigned)(uintptr_t)row / 2; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        tile_fetch_scale(shared, row + column / 32 * 2, valid);
    }
    GPU_FN void decode(unsigned w[4], const uint8_t *quants, const uint8_t *scales, int t, int step, unsigned noted) {
        __half2 d = tile_twice(*(const unsigned *)scales, ((noted + (unsigned)step) & 1) != 0);
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 2; i++) {
            unsigned b = (i ? q.y : q.x) ^ 0x80808080u; /* + 128 */
            w[2 * i] = tile_bits(__hmul2(tile_bytes(b, 0x4140, TILE_1152), d));
            w[2 * i + 1] = tile_bits(__hmul2(tile_bytes(b, 0x4342, TILE_1152), d));
        }
    }
};

#endif
