/* Every family against Hugging Face transformers: tiny seeded checkpoints (tests/golden/make_model_golden.py), logits of
 * all tokens, for one token at a time and for chunks of any size, at every instruction set of this CPU.               */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/kernels.h"
#include "tests/golden.h"

static double run(const golden *g, const char *name, const char *quant, const char *kv, const char *isa, int chunk) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", GOLDEN_MODELS, name);
    llmrun_options o = golden_options(path);
    o.quant = quant;
    o.kv = kv;
    o.cpu_isa = isa;
    return run_golden(g, o, chunk);
}

static void check_model(const char *name) {
    static const struct { const char *quant, *kv; double few, many; } bounds[] = {
        {"f32", "f32", 1e-5, 1e-5}, /* exact and approximate gelu differ by more */
        {"f16", "f16", 2e-3, 1e-2}, /* many tokens: bf16 dot products */
    };
    static const int chunks[] = {1, 2, 7, 16, 40};
    static golden g;
    char head[512];
    snprintf(head, sizeof head, "%s%s/", GOLDEN_MODELS, name);
    read_golden(&g, head);
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (size_t b = 0; b < LR_COUNT(bounds); b++)
        for (int i = 0; i < n_isa; i++)
            for (size_t c = 0; c < LR_COUNT(chunks); c++) {
                double error = run(&g, name, bounds[b].quant, bounds[b].kv, isa[i], chunks[c]);
                double bound = chunks[c] <= 8 ? bounds[b].few : bounds[b].many;
                print_message("%-20s %-4s %-7s chunk %2d  error %.1e\n", name, bounds[b].quant, isa[i], chunks[c], error);
                if (!(error <= bound)) fail_msg("%s %s %s chunk %d: error %g above %g", name, bounds[b].quant, isa[i], chunks[c], error, bound);
            }
}

static void golden_logits(void **state) {
    (void)state;
    assert_true(each_golden(GOLDEN_MODELS, check_model) >= 36);
}

/* A wrong model must not pass: the logits of one family are far from those of another.                               */
static void goldens_differ(void **state) {
    (void)state;
    static golden g;
    read_file(GOLDEN_MODELS "llama-mha/", "tokens.i32", g.tokens, sizeof g.tokens);
    read_file(GOLDEN_MODELS "qwen3/", "logits.f32", g.logits, sizeof g.logits);
    assert_true(run(&g, "llama-mha", "f32", "f32", "auto", 40) > 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_logits), cmocka_unit_test(goldens_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
