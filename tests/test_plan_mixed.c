/* Mixed precision: the choice against trying everything, on models small enough for that; and plans of published shapes
 * with made-up costs, which must stay in their budgets, be no worse than a uniform precision, and be replayed.         */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/plan_mix.h"
#include "tests/plan_rules.h"

static lr_plan_cost costs[MOST_TENSORS];

/* Costs as measured ones are spread: a few matrices matter much more than the rest, 8 bits cost little.                */
static void draw_costs(lr_plan_input *in, uint64_t seed) {
    for (size_t i = 0; i < in->n_tensors; i++) {
        double x = (double)(1 + draw(&seed, 1000)) / 1000, q4_k = in->tensors[i].cols > 1 ? 1e-3 * x * x * x : 0;
        double q8_0 = q4_k * (0.005 + 0.05 * draw(&seed, 100) / 100);
        costs[i] = (lr_plan_cost){ { [LR_RUNG_Q4_K] = q4_k, [LR_RUNG_Q8_0] = q8_0,
                                     [LR_RUNG_Q6_K] = q8_0 + (q4_k - q8_0) * 0.3 * draw(&seed, 100) / 100 } };
    }
    in->costs = costs;
}

/* ---- against trying everything ---- */

/* One layer, tied: 6 units with four rungs, and the embedding, which 4 bits leave at 8.                                */
static const model tiny = { "tiny", { SHAPE(1, 256, 4, 2, 64, 768, 1024, 64) }, 0, 0 };
enum { MOST_UNITS = 8 };

typedef struct unit {
    uint64_t bytes[LR_N_RUNGS];
    double kl[LR_N_RUNGS];
} unit;

/* The units as this file sees them: sizes from the formats, gate and up as one.                                       */
static int list_units(const lr_plan_input *in, unit *units) {
    int n = 0, gate = -1;
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        if (t->cols == 1) continue;
        int u = t->role == LR_W_UP ? gate : n++;
        if (t->role == LR_W_GATE) gate = u;
        lr_format formats[LR_N_RUNGS] = { t->role == LR_EMBED ? LR_Q8_0 : LR_Q4_K, LR_BLOCK_Q6_K, LR_Q8_0, LR_BF16 };
        double kl[LR_N_RUNGS] = { 0 };
        if (t->role == LR_EMBED) costs[i].kl[LR_RUNG_Q4_K] = costs[i].kl[LR_RUNG_Q8_0]; /* as measured: both are 8 bits */
        memcpy(kl, costs[i].kl, sizeof costs[i].kl);
        for (int r = 0; r < LR_N_RUNGS; r++) {
            lr_format_size size;
            assert_true(lr_format_measure(formats[r], (uint64_t)t->rows, (uint64_t)t->cols, &size));
            units[u].bytes[r] += formats[r] == LR_BF16 ? (uint64_t)(2 * t->rows * t->cols) : size.bytes;
            units[u].kl[r] += kl[r];
        }
    }
    return n;
}

enum { MOST_CHOICES = 1 << 14 }; /* 4 to the power of 7 */
static lr_plan_point choices[MOST_CHOICES];
static int n_choices;

static void list_choices(const unit *units, int n) {
    n_choices = 1 << 2 * n;
    assert_true(LR_N_RUNGS == 4 && n_choices <= MOST_CHOICES);
    for (int k = 0; k < n_choices; k++) {
        choices[k] = (lr_plan_point){ 0 };
        for (int i = 0; i < n; i++) {
            choices[k].bytes += units[i].bytes[k >> 2 * i & 3];
            choices[k].kl += units[i].kl[k >> 2 * i & 3];
        }
    }
}

/* The least KL of all choices of at most that many bytes; a negative number if there is none.                         */
static double best_of_all(uint64_t most_bytes) {
    double best = -1;
    for (int k = 0; k < n_choices; k++)
        if (choices[k].bytes <= most_bytes && (best < 0 || choices[k].kl < best)) best = choices[k].kl;
    return best;
}

static void test_against_all(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        lr_plan_input in = input_for(&tiny, LR_BF16);
        unit units[MOST_UNITS] = { 0 };
        lr_plan_mix m;
        draw_costs(&in, seed);
        int n = list_units(&in, units);
        assert_int_equal(n, 7);
        assert_int_equal(lr_plan_mix_open(&m, &in, NULL), LLMRUN_OK);
        list_choices(units, n);
        uint64_t vectors = m.least, largest = 0;
        for (int i = 0; i < n; i++) vectors -= units[i].bytes[0] < units[i].bytes[1] ? units[i].bytes[0] : units[i].bytes[1];
        for (size_t i = 0; i < m.n_steps; i++) largest = most(largest, m.steps[i].bytes);
        double last = INFINITY;
        for (double bits = 4; bits < 17; bits += 0.25) {
            uint64_t bound = (uint64_t)(bits * (double)m.n_params / 8);
            bool fits = lr_plan_mix_fill(&m, bits);
            assert_int_equal(fits, bound >= m.least);
            if (!fits) continue;
            assert_true(m.bytes <= bound && m.kl <= last * (1 + 1e-12));
            last = fmin(last, m.kl);
            double best = best_of_all(bound - vectors);
            double short_of_a_step = bound - vectors >= largest ? best_of_all(bound - vectors - largest) : -1;
            if (m.kl < best * (1 - 1e-12)) fail_msg("seed %d, %g bits: %g is better than the best, %g", (int)seed, bits, m.kl, best);
            if (short_of_a_step >= 0 && m.kl > short_of_a_step * (1 + 1e-12))
                fail_msg("seed %d, %g bits: %g, where a step less has %g", (int)seed, bits, m.kl, short_of_a_step);
        }
        uint64_t at = m.least; /* where a step just fills the room, nothing is better */
        for (size_t i = 0; i < m.n_steps; i++) {
            at += m.steps[i].bytes;
            assert_true(lr_plan_mix_fill(&m, 8 * ((double)at + 0.5) / (double)m.n_params));
            assert_int_equal(m.bytes, at);
            double best = best_of_all(at - vectors);
            if (fabs(m.kl - best) > 1e-12 * best) fail_msg("seed %d, step %zu: %g, best %g", (int)seed, i, m.kl, best);
        }
        assert_true(m.bytes == m.most && m.kl == 0);
        lr_plan_mix_close(&m);
    }
}

/* ---- plans ---- */

static double kl_of(const lr_plan_input *in, const lr_plan *p) {
    double kl = 0;
    for (size_t i = 0; i < in->n_tensors; i++) {
        lr_format f = p->placements[i].format;
        if (f == LR_Q4_K || f == LR_IQ4_NL) kl += costs[i].kl[LR_RUNG_Q4_K];
        else if (f == LR_BLOCK_Q6_K) kl += costs[i].kl[LR_RUNG_Q6_K];
        else if (f == LR_Q8_0) kl += costs[i].kl[LR_RUNG_Q8_0];
    }
    return kl;
}

/* Regions do not overlap, the converted tensors fill theirs without a hole, and nothing passes a budget.               */
static void check_host(const lr_plan *p, const lr_plan_input *in) {
    uint64_t end = 0, block = 0;
    for (size_t i = 0; i < p->n_regions; i++) {
        assert_true(p->regions[i].offset >= end && p->regions[i].bytes > 0);
        end = p->regions[i].offset + p->regions[i].bytes;
    }
    assert_true(end <= p->arena_bytes && p->needed_bytes <= in->host.budget_bytes);
    for (size_t i = 0; i < p->n_tensors; i++) {
        const lr_plan_placement *a = &p->placements[i];
        if (!a->converted || a->place != LR_PLACE_HOST) continue;
        block += a->bytes;
        assert_true(a->offset + a->bytes <= p->weights_bytes);
    }
    assert_int_equal(block, p->weights_bytes);
}

/* Gate and up run in one kernel.                                                                                      */
static void check_pairs(const lr_plan *p, const lr_plan_input *in) {
    for (size_t i = 1; i < in->n_tensors; i++)
        if (in->tensors[i].role == LR_W_UP && in->tensors[i - 1].role == LR_W_GATE)
            assert_int_equal(p->placements[i].format, p->placements[i - 1].format);
}

/* Budgets from just enough for 4 bits to enough for the file: costs fall, and none is above those of one precision.     */
static void test_budgets(void **state) {
    (void)state;
    static const char *const names[] = { "llama-2-7b", "llama-3.1-8b", "qwen3-0.6b", "tinyllama-1.1b", "mistral-7b", "qwen2-0.5b" };
    int mixed = 0;
    for (size_t k = 0; k < LR_COUNT(names); k++) {
        lr_plan_input in = input_for(model_named(names[k]), LR_BF16), one = in;
        lr_plan least, most_bits, p, uniform;
        in.n_ctx = one.n_ctx = 2048;
        one.quant_bits = 4;
        must_fit(&least, &one);
        one.quant_bits = 0;
        must_fit(&most_bits, &one);
        draw_costs(&in, k + 1);
        double last = INFINITY;
        for (int step = 0; step <= 16; step++) {
            in.host.budget_bytes = least.needed_bytes + (most_bits.needed_bytes - least.needed_bytes) / 16 * (uint64_t)step;
            must_fit(&p, &in);
            check_host(&p, &in);
            check_pairs(&p, &in);
            one = in;
            one.costs = NULL;
            must_fit(&uniform, &one);
            double kl = kl_of(&in, &p), plain = kl_of(&one, &uniform);
            assert_true(kl <= plain);
            if (p.n_batch == uniform.n_batch && p.n_ctx == uniform.n_ctx && kl > last)
                print_message("%s: step %d: %g after %g\n", names[k], step, kl, last);
            last = kl;
            assert_int_equal(p.formats != NULL, p.mixed_bits > 0);
            if (p.formats) {
                assert_true(fabs(p.kl - kl) <= 1e-9 * kl + 1e-15 && !p.quant_kept);
                assert_non_null(strstr(p.why, "mixed"));
                assert_true((double)p.weight_bytes * 8 <= p.mixed_bits * (double)p.n_params);
                mixed++;
            }
            check_replay(&p, &in);
            lr_plan_close(&p);
            lr_plan_close(&uniform);
        }
        assert_true(last <= kl_of(&in, &most_bits));
        lr_plan_close(&least);
        lr_plan_close(&most_bits);
    }
    assert_true(mixed > 40);
}

/* All on GPUs: in their budgets by the rules of every plan.  Layers on the CPU: bits are no use there.                 */
static void test_gpus(void **state) {
    (void)state;
    const uint64_t sets[][2] = { { 6 * GIB, 0 }, { 8 * GIB, 0 }, { 11 * GIB, 0 }, { 4 * GIB, 3 * GIB }, { 6 * GIB, 5 * GIB },
                                 { 3 * GIB, 0 } };
    for (size_t k = 0; k < LR_COUNT(sets); k++) {
        lr_plan_input in = with_gpus(model_named("llama-2-7b"), LR_F16, sets[k][1] ? 2 : 1, sets[k]);
        lr_plan p;
        in.n_ctx = 1024;
        draw_costs(&in, 77);
        must_fit(&p, &in);
        check_plan(&p, &in);
        check_pairs(&p, &in);
        check_replay(&p, &in);
        assert_int_equal(p.formats != NULL, sets[k][0] > 3 * GIB);
        if (p.formats) assert_int_equal(p.n_host_layers, 0);
        lr_plan_close(&p);
    }
}

static void test_asked(void **state) {
    (void)state;
    lr_plan_input in = input_for(model_named("tinyllama-1.1b"), LR_BF16);
    lr_plan p, again;
    llmrun_error err = { 0 };
    double last = INFINITY;
    in.mixed = true;
    assert_int_equal(lr_plan_make(&p, &in, &err), LLMRUN_ARG);
    assert_non_null(strstr(err.message, "costs"));
    draw_costs(&in, 3);
    for (double bits = 5.25; bits <= 17; bits += 1.25) {
        in.mixed_bits = bits;
        must_fit(&p, &in);
        double really = 8 * (double)p.weight_bytes / (double)p.n_params, kl = kl_of(&in, &p);
        assert_true(really <= bits && (really > bits - 0.5 || bits > 16) && kl <= last);
        last = kl;
        check_host(&p, &in);
        check_replay(&p, &in);
        must_fit(&again, &in);
        assert_int_equal(again.hash, p.hash);
        lr_plan_close(&again);
        lr_plan_close(&p);
    }
    assert_true(last == 0);
    in.mixed_bits = 4;
    assert_int_equal(lr_plan_make(&p, &in, &err), LLMRUN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "bits a weight"));

    in.mixed_bits = 8; /* too much for the budget: fewer bits, or a larger one */
    in.host.budget_bytes = 900 * MIB;
    assert_int_equal(lr_plan_make(&p, &in, &err), LLMRUN_NOMEM);
    assert_non_null(strstr(err.message, "--quant 4bit"));
    in.mixed_bits = 0; /* as many as fit */
    must_fit(&p, &in);
    check_host(&p, &in);
    assert_true(p.formats && p.mixed_bits > 5 && p.mixed_bits < 8);
    lr_plan_close(&p);
    in.prefer = LR_PREFER_SPEED; /* auto: 4 bits at once, and they stay */
    in.mixed = false;
    must_fit(&p, &in);
    assert_true(!p.formats && p.quant == LR_Q4_K);
    lr_plan_close(&p);
    costs[5].kl[LR_RUNG_Q6_K] = (double)NAN;
    assert_int_equal(lr_plan_make(&p, &in, &err), LLMRUN_ARG);
    assert_non_null(strstr(err.message, "tensor 5"));
}

/* Documents with wrong words: a sentence, and never another plan under the same hash.                                 */
static void test_damaged_plans(void **state) {
    (void)state;
    lr_plan_input in = input_for(&tinystories, LR_F16);
    lr_plan p, again;
    lr_text json = { 0 };
    uint64_t rng = 9;
    llmrun_error err;
    in.mixed = true;
    in.mixed_bits = 9;
    draw_costs(&in, 4);
    must_fit(&p, &in);
    lr_plan_json(&p, &in, &json);
    char *asked = strstr(json.text, "\"asked\": \"q8_0\"");
    assert_non_null(asked);
    asked[12] = '9';
    assert_int_equal(lr_plan_replay(&again, &in, json.text, &err), LLMRUN_FORMAT);
    assert_non_null(strstr(err.message, "asked"));
    asked[12] = '8';
    replay_damaged(&in, &p, &json, 1500, &rng);
    lr_plan_close(&p);
    lr_free(json.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_all), cmocka_unit_test(test_budgets), cmocka_unit_test(test_gpus),
        cmocka_unit_test(test_asked), cmocka_unit_test(test_damaged_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
