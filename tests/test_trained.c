/* Trained models against Hugging Face transformers in float32, over 256 tokens, in every format.  The models are no part
 * of the repository: without ../shared the test says so and skips.                                                    */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/base.h"

enum { N = 256, STEP = 16 };

/* Bounds of the design: max |d| / max |ref|.                                                                          */
static const struct { const char *quant, *kv; double bound; } runs[] = {
    {"f32", "f32", 1e-4},
    {"f16", "f16", 1e-2}, /* chunks of 64: bf16 dot products */
    {"bf16", "f16", 2e-2},
};

static float *read_floats(const char *name, const char *what, size_t n) {
    char path[256];
    snprintf(path, sizeof path, "tests/golden/trained/%s.%s", name, what);
    float *x = malloc(n * sizeof *x);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(x, sizeof *x, n, f), n);
    fclose(f);
    return x;
}

static void check(const char *name, int n_vocab) {
    char path[256];
    snprintf(path, sizeof path, "../shared/data/models/%s", name);
    if (access(path, R_OK) != 0) {
        print_message("%s is not here: skipped\n", path);
        skip();
    }
    int32_t *tokens = (int32_t *)read_floats(name, "tokens.i32", N);
    float *want = read_floats(name, "logits.f32", (size_t)(N / STEP) * (size_t)n_vocab);
    float *got = malloc((size_t)N * (size_t)n_vocab * sizeof *got);
    for (size_t r = 0; r < LR_COUNT(runs); r++) {
        llmrun_options o;
        llmrun_options_default(&o);
        o.model = path;
        o.quant = runs[r].quant;
        o.kv = runs[r].kv;
        o.n_batch = 64;
        o.cache_dir = "";
        llmrun_engine *e;
        llmrun_session *s;
        llmrun_error err;
        if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
        assert_int_equal(llmrun_session_open(&s, e, &err), LLMRUN_OK);
        if (llmrun_session_eval_all(s, tokens, N, got, &err)) fail_msg("%s", err.message);
        double worst = 0, most = 0;
        for (int i = 0; i < N / STEP; i++)
            for (int v = 0; v < n_vocab; v++) {
                double ref = want[i * n_vocab + v], d = fabs(ref - got[(i * STEP + STEP - 1) * n_vocab + v]);
                if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
                most = fmax(most, fabs(ref));
            }
        print_message("%-17s %-4s error %.1e\n", name, runs[r].quant, worst / most);
        if (!(worst / most <= runs[r].bound)) fail_msg("%s %s: error %g above %g", name, runs[r].quant, worst / most, runs[r].bound);
        llmrun_session_close(s);
        llmrun_engine_close(e);
    }
    free(tokens);
    free(want);
    free(got);
}

static void stories260k(void **state) {
    (void)state;
    check("stories260K", 512);
}
static void tinystories_656k(void **state) {
    (void)state;
    check("TinyStories-656K", 2048);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stories260k), cmocka_unit_test(tinystories_656k)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
