/* Checks of the ops that work row by row: embed, norm, pack, rope, glu, softcap.  See checkkernels.c.                */
#ifndef CHECKKERNELS_OPS_H
#define CHECKKERNELS_OPS_H

#include "tests/checkkernels_matmul.h"

enum { ROUNDS = 60 / FEWER };

static int64_t pick_dim(void) { return PICK(1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 172, 288, 1023, 2048); }
static int64_t pick_n(void) { return PICK(1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, 65); }

static void expect_error(const char *op, double worst, double plain, double terms) {
    double allowed = allowed_error(op, plain, terms);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain f32 %.3g)", worst, allowed, plain);
}

/* ---- embed ---- */

/* Exact; where it is added to `before`, each of the two operations may round.                                         */
static void expect_embedded(const lr_embed_args *a, const weights *w, const int32_t *ids, const float *before,
                            const float *x, int64_t n) {
    int64_t cols = w->m.cols;
    for (int64_t i = 0; i < n * cols; i++) {
        float value = w->decoded[ids[i / cols] * cols + i % cols] * a->scale, old = a->accumulate ? before[i] : 0;
        double d = fabs((double)x[i] - ((double)value + (double)old));
        if (!(d <= (a->accumulate ? 2 * ROUNDING * (fabs((double)value) + fabs((double)old)) : 0)))
            fail("value %lld is %.9g, expected %.9g", (long long)i, (double)x[i], (double)(value + old));
    }
}

static void check_embed(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        lr_format format = (lr_format)(round % LR_N_FORMATS);
        int64_t rows = 1 + random_below(9), cols = pick_cols(format), n = pick_n();
        weights w = make_weights(format, rows, cols, (pattern)(round % N_PATTERNS));
        int32_t *ids = guarded((size_t)n * sizeof *ids, sizeof *ids);
        for (int64_t t = 0; t < n; t++) ids[t] = (int32_t)random_below(rows);
        float *before = filled(n * cols, P_RANDOM);
        output x = make_output(n, cols, 0), x_split = make_output(n, cols, 0);
        lr_embed_args args = {.x = x.y, .ids = ids, .table = w.m, .scale = random_below(2) ? 1.0f : 2.5f,
                              .accumulate = random_below(2)};
        describe("%s cols %lld tokens %lld%s", lr_formats[format].name, (long long)cols, (long long)n,
                 args.accumulate ? " accumulate" : "");
        if (args.accumulate) fill_output(&x, before), fill_output(&x_split, before);
        void *scratch = make_scratch(ops, cols, n, 1, 8);
        ops->embed(&args, 0, n, scratch);
        args.x = x_split.y;
        run_split(ops->embed, &args, n, 1, scratch);
        expect_margins(&x);
        expect_same(&x, &x_split);
        expect_embedded(&args, &w, ids, before, x.y, n);
        release_all();
    }
}

/* ---- norm ---- */

/* How far row y is from the norm of row x, and how far a plain loop is.  a: dim, eps, center and accumulate; b may be
 * NULL.  Magnitudes are of all that is added up: terms of the mean, bias and `before` where the norm has them.        */
static double norm_error(const lr_norm_args *a, const float *x, const float *w, const float *b, const float *before,
                         const float *y, double *plain_worst) {
    double mean = 0, mean_terms = 0, sum = 0, worst = 0, n = (double)a->dim;
    float plain_mean = 0, plain_sum = 0;
    for (int64_t i = 0; i < a->dim && a->center; i++) {
        mean += (double)x[i] / n;
        mean_terms += fabs((double)x[i]) / n;
        plain_mean += x[i];
    }
    plain_mean /= (float)a->dim;
    for (int64_t i = 0; i < a->dim; i++) {
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
        plain_sum += (x[i] - plain_mean) * (x[i] - plain_mean);
    }
    double scale = 1 / sqrt(sum / n + (double)a->eps);
    float plain_scale = 1 / sqrtf(plain_sum / (float)a->dim + a->eps);
    for (int64_t i = 0; i < a->dim; i++) {
        double bias = b ? b[i] : 0, old = a->accumulate ? before[i] : 0;
        double exact = ((double)x[i] - mean) * scale * (double)w[i] + bias + old;
        double magnitude = (fabs((double)x[i]) + mean_terms) * scale * fabs((double)w[i]) + fabs(bias) + fabs(old);
        float plain = (x[i] - plain_mean) * plain_scale * w[i];
        if (b) plain += b[i];
        if (a->accumulate) plain += before[i];
        worst = fmax(worst, error_of(y[i], exact, magnitude));
        *plain_worst = fmax(*plain_worst, error_of(plain, exact, magnitude));
    }
    return worst;
}

static void check_norm(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < 2 * ROUNDS && !check.kernel_failed; round++) {
        int64_t dim = pick_dim(), n = pick_n(), gap = random_below(20);
        pattern p = (pattern)(round % N_PATTERNS);
        bool bias = !random_below(3), in_place = random_below(2), shifted = !random_below(3);
        float *x = filled(n * dim, p), *w = filled(dim, P_RANDOM), *b = filled(dim, P_RANDOM);
        float *before = filled(n * dim, P_RANDOM);
        for (int64_t i = 0; shifted && i < n * dim; i++) x[i] += 10;
        output y = make_output(n, dim, gap), y_split = make_output(n, dim, gap);
        lr_norm_args args = {.y = y.y, .x = x, .w = w, .b = bias ? b : NULL, .dim = dim, .x_stride = dim,
                             .y_stride = y.stride, .eps = random_below(2) ? 1e-5f : 1e-6f, .center = random_below(2),
                             .accumulate = !in_place && random_below(2)};
        describe("dim %lld rows %lld %s%s%s%s%s", (long long)dim, (long long)n, pattern_names[p],
                 args.center ? " center" : "", bias ? " bias" : "", args.accumulate ? " accumulate" : "",
                 in_place ? " in place" : "");
        if (args.accumulate) fill_output(&y, before), fill_output(&y_split, before);
        ops->norm(&args, 0, n, NULL);
        args.y = y_split.y;
        if (in_place) {
            fill_output(&y_split, x);
            args.x = y_split.y;
            args.x_stride = y.stride;
        }
        run_split(ops->norm, &args, n, 1, NULL);
        expect_margins(&y);
        expect_same(&y, &y_split);
        double worst = 0, plain_worst = 0;
        for (int64_t t = 0; t < n; t++)
            worst = fmax(worst, norm_error(&args, x + t * dim, w, args.b, before + t * dim, y.y + t * y.stride,
                                           &plain_worst));
        expect_error("norm", worst, plain_worst, (double)dim);
        release_all();
    }
}

/* ---- pack ---- */

static void expect_packed_q8(const lr_act *out, const float *x) {
    for (int64_t b = 0; b < out->n * out->cols / 32; b++) {
        const int8_t *q = (const int8_t *)out->values + b * 32;
        float most = 0;
        int sum = 0;
        for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[b * 32 + i]));
        double d = out->d[b], ulp = ROUNDING * 2;
        if (!(fabs(d - (double)most / 127) <= ulp * d))
            fail("scale of block %lld is %g, largest value %g", (long long)b, d, (double)most);
        for (int i = 0; i < 32; i++) {
            double v = d > 0 ? (double)x[b * 32 + i] / d : 0;
            if (!(fabs(v - q[i]) <= 0.5 + 127 * 4 * ulp) || q[i] < -127)
                fail("block %lld: %g became %d", (long long)b, v, q[i]);
            sum += q[i];
        }
        if (!(fabs((double)out->s[b] - d * sum) <= ulp * fabs(d * sum)))
            fail("sum of block %lld is %g, expected %g", (long long)b, (double)out->s[b], d * sum);
    }
}

static int32_t *random_order(int64_t cols) {
    int32_t *perm = guarded((size_t)cols * sizeof *perm, sizeof *perm);
    for (int64_t i = 0, k; i < cols; i++) {
        k = random_below(i + 1);
        perm[i] = perm[k];
        perm[k] = (int32_t)i;
    }
    return perm;
}

static float *reordered(const float *x, const int32_t *perm, int64_t n, int64_t cols) {
    float *y = floats(n * cols);
    for (int64_t i = 0; i < n * cols; i++) y[i] = x[i / cols * cols + perm[i % cols]];
    return y;
}

static void check_pack(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < 2 * ROUNDS && !check.kernel_failed; round++) {
        static const lr_act_format formats[] = {LR_ACT_F32, LR_ACT_BF16, LR_ACT_Q8}; /* f16 is a format of GPUs */
        lr_act_format format = formats[round % LR_COUNT(formats)];
        int64_t cols = format == LR_ACT_Q8 ? 32 * PICK(1, 2, 3, 5, 9, 64) : pick_dim(), n = pick_n();
        pattern p = (pattern)(round % N_PATTERNS);
        int32_t *perm = random_below(2) ? random_order(cols) : NULL;
        describe("format %d cols %lld rows %lld %s%s", (int)format, (long long)cols, (long long)n, pattern_names[p],
                 perm ? " in another order" : "");
        float *x = filled(n * cols, p), *scratch = guarded((size_t)cols * sizeof *x, LR_ALIGN);
        size_t bytes = lr_act_bytes(format, n, cols);
        uint8_t *base = guarded(bytes, LR_ALIGN), *base_split = guarded(bytes, LR_ALIGN);
        memset(base, 0xff, bytes);
        memset(base_split, 0xff, bytes);
        lr_pack_args args = {.x = x, .out = lr_act_at(format, n, cols, base), .perm = perm};
        lr_pack_args split = {.x = x, .out = lr_act_at(format, n, cols, base_split), .perm = perm};
        ops->pack(&args, 0, n, scratch);
        run_split(ops->pack, &split, n, 1, scratch);
        if (perm) x = reordered(x, perm, n, cols);
        if (memcmp(base, base_split, bytes)) fail("result depends on the item ranges");
        if (format == LR_ACT_Q8) expect_packed_q8(&args.out, x);
        for (int64_t i = 0; format == LR_ACT_F32 && i < n * cols; i++)
            if (memcmp((const float *)args.out.values + i, x + i, 4)) fail("value %lld changed", (long long)i);
        for (int64_t i = 0; format == LR_ACT_BF16 && i < n * cols; i++)
            if (((const uint16_t *)args.out.values)[i] != lr_f32_to_bf16(x[i]))
                fail("value %lld: %g rounds wrongly", (long long)i, (double)x[i]);
        size_t used = (size_t)(n * cols) * (format == LR_ACT_F32 ? 4 : format == LR_ACT_BF16 ? 2 : 1);
        for (size_t i = used; i % LR_ALIGN && i < bytes; i++)
            if (base[i] != 0xff) fail("wrote outside its rows");
        release_all();
    }
}

/* ---- rope ---- */

static void check_rope(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        int32_t head_dim = (int32_t)PICK(2, 8, 16, 64, 80, 96, 128), n_heads = (int32_t)PICK(1, 3, 4, 8);
        int32_t n_rot = random_below(3) ? head_dim : (int32_t)lr_max(2, head_dim / 4 * 2);
        int64_t n = pick_n(), width = (int64_t)n_heads * head_dim, gap = random_below(20);
        bool adjacent = random_below(2);
        pattern p = (pattern)(round % N_PATTERNS);
        describe("heads %d of %d, %d rotated, tokens %lld %s%s", n_heads, head_dim, n_rot, (long long)n,
                 pattern_names[p], adjacent ? " adjacent" : "");
        float *x = filled(n * width, p), *cs = floats(n * n_rot);
        for (int64_t i = 0; i < n * n_rot; i += 2) {
            float angle = random_unit() * 3.14159f;
            cs[i] = cosf(angle);
            cs[i + 1] = sinf(angle);
        }
        output y = make_output(n, width, gap), y_split = make_output(n, width, gap);
        for (int64_t t = 0; t < n; t++) {
            memcpy(y.y + t * y.stride, x + t * width, (size_t)width * sizeof *x);
            memcpy(y_split.y + t * y.stride, x + t * width, (size_t)width * sizeof *x);
        }
        lr_rope_args args = {.x = y.y, .x_stride = y.stride, .cos_sin = cs, .n_heads = n_heads, .head_dim = head_dim,
                             .n_rot = n_rot, .adjacent = adjacent};
        ops->rope(&args, 0, n, NULL);
        args.x = y_split.y;
        run_split(ops->rope, &args, n, 1, NULL);
        expect_margins(&y);
        expect_same(&y, &y_split);
        double worst = 0;
        for (int64_t i = 0; i < n * width; i++) {
            int64_t t = i / width, d = i % width % head_dim, pair = adjacent ? d / 2 : d % (n_rot / 2);
            bool second = adjacent ? d % 2 : d >= n_rot / 2;
            float got = y.y[t * y.stride + i % width];
            if (d >= n_rot) {
                if (got != x[i]) fail("a value beyond the rotated ones changed");
                continue;
            }
            int64_t away = adjacent ? 1 : n_rot / 2;
            double a = second ? x[i - away] : x[i], b = second ? x[i] : x[i + away];
            double co = cs[t * n_rot + 2 * pair], si = cs[t * n_rot + 2 * pair + 1];
            worst = fmax(worst, error_of(got, second ? a * si + b * co : a * co - b * si, hypot(a, b)));
        }
        expect_error("rope", worst, 0, 0);
        release_all();
    }
}

/* ---- glu ---- */

static const char *const glu_names[LR_N_GLU_ACTS] = {"silu", "gelu", "gelu_tanh", "oai", "sigmoid"};

/* act(g), exactly; terms: the sum of the absolute terms in it.                                                        */
static double activate_exactly(lr_glu_act act, double g, double *terms) {
    double tail = act == LR_GLU_GELU ? erf(g * sqrt(0.5)) : tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g));
    if (act == LR_GLU_OAI) g = fmin(g, 7);
    double y = g / (1 + exp(act == LR_GLU_OAI ? -1.702 * g : -g));
    if (act == LR_GLU_GELU || act == LR_GLU_GELU_TANH) y = 0.5 * g * (1 + tail);
    if (act == LR_GLU_SIGMOID) y = 1 / (1 + exp(-g));
    *terms = act == LR_GLU_GELU || act == LR_GLU_GELU_TANH ? 0.5 * fabs(g) * (1 + fabs(tail)) : fabs(y);
    return y;
}
static float activate_plainly(lr_glu_act act, float g) {
    switch (act) {
    case LR_GLU_GELU: return 0.5f * g * (1 + erff(g * 0.70710678f));
    case LR_GLU_GELU_TANH: return 0.5f * g * (1 + tanhf(0.79788456f * (g + 0.044715f * g * g * g)));
    case LR_GLU_OAI: g = fminf(g, 7); return g / (1 + expf(-1.702f * g));
    case LR_GLU_SIGMOID: return 1 / (1 + expf(-g));
    default: return g / (1 + expf(-g));
    }
}

/* What multiplies it; terms as above.                                                                                 */
static double up_exactly(lr_glu_act act, double u, double *terms) {
    double y = act == LR_GLU_OAI ? fmin(fmax(u, -7), 7) + 1 : u;
    *terms = act == LR_GLU_OAI ? fabs(y - 1) + 1 : fabs(u);
    return y;
}
static float up_plainly(lr_glu_act act, float u) { return act == LR_GLU_OAI ? fminf(fmaxf(u, -7), 7) + 1 : u; }

/* up NULL: not gated.                                                                                                 */
static double glu_error(lr_glu_act act, const float *gate, const float *up, const float *y, int64_t n,
                        double *plain_worst) {
    double worst = 0, terms[2] = {1, 1};
    for (int64_t i = 0; i < n; i++) {
        double exact = activate_exactly(act, gate[i], &terms[0]) * (up ? up_exactly(act, up[i], &terms[1]) : 1);
        float plain = activate_plainly(act, gate[i]) * (up ? up_plainly(act, up[i]) : 1);
        worst = fmax(worst, error_of(y[i], exact, terms[0] * terms[1] + 1e-30));
        *plain_worst = fmax(*plain_worst, error_of(plain, exact, terms[0] * terms[1] + 1e-30));
    }
    return worst;
}

/* Gates where activations bend, where they clamp, and beyond the range of exp, both ways.                             */
static float *make_gates(int64_t n, pattern p) {
    float *gate = filled(n, p), size = (float)PICK(1, 6, 20, 120);
    for (int64_t i = 0; p != P_EXTREME && i < n; i++) gate[i] *= size;
    return gate;
}

static void check_glu(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < 3 * ROUNDS && !check.kernel_failed; round++) {
        lr_glu_act act = (lr_glu_act)(round % LR_N_GLU_ACTS);
        int64_t dim = pick_dim(), n = pick_n(), gap = random_below(20);
        pattern p = (pattern)(round % N_PATTERNS);
        bool gated = act == LR_GLU_OAI || random_below(3);
        int in_place = (int)random_below(3); /* no, over gate, over up */
        describe("%s dim %lld rows %lld %s%s%s", glu_names[act], (long long)dim, (long long)n, pattern_names[p],
                 gated ? "" : " not gated", in_place ? " in place" : "");
        output y = make_output(n, dim, gap), y_split = make_output(n, dim, gap);
        float *gate = make_gates(n * y.stride, p), *up = filled(n * y.stride, P_RANDOM);
        for (int64_t i = 0; act == LR_GLU_OAI && i < n * y.stride; i++) up[i] *= 10;
        lr_glu_args args = {.y = y.y, .gate = gate, .up = gated ? up : NULL, .dim = dim, .y_stride = y.stride,
                            .in_stride = y.stride, .act = act};
        ops->glu(&args, 0, n, NULL);
        args.y = y_split.y;
        if (in_place) {
            const float **from = in_place == 2 && gated ? &args.up : &args.gate;
            for (int64_t t = 0; t < n; t++)
                memcpy(y_split.y + t * y.stride, *from + t * y.stride, (size_t)dim * sizeof *gate);
            *from = y_split.y;
        }
        run_split(ops->glu, &args, n, 1, NULL);
        expect_margins(&y);
        expect_same(&y, &y_split);
        double worst = 0, plain_worst = 0;
        for (int64_t at = 0; at < n * y.stride; at += y.stride)
            worst = fmax(worst, glu_error(act, gate + at, gated ? up + at : NULL, y.y + at, dim, &plain_worst));
        expect_error("glu", worst, plain_worst, 0);
        release_all();
    }
}

/* ---- softcap ---- */

static void check_softcap(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        int64_t dim = pick_dim(), n = pick_n();
        pattern p = (pattern)(round % N_PATTERNS);
        float cap = (float)PICK(1, 30, 50), *x = make_gates(n * dim, p);
        describe("dim %lld rows %lld %s cap %g", (long long)dim, (long long)n, pattern_names[p], (double)cap);
        output y = make_output(n, dim, 0), y_split = make_output(n, dim, 0);
        fill_output(&y, x);
        fill_output(&y_split, x);
        lr_softcap_args args = {.x = y.y, .dim = dim, .cap = cap};
        ops->softcap(&args, 0, n, NULL);
        args.x = y_split.y;
        run_split(ops->softcap, &args, n, 1, NULL);
        expect_margins(&y);
        expect_same(&y, &y_split);
        double worst = 0, plain_worst = 0;
        for (int64_t i = 0; i < n * dim; i++) {
            double exact = cap * tanh((double)x[i] / (double)cap);
            worst = fmax(worst, error_of(y.y[i], exact, fabs(exact)));
            plain_worst = fmax(plain_worst, error_of(cap * tanhf(x[i] / cap), exact, fabs(exact)));
        }
        expect_error("softcap", worst, plain_worst, 0);
        release_all();
    }
}

/* ---- benches: TinyLlama's shape, 64 rows, one thread ---- */

static void print_bench(const char *name, double seconds, double bytes) {
    printf("  %-26s      %9.2f us  %7.2f GB/s\n", name, seconds * 1e6, bytes / seconds * 1e-9);
    release_all();
}

static void bench_embed(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    int32_t ids[64] = {0};
    weights w = make_weights(LR_F16, 64, 2048, P_RANDOM);
    for (int i = 0; i < 64; i++) ids[i] = i;
    lr_embed_args args = {.x = floats(64 * 2048), .ids = ids, .table = w.m, .scale = 1};
    print_bench(ops->embed_kernel, seconds_of(ops->embed, &args, 64, NULL), 64 * 2048 * 6);
}

static void bench_norm(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int center = 0; center < 2; center++) {
        char name[64];
        lr_norm_args args = {.y = floats(64 * 2048), .x = filled(64 * 2048, P_RANDOM), .w = filled(2048, P_RANDOM),
                             .b = center ? filled(2048, P_RANDOM) : NULL, .dim = 2048, .x_stride = 2048,
                             .y_stride = 2048, .eps = 1e-5f, .center = center};
        snprintf(name, sizeof name, "%s %s", ops->norm_kernel, center ? "layer" : "rms");
        print_bench(name, seconds_of(ops->norm, &args, 64, NULL), 64 * 2048 * 8);
    }
}

static void bench_pack(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int f = 1; f < LR_N_ACT_FORMATS; f++) {
        char name[64];
        size_t bytes = lr_act_bytes((lr_act_format)f, 64, 2048);
        lr_pack_args args = {.x = filled(64 * 2048, P_RANDOM),
                             .out = lr_act_at((lr_act_format)f, 64, 2048, guarded(bytes, LR_ALIGN))};
        snprintf(name, sizeof name, "%s %s", ops->pack_kernel, f == LR_ACT_Q8 ? "q8" : "bf16");
        print_bench(name, seconds_of(ops->pack, &args, 64, NULL), 64 * 2048 * 4 + (double)bytes);
    }
}

static void bench_rope(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int adjacent = 0; adjacent < 2; adjacent++) {
        char name[64];
        lr_rope_args args = {.x = filled(64 * 2048, P_RANDOM), .x_stride = 2048, .cos_sin = filled(64 * 64, P_EQUAL),
                             .n_heads = 32, .head_dim = 64, .n_rot = 64, .adjacent = adjacent};
        for (int i = 0; i < 64 * 64; i++) ((float *)args.cos_sin)[i] = i % 2 ? 0 : 1;
        snprintf(name, sizeof name, "%s %s", ops->rope_kernel, adjacent ? "adjacent" : "halves");
        print_bench(name, seconds_of(ops->rope, &args, 64, NULL), 64 * 2048 * 8);
    }
}

static void bench_glu(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int act = 0; act < LR_N_GLU_ACTS; act++) {
        char name[64];
        lr_glu_args args = {.y = floats(64 * 5632), .gate = filled(64 * 5632, P_RANDOM),
                            .up = filled(64 * 5632, P_RANDOM), .dim = 5632, .y_stride = 5632, .in_stride = 5632,
                            .act = (lr_glu_act)act};
        snprintf(name, sizeof name, "%s %s", ops->glu_kernel, glu_names[act]);
        print_bench(name, seconds_of(ops->glu, &args, 64, NULL), 64.0 * 5632 * 12);
    }
}

static void bench_softcap(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    lr_softcap_args args = {.x = filled(256000, P_RANDOM), .dim = 256000, .cap = 30};
    print_bench(ops->softcap_kernel, seconds_of(ops->softcap, &args, 1, NULL), 256000 * 8);
}

#endif
