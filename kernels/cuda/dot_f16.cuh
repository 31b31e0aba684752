/* f16 weights. */
#ifndef LR_DOT_F16_CUH
#define LR_DOT_F16_CUH

#include "kernels/cuda/dot_float.cuh"

struct f16_type {
    typedef unsigned short bits;
    GPU_FN float convert(unsigned short v) { return half_bits_to_float(v); }
    GPU_FN void unpack(unsigned q, float *w) {
        w[0] = half_bits_to_float(q & 0xffff);
        w[1] = half_bits_to_float(q >> 16);
    }
};
typedef dot_float<f16_type, 8> dot_f16;
typedef dot_float<f16_type, 1> dot_f16_odd;

#endif
