/* q4_k weights: a unit has half of two sub-blocks, one in its low nibbles, the next in its high ones.  Of the two units
 * that share them, the even one takes the first sub-block's min, times the sum of the activations there, the odd one the
 * second's.                                                                                                          */
#ifndef LR_DOT_Q4_K_CUH
#define LR_DOT_Q4_K_CUH

#include "kernels/cuda/dot.cuh"

struct dot_q4_k {
    enum { VALUES = 32 };
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
    /* Two scales, one a byte, and the min of a unit.  The first four sub-blocks have theirs in the low 6 bits of a byte,
     * the others in 4 bits of one and the high 2 of another.                                                          */
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
    GPU_FN weights decode(const raw &r, const fixed &f) {
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
    GPU_FN input load_input(const dot_input &x, unsigned unit) {
        unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
        float2 d = __ldg((const float2 *)x.d + unit / 2);
        return { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y, __ldg(x.s + unit) };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d_low * x.d_low * dot_end(dot_int8x16(w.low, x.low, dot_begin()));
        sum += w.d_high * x.d_high * dot_end(dot_int8x16(w.high, x.high, dot_begin()));
        sum -= w.min * x.s;
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
