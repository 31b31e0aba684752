/* Checks of what a device has for mixtures of experts: route, gate_rows, experts.  See checkkernels_device.h for how a
 * case runs.                                                                                                          */
#ifndef CHECKKERNELS_DEVICE_EXPERTS_H
#define CHECKKERNELS_DEVICE_EXPERTS_H

#include "tests/checkkernels_device_ops.h"
#include "tests/checkkernels_experts.h"

typedef struct experts_call {
    lr_route_args route;
    lr_gate_rows_args gate_rows;
    lr_experts_args experts;
    int64_t n;
} experts_call;

static llmrun_status call_route(const void *args, llmrun_error *err) {
    const experts_call *c = args;
    return gpu.ops.route(gpu.d, &c->route, c->n, err);
}
static llmrun_status call_gate_rows(const void *args, llmrun_error *err) {
    const experts_call *c = args;
    return gpu.ops.gate_rows(gpu.d, &c->gate_rows, c->n, err);
}
static llmrun_status call_experts(const void *args, llmrun_error *err) {
    const experts_call *c = args;
    return gpu.ops.experts(gpu.d, &c->experts, err);
}

/* ---- route, gate_rows ---- */

static void *gpu_written(size_t bytes) {
    void *p = gpu_room(bytes);
    gpu_writes(p, bytes, bytes, 1);
    return p;
}

static void check_device_route(void) {
    for (int round = 0; round < 3 * check.rounds && !check.kernel_failed; round++) {
        pattern p;
        int64_t n;
        route_case r = make_route(round, &n, &p);
        size_t k_bytes = (size_t)(n * r.a.k) * 4;
        experts_call call = { .route = r.a, .n = n };
        bool has_nan = round % 5 == 4;
        if (has_nan) r.logits[random_below(n * r.a.n_experts)] = NAN;
        call.route.logits = gpu_floats(r.logits, n * r.a.n_experts);
        if (r.a.bias) call.route.bias = gpu_floats(r.a.bias, r.a.n_experts);
        call.route.chosen = gpu_written(k_bytes);
        call.route.weights = gpu_written(k_bytes);
        gpu_run(call_route, &call);
        lr_route_args got = r.a;
        got.chosen = in_result(call.route.chosen);
        got.weights = in_result(call.route.weights);
        for (int64_t t = 0; t < n && !has_nan; t++) expect_routed(&got, t, route_terms(&r.a, p));
        for (int64_t i = 0; i < n * r.a.k; i++)
            if (got.chosen[i] < 0 || got.chosen[i] >= r.a.n_experts) fail("expert %d is chosen", got.chosen[i]);
        gpu_clear();
    }
}

static void check_device_gate_rows(void) {
    for (int round = 0; round < check.rounds && !check.kernel_failed; round++) {
        int64_t dim = pick_dim(), n = pick_n();
        pattern p = (pattern)(round % N_PATTERNS);
        describe("dim %lld rows %lld %s", (long long)dim, (long long)n, pattern_names[p]);
        float *x = filled(n * dim, p), *gate = make_row_gates(n);
        experts_call call = { .gate_rows = { .gate = gpu_floats(gate, n), .dim = dim }, .n = n };
        call.gate_rows.x = gpu_output(n, dim, dim);
        memcpy(in_image(call.gate_rows.x), x, (size_t)(n * dim) * sizeof *x);
        gpu_run(call_gate_rows, &call);
        expect_gated(x, gate, in_result(call.gate_rows.x), n, dim);
        gpu_clear();
    }
}

/* ---- experts ---- */

/* One kind of matrix of all experts; .w has them one below the other.                                                 */
static product make_stack(lr_format format, int32_t n_experts, int64_t rows, int64_t cols, int64_t n, bool with_bias,
                          lr_matrix *slices) {
    product m = { .w = make_weights(format, n_experts * rows, cols, P_RANDOM) };
    lr_matrix all = gpu_matrix(&m.w);
    for (int32_t i = 0; i < n_experts; i++) slices[i] = slice(&all, i * rows, 1, rows);
    if (with_bias) {
        m.bias = filled(n_experts * rows, P_RANDOM);
        m.args.bias = gpu_floats(m.bias, n_experts * rows);
    }
    /* A token's experts are computed for it alone where tokens are few. */
    m.args.x = (lr_act){ .format = gpu.ops.act(gpu.d, format, n), .n = n > LR_GPU_FEW ? n : 1, .cols = cols };
    return m;
}

/* Values that packing keeps as they are.                                                                              */
static float *packable(const lr_ops *c, lr_act_format format, int64_t n, int64_t cols) {
    float *x = filled(n * cols, P_RANDOM);
    lr_act a = lr_act_at(format, n, cols, guarded(lr_act_bytes(format, n, cols), LR_ALIGN));
    pack_on_host(c, &a, x);
    for (int64_t i = 0; i < n * cols; i++) x[i] = act_value(&a, i);
    return x;
}

/* What a product of these may be off by, and its value.                                                               */
static double expert_product(const product *m, const float *x, int64_t t, int64_t row, double *off) {
    double size;
    float plain;
    double exact = product_at(m, x, t, row, &size, &plain);
    double plain_off = fmax(error_of(plain, exact, size), reading_error(m->w.m.format, &m->args.x, P_RANDOM));
    *off = size * allowed_error("matmul", plain_off, (double)m->w.m.cols);
    return exact;
}

/* Hidden values of one pair: exact ones as floats, and what each may be off by once it is packed.                     */
static void expert_hidden(const lr_experts_args *a, const product m[3], const float *h, int64_t t, int64_t expert,
                          float *hidden, double *off) {
    int64_t n = m[2].w.m.cols;
    for (int64_t i = 0; i < n; i++) {
        double e[2], terms[2];
        double v = expert_product(&m[0], h, t, expert * n + i, &e[0]);
        double u = expert_product(&m[1], h, t, expert * n + i, &e[1]);
        double gate = activate_exactly(a->act, v, &terms[0]), up = up_exactly(a->act, u, &terms[1]);
        hidden[i] = (float)(gate * up);
        off[i] = glu_moves(a->act, v, e[0]) * (fabs(up) + e[1]) + e[1] * fabs(gate) +
                 terms[0] * terms[1] * allowed_error("glu", 0, 0) + ROUNDING * fabs(gate * up);
    }
    lr_act_format packed = m[2].args.x.format;
    for (int64_t i = 0; i < n; i++) {
        double most = 0;
        for (int64_t j = i / 32 * 32; j < lr_min(n, i / 32 * 32 + 32); j++) most = fmax(most, fabs(hidden[j]) + off[j]);
        off[i] += packed == LR_ACT_Q8     ? 0.51 * most / 127
                  : packed == LR_ACT_BF16 ? 0x1.02p-8 * (fabs(hidden[i]) + off[i])
                  : packed == LR_ACT_F16  ? 0x1.02p-11 * (fabs(hidden[i]) + off[i]) + 0x1p-24
                                          : 0;
    }
}

static void expect_experts(const lr_experts_args *a, const product m[3], const float *h, const int32_t *chosen,
                           const float *shares, const float *before, const float *got) {
    int64_t dim = m[2].w.m.rows / a->n_experts, hidden_dim = m[2].w.m.cols;
    float *hidden = floats(a->k * hidden_dim);
    double *off = guarded((size_t)(a->k * hidden_dim) * sizeof *off, sizeof *off);
    for (int64_t t = 0; t < a->n && !check.kernel_failed; t++) {
        for (int32_t j = 0; j < a->k; j++)
            expert_hidden(a, m, h, t, chosen[t * a->k + j], hidden + j * hidden_dim, off + j * hidden_dim);
        for (int64_t r = 0; r < dim; r++) {
            double sum = before[t * dim + r], allowed = ROUNDING * fabs(sum);
            for (int32_t j = 0; j < a->k; j++) {
                int64_t row = chosen[t * a->k + j] * dim + r;
                double e, weight = shares[t * a->k + j], y = expert_product(&m[2], hidden, j, row, &e);
                for (int64_t i = 0; i < hidden_dim; i++)
                    e += (fabs((double)m[2].w.decoded[row * hidden_dim + i])) * off[j * hidden_dim + i];
                sum += weight * y;
                allowed += fabs(weight) * (e + ROUNDING * (a->k + 4) * fabs(y));
            }
            allowed += ROUNDING * (a->k + 2) * fabs(sum);
            if (!(fabs(got[t * dim + r] - sum) <= allowed))
                fail("row %lld column %lld is %.9g, expected %.9g, allowed %.3g", (long long)t, (long long)r,
                     (double)got[t * dim + r], sum, allowed);
        }
    }
}

static int64_t pick_expert_dim(lr_format f, int64_t n) {
    if (lr_format_is_plain(f) && random_below(2)) return PICK(1, 7, 33, 50); /* no whole units of 16 bytes */
    return lr_max(lr_formats[f].block, n > 40 ? 32 : 64) * PICK(1, 2);
}

static void experts_on_device(const lr_ops *c, lr_format format, lr_format out, int64_t n) {
    int64_t dim = pick_expert_dim(format, n), hidden = pick_expert_dim(out, n);
    int32_t n_experts = (int32_t)(dim * hidden < 20000 ? PICK(1, 3, 8, 21) : PICK(1, 2, 3, 5));
    int32_t k = 1 + (int32_t)random_below(lr_min(n_experts, 9));
    if (lr_format_is_plain(out) && gpu.ops.act(gpu.d, out, n) == LR_ACT_Q8) hidden = (hidden + 31) / 32 * 32;
    lr_matrix slices[3][21];
    int32_t *chosen = make_choice(n, n_experts, k);
    float *shares = filled(n * k, P_RANDOM), *before = filled(n * dim, P_RANDOM);
    bool with_bias = random_below(2);
    lr_act_format act = gpu.ops.act(gpu.d, format, n);
    describe("%s, %s, experts %d of %d, dim %lld hidden %lld tokens %lld%s", lr_formats[format].name,
             lr_formats[out].name, k, n_experts, (long long)dim, (long long)hidden, (long long)n,
             with_bias ? " bias" : "");
    float *h = packable(c, act, n, dim);
    product m[3] = { make_stack(format, n_experts, hidden, dim, n, with_bias, slices[0]),
                     make_stack(format, n_experts, hidden, dim, n, with_bias, slices[1]),
                     make_stack(out, n_experts, dim, hidden, n, with_bias, slices[2]) };
    experts_call call = { .experts = { .h = gpu_floats(h, n * dim), .n = n, .weights = gpu_floats(shares, n * k),
                                       .chosen = gpu_put(chosen, (size_t)(n * k) * sizeof *chosen), .gate = slices[0],
                                       .up = slices[1], .down = slices[2], .b_gate = m[0].args.bias,
                                       .b_up = m[1].args.bias, .b_down = m[2].args.bias, .n_experts = n_experts, .k = k,
                                       .act = (lr_glu_act)random_below(LR_N_GLU_ACTS) } };
    call.experts.x = gpu_output(n, dim, dim);
    memcpy(in_image(call.experts.x), before, (size_t)(n * dim) * sizeof *before);
    call.experts.work = gpu_written(lr_gpu_experts_bytes(n, k, n_experts, dim, hidden, LR_FORMAT_NONE, out));
    call.experts.packed = gpu_written(lr_act_bytes(act, n, dim));
    gpu_run(call_experts, &call);
    expect_experts(&call.experts, m, h, chosen, shares, before, in_result(call.experts.x));
    gpu_clear();
}

static void check_device_experts(const lr_ops *c, lr_format format, bool many) {
    for (int round = 0; round < check.rounds / 10 && !check.kernel_failed; round++) {
        int64_t n = many ? LR_GPU_FEW + PICK(1, 2, 9, 40) : 1 + random_below(LR_GPU_FEW);
        experts_on_device(c, format, round % 2 ? device_format((int)random_below(LR_N_FORMATS)) : format, n);
    }
    /* once so many rows for an expert that they are several tiles */
    if (many && format <= LR_Q8_0 && !check.kernel_failed) experts_on_device(c, format, format, 150);
}

#endif
