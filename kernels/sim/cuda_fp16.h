/* half for the simulator.  Conversions are explicit, so that no code compiles here and means something else under nvcc.
 * They agree with the hardware on all values: round to nearest even, subnormals kept, NaN becomes 0x7fff.            */
#ifndef SIMGPU_CUDA_FP16_H
#define SIMGPU_CUDA_FP16_H

#include "kernels/sim/dialect.h"

static inline float simgpu_half_to_float(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0; /* infinity and NaN */
    float scaled = simgpu_bits<float>(magnitude) * 0x1p112f;       /* moves the exponent, normalizes subnormals */
    return simgpu_bits<float>(simgpu_bits<uint32_t>(scaled) | special | (uint32_t)(h & 0x8000) << 16);
}
static inline uint16_t simgpu_float_to_half(float f) {
    uint32_t u = simgpu_bits<uint32_t>(f), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return 0x7fff;                     /* NaN */
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to infinity */
    if (u < 0x38800000)                                    /* subnormal: the adder rounds at the right bit */
        return (uint16_t)(sign | (simgpu_bits<uint32_t>(simgpu_bits<float>(u) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | ((u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13));
}

struct __half {
    uint16_t x;
    __half() = default;
    explicit __half(float f) : x(simgpu_float_to_half(f)) {}
    explicit operator float() const { return simgpu_half_to_float(x); }
};
struct alignas(4) __half2 {
    __half x, y;
};
typedef __half half;
typedef __half2 half2;

static inline float __half2float(__half h) { return (float)h; }
static inline __half __float2half(float f) { return __half(f); }
static inline __half __float2half_rn(float f) { return __half(f); }
static inline float2 __half22float2(__half2 h) { return { (float)h.x, (float)h.y }; }
static inline __half2 __floats2half2_rn(float a, float b) { return { __half(a), __half(b) }; }
static inline __half2 __float22half2_rn(float2 a) { return { __half(a.x), __half(a.y) }; }
static inline __half2 __half2half2(__half a) { return { a, a }; }
static inline __half2 __halves2half2(__half a, __half b) { return { a, b }; }
static inline __half __low2half(__half2 a) { return a.x; }
static inline __half __high2half(__half2 a) { return a.y; }
static inline float __low2float(__half2 a) { return (float)a.x; }
static inline float __high2float(__half2 a) { return (float)a.y; }
static inline unsigned short __half_as_ushort(__half h) { return h.x; }
static inline __half __ushort_as_half(unsigned short u) {
    __half h;
    h.x = u;
    return h;
}
static inline __half __hadd(__half a, __half b) { return __half((float)a + (float)b); }
static inline __half __hsub(__half a, __half b) { return __half((float)a - (float)b); }
static inline __half __hmul(__half a, __half b) { return __half((float)a * (float)b); }
static inline __half __hfma(__half a, __half b, __half c) { /* product and sum are exact in double */
    return __half((float)((double)(float)a * (double)(float)b + (double)(float)c));
}
static inline __half2 __hadd2(__half2 a, __half2 b) { return { __hadd(a.x, b.x), __hadd(a.y, b.y) }; }
static inline __half2 __hsub2(__half2 a, __half2 b) { return { __hsub(a.x, b.x), __hsub(a.y, b.y) }; }
static inline __half2 __hmul2(__half2 a, __half2 b) { return { __hmul(a.x, b.x), __hmul(a.y, b.y) }; }
static inline __half2 __hneg2(__half2 a) {
    return { __ushort_as_half((uint16_t)(a.x.x ^ 0x8000)), __ushort_as_half((uint16_t)(a.y.x ^ 0x8000)) };
}
static inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    return { __hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y) };
}

#endif
