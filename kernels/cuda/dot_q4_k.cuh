/* q4_k weights: a unit has half of two sub-blocks, one in its low nibbles, the next in its high ones.  Of the two units
 * that share them, the even one takes the first sub-block's min, times the sum of the activations there, the odd one
 * the second's.                                                                                                      */
#ifndef LR_DOT_Q4_K_CUH
#define LR_DOT_Q4_K_CUH

#include "kernels/cuda/dot.cuh"

struct dot_q4_k {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = 5, TILE_BLOCKS = 4, TILE_HAS_MIN = 1, TILE_ALIGNED = 4 };
    struct fixed {
        unsigned pick_scales, pick_min, shift, low_bits, high_bits;
        GPU_FN fixed of(unsigned unit, unsigned) {
            unsigned pair = unit / 2 % 4, odd = pair % 2 * 2, at = odd + unit % 2;
            if (pair < 2) return { 0x5410 + 0x1111 * odd, at, 0, 0x3f3f, 0 };
            return { 0x5410 + 0x1111 * odd, at | (4 + at) << 8, 16, 0x0f0f, 0x3030 };
        }
    };
    struct raw {
        uint4 q, s; /* s: d and dmin, then the 12 bytes of scales and mins */
    };
    struct weights {
        int8x16 low, high;
        float d_low, d_high, min;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high, s;
    };
    /* Two scales, one a byte, and the min of a unit.  The first four sub-blocks have theirs in the low 6 bits of a
     * byte, the others in 4 bits of one and the high 2 of another.                                                   */
    GPU_FN unsigned scales_of(const uint4 &s, const fixed &f) {
        unsigned bytes = __byte_perm(s.y, s.w, f.pick_scales);
        return (bytes >> f.shift & f.low_bits) | (bytes >> 2 & f.high_bits);
    }
    GPU_FN unsigned min_of(const uint4 &s, const fixed &f) {
        unsigned bytes = __byte_perm(s.z, s.w, f.pick_min);
        return (bytes >> (f.shift + f.shift / 4) & f.low_bits & 255) | (bytes >> 2 & f.high_bits & 255);
    }
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<uint4>(row.scales, unit / 8) };
    }
    GPU_FN weights decode(const raw &r, const fixed &f, int) {
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            w.low.q[i] = (int)(q[i] & 0x0f0f0f0fu);
            w.high.q[i] = (int)(q[i] >> 4 & 0x0f0f0f0fu);
        }
        unsigned scales = scales_of(r.s, f);
        float d = half_bits_to_float(r.s.x & 0xffff), dmin = half_bits_to_float(r.s.x >> 16);
        w.d_low = d * (float)(scales & 255);
        w.d_high = d * (float)(scales >> 8);
        w.min = dmin * (float)min_of(r.s, f);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
        float2 d = load_d<float2>(x, unit & ~1u);
        return { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y, load_s(x, unit) };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d_low * x.d_low * dot_end(dot_int8x16(w.low, x.low, dot_begin()));
        sum += w.d_high * x.d_high * dot_end(dot_int8x16(w.high, x.high, dot_begin()));
        sum -= w.min * x.s;
    }

    struct tile {
        uint4 q, s;
    };
    GPU_FN tile load_tile(const dot_row &row, unsigned unit, unsigned units) {
        return { load_tile16(row, unit, units), load_scale<uint4>(row.scales, unit / 8) }; /* tiles are whole */
    }
    /* The scales and mins of the tile's 4 sub-blocks replace the packed ones.                                        */
    GPU_FN void spread(tile &r, unsigned unit) {
        spread_halves(r.q);
        const unsigned four = 0x0f0f0f0fu, two = 0x30303030u;
        if (unit / 4 % 2) {
            r.s.y = (r.s.w & four) | (r.s.y >> 2 & two);
            r.s.z = (r.s.w >> 4 & four) | (r.s.z >> 2 & two);
        } else {
            r.s.y &= four | two;
            r.s.z &= four | two;
        }
    }
    GPU_FN uint2 tile_input(const dot_input &x, unsigned block) { return load_tile_input(x, block); }
    GPU_FN void multiply(float products[4], const tile &r, const tile &r8, const fixed &, int b, const uint2 &x) {
        const unsigned nibbles = 0x0f0f0f0fu;
        unsigned row[2] = { b / 2 ? r.q.z : r.q.x, b / 2 ? r.q.w : r.q.y };
        unsigned row8[2] = { b / 2 ? r8.q.z : r8.q.x, b / 2 ? r8.q.w : r8.q.y };
        GPU_UNROLL for (int i = 0; i < 2; i++) {
            row[i] = row[i] >> b % 2 * 4 & nibbles;
            row8[i] = row8[i] >> b % 2 * 4 & nibbles;
        }
        int sums[4];
        multiply_begin(sums);
        multiply_block(sums, row, row8, x);
        multiply_end(products, sums);
    }
    GPU_FN tile_scales scales(const tile &r, int b) {
        return { half_bits_to_float(r.s.x & 0xffff) * (float)(r.s.y >> 8 * b & 255),
                 half_bits_to_float(r.s.x >> 16) * (float)(r.s.z >> 8 * b & 255) };
    }

    GPU_FN float value(const dot_row &row, int i) {
        int sub = i / 32 % 8, byte = row.quants[i / 256 * 128 + sub / 2 * 32 + i % 32];
        uint4 s = ((const uint4 *)row.scales)[i / 256];
        fixed f = fixed::of((unsigned)sub, 0);
        float d = half_bits_to_float(s.x & 0xffff) * (float)(scales_of(s, f) >> (sub % 2 * 8) & 255);
        return d * (float)(sub % 2 ? byte >> 4 : byte & 15) - half_bits_to_float(s.x >> 16) * (float)min_of(s, f);
    }
};

#endif
