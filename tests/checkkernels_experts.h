/* Checks of what mixtures of experts need: route, gate_rows, and the steps of experts.h.  See checkkernels.c.          */
#ifndef CHECKKERNELS_EXPERTS_H
#define CHECKKERNELS_EXPERTS_H

#include "kernels/cpu/experts.h"
#include "tests/checkkernels_ops.h"

/* ---- route ---- */

/* Marks the k best of n, one at a time, the first of equals; closed[i]: not to be had.                                */
static void mark_best(const double *values, int64_t n, int64_t k, const bool *closed, bool *marked) {
    for (; k > 0; k--) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++)
            if (!marked[i] && !(closed && closed[i]) && (best < 0 || values[i] > values[best])) best = i;
        marked[best] = true;
    }
}

/* Is one of the marked so close to one of the others that rounding may swap them?  Equals keep their order.            */
static bool is_close(const double *values, int64_t n, const bool *closed, const bool *marked) {
    bool close = false;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; marked[i] && j < n; j++) {
            double above = values[i] - values[j];
            close |= !marked[j] && !(closed && closed[j]) && above > 0 && above < 1e-5;
        }
    return close;
}

static double exact_score(const lr_route_args *a, double logit, double most) {
    return a->sigmoid ? 1 / (1 + exp(-logit)) : exp(logit - most);
}

/* The sum of a group's best one or two.                                                                               */
static double group_value(const lr_route_args *a, const double *values, int64_t size) {
    double best = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; i++) {
        second = fmax(second, fmin(best, values[i]));
        best = fmax(best, values[i]);
    }
    return best + (a->best_of_group == 2 && size > 1 ? second : 0);
}

static void expect_routed(const lr_route_args *a, int64_t t, double terms) {
    const float *logits = a->logits + t * a->n_experts;
    bool closed[LR_MAX_EXPERTS] = { false }, marked[LR_MAX_EXPERTS] = { false }, open[64] = { false };
    double best[64] = { 0 }, values[LR_MAX_EXPERTS], most = -INFINITY, all = 0, among = 0;
    int64_t size = a->n_groups ? a->n_experts / a->n_groups : a->n_experts;
    for (int64_t i = 0; i < a->n_experts; i++) most = fmax(most, (double)logits[i]);
    for (int64_t i = 0; i < a->n_experts; i++) all += values[i] = exact_score(a, (double)logits[i], most);
    if (a->sigmoid) all = 1;
    for (int64_t i = 0; i < a->n_experts; i++)
        values[i] = a->sigmoid || a->bias ? values[i] / all + (a->bias ? (double)a->bias[i] : 0) : (double)logits[i];
    for (int64_t g = 0; g < a->n_groups; g++) best[g] = group_value(a, values + g * size, size);
    if (a->n_groups) mark_best(best, a->n_groups, a->k_groups, NULL, open);
    for (int64_t i = 0; a->n_groups && i < a->n_experts; i++) closed[i] = !open[i / size];
    mark_best(values, a->n_experts, a->k, closed, marked);
    bool scored = a->sigmoid || a->bias; /* logits are compared as they are */
    bool unsure = scored && (is_close(best, a->n_groups, NULL, open) || is_close(values, a->n_experts, closed, marked));
    for (int64_t j = 0; j < a->k; j++) {
        int64_t i = a->chosen[t * a->k + j];
        if (i < 0 || i >= a->n_experts || (!marked[i] && !unsure)) {
            fail("row %lld: rank %lld is expert %lld", (long long)t, (long long)j, (long long)i);
            return;
        }
        marked[i] = false; /* nobody twice */
        among += exact_score(a, (double)logits[i], most);
    }
    double sum = a->among_chosen ? among + 1e-20 : all;
    for (int64_t j = 0; j < a->k; j++) {
        int64_t i = a->chosen[t * a->k + j];
        double away = most - (double)logits[i], exact = (double)a->scale * exact_score(a, (double)logits[i], most) / sum;
        double error = error_of(a->weights[t * a->k + j], exact, exact * (1 + away) + 1e-30);
        double allowed = allowed_error("route", 0, terms);
        if (!(error <= allowed)) fail("weight of expert %lld: error %.3g, allowed %.3g", (long long)i, error, allowed);
    }
}

typedef struct route_case {
    lr_route_args a; /* without results */
    float *logits;
} route_case;

static route_case make_route(int round, int64_t *n, pattern *p) {
    int32_t n_groups = (int32_t)PICK(0, 0, 1, 4, 8), size = (int32_t)PICK(2, 3, 8, 20);
    int32_t n_experts = n_groups ? n_groups * size : (int32_t)PICK(1, 2, 8, 60, 64, 128, 160);
    int32_t k_groups = n_groups ? 1 + (int32_t)random_below(n_groups) : 0;
    int32_t k = (int32_t)lr_min(n_groups ? k_groups * size : n_experts, PICK(1, 2, 4, 6, 8));
    *n = pick_n();
    *p = (pattern)(round % N_PATTERNS); /* equal and zero: ties */
    describe("experts %d of %d, groups %d of %d, rows %lld %s", k, n_experts, k_groups, n_groups, (long long)*n,
             pattern_names[*p]);
    float *logits = filled(*n * n_experts, *p), *bias = random_below(2) ? filled(n_experts, P_RANDOM) : NULL;
    bool sigmoid = random_below(2);
    for (int64_t i = 0; i < *n * n_experts; i++) {
        if (*p == P_RANDOM) logits[i] *= sigmoid ? 4 : 50;
        if (sigmoid || bias) logits[i] = fmaxf(-40, fminf(40, logits[i])); /* scores that are numbers */
    }
    return (route_case){ .a = { .logits = logits, .among_chosen = random_below(2), .sigmoid = sigmoid, .bias = bias,
                                .n_experts = n_experts, .k = k, .scale = random_below(2) ? 1.0f : 2.5f,
                                .n_groups = n_groups, .k_groups = k_groups,
                                .best_of_group = 1 + (int32_t)random_below(2) },
                         .logits = logits };
}

/* Roundings of a sum of equal terms all go one way.                                                                   */
static double route_terms(const lr_route_args *a, pattern p) {
    return p == P_RANDOM || p == P_EXTREME ? a->n_experts : (double)a->n_experts * a->n_experts;
}

static void check_route(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < 4 * ROUNDS && !check.kernel_failed; round++) {
        int64_t n;
        pattern p;
        route_case r = make_route(round, &n, &p);
        int64_t n_chosen = n * r.a.k;
        lr_route_args a = r.a, split = r.a;
        a.chosen = guarded((size_t)n_chosen * 4, 4);
        a.weights = floats(n_chosen);
        split.chosen = guarded((size_t)n_chosen * 4, 4);
        split.weights = floats(n_chosen);
        ops->route(&a, 0, n, NULL);
        run_split(ops->route, &split, n, 1, NULL);
        bool same = memcmp(a.chosen, split.chosen, (size_t)n_chosen * 4) == 0;
        if (!same || memcmp(a.weights, split.weights, (size_t)n_chosen * 4)) fail("result depends on the item ranges");
        for (int64_t t = 0; t < n; t++) expect_routed(&a, t, route_terms(&a, p));
        r.logits[random_below(n * a.n_experts)] = NAN; /* still k experts that exist */
        ops->route(&a, 0, n, NULL);
        for (int64_t i = 0; i < n_chosen; i++)
            if (a.chosen[i] < 0 || a.chosen[i] >= a.n_experts) fail("NaN gives expert %d", a.chosen[i]);
        release_all();
    }
}

static float *make_row_gates(int64_t n) {
    float *gate = filled(n, P_RANDOM);
    for (int64_t t = 0; t < n; t++) gate[t] *= random_below(2) ? 5 : 120;
    return gate;
}

static void expect_gated(const float *x, const float *gate, const float *y, int64_t n, int64_t dim) {
    double worst = 0;
    for (int64_t i = 0; i < n * dim; i++) {
        double exact = x[i] / (1 + exp(-(double)gate[i / dim]));
        /* beyond -87 the factor is subnormal */
        worst = fmax(worst, error_of(y[i], exact, fabs(exact) + 1e-30 * fmax(1, fabs((double)x[i]))));
    }
    expect_error("glu", worst, 0, 0);
}

static void check_gate_rows(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        int64_t dim = pick_dim(), n = pick_n();
        pattern p = (pattern)(round % N_PATTERNS);
        describe("dim %lld rows %lld %s", (long long)dim, (long long)n, pattern_names[p]);
        float *x = filled(n * dim, p), *gate = make_row_gates(n);
        output y = make_output(n, dim, 0), y_split = make_output(n, dim, 0);
        memcpy(y.y, x, (size_t)(n * dim) * sizeof *x);
        memcpy(y_split.y, x, (size_t)(n * dim) * sizeof *x);
        ops->gate_rows(&(lr_gate_rows_args){ .x = y.y, .gate = gate, .dim = dim }, 0, n, NULL);
        run_split(ops->gate_rows, &(lr_gate_rows_args){ .x = y_split.y, .gate = gate, .dim = dim }, n, 1, NULL);
        expect_margins(&y);
        expect_same(&y, &y_split);
        expect_gated(x, gate, y.y, n, dim);
        release_all();
    }
}

/* ---- experts ---- */

/* A layer's experts as slices of three matrices, and what tokens choose.                                              */
typedef struct experts_case {
    lr_experts_args a;
    weights gate, up, down;
    lr_matrix *slices;
    int64_t dim, hidden;
} experts_case;

/* interleaved: rows of gate and up alternate in one tensor.                                                           */
static lr_matrix slice(const lr_matrix *all, int64_t first, int64_t step, int64_t rows) {
    lr_matrix m = *all;
    m.rows = rows;
    m.quants = (const char *)all->quants + (size_t)first * all->quants_stride;
    if (all->scales) m.scales = (const char *)all->scales + (size_t)first * all->scales_stride;
    m.quants_stride *= (size_t)step;
    m.scales_stride *= (size_t)step;
    return m;
}

/* (n, k) distinct experts.                                                                                            */
static int32_t *make_choice(int64_t n, int32_t n_experts, int32_t k) {
    int32_t *chosen = guarded((size_t)(n * k) * 4, 4);
    bool popular = random_below(2); /* every token has an expert in common */
    for (int64_t t = 0; t < n; t++)
        for (int32_t j = 0; j < k; j++) {
            bool taken;
            do {
                chosen[t * k + j] = popular && j == 0 ? n_experts / 2 : (int32_t)random_below(n_experts);
                taken = false;
                for (int32_t i = 0; i < j; i++) taken |= chosen[t * k + i] == chosen[t * k + j];
            } while (taken);
        }
    return chosen;
}

static experts_case make_experts(lr_format format, int64_t n, int32_t n_experts, int32_t k, int64_t dim, int64_t hidden) {
    experts_case e = { .dim = dim, .hidden = hidden };
    bool with_bias = random_below(2), interleaved = random_below(4) == 0;
    e.gate = make_weights(format, n_experts * hidden * (interleaved ? 2 : 1), dim, P_RANDOM);
    e.up = interleaved ? e.gate : make_weights(format, n_experts * hidden, dim, P_RANDOM);
    e.down = make_weights(format, n_experts * dim, hidden, P_RANDOM);
    e.slices = guarded((size_t)n_experts * 3 * sizeof *e.slices, LR_ALIGN);
    lr_matrix *gate = e.slices, *up = gate + n_experts, *down = up + n_experts;
    int64_t step = interleaved ? 2 : 1;
    for (int32_t i = 0; i < n_experts; i++) {
        gate[i] = slice(&e.gate.m, i * hidden * step, step, hidden);
        up[i] = slice(&e.up.m, i * hidden * step + (interleaved ? 1 : 0), step, hidden);
        down[i] = slice(&e.down.m, i * dim, 1, dim);
    }
    int32_t *chosen = make_choice(n, n_experts, k);
    e.a = (lr_experts_args){ .h = filled(n * dim, P_RANDOM), .n = n, .chosen = chosen, .weights = filled(n * k, P_RANDOM),
                             .gate = gate, .up = up, .down = down, .n_experts = n_experts, .k = k,
                             .act = (lr_glu_act)random_below(LR_N_GLU_ACTS) };
    if (with_bias) {
        e.a.b_gate = filled(n_experts * hidden, P_RANDOM);
        e.a.b_up = filled(n_experts * hidden, P_RANDOM);
        e.a.b_down = filled(n_experts * dim, P_RANDOM);
    }
    return e;
}

/* As the threads would; with split in random ranges.                                                                  */
static void run_experts(const lr_ops *ops, const lr_experts_args *a, bool split, void *scratch) {
    lr_experts_run r;
    lr_experts_begin(&r, ops, a);
    while (lr_experts_next(&r))
        for (int i = 0; i < LR_EXPERTS_STEPS; i++) {
            if (split) run_split(r.steps[i].run, &r, r.steps[i].n_items, r.steps[i].row_step, scratch);
            else r.steps[i].run(&r, 0, r.steps[i].n_items, scratch);
        }
}

/* Where a pair stands among those of its expert.                                                                      */
typedef struct place {
    int64_t together, position;
} place;

static place place_of(const lr_experts_args *a, int64_t pair) {
    place at = { 0, 0 };
    for (int64_t p = 0; p < a->n * a->k; p++) {
        at.position += p < pair && a->chosen[p] == a->chosen[pair];
        at.together += a->chosen[p] == a->chosen[pair];
    }
    return at;
}

/* y = m x + bias for one row, by the kernel that so many rows take.  Kernels for few tokens may take a token that is left
 * over another way than several at once, so the row has its place among equals.                                       */
static void one_product(const lr_ops *ops, const lr_matrix *m, const float *bias, const float *x, place at, float *y,
                        void *scratch) {
    const lr_matmul_kernel *k = lr_ops_matmul(ops, m->format, at.together);
    const int64_t n = at.together <= ops->few_tokens ? at.together : 1, row = n > 1 ? at.position : 0;
    size_t bytes = lr_act_bytes(k->act, n, m->cols);
    float *all = guarded((size_t)(n * m->rows) * sizeof *all, 4), *rows = guarded((size_t)(n * m->cols) * sizeof *rows, 4);
    lr_matmul_args a = { .y = all, .y_stride = m->rows, .w = *m, .bias = bias,
                         .x = lr_act_at(k->act, n, m->cols, guarded(bytes, LR_ALIGN)) };
    for (int64_t t = 0; t < n; t++) memcpy(rows + t * m->cols, x, (size_t)m->cols * sizeof *rows);
    ops->pack(&(lr_pack_args){ .x = rows, .out = a.x }, 0, n, scratch);
    k->run(&a, 0, m->rows, scratch);
    memcpy(y, all + row * m->rows, (size_t)m->rows * sizeof *y);
    for (int i = 0; i < 3; i++) release_last();
}

/* The same by single products of single rows, experts in ascending order.  The kernels of the products are checked by
 * themselves; here every bit must agree.  rows: how many tokens an expert gets in a wave.                             */
static void expect_composed(const lr_ops *ops, const experts_case *e, const float *before, const output *x,
                            void *scratch) {
    const lr_experts_args *a = &e->a;
    float *gate = floats(e->hidden), *up = floats(e->hidden), *y = floats(e->dim), *want = floats(e->dim);
    for (int64_t t = 0; t < a->n && !check.kernel_failed; t++) {
        memcpy(want, before + t * e->dim, (size_t)e->dim * sizeof *want);
        for (int32_t i = 0; i < a->n_experts; i++)
            for (int32_t j = 0; j < a->k; j++) {
                if (a->chosen[t * a->k + j] != i) continue;
                const place at = place_of(a, t * a->k + j);
                one_product(ops, &a->gate[i], a->b_gate ? a->b_gate + i * e->hidden : NULL, a->h + t * e->dim, at, gate,
                            scratch);
                one_product(ops, &a->up[i], a->b_up ? a->b_up + i * e->hidden : NULL, a->h + t * e->dim, at, up, scratch);
                lr_glu_args glu = { .y = gate, .gate = gate, .up = up, .dim = e->hidden, .y_stride = e->hidden,
                                    .in_stride = e->hidden, .act = a->act };
                ops->glu(&glu, 0, 1, scratch);
                one_product(ops, &a->down[i], a->b_down ? a->b_down + i * e->dim : NULL, gate, at, y, scratch);
                for (int64_t r = 0; r < e->dim; r++) want[r] += a->weights[t * a->k + j] * y[r];
            }
        for (int64_t r = 0; r < e->dim; r++)
            if (memcmp(&want[r], &x->y[t * e->dim + r], sizeof *want)) {
                fail("row %lld column %lld is %.9g, expected %.9g", (long long)t, (long long)r,
                     (double)x->y[t * e->dim + r], (double)want[r]);
                break;
            }
    }
}

/* Against double, where nothing is packed: f32 weights, portable.                                                      */
static void expect_exact(const experts_case *e, const float *before, const output *x) {
    const lr_experts_args *a = &e->a;
    double worst = 0;
    for (int64_t t = 0; t < a->n; t++) {
        double *sum = guarded((size_t)e->dim * 2 * sizeof *sum, sizeof *sum), *size = sum + e->dim;
        for (int64_t r = 0; r < e->dim; r++) sum[r] = before[t * e->dim + r], size[r] = fabs(sum[r]);
        for (int32_t j = 0; j < a->k; j++) {
            const int64_t i = a->chosen[t * a->k + j];
            const float *wg = a->gate[i].quants, *wu = a->up[i].quants, *wd = a->down[i].quants;
            const size_t step = a->gate[i].quants_stride / sizeof *wg;
            double *hidden = guarded((size_t)e->hidden * sizeof *hidden, sizeof *hidden);
            for (int64_t q = 0; q < e->hidden; q++) {
                double g = a->b_gate ? a->b_gate[i * e->hidden + q] : 0, u = a->b_up ? a->b_up[i * e->hidden + q] : 0;
                for (int64_t col = 0; col < e->dim; col++) {
                    g += (double)wg[(size_t)q * step + (size_t)col] * a->h[t * e->dim + col];
                    u += (double)wu[(size_t)q * step + (size_t)col] * a->h[t * e->dim + col];
                }
                hidden[q] = g / (1 + exp(-g)) * u;
            }
            for (int64_t r = 0; r < e->dim; r++) {
                double y = a->b_down ? a->b_down[i * e->dim + r] : 0, terms = fabs(y);
                for (int64_t q = 0; q < e->hidden; q++) {
                    y += wd[r * e->hidden + q] * hidden[q];
                    terms += fabs(wd[r * e->hidden + q] * hidden[q]);
                }
                sum[r] += a->weights[t * a->k + j] * y;
                size[r] += fabs(a->weights[t * a->k + j]) * terms;
            }
            release_last();
        }
        for (int64_t r = 0; r < e->dim; r++) worst = fmax(worst, error_of(x->y[t * e->dim + r], sum[r], size[r]));
        release_last();
    }
    /* Sums of terms that carry the error of a sum and of glu themselves. */
    double allowed = allowed_error("matmul", 0, (double)e->hidden) + 2 * allowed_error("matmul", 0, (double)e->dim * 64) +
                     allowed_error("glu", 0, 0);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g", worst, allowed);
}

static void experts_round(const lr_ops *ops, lr_format format, int64_t n, int64_t least) {
    int32_t n_experts = (int32_t)PICK(2, 3, 8, 21), k = 1 + (int32_t)random_below(lr_min(n_experts, 6));
    int64_t dim = least * PICK(1, 2, 3), hidden = least * PICK(1, 2, 5);
    describe("%s experts %d of %d, dim %lld hidden %lld tokens %lld", lr_formats[format].name, k, n_experts,
             (long long)dim, (long long)hidden, (long long)n);
    experts_case e = make_experts(format, n, n_experts, k, dim, hidden);
    if (format == LR_F32) e.a.act = LR_GLU_SILU;
    size_t bytes = lr_experts_bytes(n, k, n_experts, dim, hidden);
    e.a.work = guarded(bytes, LR_ALIGN);
    memset(e.a.work, 0xff, bytes);
    void *scratch = make_scratch(ops, lr_max(dim, hidden), n, 1, 8);
    float *before = filled(n * dim, P_RANDOM);
    output x = make_output(n, dim, 0), x_split = make_output(n, dim, 0);
    memcpy(x.y, before, (size_t)(n * dim) * sizeof *before);
    memcpy(x_split.y, before, (size_t)(n * dim) * sizeof *before);
    e.a.x = x.y;
    run_experts(ops, &e.a, false, scratch);
    e.a.x = x_split.y;
    run_experts(ops, &e.a, true, scratch);
    expect_margins(&x);
    expect_same(&x, &x_split);
    /* Where the pairs are several waves, an expert's tokens may be cut, and then take other kernels. */
    if (n * k <= lr_max(n, 64)) expect_composed(ops, &e, before, &x, scratch);
    if (format == LR_F32 && strcmp(ops->isa, "c") == 0) expect_exact(&e, before, &x);
    release_all();
}

static void check_experts(const lr_ops *ops) {
    for (int f = 0; f < LR_N_FORMATS; f++) {
        int64_t least = lr_max(lr_formats[f].block, 32);
        int rounds = lr_format_is_blocks((lr_format)f) ? 2 : 6;
        for (int round = 0; round < rounds && !check.kernel_failed; round++)
            experts_round(ops, (lr_format)f, round % 3 == 0 ? 1 : 1 + random_below(round % 3 == 1 ? 8 : 40), least);
    }
    if (!check.kernel_failed) experts_round(ops, LR_F32, 130, 32);
    if (!check.kernel_failed) experts_round(ops, LR_Q8_0, 130, 32);
}

#endif
