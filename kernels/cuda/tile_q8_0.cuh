/* q8_0 weights: a step is two blocks, a lane owns a quarter of each.                                                 */
#ifndef LR_TILE_Q8_0_CUH
#define LR_TILE_Q8_0_CUH

#include "kernels/cuda/tile.cuh"

struct tile_q8_0 : tile_scales_of_32 {
    enum { COLUMNS = 64, ROW_BYTES = 64 };
    static constexpr bool IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int i) { return 16 * i; }
    GPU_FN int place(int row, int i) { return i ^ (row & 2); } /* decode reads half of each of four rows at once */
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int row, int t, int, unsigned noted) {
        uint2 words = *(const uint2 *)scales;
        GPU_UNROLL for (int part = 0; part < 2; part++) {
            __half2 d = scale(part ? words.y : words.x, part, noted);
            uint2 q = *(const uint2 *)(quants + 16 * place(row, 2 * part + t / 2) + t % 2 * 8);
            GPU_UNROLL for (int i = 0; i < 2; i++) {
                unsigned b = (i ? q.y : q.x) ^ 0x80808080u; /* + 128 */
                w[4 * part + 2 * i] = tile_bits(__hmul2(tile_bytes(b, 0x4140, TILE_1152), d));
                w[4 * part + 2 * i + 1] = tile_bits(__hmul2(tile_bytes(b, 0x4342, TILE_1152), d));
            }
        }
    }
};

#endif
