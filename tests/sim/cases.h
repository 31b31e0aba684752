/* The three kernels that the mutation tests work on: data, reference, error.  Small and odd shapes. */
#ifndef TESTS_SIM_CASES_H
#define TESTS_SIM_CASES_H

#include "tests/sim/check.h"

/* Each runs its kernel on new devices under one schedule.  Returns the largest error relative to its bound: right is
 * <= 1; infinite when a call failed.                                                                                 */
static inline void new_devices(const schedule &order) {
    simgpu_config(1, 4 << 20);
    simgpu_schedule(order.order, order.seed);
}

static inline float row_sums_error(plant p, const schedule &order) {
    enum { ROWS = 5, N = 777 };
    new_devices(order);
    std::vector<float> x = random_floats(ROWS * N, 1), want(ROWS);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < N; i++) sum += x[(size_t)(r * N + i)];
        want[(size_t)r] = (float)sum;
    }
    cudaStream_t s = new_stream();
    float *dx = upload(x), *dy = device_array<float>(ROWS);
    if (launch_row_sums(p, dx, dy, ROWS, N, s) || cudaStreamSynchronize(s)) return INFINITY;
    return largest_error(download(dy, ROWS), want) / 1e-4f;
}

static inline float gemm_error(plant p, int m, int n, int k, const schedule &order) {
    new_devices(order);
    std::vector<uint16_t> a = to_half(random_floats((size_t)(m * k), 2)),
                          w = to_half(random_floats((size_t)(n * k), 3));
    std::vector<float> fa = from_half(a), fw = from_half(w), want((size_t)(m * n));
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++) sum += (double)fa[(size_t)(i * k + l)] * fw[(size_t)(j * k + l)];
            want[(size_t)(i * n + j)] = (float)sum;
        }
    cudaStream_t s = new_stream();
    uint16_t *da = upload(a), *dw = upload(w);
    float *dc = device_array<float>(want.size());
    if (launch_gemm(p, da, dw, dc, m, n, k, s) || cudaStreamSynchronize(s)) return INFINITY;
    return largest_error(download(dc, want.size()), want) / (2e-6f * sqrtf((float)k));
}

static inline float attention_error(plant p, int n, const schedule &order) {
    enum { DIM = 32 };
    new_devices(order);
    size_t size = (size_t)n * DIM;
    std::vector<uint16_t> q = to_half(random_floats(size, 4)), k = to_half(random_floats(size, 5)),
                          v = to_half(random_floats(size, 6));
    std::vector<float> fq = from_half(q), fk = from_half(k), fv = from_half(v), want(size);
    for (int i = 0; i < n; i++) {
        std::vector<double> weight((size_t)i + 1), sum(DIM);
        double total = 0;
        for (int j = 0; j <= i; j++) {
            double score = 0;
            for (int d = 0; d < DIM; d++) score += (double)fq[(size_t)(i * DIM + d)] * fk[(size_t)(j * DIM + d)];
            total += weight[(size_t)j] = exp(score / sqrt((double)DIM));
            for (int d = 0; d < DIM; d++) sum[(size_t)d] += weight[(size_t)j] * fv[(size_t)(j * DIM + d)];
        }
        for (int d = 0; d < DIM; d++) want[(size_t)(i * DIM + d)] = (float)(sum[(size_t)d] / total);
    }
    cudaStream_t s = new_stream();
    uint16_t *dq = upload(q), *dk = upload(k), *dv = upload(v), *out = device_array<uint16_t>(size);
    if (launch_attention(p, dq, dk, dv, out, n, s) || cudaStreamSynchronize(s)) return INFINITY;
    return largest_error(from_half(download(out, size)), want) / 1e-3f;
}

#endif
