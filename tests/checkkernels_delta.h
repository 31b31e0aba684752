/* Checks of gated delta nets: the convolution, the rule, and both as the op of a device, against the same in double.
 * Heads, taps and sizes of all kinds, several sequences, from the start and from a state.                            */
#ifndef CHECKKERNELS_DELTA_H
#define CHECKKERNELS_DELTA_H

#include "tests/checkkernels_device_ops.h"

enum { DELTA_SEQS = 3 };

typedef struct delta_case {
    lr_delta_args a;             /* without rows, sequences and out */
    lr_seq seqs[DELTA_SEQS];     /* their states: in .kv.base, NaN where there is none yet */
    int32_t n_seqs;
    int64_t n, channels, n_state; /* rows; floats of a state */
    float *rows[3];              /* q, k, v */
} delta_case;

static int64_t delta_width(const delta_case *c, int which) {
    return which == 2 ? (int64_t)c->a.v_heads * c->a.v_dim : (int64_t)c->a.k_heads * c->a.k_dim;
}

/* unit: q and k have length 1, as the rule expects them.                                                             */
static delta_case make_delta(bool unit) {
    delta_case c = {.n_seqs = 1 + (int32_t)random_below(DELTA_SEQS)};
    lr_delta_args *a = &c.a;
    a->k_heads = (int32_t)PICK(1, 2, 3);
    a->v_heads = a->k_heads * (int32_t)PICK(1, 2, 3);
    a->k_dim = (int32_t)PICK(1, 5, 12, 16, 33, 64, 100, 128, 256);
    a->v_dim = (int32_t)PICK(1, 5, 8, 16, 33, 64, 100, 128, 256);
    a->taps = (int32_t)PICK(1, 2, 4, 4);
    c.channels = 2 * delta_width(&c, 0) + delta_width(&c, 2);
    c.n_state = (a->taps - 1) * c.channels + (int64_t)a->v_heads * a->k_dim * a->v_dim;
    for (int32_t s = 0; s < c.n_seqs; s++) {
        lr_seq *seq = &c.seqs[s];
        *seq = (lr_seq){.row = c.n, .n = PICK(1, 1, 2, 3, 8, 9, 21), .position = (int32_t)PICK(0, 0, 1, 70)};
        c.n += seq->n;
        float *state = filled(c.n_state, P_RANDOM);
        if (seq->position == 0) memset(state, 0xff, (size_t)c.n_state * sizeof *state);
        seq->kv.base = (uint8_t *)state;
    }
    for (int which = 0; which < 3; which++) c.rows[which] = filled(c.n * delta_width(&c, which), P_RANDOM);
    for (int64_t h = 0; h < c.n * a->k_heads && unit; h++)
        for (int which = 0; which < 2; which++) {
            float *x = c.rows[which] + h * a->k_dim, sum = 0;
            for (int32_t i = 0; i < a->k_dim; i++) sum += x[i] * x[i];
            for (int32_t i = 0; i < a->k_dim; i++) x[i] /= sqrtf(sum + 1e-6f);
        }
    a->conv = filled(c.channels * a->taps, P_RANDOM);
    a->dt = filled(a->v_heads, P_RANDOM);
    float *rate = filled(a->v_heads, P_RANDOM);
    for (int32_t h = 0; h < a->v_heads; h++) rate[h] = rate[h] * 2 - 3; /* most heads forget slowly */
    a->rate = rate;
    a->b = filled(c.n * a->v_heads, P_RANDOM);
    a->a = filled(c.n * a->v_heads, P_RANDOM);
    describe("heads %d of %d, %d of %d, taps %d, rows %lld, first %lld at %d of %d", a->k_heads, a->k_dim, a->v_heads,
             a->v_dim, a->taps, (long long)c.n, (long long)c.seqs[0].n, c.seqs[0].position, c.n_seqs);
    return c;
}

static double *doubles(int64_t n) { return guarded((size_t)n * sizeof(double), sizeof(double)); }

/* Queries, keys or values behind the convolution, and what their errors are measured by.                             */
static void convolve_exactly(const delta_case *c, int which, double *y, double *magnitude) {
    const lr_delta_args *a = &c->a;
    int64_t width = delta_width(c, which), channel = which * delta_width(c, 0);
    int32_t dim = which == 2 ? a->v_dim : a->k_dim;
    for (int32_t s = 0; s < c->n_seqs; s++)
        for (int64_t t = 0; t < c->seqs[s].n; t++) {
            const lr_seq *seq = &c->seqs[s];
            int64_t row = seq->row + t;
            for (int64_t i = 0; i < width; i++) {
                double sum = 0, terms = 0;
                for (int32_t j = 0; j < a->taps; j++) {
                    int64_t from = t - (a->taps - 1) + j;
                    double x = from >= 0 ? c->rows[which][(seq->row + from) * width + i]
                               : seq->position == 0 ? 0 : ((const float *)(const void *)seq->kv.base)
                                                              [(from + a->taps - 1) * c->channels + channel + i];
                    sum += x * a->conv[(channel + i) * a->taps + j];
                    terms += fabs(x * a->conv[(channel + i) * a->taps + j]);
                }
                y[row * width + i] = sum / (1 + exp(-sum));
                magnitude[row * width + i] = terms;
            }
            for (int64_t h = row * width; h < (row + 1) * width && which < 2; h += dim) {
                double sum = 1e-6, moves = 0;
                for (int32_t i = 0; i < dim; i++)
                    sum += y[h + i] * y[h + i], moves += fabs(y[h + i]) * magnitude[h + i];
                double scale = 1 / sqrt(sum) / (which ? 1 : sqrt(dim));
                for (int32_t i = 0; i < dim; i++) {
                    magnitude[h + i] = scale * (magnitude[h + i] + fabs(y[h + i]) * moves / sum);
                    y[h + i] *= scale;
                }
            }
        }
}

/* What the rule makes of them, and what errors are measured by.                                                      */
typedef struct delta_result {
    double *out, *out_magnitude;       /* (rows, v_heads, v_dim); (rows, v_heads) */
    double *matrices, *matrix_magnitude; /* (n_seqs, v_heads, k_dim, v_dim); (n_seqs, v_heads) */
} delta_result;

static delta_result apply_exactly(const delta_case *c, const double *q, const double *k, const double *v) {
    const lr_delta_args *a = &c->a;
    int64_t size = (int64_t)a->k_dim * a->v_dim;
    delta_result x = {doubles(c->n * delta_width(c, 2)), doubles(c->n * a->v_heads),
                      doubles(c->n_seqs * a->v_heads * size),
                      doubles((int64_t)c->n_seqs * a->v_heads)};
    for (int32_t i = 0; i < c->n_seqs; i++)
        for (int32_t h = 0; h < a->v_heads; h++) {
            const lr_seq *seq = &c->seqs[i];
            int64_t k_head = h / (a->v_heads / a->k_heads);
            double *m = x.matrices + (i * a->v_heads + h) * size, *most_held = &x.matrix_magnitude[i * a->v_heads + h];
            const float *before = (const float *)(const void *)seq->kv.base + (a->taps - 1) * c->channels + h * size;
            for (int64_t e = 0; e < size; e++) m[e] = seq->position ? before[e] : 0;
            for (int64_t r = seq->row; r < seq->row + seq->n; r++) {
                int64_t from = (r * a->k_heads + k_head) * a->k_dim;
                const double *qr = q + from, *kr = k + from;
                double step = log1p(exp((double)a->a[r * a->v_heads + h] + a->dt[h])), most = 0;
                double kept = exp(-exp((double)a->rate[h]) * step);
                double share = 1 / (1 + exp(-(double)a->b[r * a->v_heads + h]));
                *most_held *= kept;
                for (int32_t j = 0; j < a->v_dim; j++) {
                    double value = v[(r * a->v_heads + h) * a->v_dim + j], held = 0, held_terms = 0, sum = 0, terms = 0;
                    for (int32_t e = 0; e < a->k_dim; e++) {
                        held += m[e * a->v_dim + j] * kr[e];
                        held_terms += fabs(m[e * a->v_dim + j] * kr[e]);
                    }
                    double d = share * (value - kept * held), d_terms = share * (fabs(value) + kept * held_terms);
                    for (int32_t e = 0; e < a->k_dim; e++) {
                        double *at = &m[e * a->v_dim + j], at_terms = kept * fabs(*at) + fabs(kr[e]) * d_terms;
                        *at = kept * *at + kr[e] * d;
                        *most_held = fmax(*most_held, at_terms);
                        sum += *at * qr[e];
                        terms += at_terms * fabs(qr[e]);
                    }
                    x.out[(r * a->v_heads + h) * a->v_dim + j] = sum;
                    most = fmax(most, terms);
                }
                x.out_magnitude[r * a->v_heads + h] = most;
            }
        }
    return x;
}

/* Largest error of the matrices in a state.                                                                          */
static double matrices_error(const delta_case *c, const delta_result *x, int32_t seq, const float *state) {
    const lr_delta_args *a = &c->a;
    int64_t size = (int64_t)a->k_dim * a->v_dim;
    double worst = 0;
    for (int32_t h = 0; h < a->v_heads; h++) {
        const double *m = x->matrices + (seq * a->v_heads + h) * size, most = x->matrix_magnitude[seq * a->v_heads + h];
        const float *got = state + (a->taps - 1) * c->channels + h * size;
        for (int64_t e = 0; e < size; e++) worst = fmax(worst, error_of(got[e], m[e], most));
    }
    return worst;
}

/* The values before the first that is not there must be those of the last rows, as they came.                        */
static void expect_taps(const delta_case *c, int32_t s, const float *state) {
    const lr_seq *seq = &c->seqs[s];
    int32_t earlier = c->a.taps - 1;
    for (int32_t j = 0; j < earlier; j++)
        for (int which = 0, channel = 0; which < 3; channel += (int)delta_width(c, which), which++)
            for (int64_t i = 0; i < delta_width(c, which); i++) {
                int64_t from = seq->n - earlier + j;
                float zero = 0, want = from >= 0 ? c->rows[which][(seq->row + from) * delta_width(c, which) + i]
                               : seq->position == 0 ? zero : ((const float *)(const void *)seq->kv.base)
                                                                 [(from + earlier) * c->channels + channel + i];
                if (memcmp(&want, &state[j * c->channels + channel + i], sizeof want))
                    fail("the state has %.9g of row %lld, expected %.9g", (double)state[j * c->channels + channel + i],
                         (long long)from, (double)want);
            }
}

/* ---- kernels of the CPU ---- */

/* Runs a kernel on copies of rows and states: what it made of them.                                                  */
static void run_delta(lr_kernel kernel, const delta_case *c, lr_delta_args *a, lr_seq *seqs, output rows[4],
                      int64_t items, bool split) {
    *a = c->a;
    for (int32_t s = 0; s < c->n_seqs; s++) {
        seqs[s] = c->seqs[s];
        seqs[s].kv.base = guarded((size_t)c->n_state * sizeof(float), sizeof(float));
        memcpy(seqs[s].kv.base, c->seqs[s].kv.base, (size_t)c->n_state * sizeof(float));
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = make_output(c->n, delta_width(c, i < 3 ? i : 2), 0);
        if (i < 3) fill_output(&rows[i], c->rows[i]);
    }
    a->q = rows[0].y, a->k = rows[1].y, a->v = rows[2].y, a->out = rows[3].y;
    a->seqs = seqs;
    a->n_seqs = c->n_seqs;
    if (split) run_split(kernel, a, items, 1, NULL);
    else kernel(a, 0, items, NULL);
    for (int i = 0; i < 4; i++) expect_margins(&rows[i]);
}

static void expect_same_runs(const delta_case *c, output a[4], output b[4], const lr_seq *one, const lr_seq *two) {
    for (int i = 0; i < 4; i++) expect_same(&a[i], &b[i]);
    for (int32_t s = 0; s < c->n_seqs; s++)
        if (memcmp(one[s].kv.base, two[s].kv.base, (size_t)c->n_state * sizeof(float)))
            fail("the state depends on the item ranges");
}

static void check_delta_conv(const lr_ops *ops, const lr_ops *c_ops) {
    (void)c_ops;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        delta_case c = make_delta(false);
        lr_delta_args args;
        lr_seq seqs[DELTA_SEQS], split_seqs[DELTA_SEQS];
        output rows[4], split[4];
        int64_t items = (int64_t)c.n_seqs * (2 * c.a.k_heads + c.a.v_heads);
        run_delta(ops->delta_conv, &c, &args, seqs, rows, items, false);
        run_delta(ops->delta_conv, &c, &args, split_seqs, split, items, true);
        expect_same_runs(&c, rows, split, seqs, split_seqs);
        double worst = 0;
        for (int which = 0; which < 3; which++) {
            int64_t n = c.n * delta_width(&c, which);
            double *y = doubles(n), *magnitude = doubles(n);
            convolve_exactly(&c, which, y, magnitude);
            for (int64_t i = 0; i < n; i++) worst = fmax(worst, error_of(rows[which].y[i], y[i], magnitude[i] + 1e-30));
        }
        expect_error("delta", worst, 0, (double)c.a.k_dim);
        for (int32_t s = 0; s < c.n_seqs; s++) expect_taps(&c, s, (const float *)(const void *)seqs[s].kv.base);
        release_all();
    }
}

static void check_delta_rule(const lr_ops *ops, const lr_ops *c_ops) {
    (void)c_ops;
    for (int round = 0; round < ROUNDS && !check.kernel_failed; round++) {
        delta_case c = make_delta(true);
        lr_delta_args args;
        lr_seq seqs[DELTA_SEQS], split_seqs[DELTA_SEQS];
        output rows[4], split[4];
        int64_t items = (int64_t)c.n_seqs * c.a.v_heads, n = c.n * delta_width(&c, 2), most_rows = 0;
        run_delta(ops->delta_rule, &c, &args, seqs, rows, items, false);
        run_delta(ops->delta_rule, &c, &args, split_seqs, split, items, true);
        expect_same_runs(&c, rows, split, seqs, split_seqs);
        double *given[3], worst = 0;
        for (int which = 0; which < 3; which++) {
            given[which] = doubles(c.n * delta_width(&c, which));
            for (int64_t i = 0; i < c.n * delta_width(&c, which); i++) given[which][i] = c.rows[which][i];
        }
        delta_result x = apply_exactly(&c, given[0], given[1], given[2]);
        for (int64_t i = 0; i < n; i++)
            worst = fmax(worst, error_of(rows[3].y[i], x.out[i], x.out_magnitude[i / c.a.v_dim] + 1e-30));
        for (int32_t i = 0; i < c.n_seqs; i++) {
            worst = fmax(worst, matrices_error(&c, &x, i, (const float *)(const void *)seqs[i].kv.base));
            most_rows = lr_max(most_rows, c.seqs[i].n);
        }
        expect_error("delta", worst, 0, (double)(c.a.k_dim * most_rows));
        release_all();
    }
}

/* ---- the op of a device ---- */

/* Roundings of the convolution pass through the rule: against a head's largest values.                               */
#define DELTA_DEVICE_ERROR 2e-5

static void check_device_delta(void) {
    for (int round = 0; round < check.rounds && !check.kernel_failed; round++) {
        delta_case c = make_delta(false);
        op_call call = {.shape = {.n = c.n, .n_seqs = c.n_seqs, .n_ctx = 128}, .delta = c.a};
        lr_delta_args *a = &call.delta;
        float **rows[] = {&a->q, &a->k, &a->v};
        lr_seq there[DELTA_SEQS];
        for (int which = 0; which < 3; which++) {
            int64_t width = delta_width(&c, which);
            *rows[which] = gpu_output(c.n, width, width);
            memcpy(in_image(*rows[which]), c.rows[which], (size_t)(c.n * width) * sizeof(float));
        }
        a->out = gpu_output(c.n, delta_width(&c, 2), delta_width(&c, 2));
        for (int32_t s = 0; s < c.n_seqs; s++) {
            there[s] = c.seqs[s];
            there[s].kv.base = gpu_put(c.seqs[s].kv.base, (size_t)c.n_state * sizeof(float));
            gpu_writes(there[s].kv.base, (size_t)c.n_state * sizeof(float), (size_t)c.n_state * sizeof(float), 1);
        }
        a->seqs = gpu_put(there, (size_t)c.n_seqs * sizeof *there);
        a->n_seqs = c.n_seqs;
        a->conv = gpu_floats(c.a.conv, c.channels * a->taps);
        a->dt = gpu_floats(c.a.dt, a->v_heads);
        a->rate = gpu_floats(c.a.rate, a->v_heads);
        a->a = gpu_floats(c.a.a, c.n * a->v_heads);
        a->b = gpu_floats(c.a.b, c.n * a->v_heads);
        gpu_run(call_delta, &call);

        double *y[3], worst = 0;
        for (int which = 0; which < 3; which++) {
            y[which] = doubles(c.n * delta_width(&c, which));
            convolve_exactly(&c, which, y[which], doubles(c.n * delta_width(&c, which)));
        }
        delta_result x = apply_exactly(&c, y[0], y[1], y[2]);
        const float *got = in_result(a->out);
        for (int64_t i = 0; i < c.n * delta_width(&c, 2); i++)
            worst = fmax(worst, error_of(got[i], x.out[i], x.out_magnitude[i / a->v_dim] + 1e-30));
        for (int32_t i = 0; i < c.n_seqs; i++) {
            worst = fmax(worst, matrices_error(&c, &x, i, in_result(there[i].kv.base)));
            expect_taps(&c, i, in_result(there[i].kv.base));
        }
        if (!(worst <= DELTA_DEVICE_ERROR)) fail("error %.3g, allowed %.3g", worst, DELTA_DEVICE_ERROR);
        gpu_clear();
    }
}

#endif
