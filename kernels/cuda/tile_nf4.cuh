/* nf4 weights: a step is one block.  The table of values in f16 is looked up byte by byte.                           */
#ifndef LR_TILE_NF4_CUH
#define LR_TILE_NF4_CUH

#include "kernels/cuda/tile.cuh"

struct tile_nf4 {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 4 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async4(shared, row + column / 64 * 4, valid);
    }
    /* The scale's own rounding is made good: what is left is that of the table and of the product. */
    GPU_FN unsigned weight(__half2 value, __half2 d, __half2 rest) {
        return tile_bits(__hfma2(value, d, __hmul2(value, rest)));
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned) {
        float absmax = *(const float *)scales;
        __half high = __float2half_rn(absmax);
        __half2 d = __half2half2(high), rest = __half2half2(__float2half_rn(absmax - __half2float(high)));
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) { /* lr_nf4_values in f16, of two bytes: low, high, low, high */
            unsigned two = (i < 2 ? q.x : q.y) >> (i & 1 ? 16 : 0);
            unsigned lower = tile_lookup(0x52339200u, 0x00d4ea8du, 0x68e02618u, 0x00c9800du, two);
            unsigned upper = tile_lookup(0xb6b8b9bcu, 0x00adb1b4u, 0x3533312du, 0x3c393837u, two);
            w[i] = weight(tile_half2(__byte_perm(lower, upper, 0x6240)), d, rest);
            w[4 + i] = weight(tile_half2(__byte_perm(lower, upper, 0x7351)), d, rest);
        }
    }
};

#endif
