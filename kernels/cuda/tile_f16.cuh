/* f16 and bf16 weights: a tile of them is what the tensor cores take.                                                */
#ifndef LR_TILE_F16_CUH
#define LR_TILE_F16_CUH

#include "kernels/cuda/tile.cuh"

template <bool BF16> struct tile_16_bits {
    enum { COLUMNS = 32, ROW_BYTES = 64, SCALE_BYTES = 0 };
    static constexpr bool IS_BF16 = BF16;
    GPU_FN int chunk(int t, int) { return t; }
    GPU_FN int column(int i) { return 8 * i; }
    GPU_FN int place(int, int i) { return i; } /* two rows are all banks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void decode(unsigned w[4], const uint8_t *quants, const uint8_t *, int, int t, int, unsigned) {
        uint4 v = *(const uint4 *)(quants + 16 * t);
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    }
};
typedef tile_16_bits<false> tile_f16;
typedef tile_16_bits<true> tile_bf16;

#endif
