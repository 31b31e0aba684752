/* fp4 weights.  A 192nd is the unit of all values; negated, they are bytes of two planes, 64 and 1: lookup_bytes wants
 * negative ones among the codes below 8, and there the bytes of the others plus the 1 that the other addend lacks.     */
#ifndef LR_DOT_FP4_CUH
#define LR_DOT_FP4_CUH

#include "kernels/cuda/dot_table.cuh"

struct table_fp4 {
    enum { PLANES = 2 };
    GPU_FN byte_table plane(int p) {
        return p == 0 ? byte_table{ { 0xfdfe0000u, 0x0000ffffu, 0x04030000u, 0x00000202u } }
                      : byte_table{ { 0x0000ff00u, 0xd0e0e000u, 0x00000200u, 0x31212100u } };
    }
    GPU_FN float weight(int p) { return p == 0 ? 64.0f : 1.0f; }
    GPU_FN float unit() { return -1.0f / 192.0f; }
    GPU_FN float value(int code) {
        const float values[8] = { 0.0f, 0.0052083333f, 0.6666667f, 1.0f, 0.33333334f, 0.5f, 0.16666667f, 0.25f };
        return code < 8 ? values[code] : -values[code - 8];
    }
};
typedef dot_table<table_fp4> dot_fp4;

#endif
