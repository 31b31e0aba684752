/* nf4 weights: a unit is half a block of 64: its low nibbles lie in the first 32 values, its high ones in the others.
 * The values of the codes are integers of two planes of 7 bits,
 *     128 * upper + lower = NF4_UNIT * value + NF4_ZERO,
 * with the unit for which the largest relative rounding error is smallest, 1.3e-4.  The products with NF4_ZERO are
 * subtracted by the sums of the activations; of the two units of a block the even one takes those of the first 32.   */
#ifndef LR_DOT_NF4_CUH
#define LR_DOT_NF4_CUH

#include "kernels/cuda/dot.cuh"

#define NF4_UNIT 7853.815f
#define NF4_ZERO 8192.0f

struct dot_nf4 {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = 3, TILE_BLOCKS = 4, TILE_HAS_MIN = 1, TILE_ALIGNED = 2 };
    struct fixed {
        byte_table upper, lower;
        GPU_FN fixed of(unsigned, unsigned zero) {
            return { in_registers({ { 0x271f1502u, 0x403a342eu, 0x544f4944u, 0x7d6c625bu } }, zero),
                     in_registers({ { 0x62642452u, 0x00355546u, 0x5e0d7071u, 0x2e2e4305u } }, zero) };
        }
    };
    struct raw {
        uint4 q;
        float absmax;
    };
    struct planes {
        int8x16_split upper, lower;
    };
    struct weights {
        planes low, high;
        float d;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high, s;
    };
    /* Two words of codes in turn: nibble 2i of the first, 2i + 1 of the second.                                      */
    GPU_FN void lookup_two(const fixed &f, unsigned codes, planes &p, int i) {
        lookup_bytes(f.upper, codes, p.upper, i);
        lookup_bytes(f.lower, codes, p.lower, i);
    }
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 2) };
    }
    GPU_FN weights decode(const raw &r, const fixed &f, int) {
        const unsigned even = 0x0f0f0f0fu;
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            lookup_two(f, (q[i] & even) | (q[i + 1] << 4 & ~even), w.low, i);
            lookup_two(f, (q[i] >> 4 & even) | (q[i + 1] & ~even), w.high, i);
        }
        w.d = r.absmax * (1.0f / NF4_UNIT);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
        float2 d = __ldg((const float2 *)x.d + unit / 2);
        input in = { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y, __ldg(x.s + unit) };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            interleave(in.low.q[i], in.low.q[i + 1]);
            interleave(in.high.q[i], in.high.q[i + 1]);
        }
        return in;
    }
    GPU_FN float dot_planes(const planes &w, const int8x16 &x) {
        return 128.0f * dot_end(dot_int8x16(w.upper, x, dot_begin())) + dot_end(dot_int8x16(w.lower, x, dot_begin()));
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * (x.d_low * dot_planes(w.low, x.low) + x.d_high * dot_planes(w.high, x.high) - NF4_ZERO * x.s);
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
        const unsigned even = 0x0f0f0f0fu;
        unsigned first = b / 2 ? r.q.z : r.q.x, second = b / 2 ? r.q.w : r.q.y;
        return b % 2 ? (first >> 4 & even) | (second & ~even) : (first & even) | (second << 4 & ~even);
    }
    GPU_FN void multiply(float products[4], const tile &r, const tile &r8, const fixed &f, int b, const uint2 &x) {
        unsigned codes = codes_of(r, b), codes8 = codes_of(r8, b);
        float lower[4];
        multiply_codes(products, f.upper, codes, codes8, x);
        multiply_codes(lower, f.lower, codes, codes8, x);
        GPU_UNROLL for (int i = 0; i < 4; i++) products[i] = 128.0f * products[i] + lower[i];
    }
    GPU_FN tile_scales scales(const tile &r, int b) { return { r.d[b / 2], NF4_ZERO * r.d[b / 2] }; }

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
