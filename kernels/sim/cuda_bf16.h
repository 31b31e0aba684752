/* bfloat16 for the simulator: the upper half of a float, rounded to nearest even.  See cuda_fp16.h.                  */
#ifndef SIMGPU_CUDA_BF16_H
#define SIMGPU_CUDA_BF16_H

#include "kernels/sim/dialect.h"

static inline float simgpu_bf16_to_float(uint16_t b) { return simgpu_bits<float>((uint32_t)b << 16); }
static inline uint16_t simgpu_float_to_bf16(float f) {
    uint32_t u = simgpu_bits<uint32_t>(f);
    if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff; /* NaN */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

struct __nv_bfloat16 {
    uint16_t x;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float f) : x(simgpu_float_to_bf16(f)) {}
    explicit operator float() const { return simgpu_bf16_to_float(x); }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline float __bfloat162float(__nv_bfloat16 b) { return (float)b; }
static inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
static inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
static inline float2 __bfloat1622float2(__nv_bfloat162 b) { return { (float)b.x, (float)b.y }; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return { __nv_bfloat16(a), __nv_bfloat16(b) }; }
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return { a, b }; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.x; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) {
    __nv_bfloat16 b;
    b.x = u;
    return b;
}

#endif
