/* The rotated 4-bit KV cache: what rotation is for, its error on a model, GPUs, the paths of a session, refusals.     */
#include "kernels/cpu/rotate.h"
#include "tests/gpu_models.h"

static const char demo[] = "models/demo";

/* ---- rows ---- */

enum { DIM = 128, ROWS = 64 };

/* Root of the mean square error of a row through the cache's codes.                                                  */
static double error_of_row(const float *x, bool rotate) {
    uint8_t quants[DIM / 2], scales[DIM / 16];
    float row[DIM];
    double sum = 0;
    memcpy(row, x, sizeof row);
    if (rotate) lr_rotate(row, DIM);
    lr_formats[LR_KV_ROTATED].encode(quants, scales, row, DIM);
    lr_formats[LR_KV_ROTATED].decode(row, quants, scales, DIM);
    if (rotate) lr_rotate(row, DIM);
    for (int i = 0; i < DIM; i++) sum += ((double)row[i] - x[i]) * ((double)row[i] - x[i]);
    return sqrt(sum / DIM);
}

/* Keys of real models have channels some thirty times as large as the others.                                        */
static void outliers_are_spread(void **state) {
    (void)state;
    uint32_t seed = 1;
    double rotated = 0, plain = 0;
    for (int r = 0; r < ROWS; r++) {
        float x[DIM];
        for (int i = 0; i < DIM; i++) {
            x[i] = -6; /* twelve uniform values: nearly a normal one */
            for (int j = 0; j < 12; j++) x[i] += (float)((seed = seed * 1664525 + 1013904223) >> 8) * 0x1p-24f;
        }
        for (int i = 5; i < DIM; i += 32) x[i] *= 30;
        rotated += error_of_row(x, true);
        plain += error_of_row(x, false);
    }
    print_message("error with outliers: rotated %.3f, not rotated %.3f\n", rotated / ROWS, plain / ROWS);
    assert_true(rotated < 0.7 * plain);
}

/* ---- a model ---- */

static trace exact, cpu, one, other;

static void logits_are_near(void **state) {
    (void)state;
    setup s = { .model = demo, .quant = "f32", .kv = "f32", .n_batch = 16 };
    run_setup(&s, &exact, NULL, NULL);
    static const struct { const char *kv; double bound; } rows[] = { { "q8_0", 1e-2 }, { "q4_rot", 0.12 } };
    for (size_t i = 0; i < LR_COUNT(rows); i++) {
        s.kv = rows[i].kv;
        run_setup(&s, &cpu, &exact, NULL);
        double error = error_of(&cpu, &exact);
        print_message("%-6s error of logits %.1e\n", s.kv, error);
        if (!(error <= rows[i].bound)) fail_msg("%s: error %.2g", s.kv, error);
        check_text(&cpu, &exact, error, s.kv);
    }
}

/* Codes of keys that differ in their last bits may differ, and nothing else.                                         */
static void same_on_gpus(void **state) {
    (void)state;
    setup s = { .model = demo, .quant = "f16", .kv = "q4_rot", .n_batch = 16, .n_ctx = N_TOKENS };
    run_setup(&s, &cpu, NULL, NULL);
    s.gpus = "1x64M";
    run_setup(&s, &one, &cpu, NULL);
    double error = error_of(&one, &cpu);
    print_message("GPU against CPU %.1e\n", error);
    assert_true(error <= 0.12);
    check_text(&one, &cpu, error, s.gpus);
    s.gpus = "2x64M";
    run_setup(&s, &other, &cpu, NULL);
    if (!identical(&other, &one)) fail_msg("%s differs from one GPU", s.gpus);
}

/* ---- sessions ---- */

static void eval(llmrun_session *s, const int32_t *tokens, int n, float *logits) {
    EXPECT_OK(llmrun_session_eval(s, tokens, n, logits, &err));
}

static void paths_of_a_session(void **state) {
    (void)state;
    llmrun_engine *e;
    llmrun_session *a, *b;
    static float want[VOCAB_MOST], got[VOCAB_MOST];
    char *dir = new_directory();
    const char *path = path_in(dir, "session");
    int32_t tokens[40];
    for (int i = 0; i < 40; i++) tokens[i] = 5 + i * 31;
    setup s = { .model = demo, .quant = "f16", .kv = "q4_rot", .n_batch = 16, .n_sessions = 2 };
    EXPECT_OK(open_setup(&e, &s));
    size_t bytes = (size_t)e->binding.hparams.n_vocab * sizeof(float);
    EXPECT_OK(llmrun_session_open(&a, e, &err));
    EXPECT_OK(llmrun_session_open(&b, e, &err));
    eval(a, tokens, 39, got);
    eval(a, tokens + 39, 1, want);

    EXPECT_OK(llmrun_session_rewind(a, 39, &err));
    eval(a, tokens + 39, 1, got);
    assert_memory_equal(got, want, bytes);

    EXPECT_OK(llmrun_session_rewind(a, 39, &err));
    EXPECT_OK(llmrun_session_copy(b, a, &err));
    eval(b, tokens + 39, 1, got);
    assert_memory_equal(got, want, bytes);

    EXPECT_OK(llmrun_session_save(a, path, &err));
    EXPECT_OK(llmrun_session_rewind(a, 0, &err));
    EXPECT_OK(llmrun_session_restore(a, path, &err));
    remove_tree(dir);
    eval(a, tokens + 39, 1, got);
    assert_memory_equal(got, want, bytes);
    llmrun_session_close(a);
    llmrun_session_close(b);
    llmrun_engine_close(e);
}

/* ---- the plan ---- */

static void bytes_and_refusals(void **state) {
    (void)state;
    llmrun_engine *e;
    llmrun_model_info info = { .struct_size = sizeof info };
    setup s = { .model = demo, .quant = "f16", .kv = "q4_rot", .n_batch = 16 };
    EXPECT_OK(open_setup(&e, &s));
    EXPECT_OK(llmrun_engine_info(e, &info));
    assert_string_equal(info.kv, "q4_rot");
    assert_int_equal(e->plan.kv_bytes, 8 * 2 * 2 * 64 * (64 / 2 + 64 / 32 * 2)); /* layers, K and V, heads, slots */
    llmrun_engine_close(e);

    s.kv = "auto";
    EXPECT_OK(open_setup(&e, &s));
    assert_int_equal(e->plan.kv, LR_F16);
    llmrun_engine_close(e);

    s = (setup){ .model = "llama-mha", .quant = "f16", .kv = "q4_rot", .n_batch = 16 };
    EXPECT_FAIL(open_setup(&e, &s), LLMRUN_UNSUPPORTED, "multiple of 32 values for q4_rot, got 8; use --kv f16");
    s.kv = "iq4_nl";
    EXPECT_FAIL(open_setup(&e, &s), LLMRUN_ARG, "expected auto, f32, f16, q8_0, q4_rot");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outliers_are_spread), cmocka_unit_test(logits_are_near),    cmocka_unit_test(same_on_gpus),
        cmocka_unit_test(paths_of_a_session),  cmocka_unit_test(bytes_and_refusals),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
