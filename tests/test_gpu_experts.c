/* Mixtures of experts on simulated GPUs: the same logits and text as on the CPU, whether all experts fit on the GPUs, some
 * of the layers' or none; the same bits however the layers are split.                                                 */
#include "tests/gpu_models.h"

static const char *const models[] = { "mixtral",  "qwen3-moe", "qwen3-moe-sparse",  "qwen2-moe",
                                      "gpt-oss", "deepseek-v2-lite", "deepseek-v2-groups" };

/* Layers whose experts are on a GPU, of those that have experts.                                                      */
static int placed_experts(const llmrun_engine *e, int *n_layers) {
    const lr_hparams *h = &e->binding.hparams;
    int n = 0;
    *n_layers = 0;
    for (int32_t l = 0; l < h->n_layers; l++) {
        if (!lr_layer_has_experts(h, l)) continue;
        n += e->plan.place[l * LR_N_GROUPS + LR_GROUP_DOWN] != LR_PLACE_HOST;
        ++*n_layers;
    }
    return n;
}

/* Where experts have a place, what every token reads has one before.                                                  */
static void check_places(const llmrun_engine *e, const char *what) {
    const lr_hparams *h = &e->binding.hparams;
    int n_layers, n = placed_experts(e, &n_layers);
    for (int32_t l = 0; l < h->n_layers && n; l++) {
        const int8_t *at = &e->plan.place[l * LR_N_GROUPS];
        bool dense = !lr_layer_has_experts(h, l);
        if (!h->kv_rank && at[LR_GROUP_ATTN] == LR_PLACE_HOST) fail_msg("%s: layer %d: attention is left out", what, l);
        if (at[LR_GROUP_GATE_UP] == LR_PLACE_HOST) fail_msg("%s: layer %d: shared part is left out", what, l);
        if (dense && at[LR_GROUP_DOWN] == LR_PLACE_HOST) fail_msg("%s: layer %d: w_down is left out", what, l);
    }
}

/* Runs the model on a set of GPUs; false: they are too small for a layer.                                             */
static bool run_on(setup s, const char *gpus, const trace *cpu, trace *got, int *n_placed, int *n_layers) {
    llmrun_engine *e;
    char what[96];
    s.gpus = gpus;
    snprintf(what, sizeof what, "%s %s on %s", s.model, s.quant, gpus);
    if (open_setup(&e, &s)) {
        if (err.status != LLMRUN_VRAM) fail_msg("%s: %s", what, err.message);
        return false;
    }
    *n_placed = placed_experts(e, n_layers);
    check_places(e, what);
    llmrun_engine_close(e);
    run_setup(&s, got, cpu, NULL);
    double error = error_of(got, cpu), bound = strcmp(s.quant, "f32") == 0 ? 2e-4 : 2e-2;
    print_message("%-20s %s on %-8s experts of %d of %d layers, error %.1e\n", s.model, s.quant, gpus, *n_placed,
                  *n_layers, error);
    if (!(error <= bound)) fail_msg("%s: error %.2g above %.2g", what, error, bound);
    check_text(got, cpu, error, what);
    return true;
}

static void experts(void **state) {
    (void)state;
    static const struct { const char *quant, *kv; } precisions[] = {
        { "f32", "f32" }, { "f16", "f16" } /* with fewer bits rounding would choose other experts */
    };
    static const char *const sets[] = { "2x64M", "3x64M", "1x176K", "1x128K", "1x104K", "1x84K", "2x84K", "1x40K" };
    static trace cpu, whole, got;
    int n_partly = 0, n_none = 0;
    for (size_t m = 0; m < LR_COUNT(models); m++)
        for (size_t p = 0; p < LR_COUNT(precisions); p++) {
            setup s = { .model = models[m], .quant = precisions[p].quant, .kv = precisions[p].kv, .n_batch = 16 };
            int n, n_layers;
            if (p > 0 && strcmp(s.model, "deepseek-v2-groups") == 0) continue; /* two groups are nearly as good */
            run_setup(&s, &cpu, NULL, NULL);
            assert_true(run_on(s, "1x64M", &cpu, &whole, &n, &n_layers) && n == n_layers);
            for (size_t i = 0; i < LR_COUNT(sets); i++) {
                if (!run_on(s, sets[i], &cpu, &got, &n, &n_layers)) continue;
                n_partly += n > 0 && n < n_layers;
                n_none += n == 0;
                bool is_whole = strstr(sets[i], "64M");
                if (is_whole && !identical(&got, &whole)) fail_msg("%s on %s: other bits", s.model, sets[i]);
            }
        }
    assert_true(n_partly >= 4 && n_none >= 4);
}

/* ---- faults ---- */

/* Opens, reads a prompt, adds a token; the status of the first failure.                                               */
static llmrun_status live(const setup *s) {
    static float logits[VOCAB_MOST];
    llmrun_engine *e = NULL;
    llmrun_session *session = NULL;
    int32_t tokens[13];
    llmrun_status status = open_setup(&e, s);
    for (int32_t k = 0; k < 13; k++) tokens[k] = 3 + k * 5;
    if (!status) status = llmrun_session_open(&session, e, &err);
    if (!status) status = llmrun_session_eval(session, tokens, 12, logits, &err);
    if (!status) status = llmrun_session_eval(session, tokens + 12, 1, logits, &err);
    llmrun_session_close(session);
    llmrun_engine_close(e);
    return status;
}

static void faults_are_survived(void **state) {
    (void)state;
    static const struct { simgpu_fault kind; int error; } faults[] = {
        { SIMGPU_FAULT_LAUNCH, 719 }, { SIMGPU_FAULT_KERNEL, 700 }, { SIMGPU_FAULT_COPY, 719 }
    };
    setup s = { .model = "qwen2-moe", .quant = "f16", .kv = "f16", .n_batch = 16, .gpus = "2x64M" };
    int runs = 0;
    assert_int_equal(live(&s), LLMRUN_OK); /* makes the simulator that then counts the faults */
    for (size_t kind = 0; kind < LR_COUNT(faults); kind++)
        for (s.nth = 1;; s.nth += QUICK ? 7 : 2, runs++) {
            s.fault = faults[kind].kind;
            s.error = faults[kind].error;
            uint64_t before = sim.stat().faults_fired;
            llmrun_status status = live(&s);
            bool fired = sim.stat().faults_fired > before;
            sim.fail_at(s.fault, 0, 0);
            simgpu_stats left = sim.stat();
            assert_true(!left.live_allocations && !left.live_pinned && !left.live_streams && !left.live_events);
            if (!fired) {
                assert_int_equal(status, LLMRUN_OK);
                break;
            }
            if (status != LLMRUN_DEVICE) fail_msg("kind %d, call %d: status %d", (int)s.fault, s.nth, status);
            assert_true(err.message[0] && !strchr(err.message, '\n'));
        }
    print_message("%d runs ended by a fault\n", runs);
    s = (setup){ .model = "qwen2-moe", .quant = "f16", .kv = "f16", .n_batch = 16, .gpus = "1x84K" };
    assert_int_equal(live(&s), LLMRUN_OK);
}

/* ---- the virtual clock: what a plan says of prompts and tokens ---- */

static void plans_predict(void **state) {
    (void)state;
    enum { N_CTX = 512 };
    if (QUICK) skip(); /* the code is that of the other tests */
    static const setup setups[] = {
        { .model = "qwen3-moe", .quant = "f16", .kv = "f16", .gpus = "1x64M:0.1:0.001:0.1" },
        { .model = "mixtral", .quant = "f16", .kv = "f16", .gpus = "2x64M:0.1:0.001:0.1" },
        { .model = "mixtral", .quant = "f16", .kv = "f16", .gpus = "1x330K:0.1:0.01:0.01", .host_read = 5e7, .host_flops = 1e9 },
    };
    for (size_t i = 0; i < LR_COUNT(setups); i++) {
        static float logits[VOCAB_MOST];
        setup s = setups[i];
        llmrun_engine *e;
        llmrun_session *session;
        int32_t tokens[N_CTX];
        int n_layers;
        for (int32_t k = 0; k < N_CTX; k++) tokens[k] = 3 + k * 7 % 80;
        s.n_ctx = N_CTX;
        s.n_batch = 64;
        EXPECT_OK(open_setup(&e, &s));
        EXPECT_OK(llmrun_session_open(&session, e, &err));
        double start = sim.seconds();
        EXPECT_OK(llmrun_session_eval(session, tokens, N_CTX, logits, &err));
        double prefill = N_CTX / (sim.seconds() - start);
        EXPECT_OK(llmrun_session_rewind(session, N_CTX / 2 - 4, &err));
        start = sim.seconds();
        for (int k = 0; k < 8; k++) EXPECT_OK(llmrun_session_eval(session, tokens + k, 1, logits, &err));
        double decode = 8 / (sim.seconds() - start);
        double said_decode = e->plan.decode_tokens_per_s, said_prefill = e->plan.prefill_tokens_per_s;
        print_message("%s on %s, experts of %d layers: decode %.4g tokens/s, predicted %.4g; prefill %.4g, predicted %.4g\n",
                      s.model, s.gpus, placed_experts(e, &n_layers), decode, said_decode, prefill, said_prefill);
        llmrun_session_close(session);
        llmrun_engine_close(e);
        assert_true(fabs(said_decode / decode - 1) <= 0.05);
        assert_true(fabs(said_prefill / prefill - 1) <= 0.05);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(experts), cmocka_unit_test(faults_are_survived),
                                        cmocka_unit_test(plans_predict) };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
