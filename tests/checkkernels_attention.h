/* Checks of the KV cache and of attention: formats, grouped heads, windows, rings, pages, splits, several sequences,
 * softcaps, sinks, values that are the keys.  See checkkernels.c.                                                    */
#ifndef CHECKKERNELS_ATTENTION_H
#define CHECKKERNELS_ATTENTION_H

#include "kernels/cpu/rotate.h"
#include "tests/checkkernels.h"

enum { MAX_SEQS = 5, MAX_HEAD_DIM = 576 };

/* A pass over several sequences whose caches hold everything up to each sequence's last row.                         */
typedef struct pass {
    lr_format format;
    int32_t n_heads, n_kv_heads, head_dim, window, n_seqs;
    float softcap;
    float *sinks; /* (n_heads) or NULL */
    bool v_in_k;
    int64_t n_rows;
    lr_seq seqs[MAX_SEQS];
    float *k[MAX_SEQS], *v[MAX_SEQS]; /* decoded, by position: (positions, n_kv_heads, head_dim) */
} pass;

static const char *pass_text(const pass *p) {
    static char text[140];
    int n = snprintf(text, sizeof text, "%s heads %d/%d of %d window %d softcap %g%s%s rows@position",
                     lr_formats[p->format].name, p->n_heads, p->n_kv_heads, p->head_dim, p->window, (double)p->softcap,
                     p->sinks ? " sinks" : "", p->v_in_k ? " v in k" : "");
    for (int32_t s = 0; s < p->n_seqs && n < (int)sizeof text; s++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %lld@%d", (long long)p->seqs[s].n, p->seqs[s].position);
    return text;
}

/* An empty cache (all bytes 0xff: NaN wherever nothing was written) with a shuffled block table or without.          */
static lr_kv_layer make_cache(const pass *p, int32_t n_slots) {
    lr_kv_layer kv = {.n_slots = n_slots, .page_slots = n_slots, .n_kv_heads = p->n_kv_heads, .head_dim = p->head_dim,
                      .format = p->format, .v_in_k = p->v_in_k};
    if (random_below(2)) kv.page_slots = (int32_t)PICK(1, 7, 16, 64, 100);
    int32_t n_pages = (n_slots + kv.page_slots - 1) / kv.page_slots;
    if (!lr_kv_page_bytes(p->format, kv.n_kv_heads, kv.head_dim, kv.page_slots, &kv.page_bytes))
        fail("lr_kv_page_bytes refused the shape");
    if (kv.v_in_k) kv.page_bytes /= 2;
    kv.base = guarded((size_t)n_pages * kv.page_bytes, LR_ALIGN);
    memset(kv.base, 0xff, (size_t)n_pages * kv.page_bytes);
    if (n_pages > 1 || random_below(2)) {
        int32_t *pages = guarded((size_t)n_pages * sizeof *pages, sizeof *pages);
        for (int32_t i = 0; i < n_pages; i++) { /* shuffle as it grows */
            int32_t j = (int32_t)random_below(i + 1);
            pages[i] = pages[j];
            pages[j] = i;
        }
        kv.pages = pages;
    }
    return kv;
}

/* Value i of a row of n as a rotated cache has it, exactly: row i of the Walsh-Hadamard matrix of its block times x.   */
static double rotated(const float *x, int32_t n, int32_t i) {
    int32_t size = LR_KV_ROTATED_MOST;
    double sum = 0;
    while (size > n) size /= 2;
    if (i >= size) return rotated(x + size, n - size, i - size);
    for (int32_t j = 0; j < size; j++) sum += __builtin_parity((unsigned)(i & j)) ? -(double)x[j] : (double)x[j];
    return sum / sqrt(size);
}

/* The bytes of a row in a cache.  A rotated row is that of the kernel: here it must only be close to the exact one.   */
static void encode_row(lr_format format, void *quants, void *scales, const float *x, int32_t n) {
    float row[MAX_HEAD_DIM], most = 0;
    if (format == LR_KV_ROTATED) {
        memcpy(row, x, (size_t)n * sizeof *x);
        lr_rotate(row, n);
        for (int32_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
        for (int32_t i = 0; i < n; i++)
            if (!(fabs(row[i] - rotated(x, n, i)) <= 16 * ROUNDING * sqrt(n) * most)) fail("value %d is not rotated well", i);
        x = row;
    }
    lr_formats[format].encode(quants, scales, x, n);
}

/* What attention sees in a row of a cache, as if it was never rotated.                                               */
static void decode_row(lr_format format, float *x, const void *quants, const void *scales, int32_t n) {
    float row[MAX_HEAD_DIM];
    lr_formats[format].decode(x, quants, scales, n);
    if (format != LR_KV_ROTATED) return;
    for (int32_t i = 0; i < n; i++) row[i] = (float)rotated(x, n, i);
    memcpy(x, row, (size_t)n * sizeof *x);
}

/* Fills the caches position by position through the portable kv_write, as a run would, and remembers what they hold. */
static void fill_cache(const lr_ops *c, pass *p, int32_t s, pattern shape) {
    lr_seq *seq = &p->seqs[s];
    int64_t n = seq->position + seq->n, width = (int64_t)p->n_kv_heads * p->head_dim;
    p->k[s] = filled(n * width, shape);
    p->v[s] = p->v_in_k ? p->k[s] : filled(n * width, P_RANDOM);
    lr_seq all = {.row = 0, .n = n, .position = 0, .kv = seq->kv};
    lr_kv_write_args write = {
        .k = p->k[s], .v = p->v[s], .k_stride = width, .v_stride = width, .seqs = &all, .n_seqs = 1};
    c->kv_write(&write, 0, n, NULL);
    for (int64_t i = lr_max(0, n - seq->kv.n_slots); i < n; i++)
        for (int32_t h = 0; h < p->n_kv_heads; h++)
            for (int which = 0; which < (p->v_in_k ? 1 : 2); which++) {
                void *quants, *scales;
                float *x = (which ? p->v : p->k)[s] + i * width + (int64_t)h * p->head_dim;
                lr_kv_row(&seq->kv, (int32_t)(i % seq->kv.n_slots), h, which, &quants, &scales);
                decode_row(p->format, x, quants, scales, p->head_dim);
            }
}

/* Below all scores, among them, above them.                                                                          */
static float *make_sinks(int32_t n_heads) {
    float *sinks = filled(n_heads, P_RANDOM), middle = (float)PICK(0, 0, -40, 10);
    for (int32_t h = 0; h < n_heads; h++) sinks[h] += middle;
    return sinks;
}

static pass make_pass(const lr_ops *c, int round, bool want_long) {
    pass p = {.format = (const lr_format[]){LR_F32, LR_F16, LR_Q8_0, LR_KV_ROTATED}[(round + round / 4) % 4],
              .n_kv_heads = (int32_t)PICK(1, 2, 3)};
    int64_t group = PICK(1, 2, 3, 4, 7, 8);
    p.n_heads = p.n_kv_heads * (int32_t)group;
    p.head_dim = (int32_t)(lr_formats[p.format].block > 1 ? PICK(32, 64, 96, 128, 192, 256)
                                                   : PICK(4, 5, 8, 16, 20, 24, 33, 64, 80, 96, 100, 128, 192, 256));
    if (random_below(8) == 0 && p.format != LR_KV_ROTATED) { /* latent attention */
        p.v_in_k = true;
        p.n_kv_heads = 1;
        p.n_heads = (int32_t)PICK(1, 4, 16);
        p.head_dim = (int32_t)PICK(64, want_long ? 64 : 576);
    }
    p.softcap = random_below(3) ? 0 : (float)PICK(1, 2, 30);
    if (!random_below(3)) p.sinks = make_sinks(p.n_heads);
    p.window = random_below(3) ? 0 : (int32_t)PICK(1, 5, 64, 100, 600);
    p.n_seqs = want_long ? 1 + (int32_t)random_below(2) : 1 + (int32_t)random_below(MAX_SEQS);
    for (int32_t s = 0; s < p.n_seqs; s++) {
        lr_seq *seq = &p.seqs[s];
        seq->row = p.n_rows;
        seq->n = want_long ? PICK(1, 2, 5) : PICK(1, 1, 2, 3, 9, 17, 33, 70);
        seq->position = (int32_t)(want_long ? PICK(0, 511, 512, 1000, 1300) : PICK(0, 0, 1, 31, 63, 64, 130));
        p.n_rows += seq->n;
        int32_t n_slots = (int32_t)(seq->position + seq->n + random_below(3));
        if (p.window) n_slots = (int32_t)lr_min(n_slots, p.window + seq->n - 1 + random_below(3));
        seq->kv = make_cache(&p, n_slots);
        fill_cache(c, &p, s, (pattern)(round / 3 % N_PATTERNS));
    }
    return p;
}

/* Bounds for sums over a rotated row: of the absolute terms of a product, and of what is added for a value, to which
 * every value of the row has come.                                                                                   */
static double length(const float *x, int32_t n) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}
static void make_even(double *x, int32_t n) {
    for (int32_t i = 1; i < n; i++) x[0] = fmax(x[0], x[i]);
    for (int32_t i = 1; i < n; i++) x[i] = x[0];
}

/* Row r of sequence s, query head h, exactly (double) or plainly (float, two passes over all scores).  Returns the
 * largest sum of the absolute terms of a score.                                                                      */
#define DEFINE_ATTEND(name, real, real_exp, real_tanh)                                                                         \
    static double name(const pass *p, int32_t s, int64_t r, int32_t h, const float *q, float scale, real *out,        \
                       double *magnitude) {                                                                           \
        const lr_seq *seq = &p->seqs[s];                                                                              \
        int64_t last = seq->position + r, first = p->window ? lr_max(0, last - p->window + 1) : 0;                    \
        int64_t kv_head = h / (p->n_heads / p->n_kv_heads), at = kv_head * p->head_dim;                               \
        int64_t width = (int64_t)p->n_kv_heads * p->head_dim;                                                         \
        static real weight[8192];                                                                                     \
        real most = (real)-INFINITY, sum = 0;                                                                         \
        double steepest = 0;                                                                                          \
        for (int64_t i = first; i <= last; i++) {                                                                     \
            real dot = 0;                                                                                             \
            double terms = 0;                                                                                         \
            for (int32_t d = 0; d < p->head_dim; d++) {                                                               \
                real term = (real)q[d] * (real)p->k[s][i * width + at + d];                                           \
                dot += term;                                                                                          \
                terms += fabs((double)term);                                                                          \
            }                                                                                                         \
            if (p->format == LR_KV_ROTATED)                                                                           \
                terms = length(q, p->head_dim) * length(p->k[s] + i * width + at, p->head_dim);                       \
            steepest = fmax(steepest, terms * (double)scale);                                                         \
            weight[i - first] = dot * (real)scale;                                                                    \
            if (p->softcap > 0)                                                                                       \
                weight[i - first] = (real)p->softcap * real_tanh(weight[i - first] / (real)p->softcap);               \
            if (weight[i - first] > most) most = weight[i - first];                                                   \
        }                                                                                                             \
        for (int64_t i = first; i <= last; i++) sum += weight[i - first] = real_exp(weight[i - first] - most);        \
        if (p->sinks) sum += real_exp((real)p->sinks[h] - most);                                                      \
        for (int32_t d = 0; d < p->head_dim; d++) {                                                                   \
            out[d] = 0;                                                                                               \
            magnitude[d] = 0;                                                                                         \
            for (int64_t i = first; i <= last; i++) {                                                                 \
                real term = weight[i - first] * (real)p->v[s][i * width + at + d];                                    \
                out[d] += term;                                                                                       \
                magnitude[d] += fabs((double)term) / (double)sum;                                                     \
            }                                                                                                         \
            out[d] /= sum;                                                                                            \
        }                                                                                                             \
        if (p->format == LR_KV_ROTATED) make_even(magnitude, p->head_dim);                                            \
        return steepest;                                                                                              \
    }
DEFINE_ATTEND(attend_exactly, double, exp, tanh)
DEFINE_ATTEND(attend_plainly, float, expf, tanhf)

/* Error of a weight by its score's and the largest one's, which is taken off: dot products of terms up to `steepest`,
 * rounded so, and the softcap (3 ulp).                                                                               */
static double score_error(const pass *p, double rounding, double steepest) {
    return rounding * 0.5 * sqrt(p->head_dim) * steepest + ROUNDING * 3 * fmin((double)p->softcap, steepest);
}

static void run_attention(const lr_ops *ops, lr_attention_args *a, int64_t n_rows, bool in_ranges, void *scratch) {
    int64_t n = lr_attention_items(a);
    if (in_ranges) run_split(ops->attention, a, n, 1, scratch);
    else ops->attention(a, 0, n, scratch);
    if (!lr_attention_is_split(a)) return;
    if (in_ranges) run_split(ops->attention_merge, a, n_rows * a->n_heads, 1, scratch);
    else ops->attention_merge(a, 0, n_rows * a->n_heads, scratch);
}

static void check_attention(const lr_ops *ops, const lr_ops *c) {
    for (int round = 0; round < 90 / FEWER && !check.kernel_failed; round++) {
        bool want_long = round % 4 == 3;
        pass p = make_pass(c, round, want_long);
        int64_t width = (int64_t)p.n_heads * p.head_dim;
        float scale = 1 / sqrtf((float)p.head_dim), *q = filled(p.n_rows * width, round % 2 ? P_RANDOM : P_ALTERNATE);
        describe("%s", pass_text(&p));
        int32_t n_ctx = 0;
        for (int32_t s = 0; s < p.n_seqs; s++) n_ctx = (int32_t)lr_max(n_ctx, p.seqs[s].position + p.seqs[s].n);
        int64_t gap = random_below(20);
        output y = make_output(p.n_rows, width, gap), y_split = make_output(p.n_rows, width, gap);
        lr_attention_args args = {.out = y.y, .q = q, .out_stride = y.stride, .q_stride = width, .seqs = p.seqs,
                                  .n_seqs = p.n_seqs, .n_heads = p.n_heads, .head_dim = p.head_dim, .window = p.window,
                                  .scale = scale, .softcap = p.softcap, .sinks = p.sinks};
        size_t partial_bytes = lr_attention_partial_bytes((int32_t)p.n_rows, n_ctx, p.n_heads, p.n_kv_heads, p.head_dim);
        if (lr_attention_is_split(&args) && partial_bytes == 0) fail("split without room for partial results");
        args.partial = guarded(partial_bytes ? partial_bytes : 4, 4);
        memset(args.partial, 0xff, partial_bytes);
        void *scratch = make_scratch(ops, width, p.n_rows, p.n_heads, p.head_dim);
        run_attention(ops, &args, p.n_rows, false, scratch);
        args.out = y_split.y;
        memset(args.partial, 0xff, partial_bytes);
        run_attention(ops, &args, p.n_rows, true, scratch);
        expect_margins(&y);
        expect_same(&y, &y_split);

        double exact[MAX_HEAD_DIM], magnitude[MAX_HEAD_DIM], plain_magnitude[MAX_HEAD_DIM];
        double worst = 0, plain_worst = 0, steepest = 0;
        float plain[MAX_HEAD_DIM];
        for (int32_t s = 0; s < p.n_seqs; s++)
            for (int64_t r = 0; r < p.seqs[s].n; r++)
                for (int32_t h = 0; h < p.n_heads; h++) {
                    int64_t row = p.seqs[s].row + r;
                    const float *qh = q + row * width + (int64_t)h * p.head_dim;
                    steepest = fmax(steepest, attend_exactly(&p, s, r, h, qh, scale, exact, magnitude));
                    attend_plainly(&p, s, r, h, qh, scale, plain, plain_magnitude);
                    for (int32_t d = 0; d < p.head_dim; d++) {
                        float got = y.y[row * y.stride + (int64_t)h * p.head_dim + d];
                        worst = fmax(worst, error_of(got, exact[d], magnitude[d]));
                        plain_worst = fmax(plain_worst, error_of(plain[d], exact[d], magnitude[d]));
                    }
                }
        double plain_error = fmax(plain_worst, score_error(&p, ROUNDING, steepest));
        double allowed = allowed_error("attention", plain_error, n_ctx);
        if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain f32 %.3g)", worst, allowed, plain_worst);
        release_all();
    }
}

static void check_kv_write(const lr_ops *ops, const lr_ops *c) {
    for (int round = 0; round < 60 / FEWER && !check.kernel_failed; round++) {
        pass p = make_pass(c, round, false);
        describe("%s", pass_text(&p));
        int64_t width = (int64_t)p.n_kv_heads * p.head_dim;
        float *k = filled(p.n_rows * width, (pattern)(round % N_PATTERNS)), *v = filled(p.n_rows * width, P_RANDOM);
        lr_kv_write_args args = {
            .k = k, .v = v, .k_stride = width, .v_stride = width, .seqs = p.seqs, .n_seqs = p.n_seqs};
        uint8_t *before[MAX_SEQS];
        size_t bytes[MAX_SEQS];
        for (int32_t s = 0; s < p.n_seqs; s++) {
            const lr_kv_layer *kv = &p.seqs[s].kv;
            bytes[s] = (size_t)((kv->n_slots + kv->page_slots - 1) / kv->page_slots) * kv->page_bytes;
            before[s] = guarded(bytes[s], LR_ALIGN);
            memcpy(before[s], kv->base, bytes[s]);
        }
        run_split(ops->kv_write, &args, p.n_rows, 1, NULL);
        for (int32_t s = 0; s < p.n_seqs; s++) { /* write the same rows by the formats' encoders over the old bytes */
            lr_kv_layer kv = p.seqs[s].kv;
            kv.base = before[s];
            for (int64_t r = 0; r < p.seqs[s].n; r++)
                for (int32_t h = 0; h < p.n_kv_heads; h++)
                    for (int which = 0; which < (p.v_in_k ? 1 : 2); which++) {
                        void *quants, *scales;
                        const float *x = (which ? v : k) + (p.seqs[s].row + r) * width + (int64_t)h * p.head_dim;
                        lr_kv_row(&kv, (int32_t)((p.seqs[s].position + r) % kv.n_slots), h, which, &quants, &scales);
                        encode_row(p.format, quants, scales, x, p.head_dim);
                    }
            if (memcmp(before[s], p.seqs[s].kv.base, bytes[s]))
                fail("cache of sequence %d differs from its format's encoder", s);
        }
        release_all();
    }
}

/* ---- benches: TinyLlama's heads, one thread ---- */

static void bench_attention(const lr_ops *ops, const lr_ops *c) {
    static const struct {
        int64_t n;
        int32_t position;
        lr_format format;
    } cases[] = {{1, 4095, LR_F16}, {1, 4095, LR_Q8_0}, {512, 0, LR_F16}, {512, 0, LR_Q8_0}};
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        pass p = {.format = cases[i].format,
                  .n_heads = 32,
                  .n_kv_heads = 4,
                  .head_dim = 64,
                  .n_seqs = 1,
                  .n_rows = cases[i].n};
        int32_t n_ctx = cases[i].position + (int32_t)cases[i].n;
        lr_kv_layer kv = {.n_slots = n_ctx, .page_slots = n_ctx, .n_kv_heads = 4, .head_dim = 64, .format = p.format};
        if (!lr_kv_page_bytes(p.format, 4, 64, n_ctx, &kv.page_bytes)) return;
        kv.base = guarded(kv.page_bytes, LR_ALIGN);
        p.seqs[0] = (lr_seq){.n = cases[i].n, .position = cases[i].position, .kv = kv};
        fill_cache(c, &p, 0, P_RANDOM);
        lr_attention_args a = {.out = floats(p.n_rows * 2048),
                               .q = filled(p.n_rows * 2048, P_RANDOM),
                               .out_stride = 2048,
                               .q_stride = 2048,
                               .seqs = p.seqs,
                               .n_seqs = 1,
                               .n_heads = 32,
                               .head_dim = 64,
                               .scale = 0.125f};
        a.partial = guarded(lr_attention_partial_bytes((int32_t)p.n_rows, n_ctx, 32, 4, 64) + 4, 4);
        double s = seconds_of(ops->attention, &a, lr_attention_items(&a), make_scratch(ops, 2048, p.n_rows, 32, 64));
        double pairs = (double)p.n_rows * ((double)cases[i].position + (double)(p.n_rows + 1) / 2);
        printf("  %-26s %4s %9.2f us  %7.2f GB/s of KV  %8.1f GFLOP/s  (%lld rows, %d positions)\n",
               ops->attention_kernel, lr_formats[p.format].name, s * 1e6, (double)kv.page_bytes / s * 1e-9,
               pairs * 32 * 64 * 4 / s * 1e-9, (long long)p.n_rows, n_ctx);
        release_all();
    }
}

static void bench_kv_write(const lr_ops *ops, const lr_ops *c) {
    (void)c;
    for (int i = 0; i < 2; i++) {
        char name[64];
        lr_seq seq = {
            .n = 64,
            .kv = {.n_slots = 64, .page_slots = 64, .n_kv_heads = 4, .head_dim = 64, .format = i ? LR_Q8_0 : LR_F16}};
        if (!lr_kv_page_bytes(seq.kv.format, 4, 64, 64, &seq.kv.page_bytes)) return;
        seq.kv.base = guarded(seq.kv.page_bytes, LR_ALIGN);
        lr_kv_write_args args = {.k = filled(64 * 256, P_RANDOM), .v = filled(64 * 256, P_RANDOM), .k_stride = 256,
                                 .v_stride = 256, .seqs = &seq, .n_seqs = 1};
        double s = seconds_of(ops->kv_write, &args, 64, NULL);
        snprintf(name, sizeof name, "%s %s", ops->kv_write_kernel, lr_formats[seq.kv.format].name);
        printf("  %-26s      %9.2f us  %7.2f GB/s\n", name, s * 1e6,
               (64 * 512 * 4 + (double)seq.kv.page_bytes) / s * 1e-9);
        release_all();
    }
}

static void bench_nothing(const lr_ops *ops, const lr_ops *c) {
    (void)ops;
    (void)c;
}

#endif
