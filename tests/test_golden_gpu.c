/* Every family on simulated GPUs against Hugging Face transformers: whole models on one GPU, on two, and with layers that
 * stay on the CPU.                                                                                                    */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/base.h"
#include "tests/golden.h"

static double run(const golden *g, const char *name, const char *quant, const char *gpus, int chunk) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", GOLDEN_MODELS, name);
    llmrun_options o = golden_options(path);
    o.quant = quant;
    o.kv = strcmp(quant, "f32") == 0 ? "f32" : "f16";
    o.device = "sim";
    o.sim_gpus = gpus;
    return run_golden(g, o, chunk);
}

static void check_model(const char *name) {
    static const struct { const char *quant, *gpus; int chunk; double bound; } runs[] = {
        { "f16", "1x64M", 1, 2e-3 }, { "f16", "1x64M", 40, 1e-2 }, { "f16", "2x64M", 7, 2e-3 },
        { "f16", "1x76K", 16, 1e-2 }, /* what stays on the CPU: bf16 dot products */
    };
    static golden g;
    char head[512];
    snprintf(head, sizeof head, "%s%s/", GOLDEN_MODELS, name);
    read_golden(&g, head);
    for (size_t i = 0; i < LR_COUNT(runs); i++) {
        double error = run(&g, name, runs[i].quant, runs[i].gpus, runs[i].chunk);
        print_message("%-20s %-4s %-6s chunk %2d  error %.1e\n", name, runs[i].quant, runs[i].gpus, runs[i].chunk, error);
        if (!(error <= runs[i].bound)) fail_msg("%s on %s: error %g above %g", name, runs[i].gpus, error, runs[i].bound);
    }
}

static void golden_logits(void **state) {
    (void)state;
    assert_true(each_golden(GOLDEN_MODELS, check_model) >= 36);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(golden_logits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
