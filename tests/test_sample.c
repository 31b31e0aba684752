/* Sampling: which ids each step may leave, how often each is drawn, and that hostile logits change neither.           */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/base.h"

enum { MOST = 64 };

/* Everything off: the plain distribution at temperature 1.                                                            */
static llmrun_sampling plain(void) {
    llmrun_sampling p;
    llmrun_sampling_default(&p);
    p.temperature = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    return p;
}

/* Draws n times from copies of logits; counts (n_vocab) gets how often each id came.                                  */
static void draw_many(const float *logits, int32_t n_vocab, const llmrun_sampling *p, int n, int *counts) {
    float copy[MOST];
    uint64_t rng = 42;
    memset(counts, 0, sizeof *counts * (size_t)n_vocab);
    for (int i = 0; i < n; i++) {
        memcpy(copy, logits, sizeof *copy * (size_t)n_vocab);
        int32_t id = llmrun_sample(copy, n_vocab, p, &rng, NULL, 0, NULL);
        assert_in_range(id, 0, n_vocab - 1);
        counts[id]++;
    }
}

static int32_t draw_one(const float *logits, int32_t n_vocab, const llmrun_sampling *p, float *logprob) {
    float copy[MOST];
    uint64_t rng = p->seed;
    memcpy(copy, logits, sizeof *copy * (size_t)n_vocab);
    return llmrun_sample(copy, n_vocab, p, &rng, NULL, 0, logprob);
}

static void test_defaults(void **state) {
    (void)state;
    llmrun_sampling p;
    llmrun_sampling_default(&p);
    assert_int_equal(p.struct_size, sizeof p);
    assert_true(p.temperature == 0.8f && p.top_k == 40 && p.top_p == 0.95f && p.min_p == 0.05f);
    assert_true(p.repeat_penalty == 1 && p.repeat_last == 64);
}

static void test_greedy(void **state) {
    (void)state;
    llmrun_sampling p = plain();
    p.temperature = 0;
    const float one[] = { -3, 2, 7, 7, 1 }, same[] = { 4, 4, 4, 4 }, negative[] = { -9, -8, -8.5f };
    assert_int_equal(draw_one(one, 5, &p, NULL), 2); /* a tie falls to the lowest id */
    assert_int_equal(draw_one(same, 4, &p, NULL), 0);
    assert_int_equal(draw_one(negative, 3, &p, NULL), 1);
    p.temperature = NAN;
    assert_int_equal(draw_one(one, 5, &p, NULL), 2);
}

/* Frequencies of 40,000 draws lie within five standard deviations of the softmax.                                     */
static void check_distribution(const float *logits, int32_t n, float temperature) {
    enum { DRAWS = 40000 };
    llmrun_sampling p = plain();
    int counts[MOST];
    double total = 0;
    p.temperature = temperature;
    draw_many(logits, n, &p, DRAWS, counts);
    for (int32_t i = 0; i < n; i++) total += exp(logits[i] / temperature);
    for (int32_t i = 0; i < n; i++) {
        double share = exp(logits[i] / temperature) / total;
        double deviation = sqrt(DRAWS * share * (1 - share));
        assert_true(fabs(counts[i] - DRAWS * share) <= 5 * deviation + 1);
    }
}

static void test_distribution(void **state) {
    (void)state;
    const float logits[] = { 0, 1, 2, -1, 0.5f, 2 };
    check_distribution(logits, 6, 1);
    check_distribution(logits, 6, 0.5f);
    check_distribution(logits, 6, 3);
}

static void test_top_k(void **state) {
    (void)state;
    const float logits[] = { 1, 5, -2, 4.5f, 0, 4, -7, 4 };
    for (int k = 1; k <= 5; k++) {
        static const int32_t order[] = { 1, 3, 5, 7, 0 }; /* the tie of 5 and 7 falls to 5 */
        llmrun_sampling p = plain();
        int counts[MOST], kept = 0;
        p.top_k = k;
        p.temperature = 8; /* flat, so that everything kept is drawn */
        draw_many(logits, 8, &p, 4000, counts);
        for (int i = 0; i < k; i++) assert_true(counts[order[i]] > 0);
        for (int i = 0; i < 8; i++) kept += counts[i] > 0;
        assert_int_equal(kept, k);
    }
}

static void test_top_p(void **state) {
    (void)state;
    float logits[5];
    const double share[] = { 0.05, 0.5, 0.1, 0.3, 0.05 };
    for (int i = 0; i < 5; i++) logits[i] = (float)log(share[i]);
    static const struct { float p; int kept; } cases[] = { { 0, 1 }, { 0.3f, 1 }, { 0.49f, 1 }, { 0.51f, 2 }, { 0.79f, 2 },
                                                           { 0.81f, 3 }, { 0.92f, 4 }, { 0.96f, 5 }, { 1, 5 } };
    static const int32_t order[] = { 1, 3, 2, 0, 4 };
    for (size_t c = 0; c < LR_COUNT(cases); c++) {
        llmrun_sampling p = plain();
        int counts[MOST];
        p.top_p = cases[c].p;
        draw_many(logits, 5, &p, 2000, counts);
        for (int i = 0; i < 5; i++) assert_int_equal(counts[order[i]] > 0, i < cases[c].kept);
    }
}

static void test_min_p(void **state) {
    (void)state;
    float logits[4];
    const double share[] = { 0.6, 0.25, 0.1, 0.05 };
    for (int i = 0; i < 4; i++) logits[i] = (float)log(share[i]);
    static const struct { float p; int kept; } cases[] = { { 0, 4 }, { 0.08f, 4 }, { 0.1f, 3 }, { 0.2f, 2 }, { 0.5f, 1 }, { 1, 1 } };
    for (size_t c = 0; c < LR_COUNT(cases); c++) {
        llmrun_sampling p = plain();
        int counts[MOST];
        p.min_p = cases[c].p;
        draw_many(logits, 4, &p, 2000, counts);
        for (int i = 0; i < 4; i++) assert_int_equal(counts[i] > 0, i < cases[c].kept);
    }
}

static void test_repeat_penalty(void **state) {
    (void)state;
    llmrun_sampling p = plain();
    const float start[] = { 3, 2.9f, -1, -1.5f };
    const int32_t history[] = { 3, 2, 0, 0 };
    float logits[4], logprob, total = 0;
    uint64_t rng = 1;
    p.temperature = 0;
    p.repeat_penalty = 2;
    memcpy(logits, start, sizeof start);
    assert_int_equal(llmrun_sample(logits, 4, &p, &rng, history, 4, &logprob), 1);
    assert_true(logits[0] == 1.5f && logits[1] == 2.9f && logits[2] == -2 && logits[3] == -3); /* once each */
    for (int i = 0; i < 4; i++) total += expf(start[i]);
    assert_float_equal(logprob, 2.9f - logf(total), 1e-5);

    p.repeat_last = 1; /* only the newest id counts */
    memcpy(logits, start, sizeof start);
    llmrun_sample(logits, 4, &p, &rng, history, 4, NULL);
    assert_true(logits[0] == 1.5f && logits[2] == -1 && logits[3] == -1.5f);

    p.repeat_penalty = 1.01f; /* the winner stays; its log-probability is the unmodified one */
    memcpy(logits, start, sizeof start);
    assert_int_equal(llmrun_sample(logits, 4, &p, &rng, history, 4, &logprob), 0);
    assert_float_equal(logprob, 3 - logf(total), 1e-5);

    const int32_t foreign[] = { -1, 99, 4 }; /* ids outside the vocabulary are passed over */
    p.repeat_last = 64;
    memcpy(logits, start, sizeof start);
    assert_int_equal(llmrun_sample(logits, 4, &p, &rng, foreign, 3, NULL), 0);
}

static void test_logprob(void **state) {
    (void)state;
    const float logits[] = { 1, 2, 3, 100, -50 };
    llmrun_sampling p;
    float logprob;
    llmrun_sampling_default(&p);
    assert_int_equal(draw_one(logits, 5, &p, &logprob), 3);
    assert_float_equal(logprob, 0, 1e-6);
    const float even[] = { 7, 7, 7, 7 };
    draw_one(even, 4, &p, &logprob);
    assert_float_equal(logprob, logf(0.25f), 1e-6);
}

static void test_seed(void **state) {
    (void)state;
    float logits[MOST] = { 0 };
    llmrun_sampling p = plain();
    int same = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        p.seed = seed;
        int32_t id = draw_one(logits, MOST, &p, NULL);
        assert_int_equal(id, draw_one(logits, MOST, &p, NULL));
        p.seed = seed + 1;
        same += id == draw_one(logits, MOST, &p, NULL);
    }
    assert_in_range(same, 0, 15); /* neighbouring seeds are unrelated: 200 / 64 expected */
}

static void test_hostile(void **state) {
    (void)state;
    const float nan_first[] = { NAN, 1, NAN, 0 }, all_nan[] = { NAN, NAN, NAN }, none[] = { -INFINITY, -INFINITY };
    const float two_inf[] = { 0, INFINITY, 3, INFINITY }, most[] = { -FLT_MAX, FLT_MAX, 0 };
    llmrun_sampling p;
    llmrun_sampling_default(&p);
    for (int greedy = 0; greedy < 2; greedy++) {
        float logprob = 1;
        p.temperature = greedy ? 0 : 0.8f;
        for (p.seed = 0; p.seed < 50; p.seed++) {
            int32_t id = draw_one(nan_first, 4, &p, NULL);
            assert_true(id == 1 || id == 3);
            assert_int_equal(draw_one(all_nan, 3, &p, &logprob), 0);
            assert_true(logprob == -INFINITY);
            assert_int_equal(draw_one(none, 2, &p, NULL), 0);
            id = draw_one(two_inf, 4, &p, &logprob);
            assert_true(id == 1 || id == 3);
            assert_float_equal(logprob, logf(0.5f), 1e-6);
            assert_int_equal(draw_one(most, 3, &p, &logprob), 1);
            assert_float_equal(logprob, 0, 1e-6);
        }
    }
    assert_int_equal(llmrun_sample(NULL, 0, &p, &p.seed, NULL, 0, NULL), -1);
    float one = 5;
    assert_int_equal(draw_one(&one, 1, &p, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_greedy),  cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_top_k),    cmocka_unit_test(test_top_p),   cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_repeat_penalty), cmocka_unit_test(test_logprob), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
