/* q4_k weights: a unit has half of two sub-blocks, one in its low nibbles, the next in its high ones.  Of the two units
 * that share them, the even one takes the first sub-block's min, times the sum of the activations there, the odd one the
 * second's.                                                                                                          */
#ifndef LR_DOT_Q4_K_CUH
#define LR_DOT_Q4_K_CUH

#include "kernels/cuda/dot.cuh"

struct dot_q4_k {
    enum { VALUES = 32 };
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
    /* Scales (bytes 0 and 1) and mins (bytes 2 and 3) of the sub-blocks 2 pair and 2 pair + 1.                        */
    GPU_FN unsigned scales_of_pair(const uint4 &s, int pair) {
        int shift = pair % 2 * 16;
        unsigned a = s.y >> shift & 0xffff, b = s.z >> shift & 0xffff, c = s.w >> shift & 0xffff;
        if (pair < 2) return (a & 0x3f3f) | (b & 0x3f3f) << 16;
        return (c & 0x0f0f) | (a & 0xc0c0) >> 2 | ((c >> 4 & 0x0f0f) | (b & 0xc0c0) >> 2) << 16;
    }
    GPU_FN raw load(const dot_row &row, int unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<uint4>(row.scales, unit / 8) };
    }
    GPU_FN weights decode(const raw &r, int unit) {
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            w.low.q[i] = (int)(q[i] & 0x0f0f0f0fu);
            w.high.q[i] = (int)(q[i] >> 4 & 0x0f0f0f0fu);
        }
        unsigned sm = scales_of_pair(r.s, unit / 2 % 4);
        float d = half_bits_to_float(r.s.x & 0xffff), dmin = half_bits_to_float(r.s.x >> 16);
        w.d_low = d * (float)(sm & 255);
        w.d_high = d * (float)(sm >> 8 & 255);
        w.min = dmin * (float)(unit % 2 ? sm >> 24 : sm >> 16 & 255);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, int unit) {
        int block = unit & ~1, at = 32 * block + 16 * (unit & 1);
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
        unsigned sm = scales_of_pair(s, sub / 2) >> (sub % 2 ? 8 : 0);
        float d = half_bits_to_float(s.x & 0xffff) * (float)(sm & 255);
        float min = half_bits_to_float(s.x >> 16) * (float)(sm >> 16 & 255);
        return d * (float)(sub % 2 ? byte >> 4 : byte & 15) - min;
    }
};

#endif
