/* Act-order on simulated GPUs: packed weights whose columns are in another order run in their own codes wherever the plan
 * puts the layers, streamed ones too, and memory is the plan's to the byte.                                            */
#include "tests/gpu_models.h"

static trace cpu, one, other;

/* Bound: between CPU and GPU, each of which is within half of it of exact arithmetic.                                  */
static const double BOUND = 6e-2;

/* Every matrix of a layer keeps the file's format and has its order behind it, wherever it is.                         */
static int32_t count_orders(const setup *s, int32_t *stream_from) {
    llmrun_engine *e;
    int32_t n = 0;
    EXPECT_OK(open_setup(&e, s));
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        const lr_plan_placement *p = &e->plan.placements[i];
        if (!t->permuted) continue;
        n++;
        if (p->format != t->file_format) fail_msg("%s runs as %s", lr_plan_role_name(t->role), lr_formats[p->format].name);
        assert_int_equal(p->order_bytes, 4 * t->cols * lr_max(1, t->experts));
    }
    if (stream_from) *stream_from = e->plan.stream_from;
    llmrun_engine_close(e);
    return n;
}

static void check_same(const setup *s, const trace *got, double bound) {
    double error = error_of(got, &cpu);
    print_message("%s on %s: GPU against CPU %.1e\n", s->model, s->gpus, error);
    if (!(error <= bound)) fail_msg("%s on %s: error %.2g", s->model, s->gpus, error);
    check_text(got, &cpu, error, s->gpus);
}

static void wherever_layers_are(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int32_t n_orders; /* tensors; experts are one */
        const char *part; /* a GPU that holds some of it */
    } models[] = { { "tests/golden/packed/llama-gptq-order", 21, "1x330K" },
                   { "tests/golden/packed/ct-int4-order", 7, NULL },
                   { "tests/golden/packed/gptq-4-order", 7, NULL },
                   { "tests/golden/packed/mixtral-gptq-order", 7, NULL } };
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        setup s = { .model = models[i].model, .quant = "auto", .kv = "f32", .n_batch = 16 };
        int32_t n_host_layers;
        run_setup(&s, &cpu, NULL, NULL);
        s.gpus = "1x64M";
        assert_int_equal(count_orders(&s, NULL), models[i].n_orders);
        run_setup(&s, &one, &cpu, NULL);
        check_same(&s, &one, BOUND);
        s.gpus = "2x64M";
        run_setup(&s, &other, &cpu, NULL);
        if (!identical(&other, &one)) fail_msg("%s: two GPUs differ from one", s.model);
        if (!models[i].part) continue;
        s.gpus = models[i].part;
        run_setup(&s, &other, &cpu, &n_host_layers);
        assert_true(n_host_layers > 0);
        check_same(&s, &other, BOUND);
    }
}

/* A slow CPU beside a fast link: long passes send the host's layers and their orders.                                  */
static void streamed_layers(void **state) {
    (void)state;
    setup s = { .model = "tests/golden/packed/llama-gptq-order", .quant = "auto", .kv = "f32", .n_batch = 16 };
    int32_t n_host_layers, from;
    run_setup(&s, &cpu, NULL, NULL);
    s.gpus = "1x330K:100:10:10";
    s.host_read = 20e9;
    s.host_flops = 5e6;
    assert_int_equal(count_orders(&s, &from), 21);
    if (from < 1 || from > 16) fail_msg("streams from %d tokens", from);
    run_setup(&s, &other, &cpu, &n_host_layers);
    assert_true(n_host_layers > 0);
    check_same(&s, &other, BOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wherever_layers_are),
        cmocka_unit_test(streamed_layers),
    };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
