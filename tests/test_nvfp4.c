/* NVFP4 in GGUF files: a mixture whose matrices have factors beside their blocks, one for each expert, but for one that
 * serves in place; against transformers on the decoded weights.  And scales below 0, which safetensors may have.      */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/kernels.h"
#include "loaders/packed.h"
#include "runtime/engine.h"
#include "tests/golden.h"

#define FOLDER "tests/golden/packed/nvfp4-blocks/"
#define MODEL FOLDER "model.gguf"

static void logits(void **state) {
    (void)state;
    static golden g;
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    read_golden(&g, FOLDER);
    for (int i = -1; i < n_isa; i++) /* -1: on a GPU */
        for (int chunk = 1; chunk <= 40; chunk += chunk == 1 ? 6 : 33) {
            llmrun_options o = golden_options(MODEL);
            o.kv = "f32";
            if (i < 0) o.device = "sim", o.sim_gpus = "1x64M";
            else o.cpu_isa = isa[i];
            double error = run_golden(&g, o, chunk);
            print_message("%-7s chunk %2d  error %.1e\n", i < 0 ? "sim" : isa[i], chunk, error);
            bool exact = i >= 0 && strcmp(isa[i], "c") == 0;
            if (!(error <= (exact ? 1e-5 : 3e-2))) fail_msg("%s chunk %d: error %g", i < 0 ? "sim" : isa[i], chunk, error);
        }
    llmrun_options o = golden_options(MODEL);
    o.quant = o.kv = "f32"; /* by floats */
    double error = run_golden(&g, o, 40);
    if (!(error <= 1e-5)) fail_msg("as f32: error %g", error);
}

/* 36 bytes for 64 values, and 4 for a row where factors are.                                                          */
static void kept(void **state) {
    (void)state;
    for (int gpu = 0; gpu < 2; gpu++) {
        llmrun_options o = golden_options(MODEL);
        llmrun_engine *e;
        llmrun_error err;
        int n_plain = 0, n_factors = 0;
        if (gpu) o.device = "sim", o.sim_gpus = "1x64M";
        if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
        for (size_t i = 0; i < e->binding.n; i++) {
            const lr_plan_tensor *t = &e->binding.tensors[i];
            const lr_plan_placement *p = &e->plan.placements[i];
            if (t->layer < 0 || t->cols == 1 || t->role == LR_ROUTER) continue;
            bool alone = t->role == LR_WO;
            assert_int_equal(p->format, alone ? LR_BLOCK_NVFP4 : LR_NVFP4);
            assert_int_equal(p->converted, !alone);
            lr_format_size size;
            assert_true(lr_format_measure(p->format, (uint64_t)t->rows, (uint64_t)t->cols, &size));
            assert_int_equal(size.quants_stride, t->cols / 64 * 36);
            assert_int_equal(size.scales_stride, alone ? 0 : 4);
            if (gpu) assert_int_equal(p->bytes, size.bytes);
            *(alone ? &n_plain : &n_factors) += 1;
        }
        assert_int_equal(n_plain, e->binding.hparams.n_layers);
        assert_int_equal(n_factors, 6 * e->binding.hparams.n_layers);
        llmrun_engine_close(e);
    }
}

/* A negative scale: the signs of its 16 codes change, by floats and in blocks.                                        */
static void negative_scales(void **state) {
    (void)state;
    const uint8_t codes[32] = { 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x1f, 0x21, 0x43, 0x65, 0x07, 0xa9, 0xcb, 0xed, 0x1f };
    const uint8_t scales[4] = { 0xb8, 0x38, 0x07, 0x87 };
    const float factor = 2;
    lr_tensor t[] = {
        { .name = "x.weight", .dtype = LR_DT_U8, .n_dims = 2, .shape = { 1, 32 }, .data = codes, .bytes = sizeof codes },
        { .name = "x.weight_scale", .dtype = LR_DT_F8_E4M3, .n_dims = 2, .shape = { 1, 4 }, .data = scales, .bytes = 4 },
        { .name = "x.weight_scale_2", .dtype = LR_DT_F32, .n_dims = 0, .data = (const uint8_t *)&factor, .bytes = 4 },
    };
    char path[] = "x.safetensors";
    lr_map file = { .path = path };
    lr_checkpoint c = { .tensors = t, .n_tensors = LR_COUNT(t), .files = &file, .n_files = 1, .dir = path };
    lr_packing packing = { .format = LR_FORMAT_NONE };
    lr_packed p;
    bool found;
    llmrun_error err;
    float x[64], y[64], row_factor;
    uint8_t block[36];
    if (lr_packed_open(&p, &found, &packing, &c, "x.weight", 1, 64, &err)) fail_msg("%s", err.message);
    assert_true(found && p.format == LR_NVFP4);
    lr_packed_floats(&p, x, 64, 0, 1, 0, 64);
    assert_true(x[0] == -1 && x[1] == -2 && x[7] == 0 && x[16] == 1 && x[17] == 2);
    assert_int_equal(lr_packed_planes(&p, block, &row_factor, 0, 1), -1);
    lr_formats[LR_NVFP4].decode(y, block, &row_factor, 64);
    for (int i = 0; i < 64; i++) assert_true(x[i] == y[i]);
    lr_packed_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(logits), cmocka_unit_test(kept),
                                        cmocka_unit_test(negative_scales) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
