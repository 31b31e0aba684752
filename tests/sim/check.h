/* The smallest test harness: cases print "ok - name" or "not ok - name", the program ends with 1 when one failed.    */
#ifndef TESTS_SIM_CHECK_H
#define TESTS_SIM_CHECK_H

#include <math.h>
#include <stdio.h>
#include <string>
#include <vector>

#include "kernels/sim/cuda_fp16.h"
#include "tests/sim/kernels.h"

#if defined(SIMGPU_ASAN)
static const bool with_asan = true;
#else
static const bool with_asan = false;
#endif
#if defined(SIMGPU_TSAN)
static const bool with_tsan = true;
#else
static const bool with_tsan = false;
#endif

struct test_run {
    int failed_cases, failed_checks;
};
static test_run tests;

static inline bool check_at(bool ok, const char *text, const char *file, int line) {
    if (ok) return true;
    printf("# %s:%d: %s\n", file, line, text);
    if (simgpu_report()[0]) printf("# last report: %s\n", simgpu_report());
    tests.failed_checks++;
    return false;
}
#define CHECK(condition) check_at(condition, #condition, __FILE__, __LINE__)

static inline void run_case(const char *name, void (*body)()) {
    tests.failed_checks = 0;
    body();
    printf("%s - %s\n", tests.failed_checks ? "not ok" : "ok", name);
    fflush(stdout);
    tests.failed_cases += tests.failed_checks > 0;
}
#define RUN(body) run_case(#body, body)

/* ---- every schedule that the tests use ---- */

struct schedule {
    simgpu_order order;
    uint64_t seed;
};
static const schedule schedules[] = {
    { SIMGPU_FORWARD, 0 }, { SIMGPU_REVERSE, 0 }, { SIMGPU_RANDOM, 1 }, { SIMGPU_RANDOM, 2 }, { SIMGPU_RANDOM, 3 },
};

/* ---- data ---- */

static inline float random_float(uint32_t *state) { /* in [-1, 1) */
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state / 2147483648.0f;
}
static inline std::vector<float> random_floats(size_t n, uint32_t seed) {
    std::vector<float> v(n);
    for (float &x : v) x = random_float(&seed);
    return v;
}
static inline std::vector<uint16_t> to_half(const std::vector<float> &v) {
    std::vector<uint16_t> h(v.size());
    for (size_t i = 0; i < v.size(); i++) h[i] = simgpu_float_to_half(v[i]);
    return h;
}
static inline std::vector<float> from_half(const std::vector<uint16_t> &h) {
    std::vector<float> v(h.size());
    for (size_t i = 0; i < h.size(); i++) v[i] = simgpu_half_to_float(h[i]);
    return v;
}
/* The largest difference; NaN counts as infinite, else a comparison would overlook it.                               */
static inline float largest_error(const std::vector<float> &a, const std::vector<float> &b) {
    float worst = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < a.size() && i < b.size(); i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

/* ---- device arrays; the context of a test is one stream ---- */

template <class T> static inline T *upload(const std::vector<T> &v) {
    T *p = nullptr;
    if (!CHECK(cudaMalloc(&p, v.size() * sizeof(T)) == cudaSuccess)) return nullptr;
    CHECK(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    return p;
}
template <class T> static inline T *device_array(size_t n) {
    T *p = nullptr;
    CHECK(cudaMalloc(&p, n * sizeof(T)) == cudaSuccess);
    return p;
}
template <class T> static inline std::vector<T> download(const T *p, size_t n) {
    std::vector<T> v(n);
    if (cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess) v.clear();
    return v;
}
static inline cudaStream_t new_stream() {
    cudaStream_t s = nullptr;
    CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) == cudaSuccess);
    return s;
}
static inline bool reported(const char *text) { return std::string(simgpu_report()).find(text) != std::string::npos; }

#endif
