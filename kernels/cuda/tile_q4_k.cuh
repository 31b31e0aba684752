/* q4_k weights: a step is two of the eight sub-blocks of a block, one in the low nibbles, one in the high ones.       */
#ifndef LR_TILE_Q4_K_CUH
#define LR_TILE_Q4_K_CUH

#include "kernels/cuda/tile.cuh"

struct tile_q4_k {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 16 };
    static constexpr bool IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN int place(int, int i) { return i; } /* four rows are all banks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int64_t column, int64_t, bool valid) {
        cp_async16(shared, row + column / 256 * 16, valid);
    }
    /* d * S and -dmin * M of two sub-blocks, each in f16, from the pair's place in the block.                         */
    GPU_FN void unpack(const uint4 &s, int pair, unsigned &steps, unsigned &mins) {
        unsigned scale = s.y, min = s.z;
        if (pair < 2) {
            scale &= 0x3f3f3f3fu, min &= 0x3f3f3f3fu;
        } else {
            scale = (s.w & 0x0f0f0f0fu) | (scale >> 2 & 0x30303030u);
            min = (s.w >> 4 & 0x0f0f0f0fu) | (min >> 2 & 0x30303030u);
        }
        unsigned selector = pair & 1 ? 0x4342 : 0x4140;
        steps = tile_bits(__hmul2(tile_bytes(scale, selector, TILE_1024), tile_twice(s.x, false)));
        mins = tile_bits(__hmul2(tile_bytes(min, selector, TILE_1024), tile_twice(s.x ^ 0x80000000u, true)));
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int, int t, int step, unsigned) {
        unsigned steps, mins;
        unpack(*(const uint4 *)scales, step & 3, steps, mins);
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            unsigned b = __byte_perm(i < 2 ? q.x : q.y, 0, i & 1 ? 0x4342 : 0x4140); /* two bytes, apart */
            __half2 low = __hsub2(tile_half2((b & 0x000f000fu) | TILE_1024), tile_half2(TILE_1024));
            __half2 high = __hfma2(tile_half2((b & 0x00f000f0u) | TILE_1024), tile_half2(0x2c002c00u),
                                   tile_half2(0xd400d400u)); /* / 16 - 64 */
            w[i] = tile_bits(__hfma2(low, tile_twice(steps, false), tile_twice(mins, false)));
            w[4 + i] = tile_bits(__hfma2(high, tile_twice(steps, true), tile_twice(mins, true)));
        }
    }
};

#endif
