/* u4 and u4_32 weights: a step is half a block of 128, or two blocks of 32, whose words of scale and zero quant/quant.h
 * has.                                                                                                                */
#ifndef LR_TILE_U4_CUH
#define LR_TILE_U4_CUH

#include "kernels/cuda/tile.cuh"

/* code - zero of 8 bytes: low nibbles to w[0] .. w[3], high ones to w[4] .. w[7], times d.                            */
GPU_FN void tile_u4_decode(unsigned w[8], uint2 q, unsigned word) {
    tile_factor d = tile_factor_of(__int_as_float((int)(word & ~255u)));
    __half2 zero = tile_half2(__byte_perm(word, TILE_0X64, 0x4040)); /* 1024 + zero */
    __half2 less = __hsub2(tile_half2(0x63806380u), zero); /* 960 - 1024 - zero: -64 - zero */
    GPU_UNROLL for (int i = 0; i < 4; i++) {
        unsigned b = __byte_perm(i < 2 ? q.x : q.y, 0, i & 1 ? 0x4342 : 0x4140); /* two bytes, apart */
        __half2 low = __hsub2(tile_half2((b & 0x000f000fu) | TILE_1024), zero);
        __half2 high = __hfma2(tile_half2((b & 0x00f000f0u) | TILE_1024), tile_half2(0x2c002c00u), less); /* / 16 - 64 */
        w[i] = tile_times(low, d);
        w[4 + i] = tile_times(high, d);
    }
}

struct tile_u4 {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 4 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async4(shared, row + column / 128 * 4, valid);
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned) {
        tile_u4_decode(w, *(const uint2 *)(quants + 8 * t), *(const unsigned *)scales);
    }
};

struct tile_u4_32 {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 8 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + (t & 2) + 2 * part; } /* 0 1 4 5, 2 3 6 7 */
    GPU_FN int column(int i) { return 32 * i; }
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int cols, bool valid) {
        const uint8_t *scale = row + column / 32 * 4;
        cp_async4(shared, scale, valid);
        cp_async4(shared + 4, scale + 4, valid && column + 32 < cols);
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned) {
        tile_u4_decode(w, *(const uint2 *)(quants + 8 * t), ((const unsigned *)scales)[t / 2]);
    }
};

#endif
