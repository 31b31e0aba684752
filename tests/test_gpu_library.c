/* The vendor's library for dense products: a guest of the plan.  It gets a workspace where room is left, pushes nothing
 * off a GPU, and what its handle takes is counted.  The simulator has a cuBLAS where its set-up asks for one.          */
#include "tests/gpu_models.h"

static trace plain, served;
static uint64_t launches; /* of the last run */

static const lr_plan_region *library_of(const llmrun_engine *e) {
    const lr_plan_gpu *g = &e->plan.gpus[0];
    for (size_t i = 0; i < g->n_regions; i++)
        if (strcmp(g->regions[i].name, "library") == 0) return &g->regions[i];
    return NULL;
}

/* New devices, whose peak is that of this engine: the same text would keep the old ones.                               */
static llmrun_status open_anew(llmrun_engine **e, const setup *s) {
    const lr_backend *b;
    EXPECT_OK(lr_backend_load(&b, "sim", "1K", &err));
    return open_setup(e, s);
}

static llmrun_engine *open_on(const setup *base, const char *gpus) {
    setup s = *base;
    llmrun_engine *e;
    s.gpus = gpus;
    if (open_anew(&e, &s)) fail_msg("%s: %s", gpus, err.message);
    return e;
}

/* Runs a model; the plan must be what the simulator has allocated, and within the budget.                             */
static void run_on(const setup *base, const char *gpus, trace *out, const trace *follow, uint64_t library,
                   uint64_t overhead) {
    llmrun_engine *e = open_on(base, gpus);
    const lr_plan_gpu *g = &e->plan.gpus[0];
    const lr_plan_region *r = library_of(e);
    uint64_t before = sim.stat().launches;
    if (run(e, out, follow)) fail_msg("%s: %s", gpus, err.message);
    launches = sim.stat().launches - before;
    assert_int_equal(g->library_bytes, library);
    assert_int_equal(r ? r->bytes : 0, library);
    if (r) assert_int_equal(r->offset, g->library);
    assert_int_equal(g->overhead_bytes, overhead);
    assert_int_equal(g->total_bytes, g->arena_bytes + overhead);
    assert_int_equal(sim.peak_bytes(0), g->total_bytes);
    assert_true(g->total_bytes <= e->plan_input.gpus[0].budget_bytes);
    llmrun_engine_close(e);
    check_clean(gpus);
}

static void serves_dense_products(void **state) {
    (void)state;
    static const char *const quants[] = { "f16", "bf16", "q8_0" };
    for (size_t i = 0; i < LR_COUNT(quants); i++) {
        bool dense = i < 2; /* demo: all rows of its matrices are whole blocks */
        setup s = { .model = dense ? "llama-mha" : "models/demo", .quant = quants[i], .kv = "f16", .n_batch = 16 };
        run_on(&s, "1x64M", &plain, NULL, 0, 0);
        uint64_t own = launches;
        run_on(&s, "1x64M+1M+64K", &served, &plain, dense ? 1 << 20 : 0, dense ? 64 << 10 : 0);
        double error = error_of(&served, &plain);
        print_message("%s: with the library against own kernels %.1e\n", s.quant, error);
        assert_true(error <= 2e-2);
        assert_true((launches > own) == dense); /* it multiplies one matrix at a time */
        check_text(&served, &plain, error, s.quant);
        s.n_batch = LR_GPU_FEW; /* no pass is long */
        run_on(&s, "1x64M+1M+64K", &served, &plain, 0, 0);
    }
}

/* At every budget the same groups are on the GPU as without it, and all of it is within the budget.                    */
static void pushes_nothing_off(void **state) {
    (void)state;
    setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16 };
    llmrun_engine *e = open_on(&s, "1x64M");
    uint64_t all = e->plan.gpus[0].total_bytes;
    llmrun_engine_close(e);
    static const int64_t more[] = { -20000, -4096, -256, 0, 16128, 16384, 24320, 24832, 40000 };
    int n_with = 0;
    for (size_t i = 0; i < LR_COUNT(more); i++) {
        char gpus[2][64];
        unsigned long long bytes = (unsigned long long)((int64_t)all + more[i]);
        snprintf(gpus[0], sizeof gpus[0], "1x%llu", bytes);
        snprintf(gpus[1], sizeof gpus[1], "1x%llu+16K+8K", bytes);
        llmrun_engine *with, *without = open_on(&s, gpus[0]);
        size_t n = without->plan.n_groups;
        int8_t *place = malloc(n);
        assert_non_null(place);
        memcpy(place, without->plan.place, n);
        llmrun_engine_close(without);
        with = open_on(&s, gpus[1]);
        const lr_plan_gpu *g = &with->plan.gpus[0];
        assert_memory_equal(place, with->plan.place, n);
        assert_true(g->total_bytes <= bytes && sim.peak_bytes(0) <= bytes);
        if (more[i] >= 0) assert_int_equal(g->library_bytes, more[i] >= 24832 ? 16384 : 0);
        n_with += g->library_bytes > 0;
        uint64_t library = g->library_bytes;
        llmrun_engine_close(with);
        run_on(&s, gpus[1], &served, NULL, library, library ? 8192 : 0);
        free(place);
    }
    assert_true(n_with >= 2);
}

/* A handle or a workspace that is refused is no error: own kernels serve.  A plan with it can be repeated.              */
static void does_without(void **state) {
    (void)state;
    setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16, .fault = SIMGPU_FAULT_MALLOC, .nth = 1,
                .error = 2 };
    llmrun_engine *e;
    run_on(&(setup){ .model = s.model, .quant = s.quant, .kv = s.kv, .n_batch = 16 }, "1x64M", &plain, NULL, 0, 0);
    for (s.nth = 1; s.nth <= 4; s.nth++) {
        s.gpus = "1x64M+1M+64K";
        llmrun_status status = open_anew(&e, &s);
        if (status) {
            assert_int_equal(status, LLMRUN_VRAM);
            assert_true(strlen(err.message) > 12);
        } else {
            if (s.nth == 1) assert_int_equal(e->plan.gpus[0].library_bytes, 0);
            EXPECT_OK(run(e, &served, &plain));
            assert_true(error_of(&served, &plain) <= 2e-2);
            assert_true(sim.peak_bytes(0) <= e->plan.gpus[0].total_bytes);
            llmrun_engine_close(e);
        }
        sim.fail_at(SIMGPU_FAULT_MALLOC, 0, 0);
        check_clean(s.gpus);
    }
}

static void plans_show_it(void **state) {
    (void)state;
    setup s = { .model = "llama-mha", .quant = "f16", .kv = "f16", .n_batch = 16 };
    llmrun_engine *e = open_on(&s, "1x64M+1M+64K");
    lr_text text = { 0 }, json = { 0 };
    lr_plan again;
    lr_plan_text(&e->plan, &e->plan_input, &text);
    lr_plan_json(&e->plan, &e->plan_input, &json);
    assert_non_null(strstr(text.text, "by its vendor's library, in 1.0 MiB"));
    assert_non_null(strstr(json.text, "\"library_bytes\": 1048576"));
    EXPECT_OK(lr_plan_replay(&again, &e->plan_input, json.text, &err));
    assert_int_equal(again.hash, e->plan.hash);
    assert_int_equal(again.gpus[0].library, e->plan.gpus[0].library);
    lr_plan_close(&again);
    lr_free(text.text);
    lr_free(json.text);
    llmrun_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_dense_products),
        cmocka_unit_test(pushes_nothing_off),
        cmocka_unit_test(does_without),
        cmocka_unit_test(plans_show_it),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
