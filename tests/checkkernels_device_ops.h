/* Checks of the ops of a device but attention: each against exact arithmetic on the inputs it gets, as on the CPU.  See
 * checkkernels_device.h for how a case runs.                                                                          */
#ifndef CHECKKERNELS_DEVICE_OPS_H
#define CHECKKERNELS_DEVICE_OPS_H

#include "tests/checkkernels_device.h"
#include "tests/checkkernels_ops.h"

/* One call of an op with all it takes.                                                                               */
typedef struct op_call {
    lr_embed_args embed;
    lr_norm_args norm;
    lr_pack_args pack;
    lr_matmul_args matmul[3];
    lr_glu_args glu;
    lr_qkv_args qkv;
    lr_attention_args attention;
    lr_latent_args latent;
    lr_heads_args heads;
    lr_delta_args delta;
    lr_pass_shape shape;
    int64_t n;
    int count;
    bool packs; /* out is wanted */
    lr_act out;
} op_call;

#define DEFINE_CALL(name, ...)                                                                                        \
    static llmrun_status call_##name(const void *args, llmrun_error *err) {                                           \
        const op_call *c = args;                                                                                      \
        const lr_act *out = c->packs ? &c->out : NULL;                                                                \
        (void)out;                                                                                                    \
        return gpu.ops.name(gpu.d, __VA_ARGS__, err);                                                                 \
    }
DEFINE_CALL(embed, &c->embed, c->n)
DEFINE_CALL(norm, &c->norm, c->n, out)
DEFINE_CALL(pack, &c->pack)
DEFINE_CALL(matmul, c->matmul, c->count)
DEFINE_CALL(matmul_glu, c->matmul, c->glu.act, out)
DEFINE_CALL(glu, &c->glu, c->n, out)
DEFINE_CALL(qkv, &c->qkv, &c->shape)
DEFINE_CALL(attention, &c->attention, &c->shape, out)
DEFINE_CALL(latent, &c->latent, &c->shape)
DEFINE_CALL(heads, &c->heads)
DEFINE_CALL(delta, &c->delta, &c->shape)
#undef DEFINE_CALL

/* A format for `out` that rows of so many values can have.                                                           */
static lr_act_format pick_act(int64_t cols) {
    lr_act_format f = (lr_act_format)random_below(LR_N_ACT_FORMATS);
    return f == LR_ACT_Q8 && cols % 32 ? LR_ACT_F16 : f;
}

/* The rows of y as contiguous floats.                                                                                */
static float *rows_of(const float *y, int64_t rows, int64_t cols, int64_t stride) {
    float *x = floats(rows * cols);
    const float *from = in_result(y);
    for (int64_t t = 0; t < rows; t++) memcpy(x + t * cols, from + t * stride, (size_t)cols * sizeof *x);
    return x;
}

/* ---- matmul ---- */

typedef struct product {
    weights w;
    float *bias, *before; /* host; NULL: none */
    lr_matmul_args args;
} product;

static product make_product(lr_format format, int64_t rows, int64_t cols, int64_t n, pattern p, const lr_act *x) {
    product m = {.w = make_weights(format, rows, cols, p)};
    m.args = (lr_matmul_args){.y_stride = rows + random_below(20), .w = gpu_matrix(&m.w), .x = *x,
                              .accumulate = random_below(2)};
    m.args.y = gpu_output(n, rows, m.args.y_stride);
    if (random_below(2)) {
        m.bias = filled(rows, P_RANDOM);
        m.args.bias = gpu_floats(m.bias, rows);
    }
    if (!m.args.accumulate) return m;
    m.before = filled(n * rows, P_RANDOM);
    for (int64_t t = 0; t < n; t++)
        memcpy((float *)in_image(m.args.y) + t * m.args.y_stride, m.before + t * rows, (size_t)rows * sizeof(float));
    return m;
}

/* True where a kernel has its weights in f16: those it decodes for tensor cores.                                      */
static bool read_in_half(lr_format format, const lr_act *x) {
    return format != LR_F16 && (x->format == LR_ACT_F16 || (format == LR_NF4 && x->n > 4));
}
static float weight_as_read(lr_format format, const lr_act *x, float w) {
    return read_in_half(format, x) ? lr_f16_to_f32(lr_f32_to_f16(w)) : w;
}

/* What the plain error counts as at least, beyond allowed_error.  Weights decoded to f16 round a scale, a code's value and
 * their product; those of a block have their scale's rounding in common, equal ones all of it, and of extreme ones a few
 * are the whole sum.                                                                                                  */
static double reading_error(lr_format format, const lr_act *x, pattern p) {
    bool alike = p == P_EQUAL || p == P_ALTERNATE || p == P_SATURATE || p == P_EXTREME;
    double terms = (double)x->cols / (p == P_ZEROS ? 2 : 1);
    if (read_in_half(format, x)) return alike ? 0x1p-11 : 0x1p-12 / sqrt(fmax(1, terms / 64));
    return codes_error(format, x->format);
}

/* One output exactly; plain: what a float loop over what the kernel reads gives.                                     */
static double product_at(const product *m, const float *x, int64_t t, int64_t r, double *magnitude, float *plain) {
    int64_t cols = m->w.m.cols;
    double exact = 0;
    *magnitude = 0;
    *plain = 0;
    for (int64_t i = 0; i < cols; i++) {
        float wi = m->w.decoded[r * cols + i], xi = x[t * cols + i];
        exact += (double)wi * (double)xi;
        *magnitude += (double)m->w.magnitude[r * cols + i] * fabs((double)xi);
        *plain += weight_as_read(m->w.m.format, &m->args.x, wi) * xi;
    }
    float more[] = {m->bias ? m->bias[r] : 0, m->before ? m->before[t * m->w.m.rows + r] : 0};
    for (int i = 0; i < 2; i++) exact += more[i], *magnitude += fabs((double)more[i]), *plain += more[i];
    return exact;
}

static double terms_of(pattern p, int64_t cols) { /* see matmul_case */
    return p == P_SATURATE ? (double)cols * (double)cols : (double)cols;
}

static void expect_product(const product *m, const float *x, int64_t n, pattern p) {
    double worst = 0, magnitude;
    double plain_worst = reading_error(m->w.m.format, &m->args.x, p);
    const float *y = in_result(m->args.y);
    float plain;
    for (int64_t t = 0; t < n; t++)
        for (int64_t r = 0; r < m->w.m.rows; r++) {
            double exact = product_at(m, x, t, r, &magnitude, &plain);
            worst = fmax(worst, error_of(y[t * m->args.y_stride + r], exact, magnitude));
            plain_worst = fmax(plain_worst, error_of(plain, exact, magnitude));
        }
    double allowed = allowed_error("matmul", plain_worst, terms_of(p, m->w.m.cols));
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain %.3g)", worst, allowed, plain_worst);
}

static void matmul_on_device(const lr_ops *c, lr_format format, int64_t rows, int64_t cols, int64_t n, int count,
                             pattern p) {
    lr_act_format act = gpu.ops.act(gpu.d, format, n);
    describe("rows %lld cols %lld tokens %lld, %d products, %s", (long long)rows, (long long)cols, (long long)n, count,
             pattern_names[p]);
    float *x = floats(n * cols);
    lr_act packed = gpu_activations(c, act, n, cols, filled(n * cols, p), x);
    product m[3];
    op_call call = {.count = count};
    for (int i = 0; i < count; i++) {
        m[i] = make_product(format, i ? 1 + random_below(rows) : rows, cols, n, p, &packed);
        call.matmul[i] = m[i].args;
    }
    gpu_run(call_matmul, &call);
    for (int i = 0; i < count; i++) expect_product(&m[i], x, n, p);
    gpu_clear();
}

static int64_t pick_tokens(bool many) {
    return many ? LR_GPU_FEW + PICK(1, 2, 3, 7, 8, 16, 25, 57, 120) : 1 + random_below(LR_GPU_FEW);
}
static int64_t pick_cols_for(lr_format format, int64_t n) {
    int64_t cols = pick_cols(format);
    return gpu.ops.act(gpu.d, format, n) == LR_ACT_Q8 ? (cols + 31) / 32 * 32 : cols;
}

static void check_device_matmul(const lr_ops *c, lr_format format, bool many) {
    for (int i = 0; i < check.rounds && !check.kernel_failed; i++) {
        int64_t n = pick_tokens(many), rows = PICK(1, 2, 3, 4, 5, 7, 16, 31, 33, 64, 67, 96, 130);
        matmul_on_device(c, format, rows, pick_cols_for(format, n), n, 1 + (int)random_below(3),
                         (pattern)(i % N_PATTERNS));
    }
    /* once large enough to go round every blocking loop */
    if (!check.kernel_failed) matmul_on_device(c, format, 263, 6 * 256, many ? 131 : LR_GPU_FEW, 1, P_RANDOM);
}

/* How far act(g) moves where g moves by e.                                                                            */
static double glu_moves(lr_glu_act act, double g, double e) {
    double terms, y = activate_exactly(act, g, &terms);
    return fmax(fabs(activate_exactly(act, g + e, &terms) - y), fabs(activate_exactly(act, g - e, &terms) - y));
}

/* act(gate) * up, where gate and up have errors of their own.                                                         */
static void check_device_matmul_glu(const lr_ops *c, lr_format format, bool many) {
    for (int round = 0; round < check.rounds && !check.kernel_failed; round++) {
        int64_t n = pick_tokens(many), cols = pick_cols_for(format, n), rows = PICK(1, 5, 16, 32, 64, 96, 160);
        pattern p = round % 2 ? P_RANDOM : P_ZEROS;
        lr_glu_act act = (lr_glu_act)(round / 2 % LR_N_GLU_ACTS);
        describe("%s rows %lld cols %lld tokens %lld %s", glu_names[act], (long long)rows, (long long)cols,
                 (long long)n, pattern_names[p]);
        float *x = floats(n * cols), *given = filled(n * cols, p);
        float reach = act == LR_GLU_OAI ? 12 : 4; /* gates where activations bend and clamp */
        for (int64_t i = 0; i < n * cols; i++) given[i] *= reach / sqrtf((float)cols);
        lr_act packed = gpu_activations(c, gpu.ops.act(gpu.d, format, n), n, cols, given, x);
        op_call call = {.packs = true, .out = gpu_act_output(pick_act(rows), n, rows), .glu = {.act = act}};
        product m[2];
        for (int i = 0; i < 2; i++) {
            m[i] = make_product(format, rows, cols, n, p, &packed);
            m[i].args.y_stride = m[0].args.y_stride;
            if (i) m[i].args.y = gpu_output(n, rows, m[i].args.y_stride);
            m[i].args.accumulate = false;
            m[i].before = NULL;
            call.matmul[i] = m[i].args;
        }
        gpu_run(call_matmul_glu, &call);
        lr_act out = act_seen(&call.out, in_result);
        for (int64_t t = 0; t < n; t++)
            for (int64_t r = 0; r < rows; r++) {
                double size[2], v[2], e[2];
                float plain;
                for (int i = 0; i < 2; i++) {
                    v[i] = product_at(&m[i], x, t, r, &size[i], &plain);
                    double off = fmax(error_of(plain, v[i], size[i]), reading_error(format, &packed, p));
                    e[i] = size[i] * allowed_error("matmul", off, (double)cols);
                }
                double terms[2], gate = activate_exactly(act, v[0], &terms[0]), up = up_exactly(act, v[1], &terms[1]);
                double exact = gate * up, off = glu_moves(act, v[0], e[0]);
                double allowed = off * (fabs(up) + e[1]) + e[1] * fabs(gate) +
                                 terms[0] * terms[1] * allowed_error("glu", 0, 0);
                double step = out.format == LR_ACT_Q8     ? 0.51 * out.d[(t * rows + r) / 32]
                              : out.format == LR_ACT_BF16 ? 0x1.01p-8 * fabs(exact)
                              : out.format == LR_ACT_F16  ? 0x1.01p-11 * fabs(exact) + 0x1p-24
                                                          : 0;
                double d = fabs(act_value(&out, t * rows + r) - exact);
                if (!(d <= allowed + step * 1.01 + 1e-30))
                    fail("row %lld token %lld is off by %.3g, allowed %.3g", (long long)r, (long long)t, d,
                         allowed + step);
            }
        gpu_clear();
    }
}

/* ---- embed, norm, pack, glu ---- */

/* The formats that the device takes, in turn.                                                                        */
static lr_format device_format(int i) {
    int formats[LR_N_FORMATS], n = 0;
    for (int f = 0; f < LR_N_FORMATS; f++)
        if (gpu.ops.act(gpu.d, (lr_format)f, 1) != LR_ACT_NONE) formats[n++] = f;
    return (lr_format)formats[i % n];
}

static void check_device_embed(const lr_ops *c) {
    (void)c;
    for (int round = 0; round < 2 * check.rounds && !check.kernel_failed; round++) {
        lr_format format = device_format(round);
        int64_t rows = 1 + random_below(9), cols = pick_cols(format), n = pick_n();
        bool accumulate = random_below(2);
        describe("%s cols %lld tokens %lld%s", lr_formats[format].name, (long long)cols, (long long)n,
                 accumulate ? " accumulate" : "");
        weights w = make_weights(format, rows, cols, (pattern)(round % N_PATTERNS));
        float *before = filled(n * cols, P_RANDOM);
        int32_t ids[80];
        for (int64_t t = 0; t < n; t++) ids[t] = (int32_t)random_below(rows);
        op_call call = {.n = n};
        call.embed = (lr_embed_args){.ids = gpu_put(ids, (size_t)n * sizeof *ids), .table = gpu_matrix(&w),
                                     .scale = random_below(2) ? 1.0f : 2.5f, .accumulate = accumulate};
        call.embed.x = gpu_output(n, cols, cols);
        if (accumulate) memcpy(in_image(call.embed.x), before, (size_t)(n * cols) * sizeof *before);
        gpu_run(call_embed, &call);
        expect_embedded(&call.embed, &w, ids, before, in_result(call.embed.x), n);
        gpu_clear();
    }
}

static void check_device_norm(const lr_ops *c) {
    for (int round = 0; round < 3 * check.rounds && !check.kernel_failed; round++) {
        int64_t dim = pick_dim(), n = pick_n(), stride = dim + random_below(20);
        pattern p = (pattern)(round % N_PATTERNS);
        int wants = 1 + (int)random_below(3); /* y, out, both */
        bool in_place = random_below(2) && wants & 1, bias = !random_below(3);
        float *x = filled(n * dim, p), *w = filled(dim, P_RANDOM), *b = bias ? filled(dim, P_RANDOM) : NULL;
        float *before = filled(n * dim, P_RANDOM);
        op_call call = {.n = n, .packs = wants & 2};
        call.norm = (lr_norm_args){.w = gpu_floats(w, dim), .b = b ? gpu_floats(b, dim) : NULL, .dim = dim,
                                   .x_stride = dim, .y_stride = stride, .eps = random_below(2) ? 1e-5f : 1e-6f,
                                   .center = random_below(2),
                                   .accumulate = wants & 1 && !in_place && random_below(2)};
        describe("dim %lld rows %lld %s%s%s%s%s%s", (long long)dim, (long long)n, pattern_names[p],
                 call.norm.center ? " center" : "", bias ? " bias" : "", call.norm.accumulate ? " accumulate" : "",
                 wants & 2 ? " packed" : "", in_place ? " in place" : "");
        if (wants & 1) call.norm.y = gpu_output(n, dim, stride);
        for (int64_t t = 0; t < n && (in_place || call.norm.accumulate); t++)
            memcpy((float *)in_image(call.norm.y) + t * stride, (in_place ? x : before) + t * dim,
                   (size_t)dim * sizeof *x);
        call.norm.x = in_place ? call.norm.y : gpu_floats(x, n * dim);
        if (in_place) call.norm.x_stride = stride;
        if (call.packs) call.out = gpu_act_output(pick_act(dim), n, dim);
        gpu_run(call_norm, &call);
        float *y = wants & 1 ? rows_of(call.norm.y, n, dim, stride) : NULL;
        if (y && call.packs) expect_packed(c, &call.out, y);
        lr_act out = act_seen(&call.out, in_result);
        if (!y && out.format == LR_ACT_F32) y = (float *)out.values;
        double worst = 0, plain_worst = 0;
        for (int64_t t = 0; y && t < n; t++)
            worst = fmax(worst, norm_error(&call.norm, x + t * dim, w, b, before + t * dim, y + t * dim, &plain_worst));
        expect_error("norm", worst, plain_worst, (double)dim);
        gpu_clear();
    }
}

static void check_device_pack(const lr_ops *c) {
    for (int round = 0; round < 2 * check.rounds && !check.kernel_failed; round++) {
        lr_act_format format = (lr_act_format)(round % LR_N_ACT_FORMATS);
        int64_t cols = format == LR_ACT_Q8 ? 32 * PICK(1, 2, 3, 5, 9, 64) : pick_dim(), n = pick_n();
        pattern p = (pattern)(round / LR_N_ACT_FORMATS % N_PATTERNS);
        int32_t *perm = random_below(2) ? random_order(cols) : NULL;
        describe("format %d cols %lld rows %lld %s%s", (int)format, (long long)cols, (long long)n, pattern_names[p],
                 perm ? " in another order" : "");
        float *x = filled(n * cols, p);
        if (random_below(3) == 0) x[random_below(n * cols)] = 1e6f; /* beyond the range of f16 */
        op_call call = {.pack = {.x = gpu_floats(x, n * cols), .out = gpu_act_output(format, n, cols)}};
        if (perm) call.pack.perm = gpu_put(perm, (size_t)cols * sizeof *perm);
        gpu_run(call_pack, &call);
        expect_packed(c, &call.pack.out, perm ? reordered(x, perm, n, cols) : x);
        gpu_clear();
    }
}

static void check_device_glu(const lr_ops *c) {
    for (int round = 0; round < 4 * check.rounds && !check.kernel_failed; round++) {
        lr_glu_act act = (lr_glu_act)(round % LR_N_GLU_ACTS);
        int64_t dim = pick_dim(), n = pick_n(), stride = dim + random_below(20);
        pattern p = (pattern)(round % N_PATTERNS);
        int wants = 1 + (int)random_below(3);
        bool in_place = random_below(2) && wants & 1, gated = act == LR_GLU_OAI || random_below(3);
        describe("%s dim %lld rows %lld %s%s%s%s", glu_names[act], (long long)dim, (long long)n, pattern_names[p],
                 gated ? "" : " not gated", wants & 2 ? " packed" : "", in_place ? " in place" : "");
        float *gate = make_gates(n * stride, p), *up = filled(n * stride, P_RANDOM);
        for (int64_t i = 0; act == LR_GLU_OAI && i < n * stride; i++) up[i] *= 10;
        op_call call = {.n = n, .packs = wants & 2};
        call.glu = (lr_glu_args){.up = gated ? gpu_floats(up, n * stride) : NULL, .dim = dim, .y_stride = stride,
                                 .in_stride = stride, .act = act};
        if (wants & 1) call.glu.y = gpu_output(n, dim, stride);
        if (in_place) memcpy(in_image(call.glu.y), gate, (size_t)((n - 1) * stride + dim) * sizeof *gate);
        call.glu.gate = in_place ? call.glu.y : gpu_floats(gate, n * stride);
        if (call.packs) call.out = gpu_act_output(pick_act(dim), n, dim);
        gpu_run(call_glu, &call);
        float *y = wants & 1 ? rows_of(call.glu.y, n, dim, stride) : NULL;
        if (y && call.packs) expect_packed(c, &call.out, y);
        lr_act out = act_seen(&call.out, in_result);
        if (!y && out.format == LR_ACT_F32) y = (float *)out.values;
        double worst = 0, plain_worst = 0;
        for (int64_t t = 0; y && t < n; t++)
            worst = fmax(worst, glu_error(act, gate + t * stride, gated ? up + t * stride : NULL, y + t * dim, dim,
                                          &plain_worst));
        expect_error("glu", worst, plain_worst, 0);
        gpu_clear();
    }
}

#endif
