/* Attention of the GPU backends on the simulator, against softmax in double over the values that the caches hold: KV
 * formats, head sizes, groups, windows, rings, pages, several sequences, softcaps, sinks, few rows and many, every
 * packed result.  What a row must not see is NaN in the cache, and so is whatever a kernel forgets to write.         */
#include "tests/sim/check.h"

#include "kernels/cuda/device.h"
#include "kernels/sim/cuda_bf16.h"

static const schedule orders[] = { { SIMGPU_FORWARD, 0 }, { SIMGPU_REVERSE, 0 }, { SIMGPU_RANDOM, 1 } };

static lr_device new_device(const schedule &order, int arch) {
    simgpu_config(1, 64 << 20);
    simgpu_schedule(order.order, order.seed);
    lr_device d = {};
    d.arch = arch;
    d.n_sms = 4;
    d.queue[LR_QUEUE_COMPUTE] = new_stream();
    return d;
}

/* ---- a pass: caches on the host, then on the device ---- */

struct sequence {
    int position, n;
};
struct shape {
    lr_format kv;
    int head_dim, n_kv_heads, group;
    std::vector<sequence> seqs;
    int window = 0, n_slots = 0, page_slots = 0; /* n_slots 0: as many as positions; page_slots 0: one page */
    float q_size = 4;
    lr_act_format act = LR_ACT_NONE;
    bool floats_too = false; /* beside act */
    int n_ctx = 700;
    float softcap = 0;
    bool sinks = false;
};

/* Head h has the sink 2 h - 3: among the scores, and above them.                                                     */
static float sink_of(int head) { return 2.0f * (float)head - 3; }

struct caches {
    std::vector<uint8_t> pool; /* pages of all sequences, NaN where nothing was written */
    std::vector<int32_t> pages;
    std::vector<lr_seq> seqs; /* addresses of the host; pages is not NULL where the shape has pages */
};

static int rows_of(const shape &c) {
    int n = 0;
    for (const sequence &s : c.seqs) n += s.n;
    return n;
}

static int first_visible(const shape &c, int position) {
    return c.window > 0 && position >= c.window ? position - c.window + 1 : 0;
}

static caches make_caches(const shape &c) {
    caches k;
    uint64_t page_bytes = 0;
    int64_t row = 0;
    int most = 1;
    for (const sequence &s : c.seqs) most = s.position + s.n > most ? s.position + s.n : most;
    int n_slots = c.n_slots ? c.n_slots : most, page_slots = c.page_slots ? c.page_slots : n_slots;
    int n_pages = (n_slots + page_slots - 1) / page_slots, all = n_pages * (int)c.seqs.size();
    CHECK(lr_kv_page_bytes(c.kv, c.n_kv_heads, c.head_dim, page_slots, &page_bytes));
    k.pool.assign(page_bytes * (size_t)all, 0xff);
    for (int i = 0; i < all; i++) k.pages.push_back(all - 1 - i); /* any order but the natural one */
    for (size_t i = 0; i < c.seqs.size(); i++) {
        lr_seq s = {};
        s.row = row;
        s.n = c.seqs[i].n;
        s.position = c.seqs[i].position;
        s.kv.base = k.pool.data() + (c.page_slots ? 0 : page_bytes * i);
        s.kv.pages = c.page_slots ? k.pages.data() + (size_t)n_pages * i : nullptr;
        s.kv.page_bytes = page_bytes;
        s.kv.page_slots = page_slots;
        s.kv.n_slots = n_slots;
        s.kv.n_kv_heads = c.n_kv_heads;
        s.kv.head_dim = c.head_dim;
        s.kv.format = c.kv;
        row += s.n;
        k.seqs.push_back(s);
    }
    return k;
}

static void fill_caches(const shape &c, caches *k, float k_size) {
    uint32_t seed = 99;
    size_t dim = (size_t)c.head_dim;
    std::vector<float> x(dim);
    for (const lr_seq &s : k->seqs)
        for (int p = first_visible(c, s.position); p < s.position + (int)s.n; p++)
            for (int head = 0; head < c.n_kv_heads; head++)
                for (int which = 0; which < 2; which++) {
                    void *quants, *scales;
                    for (float &v : x) v = random_float(&seed) * (which ? 1.0f : k_size);
                    lr_kv_row(&s.kv, p % s.kv.n_slots, head, which, &quants, &scales);
                    lr_formats[c.kv].encode(quants, scales, x.data(), c.head_dim);
                }
}

static std::vector<float> cached(const lr_kv_layer &kv, int position, int head, int which) {
    std::vector<float> x((size_t)kv.head_dim);
    void *quants, *scales;
    lr_kv_row(&kv, position % kv.n_slots, head, which, &quants, &scales);
    lr_formats[kv.format].decode(x.data(), quants, scales, kv.head_dim);
    return x;
}

struct on_device {
    uint8_t *pool;
    lr_seq *seqs;
};
static on_device upload_caches(const caches &k) {
    on_device d;
    d.pool = upload(k.pool);
    int32_t *pages = upload(k.pages);
    std::vector<lr_seq> seqs = k.seqs;
    for (lr_seq &s : seqs) {
        s.kv.base = d.pool + (s.kv.base - k.pool.data());
        if (s.kv.pages) s.kv.pages = pages + (s.kv.pages - k.pages.data());
    }
    d.seqs = upload(seqs);
    return d;
}

/* ---- what is right ---- */

static std::vector<float> reference(const shape &c, const caches &k, const std::vector<float> &q, float scale) {
    int n_heads = c.n_kv_heads * c.group;
    size_t dim = (size_t)c.head_dim, q_dim = (size_t)n_heads * dim;
    std::vector<float> out((size_t)rows_of(c) * q_dim);
    for (const lr_seq &s : k.seqs)
        for (int head = 0; head < c.n_kv_heads; head++) {
            int lowest = first_visible(c, s.position), n = s.position + (int)s.n - lowest;
            std::vector<std::vector<float>> keys, values;
            for (int p = 0; p < n; p++) {
                keys.push_back(cached(s.kv, lowest + p, head, 0));
                values.push_back(cached(s.kv, lowest + p, head, 1));
            }
            for (int i = 0; i < (int)s.n * c.group; i++) {
                size_t at = (size_t)(s.row + i / c.group) * q_dim + (size_t)(head * c.group + i % c.group) * dim;
                int last = s.position + i / c.group - lowest, from = first_visible(c, last + lowest) - lowest;
                std::vector<double> score((size_t)n), sum(dim);
                double sink = c.sinks ? sink_of(head * c.group + i % c.group) : -INFINITY, most = sink;
                for (int p = from; p <= last; p++) {
                    double dot = 0;
                    for (size_t d = 0; d < dim; d++) dot += (double)q[at + d] * keys[(size_t)p][d];
                    score[(size_t)p] = c.softcap > 0 ? c.softcap * tanh(dot * scale / c.softcap) : dot * scale;
                    most = fmax(most, score[(size_t)p]);
                }
                double total = exp(sink - most);
                for (int p = from; p <= last; p++) {
                    double weight = exp(score[(size_t)p] - most);
                    total += weight;
                    for (size_t d = 0; d < dim; d++) sum[d] += weight * values[(size_t)p][d];
                }
                for (size_t d = 0; d < dim; d++) out[at + d] = (float)(sum[d] / total);
            }
        }
    return out;
}

/* Values of packed rows, and how far packing alone may move them.                                                    */
static std::vector<float> unpack(const lr_act &act, float *rounding) {
    size_t n = (size_t)(act.n * act.cols);
    std::vector<float> x(n);
    *rounding = act.format == LR_ACT_F16 ? 0x1p-11f : act.format == LR_ACT_BF16 ? 0x1p-8f : 1.0f / 250;
    if (act.format == LR_ACT_F32) {
        *rounding = 0;
        return download((const float *)act.values, n);
    }
    if (act.format == LR_ACT_Q8) {
        std::vector<int8_t> q = download((const int8_t *)act.values, n);
        std::vector<float> d = download(act.d, n / 32), s = download(act.s, n / 32);
        for (size_t b = 0; b < n / 32; b++) {
            int sum = 0;
            for (size_t i = 32 * b; i < 32 * b + 32; i++) {
                x[i] = d[b] * (float)q[i];
                sum += q[i];
            }
            CHECK(s[b] == d[b] * (float)sum);
        }
        return x;
    }
    std::vector<uint16_t> bits = download((const uint16_t *)act.values, n);
    std::vector<float> d(n, 1.0f);
    if (act.format == LR_ACT_F16) d = download(act.d, (size_t)act.n);
    for (size_t i = 0; i < n; i++)
        x[i] = act.format == LR_ACT_BF16 ? simgpu_bf16_to_float(bits[i])
                                         : d[i / (size_t)act.cols] * simgpu_half_to_float(bits[i]);
    return x;
}

/* ---- one case ---- */

enum path { FEW, MANY };

struct problem {
    lr_attention_args a;
    lr_pass_shape s;
    lr_act out;
    std::vector<float> floats; /* filled by run */
};

static float bound_of(const shape &c) { return c.kv == LR_F32 ? 3e-6f : 1e-3f; }

static problem make_problem(const shape &c, const on_device &where, float *q) {
    problem p = {};
    int n_heads = c.n_kv_heads * c.group, n = rows_of(c);
    int64_t q_dim = (int64_t)n_heads * c.head_dim;
    p.s.n = n;
    p.s.n_seqs = (int32_t)c.seqs.size();
    for (const sequence &s : c.seqs) p.s.most_rows = lr_max(p.s.most_rows, s.n);
    p.s.n_ctx = c.n_ctx;
    p.a.out = c.act == LR_ACT_NONE || c.floats_too ? device_array<float>((size_t)(n * q_dim)) : nullptr;
    p.a.out_stride = p.a.q_stride = q_dim;
    p.a.q = q;
    p.a.seqs = where.seqs;
    p.a.n_seqs = p.s.n_seqs;
    p.a.n_heads = n_heads;
    p.a.n_kv_heads = c.n_kv_heads;
    p.a.head_dim = c.head_dim;
    p.a.window = c.window;
    p.a.scale = 1 / sqrtf((float)c.head_dim);
    p.a.kv_format = c.kv;
    p.a.softcap = c.softcap;
    if (c.sinks) {
        std::vector<float> sinks;
        for (int h = 0; h < n_heads; h++) sinks.push_back(sink_of(h));
        p.a.sinks = upload(sinks);
    }
    size_t partial = lr_gpu_attention_partial_bytes(n, p.s.n_ctx, n_heads, c.n_kv_heads, c.head_dim);
    p.a.partial = device_array<float>(partial / sizeof(float));
    if (c.act != LR_ACT_NONE)
        p.out = lr_act_at(c.act, n, q_dim, device_array<uint8_t>(lr_act_bytes(c.act, n, q_dim)));
    return p;
}

static cudaError_t start(lr_device *d, path way, const problem &p) {
    const lr_act *out = p.out.values ? &p.out : nullptr;
    return way == FEW ? gpu_attention_few(d, &p.a, &p.s, out) : gpu_attention_many(d, &p.a, &p.s, out);
}

static bool close_to(const std::vector<float> &got, const std::vector<float> &want, float bound) {
    float error = largest_error(got, want);
    if (!(error <= bound)) printf("# error %g, bound %g\n", (double)error, (double)bound);
    return error <= bound;
}

static void check_case(const shape &c, path way, float k_size = 1, int arch = 900) {
    caches k = make_caches(c);
    fill_caches(c, &k, k_size);
    int n_heads = c.n_kv_heads * c.group;
    std::vector<float> q = random_floats((size_t)(rows_of(c) * n_heads * c.head_dim), 7), before;
    for (float &x : q) x *= c.q_size;
    std::vector<float> want = reference(c, k, q, 1 / sqrtf((float)c.head_dim));
    bool right = true;
    for (const schedule &order : orders) {
        lr_device d = new_device(order, arch);
        problem p = make_problem(c, upload_caches(k), upload(q));
        right &= CHECK(start(&d, way, p) == cudaSuccess);
        right &= CHECK(cudaStreamSynchronize(d.queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
        float rounding = 0;
        std::vector<float> got = p.out.values ? unpack(p.out, &rounding) : download(p.a.out, want.size());
        right &= CHECK(close_to(got, want, bound_of(c) + rounding));
        if (p.out.values && p.a.out) right &= CHECK(close_to(download(p.a.out, want.size()), want, bound_of(c)));
        if (before.empty()) before = got;
        right &= CHECK(got == before); /* the same bits in every schedule */
        if (with_tsan) break;
    }
    if (!right)
        printf("# %s %s, head_dim %d, %d x %d heads, window %d, softcap %g%s, position %d, rows %d\n",
               way == FEW ? "few" : "many", lr_formats[c.kv].name, c.head_dim, c.n_kv_heads, c.group, c.window,
               (double)c.softcap, c.sinks ? ", sinks" : "", c.seqs[0].position, c.seqs[0].n);
}

/* ---- decode ---- */

static const lr_format formats[] = { LR_F16, LR_Q8_0, LR_F32 };
static const int head_dims[] = { 16, 32, 48, 64, 80, 96, 112, 128, 192, 256 };

static bool takes(lr_format kv, int head_dim) { return lr_gpu_attention_takes(kv, head_dim); }

static void few_takes_every_head_size() {
    static const int groups[] = { 1, 2, 4, 7, 8, 3, 2, 5, 1, 20 };
    for (lr_format kv : formats)
        for (int i = 0; i < 10; i++)
            if (takes(kv, head_dims[i]))
                check_case({ kv, head_dims[i], 2, groups[i], { { 130 + i, 1 } } }, FEW);
}

static void few_takes_every_length() {
    static const int lengths[] = { 0, 1, 14, 15, 16, 62, 63, 64, 65, 127, 255, 300, 511, 699 };
    for (int p : lengths) {
        check_case({ LR_F16, 64, 1, 4, { { p, 1 } } }, FEW);
        check_case({ LR_Q8_0, 64, 1, 2, { { p, 1 } } }, FEW);
        check_case({ LR_F32, 20, 1, 2, { { p, 1 } } }, FEW);
    }
}

static void few_packs_what_it_made() {
    static const lr_act_format acts[] = { LR_ACT_F32, LR_ACT_BF16, LR_ACT_F16, LR_ACT_Q8 };
    for (lr_act_format act : acts) {
        check_case({ LR_F16, 48, 2, 7, { { 40, 3 } }, 0, 0, 0, 4, act }, FEW); /* blocks across heads */
        check_case({ LR_Q8_0, 64, 2, 4, { { 77, 1 } }, 0, 0, 0, 4, act, true }, FEW);
        check_case({ LR_F32, 8, 2, 4, { { 20, 2 } }, 0, 0, 0, 4, act }, FEW);
    }
}

static void few_takes_several_sequences() {
    for (lr_format kv : formats) {
        std::vector<sequence> mixed = { { 0, 1 }, { 333, 1 }, { 5, 3 }, { 64, 1 }, { 130, 2 } };
        check_case({ kv, 64, 2, 2, mixed, 0, 0, 0, 4, LR_ACT_F16, true }, FEW);
        check_case({ kv, 32, 1, 8, { { 17, 8 }, { 100, 8 } }, 0, 0, 16 }, FEW);
    }
    std::vector<sequence> twenty;
    for (int i = 0; i < 20; i++) twenty.push_back({ 7 * i, 1 });
    check_case({ LR_F16, 64, 1, 4, twenty, 0, 0, 0, 4, LR_ACT_Q8 }, FEW);
    check_case({ LR_F16, 64, 1, 4, { { 50, 19 } } }, FEW); /* rows in turns */
}

static void few_sees_windows_rings_and_pages() {
    for (lr_format kv : formats) {
        check_case({ kv, 64, 1, 4, { { 350, 1 } }, 100 }, FEW);
        check_case({ kv, 64, 2, 2, { { 350, 5 } }, 33, 40 }, FEW);
        check_case({ kv, 32, 1, 2, { { 511, 1 }, { 3, 1 }, { 90, 2 } }, 9, 11, 4 }, FEW);
        check_case({ kv, 128, 2, 4, { { 200, 1 } }, 0, 0, 32 }, FEW);
        check_case({ kv, 64, 1, 1, { { 99, 3 } }, 0, 0, 7, 4, LR_ACT_NONE, false, 60 + 64 }, FEW);
    }
}

/* One recording serves every position: the sequences lie in device memory.                                           */
static void few_replays_at_every_position() {
    shape c = { LR_F16, 64, 1, 4, { { 310, 1 } } };
    caches k = make_caches(c);
    fill_caches(c, &k, 1);
    std::vector<float> q = random_floats(4 * 64, 3);
    lr_device d = new_device(orders[2], 900);
    on_device where = upload_caches(k);
    problem p = make_problem(c, where, upload(q));
    cudaStream_t s = d.queue[LR_QUEUE_COMPUTE];
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(start(&d, FEW, p) == cudaSuccess);
    CHECK(cudaStreamEndCapture(s, &graph) == cudaSuccess);
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess && cudaGraphDestroy(graph) == cudaSuccess);
    for (int position : { 0, 1, 63, 64, 200, 310 }) {
        c.seqs[0].position = k.seqs[0].position = position;
        CHECK(cudaMemcpy(&where.seqs->position, &position, sizeof position, cudaMemcpyHostToDevice) == cudaSuccess);
        CHECK(cudaGraphLaunch(exec, s) == cudaSuccess && cudaStreamSynchronize(s) == cudaSuccess);
        std::vector<float> want = reference(c, k, q, p.a.scale);
        CHECK(close_to(download(p.a.out, want.size()), want, 1e-3f));
    }
    CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

/* ---- prefill ---- */

static void many_takes_every_head_size() {
    static const int groups[] = { 4, 1, 2, 7, 1, 2, 3, 3, 2, 1 };
    for (lr_format kv : formats)
        for (int i = 0; i < 10; i++)
            if (takes(kv, head_dims[i]))
                check_case({ kv, head_dims[i], 1, groups[i], { { 0, 35 } } }, MANY);
    check_case({ LR_F16, 20, 2, 2, { { 3, 20 } }, 0, 0, 0, 4, LR_ACT_BF16, true }, MANY); /* no 16-byte pieces */
}

static void many_goes_on_in_chunks() {
    static const sequence chunks[] = { { 0, 9 }, { 9, 64 }, { 73, 65 }, { 200, 33 }, { 511, 17 } };
    for (sequence s : chunks) {
        check_case({ LR_F16, 64, 1, 2, { s }, 0, 0, 0, 4, LR_ACT_F16 }, MANY);
        check_case({ LR_Q8_0, 64, 1, 2, { s }, 0, 0, 0, 4, LR_ACT_BF16 }, MANY);
    }
    check_case({ LR_F16, 128, 1, 4, { { 30, 40 } }, 0, 0, 0, 4, LR_ACT_F16, true }, MANY);
    check_case({ LR_F32, 32, 1, 2, { { 30, 40 } }, 0, 0, 0, 4, LR_ACT_F16, true }, MANY);
    check_case({ LR_F16, 48, 2, 1, { { 10, 12 } }, 0, 0, 0, 4, LR_ACT_Q8, true }, MANY);
    check_case({ LR_F32, 64, 1, 1, { { 0, 11 } }, 0, 0, 0, 4, LR_ACT_F32 }, MANY);
}

static void many_sees_windows_rings_and_pages() {
    for (lr_format kv : formats) {
        std::vector<sequence> mixed = { { 20, 40 }, { 300, 1 }, { 0, 3 } };
        check_case({ kv, 64, 2, 1, mixed, 0, 0, 32 }, MANY);
        check_case({ kv, 64, 1, 2, { { 333, 50 } }, 60, 110 }, MANY);
        check_case({ kv, 32, 1, 1, { { 100, 30 } }, 5, 34, 5 }, MANY);
        check_case({ kv, 128, 1, 1, { { 70, 80 } }, 17 }, MANY);
    }
}

static void many_works_without_asynchronous_copies() {
    check_case({ LR_F16, 64, 1, 2, { { 100, 40 } } }, MANY, 1, 750);
    check_case({ LR_F16, 128, 1, 1, { { 10, 60 } }, 30 }, MANY, 1, 750);
    check_case({ LR_Q8_0, 128, 1, 1, { { 10, 60 } } }, MANY, 1, 750);
}

/* The same rows in one pass or in several: the same bits.                                                            */
static void many_does_not_depend_on_the_chunk() {
    shape whole = { LR_F16, 64, 1, 2, { { 0, 150 } }, 70 };
    caches k = make_caches(whole);
    whole.window = 0; /* fills everything */
    fill_caches(whole, &k, 1);
    whole.window = 70;
    std::vector<float> q = random_floats(150 * 128, 3), once, parts;
    for (int chunk : { 150, 50 })
        for (int from = 0; from < 150; from += chunk) {
            shape c = whole;
            c.seqs[0] = { from, chunk };
            k.seqs[0].position = from;
            k.seqs[0].n = chunk;
            lr_device d = new_device(orders[0], 900);
            problem p = make_problem(c, upload_caches(k), upload(q) + from * 128);
            CHECK(start(&d, MANY, p) == cudaSuccess);
            CHECK(cudaStreamSynchronize(d.queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
            std::vector<float> got = download(p.a.out, (size_t)(chunk * 128)), &all = chunk == 150 ? once : parts;
            all.insert(all.end(), got.begin(), got.end());
        }
    CHECK(once == parts);
}

/* ---- softcaps and sinks ---- */

static void softcaps_and_sinks_are_right() {
    for (path way : { FEW, MANY })
        for (lr_format kv : formats)
            for (int kind = 1; kind < 4; kind++) {
                int n = way == FEW ? 2 : 20;
                shape c = { kv, kv == LR_Q8_0 ? 64 : 80, 2, 3, { { 150, n }, { 0, n } } };
                c.softcap = kind & 1 ? 2.0f : 0.0f;
                c.sinks = kind & 2;
                check_case(c, way);
                c.window = 40;
                c.n_slots = 60;
                c.act = LR_ACT_F16;
                check_case(c, way, c.softcap > 0 ? 3.0f : 1.0f); /* far beyond the cap */
            }
    shape odd = { LR_F16, 20, 1, 2, { { 70, 3 } } }; /* not whole pieces of 16 bytes */
    odd.softcap = 2;
    odd.sinks = true;
    check_case(odd, FEW);
    check_case(odd, MANY);
}

/* ---- numbers that do not fit f16 ---- */

static void large_scores_are_right() {
    for (path way : { FEW, MANY })
        for (lr_format kv : formats) {
            int n = way == FEW ? 2 : 20;
            /* q beyond f16, K near its end: one weight is 1 */
            check_case({ kv, 64, 1, 2, { { 90, n } }, 0, 0, 0, 1e6f }, way, 6e4f);
            /* tiny and huge at once: all weights are equal */
            check_case({ kv, 64, 1, 2, { { 90, n } }, 0, 0, 0, 1e-30f }, way, 6e4f);
            check_case({ kv, 64, 1, 2, { { 90, n } }, 0, 0, 0, 1e-5f }, way, 6e4f);
        }
}

/* ---- qkv ---- */

struct qkv_case {
    lr_format kv;
    int head_dim, n_rot, n_heads, n_kv_heads;
    bool adjacent, norm;
    int n_slots, page_slots;
    bool norm_rows = false;
};

/* Head `head` of the n_heads at row.                                                                                 */
static std::vector<float> prepared(const qkv_case &c, const float *row, size_t n_heads, size_t head,
                                   const std::vector<float> &w, const float *cos_sin) {
    size_t dim = (size_t)c.head_dim, first = c.norm_rows ? 0 : head * dim, n = c.norm_rows ? n_heads * dim : dim;
    std::vector<float> y(row + head * dim, row + head * dim + dim);
    if (c.norm) {
        double sum = 0;
        for (size_t i = first; i < first + n; i++) sum += (double)row[i] * row[i];
        for (size_t i = 0; i < dim; i++)
            y[i] = (float)(y[i] / sqrt(sum / (double)n + 1e-6) * w[head * dim - first + i]);
    }
    for (int i = 0; i < c.n_rot / 2; i++) {
        size_t p = (size_t)(c.adjacent ? 2 * i : i), q = (size_t)(c.adjacent ? 2 * i + 1 : i + c.n_rot / 2);
        float x0 = y[p], x1 = y[q];
        y[p] = x0 * cos_sin[2 * i] - x1 * cos_sin[2 * i + 1];
        y[q] = x0 * cos_sin[2 * i + 1] + x1 * cos_sin[2 * i];
    }
    return y;
}

static void check_qkv(const qkv_case &c) {
    shape layout = { c.kv, c.head_dim, c.n_kv_heads, c.n_heads / c.n_kv_heads, { { 5, 3 }, { 0, 1 }, { 40, 2 } },
                     0, c.n_slots, c.page_slots };
    size_t dim = (size_t)c.head_dim, q_dim = dim * (size_t)c.n_heads, kv_dim = dim * (size_t)c.n_kv_heads, rows = 6;
    std::vector<float> q = random_floats(rows * q_dim, 1), k = random_floats(rows * kv_dim, 2),
                       v = random_floats(rows * kv_dim, 3), qw = random_floats(c.norm_rows ? q_dim : dim, 4),
                       kw = random_floats(c.norm_rows ? kv_dim : dim, 5),
                       cos_sin = random_floats(rows * (size_t)c.n_rot, 6);
    for (size_t i = 0; i < dim; i++) v[i] *= 1e-6f; /* a scale that f16 keeps only in part */
    for (const schedule &order : orders) {
        lr_device d = new_device(order, 900);
        caches host = make_caches(layout);
        on_device where = upload_caches(host);
        lr_qkv_args a = {};
        a.q = upload(q);
        a.k = upload(k);
        a.v = upload(v);
        a.q_norm = c.norm ? upload(qw) : nullptr;
        a.k_norm = c.norm ? upload(kw) : nullptr;
        a.norm_rows = c.norm_rows;
        a.norm_eps = 1e-6f;
        a.cos_sin = c.n_rot ? upload(cos_sin) : nullptr;
        a.n_heads = c.n_heads;
        a.n_kv_heads = c.n_kv_heads;
        a.head_dim = c.head_dim;
        a.n_rot = c.n_rot;
        a.rope_adjacent = c.adjacent;
        a.seqs = where.seqs;
        lr_pass_shape s = {};
        s.n = (int64_t)rows;
        s.n_seqs = 3;
        s.most_rows = 3;
        s.n_ctx = 64;
        CHECK(gpu_qkv(&d, &a, &s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(d.queue[LR_QUEUE_COMPUTE]) == cudaSuccess);
        std::vector<uint8_t> pool = download(where.pool, host.pool.size());
        std::vector<float> got_q = download(a.q, q.size()), want_q;
        size_t written = 0;
        for (const lr_seq &seq : host.seqs)
            for (int64_t r = seq.row; r < seq.row + seq.n; r++) {
                const float *cs = cos_sin.data() + r * c.n_rot;
                for (size_t h = 0; h < (size_t)c.n_heads; h++) {
                    std::vector<float> y = prepared(c, &q[(size_t)r * q_dim], (size_t)c.n_heads, h, qw, cs);
                    want_q.insert(want_q.end(), y.begin(), y.end());
                }
                for (int h = 0; h < c.n_kv_heads; h++)
                    for (int which = 0; which < 2; which++) {
                        const float *row = (which ? v : k).data() + (size_t)r * kv_dim, *x = row + (size_t)h * dim;
                        std::vector<float> y(x, x + dim), got(dim);
                        if (!which) y = prepared(c, row, (size_t)c.n_kv_heads, (size_t)h, kw, cs);
                        int slot = (seq.position + (int)(r - seq.row)) % seq.kv.n_slots;
                        void *quants, *scales;
                        lr_kv_row(&seq.kv, slot, h, which, &quants, &scales);
                        const lr_format_traits *f = &lr_formats[c.kv];
                        std::vector<uint8_t> bytes(dim * 4), d_bytes(dim);
                        f->encode(bytes.data(), d_bytes.data(), y.data(), c.head_dim);
                        size_t n = dim / (size_t)f->block * (size_t)f->quant_bytes,
                               n_d = dim / (size_t)f->block * (size_t)f->scale_bytes;
                        uint8_t *at = pool.data() + ((uint8_t *)quants - host.pool.data()),
                                *d_at = n_d ? pool.data() + ((uint8_t *)scales - host.pool.data()) : nullptr;
                        if (which || !c.norm) { /* the same bytes as on the CPU */
                            CHECK(!memcmp(at, bytes.data(), n) && (!n_d || !memcmp(d_at, d_bytes.data(), n_d)));
                        } else {
                            f->decode(got.data(), at, d_at, c.head_dim);
                            CHECK(close_to(got, y, c.kv == LR_F32 ? 1e-5f : c.kv == LR_F16 ? 3e-3f : 4e-2f));
                        }
                        memset(at, 0xff, n);
                        if (n_d) memset(d_at, 0xff, n_d);
                        written++;
                    }
            }
        CHECK(close_to(got_q, want_q, 1e-5f));
        CHECK(written == rows * 2 * (size_t)c.n_kv_heads);
        CHECK(pool == host.pool); /* nothing else was touched */
    }
}

static void qkv_fills_the_caches() {
    for (lr_format kv : formats) {
        check_qkv({ kv, 64, 64, 4, 2, false, true, 0, 0 });
        check_qkv({ kv, 96, 32, 3, 1, true, false, 11, 4 });
        check_qkv({ kv, 256, 256, 1, 1, false, true, 9, 0 });
        check_qkv({ kv, 128, 0, 8, 8, false, false, 0, 16 });
    }
    check_qkv({ LR_F16, 64, 64, 6, 2, false, true, 0, 0, true });
    check_qkv({ LR_Q8_0, 32, 16, 3, 3, true, true, 11, 4, true });
    check_qkv({ LR_F16, 20, 10, 5, 5, false, true, 7, 3 });
    check_qkv({ LR_F32, 2, 2, 1, 1, true, false, 0, 0 });
}

int main() {
    RUN(few_takes_every_head_size);
    RUN(few_takes_every_length);
    RUN(few_packs_what_it_made);
    RUN(few_takes_several_sequences);
    RUN(few_sees_windows_rings_and_pages);
    RUN(few_replays_at_every_position);
    RUN(many_takes_every_head_size);
    RUN(many_goes_on_in_chunks);
    RUN(many_sees_windows_rings_and_pages);
    RUN(many_works_without_asynchronous_copies);
    RUN(many_does_not_depend_on_the_chunk);
    RUN(softcaps_and_sinks_are_right);
    RUN(large_scores_are_right);
    RUN(qkv_fills_the_caches);
    return tests.failed_cases != 0;
}
