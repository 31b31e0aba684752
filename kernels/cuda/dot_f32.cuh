/* f32 weights. */
#ifndef LR_DOT_F32_CUH
#define LR_DOT_F32_CUH

#include "kernels/cuda/dot_float.cuh"

struct f32_type {
    typedef float bits;
    GPU_FN float convert(float v) { return v; }
    GPU_FN void unpack(unsigned q, float *w) { w[0] = __uint_as_float(q); }
};
typedef dot_float<f32_type, 4> dot_f32;
typedef dot_float<f32_type, 1> dot_f32_odd;

#endif
