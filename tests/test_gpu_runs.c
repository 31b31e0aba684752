/* Life on simulated GPUs: a larger model over four of them, streamed layers, recorded steps, sessions, and every fault
 * that a driver can report.                                                                                            */
#include "tests/gpu_models.h"

static trace cpu, one, other;

/* ---- a model of eight layers ---- */

static const char demo[] = "models/demo";

static void four_devices(void **state) {
    (void)state;
    static const struct {
        const char *gpus;
        int32_t n_host_layers; /* -1: some */
    } sets[] = { { "2x64M", 0 }, { "4x64M", 0 }, { "5M,3M,4M,12M", 0 }, { "2500K,2200K", -1 }, { "1x6M", -1 } };
    for (int quantized = QUICK; quantized < 2; quantized++) {
        setup s = { .model = demo, .quant = quantized ? "q4_k" : "f16", .kv = quantized ? "q8_0" : "f16", .n_batch = 16 };
        double bound = quantized ? 6e-2 : 2e-2;
        run_setup(&s, &cpu, NULL, NULL);
        s.gpus = "1x64M";
        run_setup(&s, &one, &cpu, NULL);
        double error = error_of(&one, &cpu);
        print_message("demo %s: GPU against CPU %.1e\n", s.quant, error);
        assert_true(error <= bound);
        check_text(&one, &cpu, error, s.gpus);
        for (size_t i = 0; i < LR_COUNT(sets); i++) {
            int32_t n_host_layers;
            s.gpus = sets[i].gpus;
            if (quantized && sets[i].n_host_layers) continue; /* all of it fits there */
            run_setup(&s, &other, &cpu, &n_host_layers);
            if (sets[i].n_host_layers == 0) {
                assert_int_equal(n_host_layers, 0);
                if (!identical(&other, &one)) fail_msg("%s: %s differs from one GPU", s.quant, s.gpus);
            } else {
                assert_true(n_host_layers > 0);
                error = error_of(&other, &cpu);
                assert_true(error <= bound);
                check_text(&other, &cpu, error, s.gpus);
            }
        }
    }
}

/* ---- streams ---- */

/* A slow CPU beside a fast link, and a GPU that holds a part of the model: long passes send the rest to it, single tokens
 * perhaps not.                                                                                                        */
static const setup streaming = { .model = demo, .quant = "f16", .kv = "f16", .n_batch = 8, .gpus = "1x6M:100:10:10",
                                 .host_read = 20e9, .host_flops = 5e9 };

static void streamed_layers(void **state) {
    (void)state;
    setup s = streaming, on_cpu = s;
    llmrun_engine *e;
    EXPECT_OK(open_setup(&e, &s));
    int32_t from = e->plan.stream_from, n_host_layers;
    llmrun_engine_close(e);
    if (from < 1 || from > 8) fail_msg("streams from %d tokens", from);
    on_cpu.gpus = NULL;
    run_setup(&on_cpu, &cpu, NULL, NULL);
    run_setup(&s, &other, &cpu, &n_host_layers);
    assert_true(n_host_layers > 0);
    double error = error_of(&other, &cpu);
    print_message("%d layers of the host streamed from %d tokens on: error %.1e\n", n_host_layers, from, error);
    assert_true(error <= 2e-2);
    check_text(&other, &cpu, error, s.model);
}

/* ---- recorded steps ---- */

static void recorded_steps(void **state) {
    (void)state;
    static const char *const sets[] = { "1x64M", "2x64M", "1x56K" };
    for (size_t i = 0; i < LR_COUNT(sets); i++) {
        setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16, .gpus = sets[i] };
        run_setup(&s, &one, NULL, NULL);
        setenv("LLMRUN_GRAPHS", "1", 1);
        llmrun_engine *e;
        EXPECT_OK(open_setup(&e, &s));
        assert_true(e->n_recordings > 0);
        llmrun_engine_close(e);
        run_setup(&s, &other, &one, NULL);
        unsetenv("LLMRUN_GRAPHS");
        if (!identical(&other, &one)) fail_msg("%s: recorded steps give other bits", s.gpus);
    }
}

/* ---- sessions ---- */

static float *row(float *logits, int i) { return logits + (size_t)i * VOCAB_MOST; }

/* Copy, save, restore, rewind and batches, with caches on two GPUs and on the host.                                    */
static void sessions(void **state) {
    (void)state;
    static const char *const sets[] = { "1x64M", "2x64M", "1x90K" };
    char *dir = new_directory();
    for (size_t i = 0; i < LR_COUNT(sets); i++) {
        setup s = { .model = "qwen3", .quant = "f16", .kv = "f16", .n_batch = 16, .n_sessions = 3, .gpus = sets[i] };
        static float logits[5 * VOCAB_MOST];
        int32_t tokens[12];
        llmrun_engine *e;
        llmrun_session *a, *b, *c;
        EXPECT_OK(open_setup(&e, &s));
        int32_t n_vocab = e->binding.hparams.n_vocab;
        size_t bytes = (size_t)n_vocab * sizeof(float);
        for (int32_t k = 0; k < 12; k++) tokens[k] = 3 + (k * 29 + 7) % (n_vocab - 3);
        EXPECT_OK(llmrun_session_open(&a, e, &err));
        EXPECT_OK(llmrun_session_open(&b, e, &err));
        EXPECT_OK(llmrun_session_open(&c, e, &err));
        EXPECT_OK(llmrun_session_eval(a, tokens, 11, NULL, &err));
        EXPECT_OK(llmrun_session_copy(b, a, &err));
        EXPECT_OK(llmrun_session_save(a, path_in(dir, "session"), &err));
        EXPECT_OK(llmrun_session_restore(c, path_in(dir, "session"), &err));
        EXPECT_OK(llmrun_session_eval(a, tokens + 11, 1, row(logits, 0), &err));
        EXPECT_OK(llmrun_session_eval(b, tokens + 11, 1, row(logits, 1), &err));
        EXPECT_OK(llmrun_session_eval(c, tokens + 11, 1, row(logits, 2), &err));
        assert_memory_equal(row(logits, 1), row(logits, 0), bytes);
        assert_memory_equal(row(logits, 2), row(logits, 0), bytes);
        EXPECT_OK(llmrun_session_rewind(a, 11, &err));
        EXPECT_OK(llmrun_session_eval(a, tokens + 11, 1, row(logits, 3), &err));
        assert_memory_equal(row(logits, 3), row(logits, 0), bytes);

        EXPECT_OK(llmrun_session_rewind(b, 11, &err));
        EXPECT_OK(llmrun_session_rewind(c, 11, &err));
        static float both[2 * VOCAB_MOST];
        EXPECT_OK(llmrun_batch_eval((llmrun_session *const[]){ b, c }, (int32_t[]){ tokens[11], tokens[11] }, 2, both, &err));
        assert_memory_equal(both, both + n_vocab, bytes);
        for (int32_t k = 0; k < n_vocab; k++) assert_true(fabsf(both[k] - logits[k]) < 2e-2f);
        llmrun_session_close(a);
        llmrun_session_close(b);
        llmrun_session_close(c);
        llmrun_engine_close(e);
        check_clean(s.gpus);
    }
    remove_tree(dir);
}

/* ---- generating: logits come back to the host's own buffer, wherever the head is ---- */

static bool collect(void *user, const char *text, size_t n) {
    lr_text_add_bytes(user, text, n);
    return true;
}

static void generated_text(void **state) {
    (void)state;
    static const char *const sets[] = { "1x64M", "2x64M", "1x5M", "1x3M" };
    lr_text want = { 0 };
    for (int i = -1; i < (int)LR_COUNT(sets); i++) {
        setup s = { .model = demo, .quant = "f16", .kv = "f16", .n_batch = 8, .gpus = i < 0 ? NULL : sets[i] };
        lr_text got = { 0 };
        llmrun_engine *e;
        llmrun_session *session;
        llmrun_generate_options g;
        EXPECT_OK(open_setup(&e, &s));
        EXPECT_OK(llmrun_session_open(&session, e, &err));
        llmrun_generate_options_default(&g);
        g.sampling.temperature = 0;
        g.max_tokens = 8;
        g.text = collect;
        g.user = i < 0 ? &want : &got;
        EXPECT_OK(llmrun_generate(session, (int32_t[]){ 0, 410, 57, 300, 9 }, 5, &g, NULL, &err));
        llmrun_session_close(session);
        llmrun_engine_close(e);
        if (i >= 0) assert_string_equal(got.text, want.text);
        lr_free(got.text);
    }
    lr_free(want.text);
}

/* ---- a GPU that others use too ---- */

static void count_cap(void *user, llmrun_log_level level, const char *text) {
    int *lines = user;
    if (level <= LLMRUN_LOG_WARN && strstr(text, "more than is free; the cap is")) ++*lines;
}

/* What another engine has taken is not free: the cap is lowered to the rest, one line says so, and the rest serves.    */
static void busy_device(void **state) {
    (void)state;
    char gpus[40];
    setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16, .gpus = "1x64M" };
    llmrun_engine *first, *second;
    llmrun_options o;
    int lines = 0;
    EXPECT_OK(open_setup(&first, &s));
    uint64_t whole = first->plan.gpus[0].total_bytes, all = (whole + whole * 3 / 5) / 256 * 256;
    llmrun_engine_close(first);
    snprintf(gpus, sizeof gpus, "1x%llu", (unsigned long long)all);
    s.gpus = gpus;
    EXPECT_OK(open_setup(&first, &s));
    assert_int_equal(first->plan.n_host_layers, 0);
    llmrun_options_default(&o);
    o.model = model_path(s.model);
    o.quant = o.kv = "f16";
    o.cache_dir = "";
    o.n_threads = 2;
    o.n_ctx = 64;
    o.n_batch = 16;
    o.device = "sim";
    o.sim_gpus = gpus;
    o.n_vram = 1;
    o.vram_bytes[0] = all;
    o.log = count_cap;
    o.user = &lines;
    EXPECT_OK(llmrun_engine_open(&second, &o, &err));
    assert_int_equal(lines, 1);
    assert_true(second->plan.gpus[0].total_bytes <= all - whole && second->plan.n_host_layers > 0);
    EXPECT_OK(run(second, &other, NULL));
    EXPECT_OK(run(first, &one, &other));
    assert_true(error_of(&other, &one) <= 2e-2);
    llmrun_engine_close(second);
    llmrun_engine_close(first);
    check_clean("two engines on one GPU");
}

/* ---- faults ---- */

static const struct {
    simgpu_fault kind;
    const char *name;
    int error;
} faults[] = {
    { SIMGPU_FAULT_MALLOC, "malloc", 2 }, { SIMGPU_FAULT_HOST_MALLOC, "pinned", 2 }, { SIMGPU_FAULT_CREATE, "create", 2 },
    { SIMGPU_FAULT_LAUNCH, "launch", 719 }, { SIMGPU_FAULT_COPY, "copy", 719 }, { SIMGPU_FAULT_KERNEL, "kernel", 700 },
};

/* Opens, reads a prompt, adds two tokens; the status of the first failure.                                             */
static llmrun_status live(const setup *s) {
    llmrun_engine *e = NULL;
    llmrun_session *session = NULL;
    static float logits[VOCAB_MOST];
    int32_t tokens[12];
    llmrun_status status = open_setup(&e, s);
    for (int32_t k = 0; k < 12; k++) tokens[k] = 3 + k * 5;
    if (!status) status = llmrun_session_open(&session, e, &err);
    if (!status) status = llmrun_session_eval(session, tokens, 10, logits, &err);
    if (!status) status = llmrun_session_eval(session, tokens + 10, 1, logits, &err);
    if (!status) status = llmrun_session_eval(session, tokens + 11, 1, logits, &err);
    llmrun_session_close(session);
    llmrun_engine_close(e);
    return status;
}

static void faults_are_survived(void **state) {
    (void)state;
    static const struct {
        setup s;
        int first, step; /* every nth call up to `first` fails, then each `step`th */
    } setups[] = {
        { { .model = "qwen3", .quant = "q8_0", .kv = "f16", .n_batch = 8, .gpus = "2x64M" }, 1000, 1 },
        { { .model = "qwen2-window", .quant = "q4_k", .kv = "f16", .n_batch = 4, .gpus = "2x64M" }, 1000, 1 },
        { { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 8, .gpus = "1x56K" }, 1000, 1 },
        { { .model = "qwen3-yarn", .quant = "f16", .kv = "f16", .n_batch = 4, .gpus = "2x64M" }, 1000, 1 },
        { { .model = "llama-tied-biases", .quant = "bf16", .kv = "f16", .n_batch = 3, .gpus = "2x64M" }, 1000, 1 },
        { { .model = "mistral-head-dim", .quant = "nf4", .kv = "f32", .n_batch = 16, .gpus = "2x64M" }, 1000, 1 },
        { { .model = "qwen3.5", .quant = "f16", .kv = "f16", .n_batch = 4, .gpus = "2x64M" }, 20, 7 },
        { streaming, 8, 29 },
    };
    int runs = 0;
    for (size_t i = 0; i < LR_COUNT(setups); i++) {
        assert_int_equal(live(&setups[i].s), LLMRUN_OK); /* makes the simulator that then counts the faults */
        for (size_t kind = 0; kind < LR_COUNT(faults); kind++)
            for (int nth = 1;; nth += nth < setups[i].first ? QUICK ? 7 : 1 : setups[i].step) {
                setup s = setups[i].s;
                s.fault = faults[kind].kind;
                s.nth = nth;
                s.error = faults[kind].error;
                uint64_t before = sim.stat().faults_fired;
                llmrun_status status = live(&s);
                simgpu_stats left = sim.stat();
                bool fired = left.faults_fired > before;
                sim.fail_at(s.fault, 0, 0);
                if (left.live_allocations || left.live_pinned || left.live_streams || left.live_events)
                    fail_msg("%s %d: something is left behind", faults[kind].name, nth);
                if (!fired) {
                    if (status) fail_msg("%s %d: %s", faults[kind].name, nth, err.message);
                    break;
                }
                runs++;
                if (status != LLMRUN_DEVICE && status != LLMRUN_VRAM && status != LLMRUN_NOMEM)
                    fail_msg("%s %d: expected a device error, got status %d", faults[kind].name, nth, status);
                if (!err.message[0] || strchr(err.message, '\n')) fail_msg("%s %d: no clear sentence", faults[kind].name, nth);
            }
    }
    print_message("%d runs ended by a fault\n", runs);
    setup smaller = { .model = "qwen3", .quant = "q8_0", .kv = "f16", .n_batch = 8, .gpus = "1x56K" };
    run_setup(&smaller, &other, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_devices), cmocka_unit_test(streamed_layers),     cmocka_unit_test(recorded_steps),
        cmocka_unit_test(sessions),     cmocka_unit_test(generated_text), cmocka_unit_test(busy_device),
        cmocka_unit_test(faults_are_survived),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
