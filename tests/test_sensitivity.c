/* What fewer bits cost, measured on the bundled model with a short sample: the sum explains the whole, the file is read
 * back and never believed when damaged, and precisions mixed by it are on the good side of the line between the uniform
 * ones, on text that was not measured on.                                                                             */
#include <inttypes.h>
#include <math.h>

#include "tests/model_files.h"

#include "runtime/sensitivity.h"

#define MODEL "models/demo"
enum { SAMPLE_BYTES = 360, TEST_AT = 60000, N = 128 };

static char cache[] = "/tmp/test_sensitivity_XXXXXX";
static char sample[SAMPLE_BYTES + 1], *text;
static llmrun_options options;
static char file[128];
static lr_sensitivity measured;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static lr_sensitivity read_back(bool expected) {
    lr_sensitivity s;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    EXPECT_OK(lr_engine_prepare(e, &options, &err));
    bool found = lr_sensitivity_read(&s, cache, e);
    if (found != expected) fail_msg("expected the file to be %s", expected ? "read" : "ignored");
    lr_engine_free(e);
    return s;
}

static int set_up(void **state) {
    (void)state;
    FILE *f = fopen(MODEL "/eval.txt", "rb");
    if (!f || !mkdtemp(cache)) return -1;
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    text = calloc(n + 1, 1);
    if (fread(text, 1, n, f) != n) return -1;
    fclose(f);
    memcpy(sample, text + 1000, SAMPLE_BYTES);
    llmrun_options_default(&options);
    options.model = MODEL;
    options.cache_dir = cache;
    options.device = "cpu";
    options.n_ctx = N;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    EXPECT_OK(lr_engine_prepare(e, &options, &err));
    snprintf(file, sizeof file, "%s/%016" PRIx64 ".sensitivity", cache, e->checkpoint.header_hash);
    lr_engine_free(e);
    return 0;
}

static int clean_up(void **state) {
    (void)state;
    free(text);
    lr_sensitivity_close(&measured);
    return nftw(cache, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- measuring ---- */

static void test_measure(void **state) {
    (void)state;
    char *json, *table;
    EXPECT_OK(llmrun_sensitivity(&options, NULL, &json, &table, &err));
    assert_null(json);
    assert_null(table);
    options.quant = "mixed";
    llmrun_engine *e;
    EXPECT_FAIL(llmrun_engine_open(&e, &options, &err), LLMRUN_UNSUPPORTED, "compare --sensitivity");
    options.quant = "auto";
    EXPECT_FAIL(llmrun_sensitivity(&options, "a", NULL, NULL, &err), LLMRUN_ARG, "tokens");
    EXPECT_OK(llmrun_sensitivity(&options, sample, &json, &table, &err));
    assert_non_null(strstr(json, "\"role\": \"w_down\""));
    assert_non_null(strstr(table, "w_down"));
    llmrun_free(json);
    llmrun_free(table);
    measured = read_back(true);
    assert_string_equal(measured.reference, "f32");
    const double *all = measured.all;
    print_message("q4_k %g, Q6_K %g, q8_0 %g; in q4_k one by one %g\n", all[0], all[1], all[2], measured.alone);
    assert_true(all[2] > 0 && all[2] < all[1] && all[1] < all[0] / 3 && all[0] < 0.1);
    assert_true(measured.alone > all[0] / 2 && measured.alone < all[0] * 2); /* they add up */
    double sums[LR_RUNG_FILE] = { 0 };
    int n_costs = 0, n_fewest = 0;
    for (size_t i = 0; i < measured.n; i++) {
        const double *kl = measured.costs[i].kl;
        bool fewest = measured.costs[i].kl[0] > kl[2]; /* 4 bits leave the tied embedding at 8 */
        assert_true(kl[1] >= kl[2] && kl[2] >= 0 && (!fewest || kl[0] >= kl[1]));
        for (int r = 0; r < LR_RUNG_FILE; r++) sums[r] += kl[r];
        n_costs += kl[0] > 0;
        n_fewest += fewest;
    }
    assert_int_equal(n_costs, 8 * 6 + 1);
    assert_int_equal(n_fewest, 8 * 6);
    for (int r = 0; r < LR_RUNG_FILE; r++) assert_true(fabs(sums[r] - all[r]) < 1e-2 * all[r]);
}

static bool stop(void *user, const char *stage, double done) {
    (void)user;
    return strcmp(stage, "sensitivity") != 0 || done < 0.1;
}

static void test_cancelled(void **state) {
    (void)state;
    llmrun_options o = options;
    o.progress = stop;
    EXPECT_FAIL(llmrun_sensitivity(&o, sample, NULL, NULL, &err), LLMRUN_CANCELLED, "cancelled");
    lr_sensitivity s = read_back(true); /* the one before is whole */
    assert_memory_equal(s.costs, measured.costs, s.n * sizeof *s.costs);
    lr_sensitivity_close(&s);
}

/* ---- the line ---- */

typedef struct mode {
    const char *quant;
    double bytes, kl;
} mode;

static double row_kl(const float *p, const float *q, int n) {
    double zp = 0, zq = 0, kl = 0;
    for (int i = 0; i < n; i++) zp += exp((double)p[i]), zq += exp((double)q[i]);
    for (int i = 0; i < n; i++) kl += exp((double)p[i]) / zp * ((double)p[i] - (double)q[i]);
    return kl + log(zq) - log(zp);
}

/* Logits (N, n_vocab) of another part of the text.                                                                    */
static float *run(mode *m, int *n_vocab) {
    llmrun_options o = options;
    llmrun_engine *e;
    llmrun_session *s;
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_tensor_info t = { .struct_size = sizeof t };
    int32_t ids[4 * N];
    size_t n;
    o.quant = m->quant;
    o.kv = "f32";
    EXPECT_OK(llmrun_engine_open(&e, &o, &err));
    EXPECT_OK(llmrun_session_open(&s, e, &err));
    llmrun_engine_info(e, &info);
    for (size_t i = 0; llmrun_engine_tensor(e, i, &t) == LLMRUN_OK; i++) m->bytes += (double)t.bytes;
    EXPECT_OK(llmrun_tokenize(llmrun_engine_tokenizer(e), text + TEST_AT, 4 * N, 0, ids, 4 * N, &n, &err));
    assert_true(n >= N);
    float *logits = malloc((size_t)N * (size_t)info.n_vocab * sizeof *logits);
    EXPECT_OK(llmrun_session_eval_all(s, ids, N, logits, &err));
    *n_vocab = info.n_vocab;
    if (strncmp(m->quant, "mixed", 5) == 0) assert_string_equal(info.quant, "mixed");
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return logits;
}

/* Below the line between the uniform modes on either side of it, also where that is drawn on a logarithmic scale.        */
static void test_line(void **state) {
    (void)state;
    mode uniform[] = { { .quant = "q4_k" }, { .quant = "q8_0" }, { .quant = "bf16" } };
    mode mixed[] = { { .quant = "mixed:5.5" }, { .quant = "mixed:7" }, { .quant = "mixed:11" } };
    mode reference = { .quant = "f32" };
    int n_vocab;
    float *want = run(&reference, &n_vocab);
    for (size_t i = 0; i < LR_COUNT(uniform) + LR_COUNT(mixed); i++) {
        mode *m = i < LR_COUNT(uniform) ? &uniform[i] : &mixed[i - LR_COUNT(uniform)];
        float *got = run(m, &n_vocab);
        for (int r = 0; r < N; r++) m->kl += row_kl(want + r * n_vocab, got + r * n_vocab, n_vocab) / N;
        print_message("%-10s %8.0f bytes, KL %.3g\n", m->quant, m->bytes, m->kl);
        free(got);
    }
    free(want);
    for (size_t i = 0; i < LR_COUNT(mixed); i++) {
        const mode *m = &mixed[i], *a = m->bytes < uniform[1].bytes ? uniform : uniform + 1, *b = a + 1;
        assert_true(m->bytes > a->bytes && m->bytes < b->bytes);
        double line = a->kl * pow(b->kl / a->kl, (m->bytes - a->bytes) / (b->bytes - a->bytes));
        if (!(m->kl < line)) fail_msg("%s: KL %g, the line between %s and %s has %g", m->quant, m->kl, a->quant, b->quant, line);
    }
}

/* ---- auto ---- */

static char *plan_text(uint64_t ram, const char *quant) {
    llmrun_options o = options;
    char *plan;
    o.ram_bytes = ram;
    o.quant = quant;
    EXPECT_OK(llmrun_plan(&o, NULL, &plan, &err));
    return plan;
}

static void test_auto(void **state) {
    (void)state;
    char *plan = plan_text(64 << 20, "auto");
    assert_non_null(strstr(plan, "the file's precision"));
    llmrun_free(plan);
    plan = plan_text(9 << 20, "auto");
    assert_non_null(strstr(plan, "weights mixed"));
    assert_non_null(strstr(plan, "--quant mixed:"));
    llmrun_free(plan);
    plan = plan_text(9 << 20, "4bit");
    assert_non_null(strstr(plan, "weights q4_k as asked"));
    llmrun_free(plan);
    plan = plan_text(9 << 20, "mixed");
    assert_non_null(strstr(plan, "weights mixed"));
    llmrun_free(plan);
    EXPECT_FAIL(llmrun_plan(&(llmrun_options){ .struct_size = sizeof options, .model = MODEL, .quant = "mixed:x", .n_sessions = 1 },
                            NULL, &plan, &err), LLMRUN_ARG, "mixed:BITS");
}

/* ---- the file ---- */

static size_t read_all(char *bytes, size_t most) {
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, most, f);
    fclose(f);
    return n;
}

static void write_all(const char *bytes, size_t n) {
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void test_damaged_file(void **state) {
    (void)state;
    static char good[1 << 16], bad[1 << 16];
    size_t n = read_all(good, sizeof good);
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    lr_sensitivity s;
    uint64_t rng = 1;
    EXPECT_OK(lr_engine_prepare(e, &options, &err));
    for (size_t cut = 0; cut + 2 < n; cut += 61)
        assert_int_equal(lr_sensitivity_parse(&s, good, cut, e, NULL), LLMRUN_FORMAT);
    for (int k = 0; k < 1000; k++) { /* a status, and costs that the planner takes */
        memcpy(bad, good, n);
        for (int i = 0; i <= k % 3; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            bad[(rng >> 20) % n] = (char)(rng >> 50);
        }
        if (lr_sensitivity_parse(&s, bad, n, e, NULL)) continue;
        for (size_t i = 0; i < s.n; i++)
            for (int r = 0; r < LR_RUNG_FILE; r++) assert_true(s.costs[i].kl[r] >= 0 && s.costs[i].kl[r] <= 1e6);
        lr_sensitivity_close(&s);
    }
    const struct { const char *from, *to; } edits[] = {
        { "\"version\": 2", "\"version\": 1" }, { "\"model\": \"", "\"model\": \"0" }, { "\"layer\": 3", "\"layer\": 4" },
        { "\"role\": \"wk\"", "\"role\": \"wv\"" }, { "\"q8_0\": ", "\"q8_0\": -" }, { "\"q4_k\": ", "\"q4_k\": 1e9" },
        { "\"tokens\": ", "\"tokens\": 0." }, { "\"reference\": \"f32\"", "\"reference\": \"xyz\"" }, { "\"tensors\"", "\"Tensors\"" },
    };
    for (size_t i = 0; i < LR_COUNT(edits); i++) {
        const char *at = strstr(good, edits[i].from);
        assert_non_null(at);
        size_t before = (size_t)(at - good), skip = strlen(edits[i].from);
        int length = snprintf(bad, sizeof bad, "%.*s%s%s", (int)before, good, edits[i].to, at + skip);
        if (lr_sensitivity_parse(&s, bad, (size_t)length, e, NULL) == LLMRUN_OK) fail_msg("%s was believed", edits[i].to);
    }
    lr_engine_free(e);

    write_all(bad, 100); /* and through the file: it is as if there were none */
    read_back(false);
    unlink(file);
    assert_int_equal(symlink("/etc/hostname", file), 0);
    read_back(false);
    unlink(file);
    assert_int_equal(mkdir(file, 0700), 0);
    read_back(false);
    rmdir(file);
    read_back(false);
    write_all(good, n);
    s = read_back(true);
    lr_sensitivity_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure), cmocka_unit_test(test_cancelled), cmocka_unit_test(test_line),
        cmocka_unit_test(test_auto), cmocka_unit_test(test_damaged_file),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
