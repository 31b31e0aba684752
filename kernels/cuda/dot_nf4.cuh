/* nf4 weights.  The values of the codes are 16-bit integers, two planes of 8 bits, with the unit for which the largest
 * relative rounding error is smallest, 2.3e-5: a tenth of what f16 rounds.                                           */
#ifndef LR_DOT_NF4_CUH
#define LR_DOT_NF4_CUH

#include "kernels/cuda/dot_table.cuh"

struct table_nf4 {
    enum { PLANES = 2 };
    GPU_FN byte_table plane(int p) {
        return p == 0 ? byte_table{ { 0xcebea982u, 0x00f5e9dcu, 0x2b20150bu, 0x7e5c4838u } }
                      : byte_table{ { 0x60068457u, 0x0190c942u, 0x76ed3a00u, 0xa9d9b461u } };
    }
    GPU_FN float weight(int p) { return p == 0 ? 256.0f : 1.0f; }
    GPU_FN float unit() { return 1.0f / 32168.57f; }
    GPU_FN float value(int code) {
        const float values[16] = { -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
                                   -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
                                   0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
                                   0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f };
        return values[code];
    }
};
typedef dot_table<table_nf4> dot_nf4;

#endif
