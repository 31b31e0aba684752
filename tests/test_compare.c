/* Statistics of llmrun compare, against sums written out in doubles without its storage or tricks; and what an
 * interrupted comparison leaves: read back as it was, and never when a byte of it is wrong.                           */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/cli/compare_state.c" /* the program's own files: they need libc alone */
#include "runtime/cli/compare_stats.c"

enum { VOCAB = 501, ROWS = 64 };

static double uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (double)(1 << 24);
}

/* Logits as of a model: most of them far below a few; and a second set at a distance from them.                        */
static void fill(float *a, float *b, int32_t *targets, double distance) {
    uint64_t state = 7;
    for (int i = 0; i < ROWS * VOCAB; i++) {
        a[i] = (float)(12 * uniform(&state) * uniform(&state) - 4);
        if (i % 97 == 0) a[i] += 9;
        b[i] = a[i] + (float)(distance * (uniform(&state) - 0.5));
    }
    for (int i = 0; i < ROWS; i++) targets[i] = (int32_t)(uniform(&state) * VOCAB);
}

static double ln_sum(const float *x) {
    double sum = 0;
    for (int i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
    return log(sum);
}

static double plain_kl(const float *a, const float *b) {
    double la = ln_sum(a), lb = ln_sum(b), kl = 0;
    for (int i = 0; i < VOCAB; i++) kl += exp((double)a[i] - la) * ((double)a[i] - la - (double)b[i] + lb);
    return kl;
}

static void run(const float *a, const float *b, const int32_t *targets, kept_logits *k, comparison *c) {
    assert_true(kept_open(k, VOCAB, ROWS));
    assert_true(comparison_open(c, ROWS));
    for (int i = 0; i < ROWS; i++) assert_true(kept_add(k, a + i * VOCAB, targets[i]));
    for (int i = 0; i < ROWS; i++) assert_true(comparison_add(c, k, b + i * VOCAB));
}

static void near(double got, double expected, double most) {
    if (!(fabs(got - expected) <= most)) fail_msg("expected %.12g, got %.12g", expected, got);
}

static float a[ROWS * VOCAB], b[ROWS * VOCAB];
static int32_t targets[ROWS];

static void test_figures(void **user) {
    (void)user;
    kept_logits k;
    comparison c;
    double nll = 0, nll2 = 0, kl[ROWS], mean = 0, dp2 = 0, same = 0, ratio = 0;
    fill(a, b, targets, 2);
    run(a, b, targets, &k, &c);
    for (int i = 0; i < ROWS; i++) {
        const float *p = a + i * VOCAB, *q = b + i * VOCAB;
        double lp = (double)p[targets[i]] - ln_sum(p), lq = (double)q[targets[i]] - ln_sum(q);
        int top_p = 0, top_q = 0;
        for (int j = 0; j < VOCAB; j++) {
            if (p[j] > p[top_p]) top_p = j;
            if (q[j] > q[top_q]) top_q = j;
        }
        nll -= lq, nll2 += lq * lq, ratio += lp - lq;
        dp2 += (exp(lq) - exp(lp)) * (exp(lq) - exp(lp));
        same += top_p == top_q;
        kl[i] = plain_kl(p, q);
        mean += kl[i] / ROWS;
        near((double)c.kl[i], kl[i], 1e-5);
    }
    figures f = comparison_figures(&c), reference = kept_figures(&k);
    double variance = (nll2 - nll * nll / ROWS) / (ROWS - 1);
    assert_int_equal(f.n, ROWS);
    near(f.perplexity, exp(nll / ROWS), 1e-6 * f.perplexity);
    near(f.perplexity_error, exp(nll / ROWS) * sqrt(variance / ROWS), 1e-6 * f.perplexity);
    near(log(f.perplexity / reference.perplexity), ratio / ROWS, 1e-6);
    near(f.ln_ratio.mean, ratio / ROWS, 1e-6);
    near(f.kl.mean, mean, 2e-6);
    near(f.same_top.mean, same / ROWS, 1e-12);
    near(f.rms_dp, sqrt(dp2 / ROWS), 1e-6);
    assert_true(f.kl_median < f.kl_99 && f.kl_99 < f.kl_most && f.kl.error > 0);
    kept_close(&k);
    comparison_close(&c);
}

static void test_equal_logits(void **user) {
    (void)user;
    kept_logits k;
    comparison c;
    fill(a, b, targets, 0);
    run(a, a, targets, &k, &c);
    figures f = comparison_figures(&c);
    near(f.kl.mean, 0, 1e-7); /* what storing in two bytes loses */
    near(f.kl_most, 0, 1e-6);
    assert_true(f.same_top.mean == 1 && f.rms_dp == 0 && f.ln_ratio.mean == 0);
    kept_close(&k);
    comparison_close(&c);
}

static void test_small_distance(void **user) {
    (void)user;
    kept_logits k;
    comparison c;
    double mean = 0;
    fill(a, b, targets, 0.01); /* as half precision is from single: KL near 1e-5 */
    run(a, b, targets, &k, &c);
    for (int i = 0; i < ROWS; i++) mean += plain_kl(a + i * VOCAB, b + i * VOCAB) / ROWS;
    figures f = comparison_figures(&c);
    assert_true(mean > 1e-7 && mean < 1e-4);
    near(f.kl.mean, mean, 2e-7);
    kept_close(&k);
    comparison_close(&c);
}

static void test_quantiles(void **user) {
    (void)user;
    float values[5] = { 50, 10, 40, 20, 30 };
    comparison c = { .n = 5, .most = 5, .kl = values };
    figures f = comparison_figures(&c);
    near(f.kl_median, 30, 0);
    near(f.kl_99, 49.6, 1e-9);
    near(f.kl_most, 50, 0);
    comparison one = { .n = 1, .most = 1, .kl = values };
    f = comparison_figures(&one);
    assert_true(f.kl_median == 10 && f.kl_99 == 10 && f.kl.error == 0);
}

static void test_refusals(void **user) {
    (void)user;
    kept_logits k;
    comparison c;
    fill(a, b, targets, 1);
    assert_false(kept_open(&k, VOCAB, SIZE_MAX / 4)); /* its size overflows */
    run(a, b, targets, &k, &c);
    assert_false(kept_add(&k, a, 0));        /* full */
    assert_false(comparison_add(&c, &k, b)); /* nothing left to compare with */
    kept_close(&k);
    assert_true(kept_open(&k, VOCAB, 1));
    a[3] = NAN;
    assert_false(kept_add(&k, a, 0));
    a[3] = INFINITY;
    assert_false(kept_add(&k, a, 0));
    assert_int_equal(k.n, 0);
    kept_close(&k);
    comparison_close(&c);
}

/* ---- the state of an interrupted comparison ---- */

static char path[] = "/tmp/test_compare_XXXXXX";
enum { KEY = 77, IDS = 70, KEPT = 40, COMPARED = 20 };

/* Half of the reference and a part of a row.                                                                          */
static void half_done(compare_state *s) {
    *s = (compare_state){ .report = { .model = "m", .text = "t", .n_vocab = VOCAB, .window = 8, .n_scored = ROWS, .n_rows = 2,
                                      .reference.quant = "f32", .rows[1].quant = "q4_k", .rows[0].prefill = 3 },
                          .n_ids = IDS, .n_done = 1, .at = 24 };
    fill(a, b, targets, 1);
    s->ids = malloc(IDS * sizeof *s->ids);
    for (int i = 0; i < IDS; i++) s->ids[i] = i * 3;
    assert_true(kept_open(&s->kept, VOCAB, ROWS) && comparison_open(&s->comparison, ROWS));
    for (int i = 0; i < KEPT; i++) assert_true(kept_add(&s->kept, a + i * VOCAB, targets[i]));
    for (int i = 0; i < COMPARED; i++) assert_true(comparison_add(&s->comparison, &s->kept, b + i * VOCAB));
    s->streams = (layer_streams){ 2, 4, 5, calloc(3 * 4 * 5, sizeof(float)) };
    s->streams.x[59] = 1.5f;
}

static void test_state_returns(void **user) {
    (void)user;
    compare_state s, t = { .report = { .model = "M", .text = "T" } };
    half_done(&s);
    assert_int_equal(compare_state_save(&s, path, KEY), 0);
    assert_int_equal(compare_state_load(&t, path, KEY + 1), FOUND_NONE);
    assert_int_equal(compare_state_load(&t, path, KEY), FOUND_STATE);
    assert_string_equal(t.report.model, "M");
    assert_string_equal(t.report.rows[1].quant, "q4_k");
    assert_true(t.n_done == 1 && t.at == 24 && t.n_ids == IDS && t.kept.n == KEPT && t.comparison.n == COMPARED);
    assert_true(t.report.rows[0].prefill == 3 && t.streams.n_layers == 2 && t.streams.x[59] == 1.5f);
    assert_memory_equal(s.ids, t.ids, IDS * sizeof *s.ids);
    /* Both go on to the same figures, bit for bit. */
    for (int i = KEPT; i < ROWS; i++) assert_true(kept_add(&s.kept, a + i * VOCAB, targets[i]) && kept_add(&t.kept, a + i * VOCAB, targets[i]));
    for (int i = COMPARED; i < ROWS; i++)
        assert_true(comparison_add(&s.comparison, &s.kept, b + i * VOCAB) && comparison_add(&t.comparison, &t.kept, b + i * VOCAB));
    figures f = comparison_figures(&s.comparison), g = comparison_figures(&t.comparison);
    assert_memory_equal(&f, &g, sizeof f);
    compare_state_close(&s);
    compare_state_close(&t);
}

/* Every byte of the header, some of the rest, and every kind of cut.                                                  */
static void test_damaged_state(void **user) {
    (void)user;
    compare_state s, t = { 0 };
    half_done(&s);
    assert_int_equal(compare_state_save(&s, path, KEY), 0);
    FILE *f = fopen(path, "r+b");
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    for (long at = 0; at < size; at += at < (long)sizeof(state_header) ? 1 : 997) {
        fseek(f, at, SEEK_SET);
        int byte = getc(f);
        fseek(f, at, SEEK_SET);
        putc(byte ^ 0x41, f);
        fflush(f);
        compare_found found = compare_state_load(&t, path, KEY);
        if (found == FOUND_STATE) fail_msg("byte %ld is wrong and nobody sees it", at);
        assert_null(t.ids);
        fseek(f, at, SEEK_SET);
        putc(byte, f);
        fflush(f);
    }
    fseek(f, 0, SEEK_END);
    putc(0, f); /* a byte too many */
    fclose(f);
    assert_int_equal(compare_state_load(&t, path, KEY), FOUND_DAMAGED);
    for (long cut = size - 1; cut >= 0; cut -= 4001) {
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(compare_state_load(&t, path, KEY), FOUND_DAMAGED);
    }
    unlink(path);
    assert_int_equal(compare_state_load(&t, path, KEY), FOUND_NONE);
    assert_int_equal(compare_state_save(&s, "/nowhere/at/all", KEY), ENOENT);
    compare_state_close(&s);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),   cmocka_unit_test(test_equal_logits), cmocka_unit_test(test_small_distance),
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_state_returns), cmocka_unit_test(test_damaged_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
