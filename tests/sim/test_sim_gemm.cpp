/* Matrix products of long passes (gpu_gemm) on the simulator: every format, against sums in double over the very values
 * that the kernel gets.  Odd shapes, biases, sums into y, matrices that share their activations, every schedule. */
#include "tests/sim/check.h"

#include "kernels/cuda/cublas.h"
#include "kernels/cuda/device.h"
#include "tests/blocks.h"
#include "kernels/sim/cuda_bf16.h"

static void *zeroed(size_t bytes) { return lr_zalloc(1, bytes); }
static const lr_backend_host host = { zeroed, lr_free, lr_fail };

/* Arch and number of multiprocessors decide which kernel and which tile serves. */
static lr_device new_device(const schedule &order, int arch, int n_sms) {
    simgpu_config(1, 64 << 20);
    simgpu_schedule(order.order, order.seed);
    lr_device d = {};
    d.host = &host;
    d.arch = arch;
    d.n_sms = n_sms;
    d.queue[LR_QUEUE_COMPUTE] = new_stream();
    return d;
}

/* ---- data ---- */

struct weights {
    lr_matrix m;                           /* in device memory */
    std::vector<float> decoded, magnitude; /* q4_k is a difference of two terms: magnitude has both */
};

static weights make_weights(lr_format format, int rows, int cols, uint32_t seed) {
    const lr_format_traits *f = &lr_formats[format];
    lr_format_size size;
    weights w;
    if (!CHECK(lr_format_measure(format, (uint64_t)rows, (uint64_t)cols, &size))) return w;
    uint64_t state = seed;
    std::vector<uint8_t> bytes(size.bytes), zero(size.quants_stride);
    lr_matrix h = lr_matrix_at(format, rows, cols, bytes.data());
    size_t n = (size_t)cols;
    std::vector<float> x = random_floats((size_t)rows * n, seed), least(n);
    for (float &v : x) v *= v * v; /* large ones are rare */
    w.decoded.resize(x.size());
    w.magnitude.resize(x.size());
    for (size_t r = 0; r < (size_t)rows; r++) {
        void *quants = bytes.data() + r * h.quants_stride;
        void *scales = h.scales ? bytes.data() + size.scales_offset + r * h.scales_stride : nullptr;
        if (lr_format_is_blocks(format))
            random_blocks(format, quants, cols, &state);
        else
            f->encode(quants, scales, &x[r * n], cols);
        f->decode(&w.decoded[r * n], quants, scales, cols);
        if (format == LR_Q4_K) f->decode(least.data(), zero.data(), scales, cols);
        if (int at = block_field(format, true); at >= 0) {
            memcpy(zero.data(), quants, zero.size()); /* a row with mins of zero: what it lacks */
            for (size_t b = 0; b < zero.size(); b += (size_t)f->quant_bytes) memset(&zero[b + (size_t)at], 0, 2);
            f->decode(least.data(), zero.data(), nullptr, cols);
            for (size_t c = 0; c < n; c++) least[c] = w.decoded[r * n + c] - least[c];
        }
        for (size_t c = 0; c < n; c++)
            w.magnitude[r * n + c] = fabsf(w.decoded[r * n + c] - least[c]) + fabsf(least[c]);
    }
    w.m = lr_matrix_at(format, rows, cols, upload(bytes));
    return w;
}

struct inputs {
    lr_act act; /* in device memory */
    std::vector<float> decoded;
};

/* Every fourth token has a scale where the format has them.  Planes are allocations of their own: what lies behind
 * them is nobody's.                                                                                                  */
static inputs make_inputs(lr_act_format format, int n, int cols, uint32_t seed) {
    inputs in;
    size_t size = (size_t)n * (size_t)cols;
    std::vector<float> x = random_floats(size, seed), d((size_t)n, 1.0f);
    in.decoded.resize(size);
    std::vector<uint16_t> bits(size);
    for (size_t i = 0; i < size; i++) {
        float scale = i / (size_t)cols % 4 == 1 ? 8.0f : 1.0f;
        bits[i] = format == LR_ACT_BF16 ? simgpu_float_to_bf16(x[i]) : simgpu_float_to_half(x[i]);
        in.decoded[i] = format == LR_ACT_F32    ? x[i]
                        : format == LR_ACT_BF16 ? simgpu_bf16_to_float(bits[i])
                                                : scale * simgpu_half_to_float(bits[i]);
        d[i / (size_t)cols] = scale;
    }
    in.act = {};
    in.act.format = format;
    in.act.n = n;
    in.act.cols = cols;
    in.act.values = format == LR_ACT_F32 ? (const void *)upload(x) : (const void *)upload(bits);
    if (format == LR_ACT_F16) in.act.d = upload(d);
    return in;
}

/* ---- one product, or up to three of the same activations ---- */

struct product {
    lr_format format;
    int rows;
    bool bias, accumulate;
    int gap; /* columns of y that are nobody's */
};

/* Bound of the error, relative to the sum of the terms' magnitudes: f32 sums of exact products walk; weights that were
 * rounded to f16 add what rounding each of them once would (twice that, as everywhere).                              */
struct bound {
    double plain, terms;
    double allowed() const { return 2 * fmax(plain, 0x1p-24 * (4 + 0.5 * sqrt(terms))); }
};

/* Runs the products and returns the largest error relative to its bound; outputs, bits and all, are added to *all. */
static double error_of(lr_device *d, const std::vector<product> &products, int n, int cols, std::vector<float> *all) {
    std::vector<lr_matmul_args> args;
    std::vector<weights> w;
    std::vector<std::vector<float>> before, bias;
    inputs x = make_inputs(lr_gpu_act(products[0].format, n), n, cols, 77);
    uint32_t seed = 5;
    for (const product &p : products) {
        lr_matmul_args m = {};
        w.push_back(make_weights(p.format, p.rows, cols, seed++));
        bias.push_back(random_floats((size_t)p.rows, seed++));
        m.y_stride = p.rows + p.gap;
        std::vector<float> y = random_floats((size_t)(n * m.y_stride), seed++);
        if (!p.accumulate) y.assign(y.size(), NAN);
        before.push_back(y);
        m.y = upload(y);
        m.w = w.back().m;
        m.x = x.act;
        m.bias = p.bias ? upload(bias.back()) : nullptr;
        m.accumulate = p.accumulate;
        args.push_back(m);
    }
    if (!CHECK(gpu_gemm(d, args.data(), (int)args.size()) == cudaSuccess)) return INFINITY;
    if (!CHECK(cudaStreamSynchronize(d->queue[LR_QUEUE_COMPUTE]) == cudaSuccess)) return INFINITY;
    double worst = 0;
    for (size_t i = 0; i < products.size(); i++) {
        const product &p = products[i];
        size_t stride = (size_t)args[i].y_stride, rows = (size_t)p.rows, k = (size_t)cols;
        std::vector<float> y = download(args[i].y, before[i].size());
        if (!CHECK(y.size() == before[i].size())) return INFINITY;
        bound b = { 0, (double)cols };
        double error = 0;
        for (size_t t = 0; t < (size_t)n; t++)
            for (size_t r = 0; r < stride; r++) {
                float got = y[t * stride + r], was = before[i][t * stride + r];
                if (r >= rows) { /* untouched, NaN too */
                    if (memcmp(&got, &was, sizeof got) && !CHECK(!"wrote outside its rows")) return INFINITY;
                    continue;
                }
                double exact = 0, plain = 0, magnitude = 1e-30;
                for (size_t c = 0; c < k; c++) {
                    double xi = x.decoded[t * k + c], wi = w[i].decoded[r * k + c];
                    float rounded = lr_format_is_plain(p.format) ? (float)wi : lr_f16_to_f32(lr_f32_to_f16((float)wi));
                    exact += wi * xi;
                    plain += rounded * xi;
                    magnitude += w[i].magnitude[r * k + c] * fabs(xi);
                }
                b.plain = fmax(b.plain, fabs(plain - exact) / magnitude);
                if (p.bias) exact += bias[i][r], magnitude += fabs(bias[i][r]);
                if (p.accumulate) exact += was, magnitude += fabs(was);
                double e = fabs(got - exact) / magnitude;
                if (!(e <= error)) error = isnan(e) ? INFINITY : e;
                if (all) all->push_back(got);
            }
        if (!(error / b.allowed() <= worst)) worst = error / b.allowed();
    }
    return worst;
}

/* ---- cases ---- */

static const std::vector<lr_format> formats =
    and_block_formats({ LR_F32, LR_F16, LR_BF16, LR_Q8_0, LR_Q4_K, LR_IQ4_NL, LR_NF4 });

static std::vector<int> columns_of(lr_format f) {
    if (lr_format_is_blocks(f) && lr_formats[f].block == 32) return { 96, 416 };
    if (lr_format_is_blocks(f)) return { 256, 512 };
    switch (f) {
        case LR_Q4_K: return { 256, 768 };
        case LR_NF4: return { 64, 192, 448 };
        case LR_Q8_0:
        case LR_IQ4_NL: return { 32, 96, 416 };
        default: return { 8, 104, 232, 7, 172 }; /* the last two are not whole pieces of 16 bytes */
    }
}

static bool right(const char *what, const product &p, int n, int cols, double error) {
    if (error <= 1) return true;
    printf("# %s: %s n %d rows %d cols %d%s%s: error %.3g of its bound\n", what, lr_formats[p.format].name, n, p.rows,
           cols, p.bias ? " bias" : "", p.accumulate ? " accumulate" : "", error);
    return false;
}

/* The thread sanitizer takes ten times as long: one number of columns for each format must do.  So it must for block
 * formats, which are many.                                                                                           */
static void every_format_and_shape() {
    static const int shapes[][2] = { { 9, 1 }, { 16, 33 }, { 33, 67 }, { 70, 130 }, { 130, 140 } };
    int i = 0;
    for (lr_format f : formats)
        for (int cols : columns_of(f)) {
            if ((with_tsan || lr_format_is_blocks(f)) && cols != columns_of(f)[1]) continue;
            for (auto &shape : shapes) {
                const schedule &order = schedules[i % 3];
                product p = { f, shape[1], (i & 1) != 0, (i & 2) != 0, i % 4 };
                lr_device d = new_device(order, 900, 1);
                CHECK(right("shape", p, shape[0], cols, error_of(&d, { p }, shape[0], cols, nullptr)));
                i++;
            }
        }
}

/* The same bits whatever the tile, the schedule and the length of the pass.                                          */
static void bits_do_not_depend_on_the_tile() {
    for (lr_format f : formats) {
        int cols = columns_of(f)[1], n_sms[] = { 1, 5, 1000 }, n = 70;
        product p = { f, 130, true, false, 0 };
        std::vector<float> first;
        for (int i = 0; i < 3; i++)
            for (const schedule &order : schedules) {
                std::vector<float> y;
                lr_device d = new_device(order, 900, n_sms[i]);
                CHECK(right("tile", p, n, cols, error_of(&d, { p }, n, cols, &y)));
                if (first.empty()) first = y;
                CHECK(first.size() == y.size() && !memcmp(first.data(), y.data(), y.size() * sizeof y[0]));
                if (with_tsan || lr_format_is_blocks(f) || order.order == SIMGPU_RANDOM) break;
            }
        lr_device d = new_device(schedules[0], 900, 1);
        std::vector<float> few;
        error_of(&d, { p }, 9, cols, &few);
        CHECK(few.size() <= first.size() && !memcmp(first.data(), few.data(), few.size() * sizeof few[0]));
    }
}

static void matrices_share_their_activations() {
    static const lr_format lists[][3] = {
        { LR_F16, LR_F16, LR_F16 },
        { LR_Q4_K, LR_Q4_K, LR_Q4_K },
        { LR_Q4_K, LR_Q8_0, LR_Q8_0 },
        { LR_IQ4_NL, LR_F16, LR_NF4 },
    };
    for (auto &list : lists)
        for (int count = 2; count <= 3; count++) {
            std::vector<product> products = { { list[0], 100, true, false, 0 },
                                              { list[1], 37, false, true, 3 },
                                              { list[2], 64, true, true, 2 } };
            products.resize((size_t)count);
            lr_device d = new_device(schedules[count], 900, 4);
            uint64_t launches = simgpu_stat().launches;
            CHECK(right("shared", products[0], 40, 256, error_of(&d, products, 40, 256, nullptr)));
            bool same = list[0] == list[1] && (count == 2 || list[1] == list[2]);
            if (same) CHECK(simgpu_stat().launches == launches + 1);
        }
}

/* Tensor cores of sm_75 take no bf16, and its blocks have little shared memory.                                      */
static void old_devices_are_served() {
    for (lr_format f : formats) {
        product p = { f, 130, false, true, 0 };
        lr_device d = new_device(schedules[2], 750, 1);
        CHECK(right("sm_75", p, 130, columns_of(f)[1], error_of(&d, { p }, 130, columns_of(f)[1], nullptr)));
    }
}

static void cublas_takes_dense_weights() {
    for (lr_format f : { LR_F16, LR_BF16 })
        for (int i = 0; i < 4; i++) {
            product p = { f, 67, (i & 1) != 0, (i & 2) != 0, i };
            lr_device d = new_device(schedules[i], 900, 1);
            gpu_cublas_open(&d);
            CHECK(gpu_cublas_workspace(&d, device_array<uint8_t>(256), 256));
            CHECK(right("cublas", p, 21, 72, error_of(&d, { p }, 21, 72, nullptr)));
            CHECK(simgpu_stat().launches > (f == LR_F16 ? 1u : 0u));
            gpu_cublas_close(&d);
            CHECK(!d.cublas);
        }
}

/* Reads and writes what it must, once; two operations a weight and token.                                            */
static void costs_are_those_of_the_product() {
    simgpu_device slow = { 64 << 20, 1e6, 0, 0, 0, 0, 0, 0 };
    for (int by_flops = 0; by_flops < 2; by_flops++) {
        lr_device d = new_device(schedules[0], 900, 1);
        slow.memory_rate = by_flops ? 0 : 1e6;
        slow.flop_rate = by_flops ? 1e6 : 0;
        simgpu_config_devices(1, &slow);
        d.queue[LR_QUEUE_COMPUTE] = new_stream();
        double start = simgpu_seconds();
        product p = { LR_Q8_0, 64, false, true, 0 };
        error_of(&d, { p }, 16, 96, nullptr);
        double took = simgpu_seconds() - start, bytes = 64 * (96 + 6) + 16 * 96 * 2 + 2 * 16 * 64 * 4;
        double want = (by_flops ? 2.0 * 16 * 64 * 96 : bytes) * 1e-6;
        CHECK(fabs(took - want) <= 1e-9 + 0.01 * want);
    }
}

int main() {
    RUN(every_format_and_shape);
    RUN(bits_do_not_depend_on_the_tile);
    RUN(matrices_share_their_activations);
    RUN(old_devices_are_served);
    RUN(cublas_takes_dense_weights);
    RUN(costs_are_those_of_the_product);
    return tests.failed_cases != 0;
}
