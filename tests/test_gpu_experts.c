/* Mixtures of experts on simulated GPUs: attention and shared parts there, experts on the CPU; the same logits and text,
 * whatever a GPU has room for.                                                                                        */
#include "tests/gpu_models.h"

static const char *const models[] = { "mixtral", "qwen3-moe", "qwen3-moe-sparse", "qwen2-moe" };

static void check_places(const setup *s) {
    llmrun_engine *e;
    EXPECT_OK(open_setup(&e, s));
    const lr_hparams *h = &e->binding.hparams;
    for (int32_t l = 0; l < h->n_layers; l++) {
        const int8_t *at = &e->plan.place[l * LR_N_GROUPS];
        bool gated = e->layers[l].experts.shared_gate.quants != NULL; /* no kernels for that yet */
        assert_int_equal(at[LR_GROUP_ATTN] == LR_PLACE_HOST, false);
        assert_int_equal(at[LR_GROUP_GATE_UP] == LR_PLACE_HOST, gated);
        assert_int_equal(at[LR_GROUP_DOWN] == LR_PLACE_HOST, lr_layer_has_experts(h, l));
    }
    llmrun_engine_close(e);
}

static void experts_on_the_cpu(void **state) {
    (void)state;
    static const struct { const char *quant, *kv; double bound; } precisions[] = {
        { "f32", "f32", 2e-4 }, { "f16", "f16", 2e-2 } /* with fewer bits rounding would choose other experts */
    };
    static const char *const sets[] = { "1x64M", "2x64M", "1x56K", "1x40K", "1x28K" };
    static trace cpu, got;
    for (size_t m = 0; m < LR_COUNT(models); m++)
        for (size_t p = 0; p < LR_COUNT(precisions); p++) {
            setup s = { .model = models[m], .quant = precisions[p].quant, .kv = precisions[p].kv, .n_batch = 16 };
            run_setup(&s, &cpu, NULL, NULL);
            s.gpus = sets[0];
            check_places(&s);
            int n_run = 0;
            for (size_t i = 0; i < LR_COUNT(sets); i++) {
                llmrun_engine *e;
                s.gpus = sets[i];
                if (open_setup(&e, &s)) { /* too small for a layer */
                    if (err.status != LLMRUN_VRAM) fail_msg("%s %s: %s", s.model, s.gpus, err.message);
                    continue;
                }
                llmrun_engine_close(e);
                run_setup(&s, &got, &cpu, NULL);
                double error = error_of(&got, &cpu);
                if (!(error <= precisions[p].bound)) fail_msg("%s %s on %s: error %.2g", s.model, s.quant, s.gpus, error);
                check_text(&got, &cpu, error, s.gpus);
                n_run++;
            }
            assert_true(n_run >= 2);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(experts_on_the_cpu) };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
