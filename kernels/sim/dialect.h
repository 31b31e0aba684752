/* The part of the CUDA language that needs no scheduler: qualifiers, vector types, scalar intrinsics.  Written after
 * the CUDA programming guide; names that the project's kernels do not use are left out.                        */
#ifndef SIMGPU_DIALECT_H
#define SIMGPU_DIALECT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>

#define SIMGPU 1
#ifndef SIMGPU_ARCH
#define SIMGPU_ARCH 900 /* the architecture that kernels see as GPU_ARCH */
#endif
#define CUDART_VERSION 13000

/* Sanitizer mode: kernels are instrumented; for TSan the runtime files are not, and get SIMGPU_TSAN from the build.  */
#if defined(__SANITIZE_ADDRESS__)
#define SIMGPU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMGPU_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(SIMGPU_TSAN)
#define SIMGPU_TSAN 1
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
/* __shared__, __constant__ and __managed__ stay undefined: kernels use GPU_SHARED and GPU_DYN_SHARED.                */

/* ---- vector types ---- */

#define SIMGPU_VECTORS(T, name, align2, align4)                                                                        \
    struct alignas(align2) name##2 {                                                                                   \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct name##3 {                                                                                                   \
        T x, y, z;                                                                                                     \
    };                                                                                                                 \
    struct alignas(align4) name##4 {                                                                                   \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    static inline name##2 make_##name##2(T x, T y) { return { x, y }; }                                                \
    static inline name##3 make_##name##3(T x, T y, T z) { return { x, y, z }; }                                        \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return { x, y, z, w }; }
SIMGPU_VECTORS(signed char, char, 2, 4)
SIMGPU_VECTORS(unsigned char, uchar, 2, 4)
SIMGPU_VECTORS(short, short, 4, 8)
SIMGPU_VECTORS(unsigned short, ushort, 4, 8)
SIMGPU_VECTORS(int, int, 8, 16)
SIMGPU_VECTORS(unsigned, uint, 8, 16)
SIMGPU_VECTORS(float, float, 8, 16)
#undef SIMGPU_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

/* One OS thread runs all kernels under one lock: plain globals, set at every switch of fibers.                       */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* ---- bits ---- */

template <class To, class From> static inline To simgpu_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline int __float_as_int(float f) { return simgpu_bits<int>(f); }
static inline unsigned __float_as_uint(float f) { return simgpu_bits<unsigned>(f); }
static inline float __int_as_float(int i) { return simgpu_bits<float>(i); }
static inline float __uint_as_float(unsigned i) { return simgpu_bits<float>(i); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = a | (uint64_t)b << 32;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned pick = selector >> (4 * i) & 15, byte = (unsigned)(bytes >> (8 * (pick & 7))) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0; /* sign replication */
        r |= byte << (8 * i);
    }
    return r;
}

/* ---- arithmetic ---- */

static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += (int8_t)(a >> i) * (int8_t)(b >> i);
    return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
    return c;
}
/* glibc declares functions of these names: only a macro can take them.                                               */
#define __expf(x) expf(x)
#define __logf(x) logf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline int __float2int_rn(float f) { return (int)lrintf(f); }
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T, class U> static inline std::common_type_t<T, U> min(T a, U b) { return b < a ? b : a; }
template <class T, class U> static inline std::common_type_t<T, U> max(T a, U b) { return a < b ? b : a; }

#endif
