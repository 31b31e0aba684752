/* nf4 weights: a unit is half a block of 64: its low nibbles lie in the first 32 values, its high ones in the others.
 * The values of the codes are integers of two signed bytes,  NF4_UNIT * value = 256 * upper + lower,  with the unit for
 * which the largest relative rounding error is smallest, 2.3e-5.                                                     */
#ifndef LR_DOT_NF4_CUH
#define LR_DOT_NF4_CUH

#include "kernels/cuda/dot.cuh"

#define NF4_UNIT 32168.5692f

struct dot_nf4 {
    enum { VALUES = 32 };
    struct raw {
        uint4 q;
        float absmax;
    };
    struct planes {
        int8x16 upper, lower;
    };
    struct weights {
        planes low, high;
        float d;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high;
    };
    /* Two words of codes, in turn: nibble 2i of the first, 2i + 1 of the second.                                      */
    GPU_FN void lookup(unsigned codes, planes &p, int i) {
        const unsigned upper[4] = { 0xcebea982u, 0x00f5e9dcu, 0x2a1f140au, 0x7e5b4737u };
        const unsigned lower[4] = { 0x60058457u, 0x008fc842u, 0x76ed3900u, 0xa9d8b361u };
        lookup_bytes(upper, codes, p.upper.q[i], p.upper.q[i + 1]);
        lookup_bytes(lower, codes, p.lower.q[i], p.lower.q[i + 1]);
    }
    GPU_FN raw load(const dot_row &row, int unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 2) };
    }
    GPU_FN weights decode(const raw &r, int) {
        const unsigned even = 0x0f0f0f0fu;
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            lookup((q[i] & even) | (q[i + 1] << 4 & ~even), w.low, i);
            lookup((q[i] >> 4 & even) | (q[i + 1] & ~even), w.high, i);
        }
        w.d = r.absmax * (1.0f / NF4_UNIT);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, int unit) {
        int at = 32 * (unit & ~1) + 16 * (unit & 1);
        float2 d = __ldg((const float2 *)x.d + unit / 2);
        input in = { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y };
        GPU_UNROLL for (int i = 0; i < 4; i += 2) {
            interleave(in.low.q[i], in.low.q[i + 1]);
            interleave(in.high.q[i], in.high.q[i + 1]);
        }
        return in;
    }
    GPU_FN float dot_planes(const planes &w, const int8x16 &x) {
        return 256.0f * dot_end(dot_int8x16(w.upper, x, dot_begin())) + dot_end(dot_int8x16(w.lower, x, dot_begin()));
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * (x.d_low * dot_planes(w.low, x.low) + x.d_high * dot_planes(w.high, x.high));
    }
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
