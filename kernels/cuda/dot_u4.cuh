/* u4 and u4_32 weights, whose scale and zero are one word (quant/quant.h).  u4: a unit has half of two blocks of 32, one
 * in its low nibbles, the next in its high ones; of the two units that share them, the even one takes off the zero of the
 * first block, times the sum of the activations there, the odd one that of the second.  u4_32: a unit is a block.      */
#ifndef LR_DOT_U4_CUH
#define LR_DOT_U4_CUH

#include "kernels/cuda/dot.cuh"

GPU_FN float u4_d(unsigned word) { return __int_as_float((int)(word & ~255u)); }
GPU_FN int u4_z(unsigned word) { return (int)(word & 255); }

/* WORD_UNITS: units that share a word.                                                                               */
template <int WORD_UNITS> struct dot_u4_of {
    enum { VALUES = 32, PARTS = 1, TILE_FROM = LR_GPU_FEW + 1, PAIRS = WORD_UNITS > 1 };
    typedef nothing_fixed fixed;
    struct raw {
        uint4 q;
        unsigned word;
    };
    struct weights {
        int8x16 low, high;
        float d, min;
    };
    struct input {
        int8x16 low, high;
        float d_low, d_high, s;
    };
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<unsigned>(row.scales, unit / WORD_UNITS) };
    }
    GPU_FN weights decode(const raw &r, fixed, int) {
        weights w;
        unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        GPU_UNROLL for (int i = 0; i < 4; i++) {
            w.low.q[i] = (int)(q[i] & 0x0f0f0f0fu);
            w.high.q[i] = (int)(q[i] >> 4 & 0x0f0f0f0fu);
        }
        w.d = u4_d(r.word);
        w.min = w.d * (float)u4_z(r.word);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        if (PAIRS) {
            unsigned at = 32 * (unit & ~1u) + 16 * (unit & 1);
            float2 d = load_d<float2>(x, unit & ~1u);
            return { load_int8x16(x, at), load_int8x16(x, at + 32), d.x, d.y, load_s(x, unit) };
        }
        float d = load_d(x, unit);
        return { load_int8x16(x, 32 * unit), load_int8x16(x, 32 * unit + 16), d, d, load_s(x, unit) };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * x.d_low * dot_end(dot_int8x16(w.low, x.low, dot_begin()));
        sum += w.d * x.d_high * dot_end(dot_int8x16(w.high, x.high, dot_begin()));
        sum -= w.min * x.s;
    }
    GPU_FN float value(const dot_row &row, int i) {
        const int apart = PAIRS ? 32 : 16;
        unsigned word = ((const unsigned *)row.scales)[i / (32 * WORD_UNITS)];
        int byte = row.quants[i / (2 * apart) * apart + i % apart];
        return u4_d(word) * (float)((i / apart % 2 ? byte >> 4 : byte & 15) - u4_z(word));
    }
};
typedef dot_u4_of<4> dot_u4;
typedef dot_u4_of<1> dot_u4_32;

#endif
