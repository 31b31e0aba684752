/* i8 and fp8 weights, of a byte with an f32 scale for 64: a step is half a block, a lane owns a quarter of it.        */
#ifndef LR_TILE_BYTES_CUH
#define LR_TILE_BYTES_CUH

#include "kernels/cuda/dot_fp8.cuh"
#include "kernels/cuda/tile.cuh"

template <bool FP8> struct tile_byte {
    enum { COLUMNS = 32, ROW_BYTES = 32, SCALE_BYTES = 4 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int) { return t; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async4(shared, row + column / 64 * 4, valid);
    }
    GPU_FN void decode(unsigned w[4], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned) {
        tile_factor d = tile_factor_of(*(const float *)scales * (FP8 ? 256.0f : 1.0f));
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            unsigned four = i < 2 ? q.x : q.y, biased = four ^ 0x80808080u; /* + 128 */
            __half2 two = FP8 ? tile_half2(fp8_halves(four, i & 1)) : tile_bytes(biased, i & 1 ? 0x4342 : 0x4140, TILE_1152);
            w[i] = tile_times(two, d);
        }
    }
};
typedef tile_byte<false> tile_i8;
typedef tile_byte<true> tile_fp8;

#endif
