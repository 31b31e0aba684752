/* nf4 weights.  The values of the codes are integers of three planes of 7 bits, with the unit for which the largest
 * relative rounding error is smallest, 5.7e-7.                                                                        */
#ifndef LR_DOT_NF4_CUH
#define LR_DOT_NF4_CUH

#include "kernels/cuda/dot_table.cuh"

struct table_nf4 {
    enum { PLANES = 3, ZERO = 64 };
    GPU_FN byte_table plane(int p) {
        return p == 0   ? byte_table{ { 0x271f1502u, 0x403a342eu, 0x544f4944u, 0x7d6c625bu } }
               : p == 1 ? byte_table{ { 0x5d5d1a44u, 0x00335242u, 0x62107272u, 0x3b374a0bu } }
                        : byte_table{ { 0x1016796du, 0x00592e21u, 0x371a0809u, 0x134e1911u } };
    }
    GPU_FN float weight(int p) { return p == 0 ? 16384.0f : p == 1 ? 128.0f : 1.0f; }
    GPU_FN float unit() { return 1.0f / 1006995.35f; }
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
