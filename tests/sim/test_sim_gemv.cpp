/* The few-token and elementwise kernels against sums in double of the exactly decoded weights and activations: every
 * format, odd shapes, 1 to 8 tokens, 1 to 3 matrices, poisoned outputs, schedules that must agree to the bit.        */
#include <string.h>

#include "kernels/cuda/device.h"
#include "tests/blocks.h"
#include "tests/sim/check.h"

static const std::vector<lr_format> formats =
    and_block_formats({ LR_F32, LR_F16, LR_BF16, LR_Q8_0, LR_Q4_K, LR_IQ4_NL, LR_NF4 });

/* Device memory of the running case: each array on its own, so that a step outside is seen.                          */
static std::vector<void *> arrays;

template <class T> static T *on_device(const std::vector<T> &v) {
    arrays.push_back(upload(v));
    return (T *)arrays.back();
}
template <class T> static T *poisoned(size_t n) {
    arrays.push_back(device_array<T>(n));
    return (T *)arrays.back();
}

static lr_device new_device(const schedule &order) {
    static cudaStream_t stream;
    if (!stream) simgpu_config(1, 4 << 20), stream = new_stream();
    for (void *p : arrays) CHECK(cudaFree(p) == cudaSuccess);
    arrays.clear();
    simgpu_schedule(order.order, order.seed);
    lr_device d = {};
    d.queue[LR_QUEUE_COMPUTE] = stream;
    return d;
}

static uint32_t next(uint32_t *state) {
    random_float(state);
    return *state >> 8;
}

/* ---- weights: random codes, so that all are met ---- */

struct weights {
    lr_format format;
    int rows, cols;
    std::vector<uint8_t> quants, scales;
    std::vector<float> decoded;
    lr_matrix device;
};

static void put_half(uint8_t *to, float v) {
    uint16_t h = simgpu_float_to_half(v);
    memcpy(to, &h, sizeof h);
}

/* The scales of one block.                                                                                           */
static void random_scales(uint8_t *s, lr_format format, uint32_t *seed) {
    float d = 0.01f * (1.5f + random_float(seed));
    if (format == LR_NF4) memcpy(s, &d, sizeof d);
    if (format == LR_Q8_0 || format == LR_IQ4_NL) put_half(s, d / 64);
    if (format == LR_Q4_K) {
        put_half(s, d / 512);
        put_half(s + 2, d / 64);
        for (int i = 4; i < 16; i++) s[i] = (uint8_t)next(seed);
    }
}

static weights new_weights(lr_format format, int rows, int cols, uint32_t seed) {
    const lr_format_traits *f = &lr_formats[format];
    size_t n = (size_t)rows * (size_t)cols, blocks = n / (size_t)f->block;
    weights w = { format,
                  rows,
                  cols,
                  std::vector<uint8_t>(blocks * (size_t)f->quant_bytes),
                  std::vector<uint8_t>(blocks * (size_t)f->scale_bytes),
                  std::vector<float>(n),
                  {} };
    for (uint8_t &q : w.quants) q = (uint8_t)next(&seed);
    for (size_t b = 0; b < blocks; b++) random_scales(w.scales.data() + b * (size_t)f->scale_bytes, format, &seed);
    if (lr_format_is_blocks(format)) {
        uint64_t state = seed;
        random_blocks(format, w.quants.data(), (int64_t)n, &state);
    }
    if (lr_format_is_plain(format)) {
        std::vector<float> values = random_floats(n, seed);
        f->encode(w.quants.data(), NULL, values.data(), (int64_t)n);
    }
    f->decode(w.decoded.data(), w.quants.data(), w.scales.data(), (int64_t)n);
    return w;
}

static void upload_weights(weights *w) {
    w->device = lr_matrix_at(w->format, w->rows, w->cols, NULL);
    std::vector<uint8_t> plane = w->quants;
    if (lr_format_is_blocks(w->format)) plane.resize((plane.size() + 7) / 8 * 8); /* see dot_block.cuh */
    w->device.quants = on_device(plane);
    w->device.scales = w->scales.empty() ? NULL : on_device(w->scales);
}

/* ---- activations ---- */

struct activations {
    std::vector<float> values; /* exactly what the device gets */
    lr_act device;
};

/* An activation on the device, its planes downloaded and decoded.                                                    */
static std::vector<float> decode_act(const lr_act &a) {
    std::vector<uint8_t> bytes = download((const uint8_t *)a.values, lr_act_bytes(a.format, a.n, a.cols));
    std::vector<float> x((size_t)(a.n * a.cols));
    if (bytes.empty()) return {};
    const lr_act host = lr_act_at(a.format, a.n, a.cols, bytes.data());
    for (size_t i = 0; i < x.size(); i++) {
        size_t row = i / (size_t)a.cols;
        if (a.format == LR_ACT_F32) memcpy(&x[i], &bytes[4 * i], 4);
        if (a.format == LR_ACT_BF16) x[i] = lr_bf16_to_f32(((const uint16_t *)host.values)[i]);
        if (a.format == LR_ACT_F16) x[i] = simgpu_half_to_float(((const uint16_t *)host.values)[i]) * host.d[row];
        if (a.format == LR_ACT_Q8) x[i] = (float)((const int8_t *)host.values)[i] * host.d[i / 32];
    }
    return x;
}

static activations new_activations(lr_act_format format, int n, int cols, uint32_t seed) {
    activations a;
    a.values = random_floats((size_t)(n * cols), seed);
    std::vector<uint8_t> bytes(lr_act_bytes(format, n, cols));
    lr_act host = lr_act_at(format, n, cols, bytes.data());
    if (format == LR_ACT_F32) memcpy(bytes.data(), a.values.data(), a.values.size() * 4);
    if (format == LR_ACT_Q8)
        for (size_t b = 0; b < a.values.size() / 32; b++) {
            float most = 0, scale;
            int sum = 0;
            for (size_t i = 32 * b; i < 32 * b + 32; i++) most = fmaxf(most, fabsf(a.values[i]));
            scale = most / 127;
            for (size_t i = 32 * b; i < 32 * b + 32; i++) {
                int q = (int)lrintf(a.values[i] / scale);
                ((int8_t *)host.values)[i] = (int8_t)q;
                a.values[i] = scale * (float)q;
                sum += q;
            }
            ((float *)host.d)[b] = scale;
            ((float *)host.s)[b] = scale * (float)sum;
        }
    a.device = lr_act_at(format, n, cols, on_device(bytes));
    return a;
}

/* ---- products ---- */

/* The exact product of a row and a token, and the sum of its terms' magnitudes, by which errors are measured.        */
static double product(const weights &w, const activations &x, size_t row, size_t t, double *magnitude) {
    double sum = 0;
    size_t cols = (size_t)w.cols;
    *magnitude = 0;
    for (size_t c = 0; c < cols; c++) {
        double term = (double)w.decoded[row * cols + c] * (double)x.values[t * cols + c];
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

/* Relative to the magnitude: rounding of f32 sums; of nf4, that of its values as well.                               */
static double bound_of(lr_format format) { return format == LR_NF4 ? 2.4e-5 : 1e-6; }

static float larger(float worst, double error, double bound) {
    float e = (float)(error / bound);
    return isnan(e) ? INFINITY : fmaxf(worst, e);
}

struct gemv_case {
    int n, count;
    bool bias, accumulate;
};
enum { PAD = 3 }; /* floats behind each row of y, that nobody may touch */

/* Runs the products of w[0..count) and returns the worst error relative to its bound, and all outputs.               */
static float gemv_error(lr_device *d, weights *w, const gemv_case &c, std::vector<float> *all) {
    activations x = new_activations(lr_gpu_act(w[0].format, c.n), c.n, w[0].cols, 5);
    lr_matmul_args m[3] = {};
    std::vector<float> before[3], bias[3];
    for (int i = 0; i < c.count; i++) {
        size_t stride = (size_t)w[i].rows + PAD;
        upload_weights(&w[i]);
        before[i] =
            c.accumulate ? random_floats((size_t)c.n * stride, 6) : std::vector<float>((size_t)c.n * stride, NAN);
        bias[i] = random_floats((size_t)w[i].rows, 7);
        m[i] = { on_device(before[i]), (int64_t)stride, w[i].device, x.device, c.bias ? on_device(bias[i]) : NULL,
                 c.accumulate };
    }
    if (gpu_gemv(d, m, c.count) || cudaStreamSynchronize(d->queue[LR_QUEUE_COMPUTE])) return INFINITY;
    float worst = 0;
    for (int i = 0; i < c.count; i++) {
        size_t rows = (size_t)w[i].rows, stride = rows + PAD;
        std::vector<float> y = download(m[i].y, (size_t)c.n * stride);
        if (y.empty()) return INFINITY;
        for (size_t at = 0; at < y.size(); at++) {
            size_t t = at / stride, r = at % stride;
            if (r >= rows) {
                CHECK(memcmp(&y[at], &before[i][at], 4) == 0);
                continue;
            }
            double magnitude, want = product(w[i], x, r, t, &magnitude);
            if (c.bias) want += bias[i][r], magnitude += fabsf(bias[i][r]);
            if (c.accumulate) want += before[i][at], magnitude += fabsf(before[i][at]);
            worst = larger(worst, fabs(y[at] - want), bound_of(w[i].format) * magnitude);
            all->push_back(y[at]);
        }
    }
    return worst;
}

/* Columns to try: one block, odd numbers of them, long enough for several warps a row, and for plain formats rows that
 * are not whole units.                                                                                               */
static std::vector<int> cols_of(lr_format format) {
    int block = lr_formats[format].block;
    if (block == 1) return { 1, 96, 97, 2080 };
    if (block == 32) return { 32, 96, 2080, 6176 };
    return { block, 3 * block, 9 * block, 25 * block };
}

/* Runs body forward and, by turns, in another order; its outputs must be the same bits.                              */
template <class Body> static void same_bits_in_any_order(Body body) {
    static uint64_t turn;
    std::vector<float> first, all;
    lr_device d = new_device({ SIMGPU_FORWARD, 0 });
    body(&d, &first);
    turn++;
    d = new_device({ turn % 2 ? SIMGPU_REVERSE : SIMGPU_RANDOM, turn });
    body(&d, &all);
    CHECK(all.size() == first.size() && memcmp(all.data(), first.data(), all.size() * sizeof(float)) == 0);
}

static void gemv_is_right() {
    static const int rows[] = { 1, 5, 33, 70 };
    uint32_t seed = 1;
    for (lr_format format : formats)
        for (int cols : cols_of(format))
            for (int n = 1; n <= LR_GPU_FEW; n += with_tsan ? 3 : 1) {
                gemv_case c = { n, 1 + (n + cols) % 3, (n & 1) != 0, (n & 2) != 0 };
                weights w[3];
                for (int i = 0; i < c.count; i++) w[i] = new_weights(format, rows[(n + i) % 4], cols, seed++);
                same_bits_in_any_order([&](lr_device *d, std::vector<float> *all) {
                    float error = gemv_error(d, w, c, all);
                    if (!CHECK(error <= 1))
                        printf("# %s %d cols, %d tokens: %g\n", lr_formats[format].name, cols, n, (double)error);
                });
            }
}

static void matrices_of_several_formats_share_a_call() {
    weights w[3] = { new_weights(LR_Q4_K, 9, 512, 1), new_weights(LR_Q4_K, 3, 512, 2),
                     new_weights(LR_Q8_0, 20, 512, 3) };
    same_bits_in_any_order([&](lr_device *d, std::vector<float> *all) {
        CHECK(gemv_error(d, w, { 2, 3, true, false }, all) <= 1);
    });
}

static void a_wrong_weight_is_seen() {
    for (lr_format format : formats) {
        weights w = new_weights(format, 5, 768, 1);
        std::vector<float> all;
        lr_device d = new_device({ SIMGPU_FORWARD, 0 });
        w.quants[w.quants.size() - 1] ^= 0x11;
        CHECK(gemv_error(&d, &w, { 1, 1, false, false }, &all) > 1);
    }
}

static void wrong_arguments_are_refused() {
    lr_device d = new_device({ SIMGPU_FORWARD, 0 });
    weights w = new_weights(LR_Q8_0, 4, 64, 1);
    upload_weights(&w);
    activations q8 = new_activations(LR_ACT_Q8, 1, 64, 1), f32 = new_activations(LR_ACT_F32, 1, 64, 1);
    lr_matmul_args m = { poisoned<float>(4), 4, w.device, f32.device, NULL, false };
    CHECK(gpu_gemv(&d, &m, 1) == cudaErrorInvalidValue);
    m.x = q8.device;
    m.x.n = LR_GPU_FEW + 1;
    CHECK(gpu_gemv(&d, &m, 1) == cudaErrorInvalidValue);
}

/* ---- gate and up ---- */

static double activated(lr_glu_act act, double g) {
    if (act == LR_GLU_SIGMOID) return 1 / (1 + exp(-g));
    if (act == LR_GLU_GELU) return 0.5 * g * (1 + erf(g * sqrt(0.5)));
    if (act == LR_GLU_GELU_TANH) return 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
    return act == LR_GLU_OAI ? fmin(g, 7) / (1 + exp(-1.702 * fmin(g, 7))) : g / (1 + exp(-g));
}
static double multiplier(lr_glu_act act, double u) { return act == LR_GLU_OAI ? fmin(fmax(u, -7), 7) + 1 : u; }

static bool is_power_of_two(float v) {
    int exponent;
    return frexpf(v, &exponent) == 0.5f;
}

/* The packed rows against exact ones, each with its own bound for what came before packing; all planes must be sound.
 * Returns the worst error relative to the bound.                                                                     */
static float packed_error(const lr_act &out, const std::vector<double> &want, const std::vector<double> &bound,
                          std::vector<float> *all) {
    std::vector<float> got = decode_act(out);
    std::vector<float> d(out.format == LR_ACT_Q8 ? want.size() / 32 : (size_t)out.n), s(d.size());
    float worst = 0;
    if (got.empty()) return INFINITY;
    if (out.d) d = download(out.d, d.size());
    if (out.s) s = download(out.s, s.size());
    for (size_t i = 0; i < want.size(); i++) {
        double rounding = out.format == LR_ACT_F16    ? fabs(want[i]) / 2047 + 6e-8 * (double)d[i / (size_t)out.cols]
                          : out.format == LR_ACT_BF16 ? fabs(want[i]) / 255
                          : out.format == LR_ACT_Q8   ? 0.5001 * (double)d[i / 32]
                                                      : 0;
        worst = larger(worst, fabs(got[i] - want[i]), bound[i] + rounding + 1e-30);
    }
    for (size_t b = 0; out.format == LR_ACT_Q8 && b < d.size(); b++) {
        float sum = 0, most = 0;
        for (size_t i = 32 * b; i < 32 * b + 32; i++)
            sum += roundf(got[i] / d[b]), most = fmaxf(most, fabsf(got[i] / d[b]));
        CHECK(d[b] > 0 ? s[b] == d[b] * sum && most > 126.9f && most < 127.1f : d[b] == 0 && s[b] == 0);
    }
    for (size_t t = 0; out.format == LR_ACT_F16 && t < d.size(); t++) {
        double most = 0;
        for (size_t i = t * (size_t)out.cols; i < (t + 1) * (size_t)out.cols; i++) most = fmax(most, fabs(want[i]));
        CHECK(d[t] >= 1 && is_power_of_two(d[t]) && most / (double)d[t] < 65520 &&
              (d[t] == 1 || most / (double)d[t] > 32750));
    }
    all->insert(all->end(), got.begin(), got.end());
    return worst;
}

static void gate_and_up_are_right() {
    static const int rows[] = { 32, 96 };
    static const lr_act_format outs[] = { LR_ACT_Q8, LR_ACT_F32, LR_ACT_F16, LR_ACT_BF16 };
    uint32_t seed = 1;
    for (lr_format format : formats)
        for (int n = 1; n <= LR_GPU_FEW; n += with_tsan ? 3 : 1) {
            lr_act_format out_format = outs[(n * 3 + (int)format) % 4];
            int cols = cols_of(format)[1 + (size_t)n % 2];
            lr_glu_act act = (lr_glu_act)((n + (int)format) % LR_N_GLU_ACTS);
            weights w[2] = { new_weights(format, rows[n % 2], cols, seed),
                             new_weights(format, rows[n % 2], cols, seed + 1) };
            if (out_format != LR_ACT_Q8)
                w[0] = new_weights(format, 37, cols, seed), w[1] = new_weights(format, 37, cols, seed + 1);
            seed += 2;
            same_bits_in_any_order([&](lr_device *d, std::vector<float> *all) {
                activations x = new_activations(lr_gpu_act(format, n), n, cols, 5);
                lr_matmul_args m[2] = {};
                std::vector<float> bias[2];
                size_t rows_of = (size_t)w[0].rows, outputs = (size_t)n * rows_of;
                for (int i = 0; i < 2; i++) {
                    bias[i] = random_floats(rows_of, 8 + (uint32_t)i);
                    upload_weights(&w[i]);
                    m[i] = { poisoned<float>(outputs),          w[i].rows, w[i].device, x.device,
                             n % 3 ? on_device(bias[i]) : NULL, false };
                }
                lr_act out =
                    lr_act_at(out_format, n, w[0].rows, poisoned<uint8_t>(lr_act_bytes(out_format, n, w[0].rows)));
                CHECK(gpu_gemv_glu(d, m, act, &out) == cudaSuccess);
                CHECK(cudaStreamSynchronize(d->queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
                std::vector<double> want(outputs), bound(outputs);
                for (size_t i = 0; i < outputs; i++) {
                    size_t r = i % rows_of, t = i / rows_of;
                    double from_gate, from_up, gate = product(w[0], x, r, t, &from_gate),
                                               up = product(w[1], x, r, t, &from_up);
                    if (n % 3) gate += bias[0][r], up += bias[1][r];
                    up = multiplier(act, up);
                    want[i] = activated(act, gate) * up; /* the slope of an activation is at most 1.13 */
                    bound[i] = bound_of(format) * (1.13 * from_gate * fabs(up) + fabs(activated(act, gate)) * from_up) +
                               1e-6 * (fabs(gate) + 1) * (fabs(up) + 1);
                }
                float error = packed_error(out, want, bound, all);
                if (!CHECK(error <= 1))
                    printf("# %s, %d tokens, out %d, act %d: %g\n", lr_formats[format].name, n, out_format, act,
                           (double)error);
            });
        }
}

/* ---- rows ---- */

static void rows_are_packed() {
    static const lr_act_format outs[] = { LR_ACT_F32, LR_ACT_BF16, LR_ACT_F16, LR_ACT_Q8, LR_ACT_NONE };
    enum { ROWS = 3 };
    for (lr_act_format format : outs)
        for (int dim : { 32, 96, 2080, 1, 97, 2085 })
            for (int op = 0; op < 3; op++) { /* pack, norm, glu */
                if ((format == LR_ACT_Q8 && dim % 32) || (format == LR_ACT_NONE && op == 0)) continue;
                same_bits_in_any_order([&](lr_device *d, std::vector<float> *all) {
                    size_t n = (size_t)(ROWS * dim), cols = (size_t)dim;
                    std::vector<float> x = random_floats(n, 1), w = random_floats(op == 1 ? cols : n, 2), y;
                    for (size_t i = cols; i < n; i++) x[i] *= i < 2 * cols ? 3e6f : 1e-9f; /* beyond the range of f16 */
                    std::vector<double> want(n), bound(n);
                    for (size_t t = 0; t < ROWS; t++) {
                        double squares = 0;
                        for (size_t i = t * cols; i < (t + 1) * cols; i++) squares += (double)x[i] * x[i];
                        for (size_t i = t * cols; i < (t + 1) * cols; i++) {
                            want[i] = op == 0   ? x[i]
                                      : op == 1 ? x[i] / sqrt(squares / dim + 1e-5) * w[i - t * cols]
                                                : activated(LR_GLU_SILU, x[i]) * w[i];
                            bound[i] = op ? 1e-6 * fabs(want[i]) : 0;
                        }
                    }
                    x.resize((n + 15) / 16 * 16); /* decode_act reads whole planes */
                    float *dx = on_device(x), *dw = on_device(w);
                    lr_act out = {};
                    if (format != LR_ACT_NONE)
                        out = lr_act_at(format, ROWS, dim, poisoned<uint8_t>(lr_act_bytes(format, ROWS, dim)));
                    bool in_place = format == LR_ACT_NONE || format == LR_ACT_F16;
                    lr_pack_args pack = { dx, out, NULL };
                    lr_norm_args norm = { in_place ? dx : NULL, dx, dw, NULL, dim, dim, dim, 1e-5f, false, false };
                    lr_glu_args glu = { in_place ? dx : NULL, dx, dw, dim, dim, dim, LR_GLU_SILU };
                    const lr_act *to = format == LR_ACT_NONE ? NULL : &out;
                    cudaError_t error = op == 0   ? gpu_pack(d, &pack)
                                        : op == 1 ? gpu_norm(d, &norm, ROWS, to)
                                                  : gpu_glu(d, &glu, ROWS, to);
                    CHECK(error == cudaSuccess && cudaStreamSynchronize(d->queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
                    if (to && !CHECK(packed_error(out, want, bound, all) <= 1))
                        printf("# op %d, format %d, %d\n", op, format, dim);
                    if (op && in_place) {
                        lr_act plain = { LR_ACT_F32, ROWS, dim, dx, NULL, NULL };
                        if (!CHECK(packed_error(plain, want, bound, all) <= 1))
                            printf("# op %d in place, %d\n", op, dim);
                    }
                });
            }
}

static void tokens_are_embedded() {
    for (lr_format format : formats)
        for (int cols : cols_of(format)) {
            weights w = new_weights(format, 11, cols, 1);
            const std::vector<int32_t> ids = { 10, 0, 3, 3 };
            same_bits_in_any_order([&](lr_device *d, std::vector<float> *all) {
                upload_weights(&w);
                lr_embed_args a = { poisoned<float>(ids.size() * (size_t)cols), on_device(ids), w.device, 1.5f, false };
                CHECK(gpu_embed(d, &a, (int64_t)ids.size()) == cudaSuccess);
                CHECK(cudaStreamSynchronize(d->queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
                *all = download(a.x, ids.size() * (size_t)cols);
                int wrong = 0;
                for (size_t i = 0; i < all->size(); i++)
                    wrong +=
                        (*all)[i] != w.decoded[(size_t)ids[i / (size_t)cols] * (size_t)cols + i % (size_t)cols] * 1.5f;
                CHECK(wrong == 0 && all->size() == ids.size() * (size_t)cols);
            });
        }
}

int main() {
    RUN(gemv_is_right);
    RUN(matrices_of_several_formats_share_a_call);
    RUN(a_wrong_weight_is_seen);
    RUN(wrong_arguments_are_refused);
    RUN(gate_and_up_are_right);
    RUN(rows_are_packed);
    RUN(tokens_are_embedded);
    return tests.failed_cases != 0;
}
