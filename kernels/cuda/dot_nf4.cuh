/* nf4 weights: a unit is half a block of 64: its low nibbles lie in the first 32 values, its high ones in the others.
 * The values of the codes are integers of three planes of 7 bits,
 *     16384 * plane[0] + 128 * plane[1] + plane[2] = NF4_UNIT * value + 2^20,
 * with the unit for which the largest relative rounding error is smallest, 5.7e-7.  The 2^20 is a 64 in plane[0]: that
 * many times the sum of the activations is taken off there, in integers, so that zeros stay zeros.                   */
#ifndef LR_DOT_NF4_CUH
#define LR_DOT_NF4_CUH

#include "kernels/cuda/dot.cuh"

#define NF4_UNIT 1006995.35f

struct dot_nf4 {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = 3, TILE_BLOCKS = 4, TILE_HAS_MIN = 0, TILE_ALIGNED = 2, ZERO = 64 };
    struct fixed {
        byte_table plane[3];
        GPU_FN fixed of(unsigned, unsigned zero) {
            return { { in_registers({ { 0x271f1502u, 0x403a342eu, 0x544f4944u, 0x7d6c625bu } }, zero),
                       in_registers({ { 0x5d5d1a44u, 0x00335242u, 0x62107272u, 0x3b374a0bu } }, zero),
                       in_registers({ { 0x1016796du, 0x00592e21u, 0x371a0809u, 0x134e1911u } }, zero) } };
        }
    };
    struct raw {
        uint4 q;
        float absmax;
    };
    struct weights {
        unsigned low[2], high[2]; /* codes of two words in turn: nibble 2i of the first, 2i + 1 of the second */
        float d;
        fixed f;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high;
    };
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 2) };
    }
    GPU_FN unsigned low_nibbles(unsigned a, unsigned b) { return (a & 0x0f0f0f0fu) | (b << 4 & 0xf0f0f0f0u); }
    GPU_FN unsigned high_nibbles(unsigned a, unsigned b) { return (a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u); }
    GPU_FN weights decode(const raw &r, const fixed &f, int) {
        return { { low_nibbles(r.q.x, r.q.y), low_nibbles(r.q.z, r.q.w) },
                 { high_nibbles(r.q.x, r.q.y), high_nibbles(r.q.z, r.q.w) },
                 r.absmax * (1.0f / NF4_UNIT),
                 f };
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
        float2 d = __ldg((const float2 *)x.d + unit / 2);
        input in = { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            interleave(in.low.q[i], in.low.q[i + 1]);
            interleave(in.high.q[i], in.high.q[i + 1]);
        }
        return in;
    }
    GPU_FN float dot_plane(const byte_table &t, const unsigned codes[2], const int8x16 &x, int begin) {
        int8x16_split w;
        lookup_bytes(t, codes[0], w, 0);
        lookup_bytes(t, codes[1], w, 2);
        return dot_end(dot_int8x16(w, x, begin));
    }
    GPU_FN float dot_planes(const fixed &f, const unsigned codes[2], const int8x16 &x) {
        const int8x16 ones = { { 0x01010101, 0x01010101, 0x01010101, 0x01010101 } };
        int begin = dot_begin() - ZERO * dot_int8x16(ones, x, 0);
        return 16384.0f * dot_plane(f.plane[0], codes, x, begin) +
               128.0f * dot_plane(f.plane[1], codes, x, dot_begin()) + dot_plane(f.plane[2], codes, x, dot_begin());
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * (x.d_low * dot_planes(w.f, w.low, x.low) + x.d_high * dot_planes(w.f, w.high, x.high));
    }

    struct tile {
        uint4 q;
        float d[2];
    };
    GPU_FN tile load_tile(const dot_row &row, unsigned unit, unsigned units) {
        unsigned block = unit / 4 * 2;
        tile r = { load_tile16(row, unit, units), {} };
        GPU_UNROLL for (unsigned b = 0; b < 2; b++) if (block + b < units / 2) r.d[b] =
            load_scale<float>(row.scales, block + b) * (1.0f / NF4_UNIT);
        return r;
    }
    GPU_FN void spread(tile &r, unsigned) { spread_halves(r.q); }
    GPU_FN uint2 tile_input(const dot_input &x, unsigned block) {
        uint2 in = load_tile_input(x, block);
        interleave(in);
        return in;
    }
    GPU_FN unsigned codes_of(const tile &r, int b) {
        unsigned first = b / 2 ? r.q.z : r.q.x, second = b / 2 ? r.q.w : r.q.y;
        return b % 2 ? high_nibbles(first, second) : low_nibbles(first, second);
    }
    GPU_FN void multiply(float products[4], const tile &r, const tile &r8, const fixed &f, int b, const uint2 &x) {
        const unsigned ones[2] = { 0x01010101u, 0x01010101u };
        unsigned codes = codes_of(r, b), codes8 = codes_of(r8, b);
        int sums[4] = {}, none[4] = {};
        float plane1[4], plane2[4];
        multiply_block(sums, ones, ones, x);
        GPU_UNROLL for (int i = 0; i < 4; i++) sums[i] *= -ZERO;
        multiply_codes(products, f.plane[0], codes, codes8, x, sums);
        multiply_codes(plane1, f.plane[1], codes, codes8, x, none);
        multiply_codes(plane2, f.plane[2], codes, codes8, x, none);
        GPU_UNROLL for (int i = 0; i < 4; i++) products[i] = 16384.0f * products[i] + 128.0f * plane1[i] + plane2[i];
    }
    GPU_FN tile_scales scales(const tile &r, int b) { return { r.d[b / 2], 0 }; }

    GPU_FN float value(const dot_row &row, int i) {
        const float values[16] = { -1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f };
        int byte = row.quants[i / 64 * 32 + i % 32];
        return ((const float *)row.scales)[i / 64] * values[i % 64 < 32 ? byte & 15 : byte >> 4];
    }
};

#endif
