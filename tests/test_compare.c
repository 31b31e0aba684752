/* Statistics of llmrun compare, against sums written out in doubles without its storage or tricks.                    */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/cli/compare_stats.c" /* the program's own file: it needs libc alone */

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),   cmocka_unit_test(test_equal_logits), cmocka_unit_test(test_small_distance),
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
