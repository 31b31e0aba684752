/* gpt-oss as it is published, experts in MXFP4: against transformers on the decoded weights, kept in that format, and
 * converted to others.                                                                                                */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/kernels.h"
#include "runtime/engine.h"
#include "tests/golden.h"

#define MODEL "tests/golden/packed/gpt-oss-mxfp4"

static void published(void **state) {
    (void)state;
    static const struct { const char *quant, *kv; double exact, rounded; } bounds[] = {
        { "auto", "f32", 1e-3, 3e-2 }, /* weights other than experts are f16; rounded: int8 activations */
        { "f32", "f32", 1e-5, 1e-5 },
        { "f16", "f16", 2e-3, 1e-2 },
    };
    static const int chunks[] = { 1, 7, 40 };
    static golden g;
    const char *isa[3];
    read_golden(&g, MODEL "/");
    int n_isa = lr_cpu_isa_list(isa);
    for (size_t b = 0; b < LR_COUNT(bounds); b++)
        for (int i = 0; i < n_isa; i++)
            for (size_t c = 0; c < LR_COUNT(chunks); c++) {
                llmrun_options o = golden_options(MODEL);
                o.quant = bounds[b].quant;
                o.kv = bounds[b].kv;
                o.cpu_isa = isa[i];
                double error = run_golden(&g, o, chunks[c]);
                print_message("%-5s %-7s chunk %2d  error %.1e\n", bounds[b].quant, isa[i], chunks[c], error);
                if (!(error <= (strcmp(isa[i], "c") == 0 ? bounds[b].exact : bounds[b].rounded)))
                    fail_msg("%s %s chunk %d: error %.2g", bounds[b].quant, isa[i], chunks[c], error);
            }
}

/* Kept means: the plan has them in their blocks.                                                                      */
static void kept(void **state) {
    (void)state;
    llmrun_options o = golden_options(MODEL);
    llmrun_engine *e;
    llmrun_error err;
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    int n = 0;
    for (size_t i = 0; i < e->binding.n; i++) {
        if (!e->binding.tensors[i].experts || e->binding.tensors[i].cols == 1) continue;
        assert_int_equal(e->plan.placements[i].format, LR_BLOCK_MXFP4);
        n++;
    }
    assert_int_equal(n, 3 * e->binding.hparams.n_layers);
    llmrun_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(published), cmocka_unit_test(kept) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
