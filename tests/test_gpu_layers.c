/* Latent attention and gated delta nets on simulated GPUs: the same logits and text as the CPU's, however layers are
 * split, in the memory that was planned.                                                                              */
#include "tests/gpu_models.h"

static const struct { const char *model, *quant, *kv; double bound; } cases[] = {
    { "deepseek-v2-dense", "f16", "f16", 1e-2 },
    { "deepseek-v2-groups", "f16", "f16", 2e-2 },
    { "deepseek-v2-yarn", "f16", "q8_0", 3e-2 },
    { "deepseek-v2-dense", "8bit", "f16", 4e-2 }, /* with fewer bits rounding would choose other experts */
    { "qwen3-next", "f32", "f32", 1e-4 },
    { "qwen3-next", "f16", "f16", 2e-2 },
    { "qwen3.5", "f16", "f16", 1e-2 },
    { "qwen3.5", "8bit", "f16", 4e-2 },
    { "qwen3.5-moe", "bf16", "f16", 2e-2 },
};

static void check_places(const setup *s) {
    llmrun_engine *e;
    EXPECT_OK(open_setup(&e, s));
    for (int32_t l = 0; l < e->binding.hparams.n_layers; l++)
        assert_int_not_equal(e->plan.place[l * LR_N_GROUPS + LR_GROUP_ATTN], LR_PLACE_HOST);
    llmrun_engine_close(e);
}

/* Alone on a GPU or two: the same bits.                                                                              */
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

/* Layers left to the CPU, and streamed.                                                                              */
static void offload(void **state) {
    (void)state;
    static const char *const sets[] = { "1x96K", "1x72K", "1x56K", "1x40K", "2x32K" };
    const char *model = *state;
    static trace cpu, got;
    int n_run = 0;
    setup s = { .model = model, .quant = "f16", .kv = "f16", .n_batch = 16 };
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

/* Sessions at different places, one of them a copy: logits of the last of three tokens of each.                      */
static void share_passes(const char *gpus, float logits[3][VOCAB_MOST]) {
    setup s = { .model = "qwen3.5", .quant = "f16", .kv = "f16", .n_batch = 16, .n_sessions = 3, .gpus = gpus };
    llmrun_engine *e;
    llmrun_session *sessions[3];
    int32_t tokens[16], n_vocab;
    EXPECT_OK(open_setup(&e, &s));
    n_vocab = e->binding.hparams.n_vocab;
    for (int32_t i = 0; i < 16; i++) tokens[i] = 3 + i * 7 % (n_vocab - 3);
    for (int i = 0; i < 3; i++) EXPECT_OK(llmrun_session_open(&sessions[i], e, &err));
    EXPECT_OK(llmrun_session_eval(sessions[0], tokens, 11, NULL, &err));
    EXPECT_OK(llmrun_session_eval(sessions[1], tokens + 4, 2, NULL, &err));
    EXPECT_OK(llmrun_session_copy(sessions[2], sessions[0], &err));
    for (int step = 0; step < 3; step++)
        EXPECT_OK(llmrun_batch_eval(sessions, tokens + 4 * step, 3, *logits, &err));
    for (int i = 2; i > 0; i--) memmove(logits[i], *logits + i * n_vocab, (size_t)n_vocab * sizeof(float));
    for (int i = 0; i < 3; i++) llmrun_session_close(sessions[i]);
    llmrun_engine_close(e);
}

static void states_of_sessions(void **state) {
    (void)state;
    static float cpu[3][VOCAB_MOST], gpu[3][VOCAB_MOST];
    enum { VOCAB = 96 };
    share_passes(NULL, cpu);
    share_passes("1x64M", gpu);
    check_clean("sessions");
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < VOCAB; j++)
            if (!(fabsf(cpu[i][j] - gpu[i][j]) <= 0.1f))
                fail_msg("session %d: %g, expected %g", i, (double)gpu[i][j], (double)cpu[i][j]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),
        { "offload_latent", offload, NULL, NULL, "deepseek-v2-dense" },
        { "offload_delta", offload, NULL, NULL, "qwen3.5" },
        cmocka_unit_test(states_of_sessions),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
