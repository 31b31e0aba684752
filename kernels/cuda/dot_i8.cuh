/* i8 weights: a unit is a quarter of a block of 64.                                                                   */
#ifndef LR_DOT_I8_CUH
#define LR_DOT_I8_CUH

#include "kernels/cuda/dot.cuh"

struct dot_i8 {
    enum { VALUES = 16, PARTS = 1, TILE_FROM = LR_GPU_FEW + 1 };
    typedef nothing_fixed fixed;
    struct raw {
        uint4 q;
        float d;
    };
    struct weights {
        int8x16 q;
        float d;
    };
    typedef weights input;
    GPU_FN raw load(const dot_row &row, unsigned unit) {
        return { load_weights16(row.quants + 16 * unit), load_scale<float>(row.scales, unit / 4) };
    }
    GPU_FN weights decode(const raw &r, fixed, int) {
        return { { { (int)r.q.x, (int)r.q.y, (int)r.q.z, (int)r.q.w } }, r.d };
    }
    GPU_FN input load_input(const dot_input &x, unsigned unit, int) {
        return { load_int8x16(x, 16 * unit), load_d(x, unit / 2) };
    }
    GPU_FN void dot(float &sum, const weights &w, const input &x) {
        sum += w.d * x.d * dot_end(dot_int8x16(w.q, x.q, dot_begin()));
    }
    GPU_FN float value(const dot_row &row, int i) {
        return ((const float *)row.scales)[i / 64] * (float)((const int8_t *)row.quants)[i];
    }
};

#endif
