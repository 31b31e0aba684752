/* iq4_nl weights: a unit is a block of 32, element j in the low nibble of byte j, element j + 16 in the high one.  The
 * lookup leaves them in turn, so the activations are put into that order.                                            */
#ifndef LR_DOT_IQ4_NL_CUH
#define LR_DOT_IQ4_NL_CUH

#include "kernels/cuda/dot.cuh"

struct dot_iq4_nl {
    enum { VALUES = 32 };
    struct raw {
        uint4 q;
        unsigned short d;
    };
    struct weights {
        int8x16 a, b;
        float d;
    };
    struct input {
        int8x16 a, b;
        float d;
    };
    /* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113                                                    */
    GPU_FN void lookup(unsigned q, int &low, int &high) {
        const unsigned table[4] = { 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u };
        lookup_bytes(table, q, low, high);
    }
    GPU_FN raw load(const dot_row &row, int unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<unsigned short>(row.scales, unit) };
    }
    GPU_FN weights decode(const raw &r, int) {
        weights w;
        lookup(r.q.x, w.a.q[0], w.b.q[0]);
        lookup(r.q.y, w.a.q[1], w.b.q[1]);
        lookup(r.q.z, w.a.q[2], w.b.q[2]);
        lookup(r.q.w, w.a.q[3], w.b.q[3]);
        w.d = half_bits_to_float(r.d);
        return w;
    }
    GPU_FN input load_input(const dot_input &x, int unit) {
        input in = { load_int8x16(x, 32 * unit), load_int8x16(x, 32 * unit + 16), __ldg(x.d + unit) };
        GPU_UNROLL for (int j = 0; j < 4; j++) interleave(in.a.q[j], in.b.q[j]);
        return in;
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * x.d * dot_end(dot_int8x16(w.b, x.b, dot_int8x16(w.a, x.a, dot_begin())));
    }
    GPU_FN float value(const dot_row &row, int i) {
        int byte = row.quants[i / 32 * 16 + i % 16], low, high;
        lookup((unsigned)(i % 32 < 16 ? byte & 15 : byte >> 4), low, high);
        return half_bits_to_float(((const unsigned short *)row.scales)[i / 32]) * (float)(int8_t)low;
    }
};

#endif
