/* bf16 weights: the upper halves of floats. */
#ifndef LR_DOT_BF16_CUH
#define LR_DOT_BF16_CUH

#include "kernels/cuda/dot_float.cuh"

struct bf16_type {
    typedef unsigned short bits;
    GPU_FN float convert(unsigned short v) { return __uint_as_float((unsigned)v << 16); }
    GPU_FN void unpack(unsigned q, float *w) {
        w[0] = __uint_as_float(q << 16);
        w[1] = __uint_as_float(q & 0xffff0000u);
    }
};
typedef dot_float<bf16_type, 8> dot_bf16;
typedef dot_float<bf16_type, 1> dot_bf16_odd;

#endif
