/* f16 and bf16 weights: a tile of them is what the tensor cores take.                                                */
#ifndef LR_TILE_F16_CUH
#define LR_TILE_F16_CUH

#include "kernels/cuda/tile.cuh"

template <bool BF16> struct tile_16_bits {
    enum { COLUMNS = 32, ROW_BYTES = 64, SCALE_BYTES = 0 };
    static constexpr bool IS_PLAIN = true, IS_BF16 = BF16;
    GPU_FN int column(int i) { return 8 * i; }
    GPU_FN unsigned note(const uint8_t *) { return 0; }
};
typedef tile_16_bits<false> tile_f16;
typedef tile_16_bits<true> tile_bf16;

#endif
