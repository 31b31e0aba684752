/* Latent attention on simulated GPUs: the same logits and text as the CPU's, however layers are split, in the memory that
 * was planned.                                                                                                        */
#include "tests/gpu_models.h"

static const struct { const char *model, *quant, *kv; double bound; } cases[] = {
    { "deepseek-v2-dense", "f16", "f16", 1e-2 },
    { "deepseek-v2-groups", "f16", "f16", 2e-2 },
    { "deepseek-v2-yarn", "f16", "q8_0", 3e-2 },
    { "deepseek-v2-dense", "8bit", "f16", 4e-2 }, /* with fewer bits rounding would choose other experts */
};

static void check_places(const setup *s) {
    llmrun_engine *e;
    EXPECT_OK(open_setup(&e, s));
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++)
        assert_int_not_equal(e->plan.place[l * LR_N_GROUPS + LR_GROUP_ATTN], LR_PLACE_HOST);
    llmrun_engine_close(e);
}

/* Alone on a GPU or two: the same bits.                                                                               */
static void splits(void **state) {
    (void)state;
    static trace cpu, one, two;
    for (size_t i = 0; i < LR_COUNT(cases); i++) {
        setup s = { .model = cases[i].model, .quant = cases[i].quant, .kv = cases[i].kv, .n_batch = 16 };
        run_setup(&s, &cpu, NULL, NULL);
        s.gpus = "1x64M";
        check_places(&s);
        run_setup(&s, &one, &cpu, NULL);
        double error = error_of(&one, &cpu);
        if (!(error <= cases[i].bound)) fail_msg("%s %s: error %.2g", s.model, s.quant, error);
        check_text(&one, &cpu, error, s.model);
        s.gpus = "2x64M";
        run_setup(&s, &two, &one, NULL);
        assert_true(identical(&one, &two));
    }
}

/* Layers left to the CPU, and streamed.                                                                               */
static void offload(void **state) {
    (void)state;
    static const char *const sets[] = { "1x96K", "1x72K", "1x56K", "1x40K", "2x32K" };
    static trace cpu, got;
    int n_run = 0;
    setup s = { .model = "deepseek-v2-dense", .quant = "f16", .kv = "f16", .n_batch = 16 };
    run_setup(&s, &cpu, NULL, NULL);
    for (size_t i = 0; i < 2 * LR_COUNT(sets); i++) {
        llmrun_engine *e;
        s.gpus = sets[i / 2];
        s.host_read = i % 2 ? 1e9 : 0;
        s.host_flops = i % 2 ? 1e9 : 0;
        if (open_setup(&e, &s)) { /* too small for a layer */
            if (err.status != LLMRUN_VRAM) fail_msg("%s %s: %s", s.model, s.gpus, err.message);
            continue;
        }
        llmrun_engine_close(e);
        run_setup(&s, &got, &cpu, NULL);
        double error = error_of(&got, &cpu);
        if (!(error <= 1e-2)) fail_msg("%s on %s: error %.2g", s.model, s.gpus, error);
        n_run++;
    }
    assert_true(n_run >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(splits), cmocka_unit_test(offload) };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
