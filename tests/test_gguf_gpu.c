/* GGUF models on simulated GPUs: they compute from the file's own blocks, of every type, and give the CPU's logits;
 * on one GPU, on two, and with a part of the layers on the CPU.                                                      */
#include "tests/gpu_models.h"

#define FILES "tests/golden/gguf/"

static trace cpu, gpu;

/* Matrices keep the file's format, and need no conversion.                                                           */
static void check_formats(const setup *s) {
    llmrun_engine *e;
    int n_blocks = 0;
    EXPECT_OK(open_setup(&e, s));
    for (size_t i = 0; i < e->plan.n_tensors; i++) {
        const lr_plan_tensor *t = &e->plan_input.tensors[i];
        if (t->cols == 1) continue;
        assert_int_equal(e->plan.placements[i].format, t->file_format);
        assert_false(e->plan.placements[i].converted);
        n_blocks += lr_format_is_blocks(t->file_format);
    }
    assert_true(n_blocks > 0);
    llmrun_engine_close(e);
}

/* Both sides have int8 activations or f16 ones: the bound of the former.                                             */
static void blocks_on_gpus(void **state) {
    (void)state;
    static const struct {
        const char *model, *gpus;
        int32_t n_batch;
        bool part;
    } rows[] = {
        { FILES "blocks.gguf", "1x64M", 3, false },
        { FILES "blocks.gguf", "1x65M", 24, false },
        { FILES "blocks.gguf", "2x64M", 24, false },
        { FILES "blocks.gguf", "1x320K", 16, true },
        { FILES "grids.gguf", "1x68M", 3, false },
        { FILES "grids.gguf", "1x69M", 24, false },
        { FILES "mistral-head-dim.Q8_0.gguf", "1x66M", 16, false },
        { FILES "qwen2-tied.Q8_0.gguf", "1x67M", 16, false },
    }; /* each on GPUs of its own, whose peak is counted */
    for (size_t i = 0; i < LR_COUNT(rows); i++) {
        setup s = { .model = rows[i].model, .quant = "auto", .kv = "f16", .n_batch = rows[i].n_batch };
        int32_t n_host_layers;
        if (rows[i].part) s.quant = "8bit"; /* blocks of fewer bits stay */
        run_setup(&s, &cpu, NULL, NULL);
        s.gpus = rows[i].gpus;
        check_formats(&s);
        run_setup(&s, &gpu, &cpu, &n_host_layers);
        double error = error_of(&gpu, &cpu);
        print_message("%-44s %-16s passes of %2d, %d layers on the host: error %.1e\n", s.model, s.gpus, s.n_batch,
                      n_host_layers, error);
        assert_true((n_host_layers > 0) == rows[i].part);
        assert_true(error <= 3e-2);
        check_text(&gpu, &cpu, error, s.gpus);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(blocks_on_gpus) };
    return cmocka_run_group_tests(tests, load_controls, NULL);
}
