/* Encoding with weights: what was asked to be small is small, weights of 1 change nothing, and every instruction set gives
 * the same bytes.                                                                                                     */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/encoders.h"

enum { WEIGHTED = 1024 };

static double weighted_error(lr_format format, const void *quants, const void *scales, const float *x, const float *w) {
    float y[WEIGHTED];
    double sum = 0;
    lr_formats[format].decode(y, quants, scales, WEIGHTED);
    for (int i = 0; i < WEIGHTED; i++) sum += (double)w[i] * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sum;
}

/* What is asked to be small is smaller than without the weights, for every format that has a choice.                   */
static void test_weighted_encoding(void **user) {
    (void)user;
    static const lr_format formats[] = { LR_Q4_K, LR_IQ4_NL, LR_NF4, LR_BLOCK_Q4_0, LR_BLOCK_Q4_K, LR_BLOCK_IQ4_NL };
    _Alignas(64) uint8_t quants[2 * WEIGHTED], scales[WEIGHTED], plain_quants[2 * WEIGHTED], plain_scales[WEIGHTED];
    float x[WEIGHTED], w[WEIGHTED], ones[WEIGHTED];
    uint32_t state = 3;
    for (int i = 0; i < WEIGHTED; i++) {
        float u[3];
        for (int k = 0; k < 3; k++) u[k] = (float)((state = state * 1664525u + 1013904223u) >> 8) / (float)(1 << 24) - 0.5f;
        x[i] = u[0] + u[1];
        w[i] = 0.01f + (u[2] > 0.4f ? 30 * u[2] : u[2] + 0.5f); /* a tenth of the columns matters */
        ones[i] = 1;
    }
    for (size_t f = 0; f < LR_COUNT(formats); f++) {
        lr_format format = formats[f];
        lr_formats[format].encode(plain_quants, plain_scales, x, WEIGHTED);
        assert_true(lr_encode_weighted(format, quants, scales, x, w, WEIGHTED));
        double plain = weighted_error(format, plain_quants, plain_scales, x, w);
        double weighted = weighted_error(format, quants, scales, x, w);
        if (!(weighted < 0.97 * plain)) fail_msg("%s: %g, without weights %g", lr_formats[format].name, weighted, plain);
        if (format == LR_NF4 || format == LR_BLOCK_Q4_0) continue; /* without weights they search for nothing */
        assert_true(lr_encode_weighted(format, quants, scales, x, ones, WEIGHTED));
        assert_memory_equal(quants, plain_quants, WEIGHTED / lr_formats[format].block * lr_formats[format].quant_bytes);
    }
    assert_false(lr_encode_weighted(LR_Q8_0, quants, scales, x, w, WEIGHTED));
}

/* Every instruction set gives the same bytes.                                                                          */
static void test_weighted_sets(void **user) {
    (void)user;
    const lr_encoders *sets[3];
    int n = lr_encoders_list(sets);
    uint8_t quants[2][WEIGHTED / 2], scales[2][WEIGHTED];
    float x[WEIGHTED], w[WEIGHTED];
    uint32_t state = 9;
    for (int i = 0; i < WEIGHTED; i++) {
        x[i] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
        w[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-20f + 1e-3f;
    }
    x[5] = 40;
    memset(x + 64, 0, 32 * sizeof *x);
    for (int s = 1; s < n; s++) {
        sets[0]->q4_k_weighted(quants[0], scales[0], x, w, WEIGHTED);
        sets[s]->q4_k_weighted(quants[1], scales[1], x, w, WEIGHTED);
        assert_memory_equal(quants[0], quants[1], WEIGHTED / 2);
        assert_memory_equal(scales[0], scales[1], WEIGHTED / 16);
        sets[0]->iq4_nl_weighted(quants[0], scales[0], x, w, WEIGHTED);
        sets[s]->iq4_nl_weighted(quants[1], scales[1], x, w, WEIGHTED);
        assert_memory_equal(quants[0], quants[1], WEIGHTED / 2);
        assert_memory_equal(scales[0], scales[1], WEIGHTED / 16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_weighted_encoding), cmocka_unit_test(test_weighted_sets) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
