/* q4_k weights: a step is two of the eight sub-blocks of a block, one in the low nibbles, one in the high ones. */
#ifndef LR_TILE_Q4_K_CUH
#define LR_TILE_Q4_K_CUH

#include "kernels/cuda/tile.cuh"

struct tile_q4_k {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 16 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async16(shared, row + column / 256 * 16, valid);
    }
    /* Two sub-blocks' d * S, or -dmin * M: f16 and what rounding to it left over, for a difference of two larger terms
     * must not have more than the error of its own rounding.                                                         */
    struct factor {
        unsigned high, low;
    };
    GPU_FN factor multiply(__half2 d, __half2 integers) {
        __half2 high = __hmul2(d, integers), low = __hfma2(d, integers, __hneg2(high));
        return { tile_bits(high), tile_bits(low) };
    }
    GPU_FN void unpack(const uint4 &s, int pair, factor &step, factor &min) {
        bool split = pair >= 2; /* four bits here, two there */
        unsigned shift = split ? 2 : 0, mask = split ? 0x30303030u : 0x3f3f3f3fu, mask_of_4 = split ? 0x0f0f0f0fu : 0;
        unsigned scales = (s.w & mask_of_4) | (s.y >> shift & mask),
                 mins = (s.w >> 4 & mask_of_4) | (s.z >> shift & mask);
        unsigned selector = pair & 1 ? 0x4342 : 0x4140;
        step = multiply(tile_twice(s.x, false), tile_bytes(scales, selector, TILE_1024));
        min = multiply(tile_twice(s.x ^ 0x80000000u, true), tile_bytes(mins, selector, TILE_1024));
    }
    GPU_FN unsigned weight(__half2 q, const factor &step, const factor &min, bool upper) {
        __half2 rest = __hfma2(q, tile_twice(step.low, upper), tile_twice(min.low, upper));
        return tile_bits(__hadd2(__hfma2(q, tile_twice(step.high, upper), tile_twice(min.high, upper)), rest));
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int step, unsigned) {
        factor steps, mins;
        unpack(*(const uint4 *)scales, step & 3, steps, mins);
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            unsigned b = __byte_perm(i < 2 ? q.x : q.y, 0, i & 1 ? 0x4342 : 0x4140); /* two bytes, apart */
            __half2 low = __hsub2(tile_half2((b & 0x000f000fu) | TILE_1024), tile_half2(TILE_1024));
            __half2 high = __hfma2(tile_half2((b & 0x00f000f0u) | TILE_1024), tile_half2(0x2c002c00u),
                                   tile_half2(0xd400d400u)); /* / 16 - 64 */
            w[i] = weight(low, steps, mins, false);
            w[4 + i] = weight(high, steps, mins, true);
        }
    }
};

#endif
