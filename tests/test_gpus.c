/* Whole models on simulated GPUs: the same text and the same logits wherever the plan puts the layers, and memory to the
 * byte.  Golden models are tiny, so a budget of some KiB splits them.                                                */
#include "tests/gpu_models.h"

static const char *const models[] = {
    "llama-mha",    "llama-rope-linear", "llama-rope3", "llama-tied-biases", "mistral-head-dim",
    "mistral-window", "qwen2-tied",      "qwen2-window", "qwen3",            "qwen3-yarn",
};

/* ---- the same everywhere ---- */

static const struct precision {
    const char *quant, *kv;
    double bound; /* between CPU and GPU: each is within half of it of exact arithmetic */
} precisions[] = {
    { "f32", "f32", 2e-4 }, { "f16", "f16", 2e-2 }, { "q8_0", "f16", 6e-2 }, { "q4_k", "f16", 6e-2 }, { "nf4", "f16", 6e-2 },
};

/* One GPU whose budget goes down from all of the model to nothing: every number of host layers, then a refusal.        */
static void check_budgets(const setup *base, const trace *want, double bound) {
    uint64_t bytes;
    llmrun_engine *e;
    setup s = *base;
    char gpus[32];
    s.gpus = "1x64M";
    EXPECT_OK(open_setup(&e, &s));
    bytes = e->plan.gpus[0].total_bytes;
    llmrun_engine_close(e);
    bool refused = false;
    int32_t least = -1, host_layers;
    s.gpus = gpus;
    for (int step = 16; step >= 0; step -= QUICK ? 4 : 1) {
        static trace got;
        snprintf(gpus, sizeof gpus, "1x%llu", (unsigned long long)(bytes * (uint64_t)step / 16 / 256 * 256 + 256));
        if (open_setup(&e, &s)) {
            if (err.status != LLMRUN_VRAM) fail_msg("%s: %s", gpus, err.message);
            refused = true;
            continue;
        }
        llmrun_engine_close(e);
        run_setup(&s, &got, want, &host_layers);
        double error = error_of(&got, want);
        if (!(error <= bound)) fail_msg("%s %s on %s: error %.2g", s.model, s.quant, gpus, error);
        check_text(&got, want, error, gpus);
        assert_true(host_layers >= least);
        least = host_layers;
    }
    assert_true(refused);
    assert_true(least > 0);
}

static void same_everywhere(void **state) {
    (void)state;
    static trace cpu, one, other;
    static const char *const sets[] = { "2x64M", "4x64M", "3x64M:100:10" };
    for (size_t m = 0; m < LR_COUNT(models); m += QUICK ? 4 : 1)
        for (size_t p = 0; p < LR_COUNT(precisions); p++) {
            setup s = { .model = models[m], .quant = precisions[p].quant, .kv = precisions[p].kv, .n_batch = 16 };
            run_setup(&s, &cpu, NULL, NULL);
            s.gpus = "1x64M";
            run_setup(&s, &one, &cpu, NULL);
            double error = error_of(&one, &cpu);
            print_message("%-18s %-5s GPU against CPU %.1e\n", s.model, s.quant, error);
            if (!(error <= precisions[p].bound)) fail_msg("%s %s: error %.2g", s.model, s.quant, error);
            check_text(&one, &cpu, error, s.model);
            for (size_t i = 0; i < LR_COUNT(sets); i++) {
                s.gpus = sets[i];
                llmrun_engine *e;
                if (open_setup(&e, &s)) fail_msg("%s %s: %s", s.model, s.gpus, err.message);
                llmrun_engine_close(e);
                run_setup(&s, &other, &cpu, NULL);
                if (!identical(&other, &one)) fail_msg("%s %s: %s differs from one GPU", s.model, s.quant, s.gpus);
            }
            if (p == 1 || m == 0) check_budgets(&s, &cpu, precisions[p].bound);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_everywhere),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
