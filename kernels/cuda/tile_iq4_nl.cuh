/* iq4_nl weights: a step is two blocks of 16 bytes; a lane owns 8 bytes of one, low nibbles 16 columns before the high
 * ones.                                                                                                              */
#ifndef LR_TILE_IQ4_NL_CUH
#define LR_TILE_IQ4_NL_CUH

#include "kernels/cuda/tile.cuh"

struct tile_iq4_nl {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 8 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + (t & 2) + 2 * part; } /* 0 1 4 5, 2 3 6 7 */
    GPU_FN int column(int i) { return 32 * i; }
    GPU_FN unsigned note(const uint8_t *row) { return (unsigned)(uintptr_t)row / 2 & 1; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int cols, bool valid) {
        const uint8_t *scale = row + column / 32 * 2;
        tile_fetch_scale(shared, scale, valid);
        tile_fetch_scale(shared + 4, scale + 2, valid && column + 32 < cols);
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned noted) {
        unsigned block = (unsigned)t / 2;
        __half2 d = tile_twice(((const unsigned *)scales)[block], noted != block);
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) { /* lr_iq4_nl_values + 128, of two bytes: low, high, low, high */
            unsigned two = (i < 2 ? q.x : q.y) >> (i & 1 ? 16 : 0);
            unsigned b = tile_lookup(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u, two);
            w[i] = tile_bits(__hmul2(tile_bytes(b, 0x4240, TILE_1152), d));
            w[4 + i] = tile_bits(__hmul2(tile_bytes(b, 0x4341, TILE_1152), d));
        }
    }
};

#endif
