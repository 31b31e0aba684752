/* Plain weights with f32 activations: f32, f16, bf16 (Type::convert, Type::pair).  WIDTH is the number of values that a
 * lane reads at once: 16 bytes of them, or 1 for rows that are not made of whole aligned units.                      */
#ifndef LR_DOT_FLOAT_CUH
#define LR_DOT_FLOAT_CUH

#include "kernels/cuda/dot.cuh"

/* What formats with f32 activations share: a unit is decoded in parts of four values.                                */
template <int WIDTH> struct dot_fours {
    enum { VALUES = WIDTH, PARTS = WIDTH / 4, TILE_FROM = LR_GPU_FEW + 1 };
    typedef nothing_fixed fixed;
    struct weights {
        float w[4];
    };
    struct input {
        float x[4];
    };
    GPU_FN input load_input(const dot_input &row, unsigned unit, int part) {
        float4 v = load_values<float4>(row, 16 * (PARTS * unit + (unsigned)part));
        return { { v.x, v.y, v.z, v.w } };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &in) {
        GPU_UNROLL for (int i = 0; i < 4; i++) sum += w.w[i] * in.x[i];
    }
};

template <class Type, int WIDTH> struct dot_float : dot_fours<WIDTH> {
    enum { PARTS = WIDTH / 4 };
    using typename dot_fours<WIDTH>::weights;
    struct raw {
        uint4 q;
    };
    GPU_FN raw load(const dot_row &row, unsigned unit) { return { load_weights16(row.quants + 16 * unit) }; }
    GPU_FN weights decode(const raw &r, nothing_fixed, int part) {
        const unsigned q[4] = { r.q.x, r.q.y, r.q.z, r.q.w };
        weights w;
        GPU_UNROLL for (int i = 0; i < 4 / PARTS; i++) Type::unpack(q[4 / PARTS * part + i], w.w + PARTS * i);
        return w;
    }
    GPU_FN float value(const dot_row &row, int i) {
        return Type::convert(((const typename Type::bits *)row.quants)[i]);
    }
};

template <class Type> struct dot_float<Type, 1> {
    enum { VALUES = 1, PARTS = 1, TILE_FROM = LR_GPU_FEW + 1 };
    typedef nothing_fixed fixed;
    typedef typename Type::bits raw;
    typedef float weights, input;
    GPU_FN raw load(const dot_row &row, unsigned i) { return __ldcs((const raw *)row.quants + i); }
    GPU_FN weights decode(raw bits, fixed, int) { return Type::convert(bits); }
    GPU_FN input load_input(const dot_input &row, unsigned i, int) { return load_values<float>(row, 4 * i); }
    GPU_FN void dot(float &sum, weights w, input x) { sum += w * x; }
};

#endif
