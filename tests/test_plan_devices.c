/* Plans for GPUs: published shapes and real config.json files x 200 budgets x contexts x sets of devices, each against
 * the rules of plan_rules.h; then what is promised of precision, context and splits.                                 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/bind.h"
#include "tests/plan_rules.h"

/* ---- the grid ---- */

enum { MOST_SHAPES = 30 };
static model shapes[MOST_SHAPES];
static size_t n_shapes;

static void read_shape(const char *path) {
    lr_config c = { 0 }, none = { 0 };
    lr_hparams h;
    const lr_family *family;
    bool ok = lr_config_read(&c, path, NULL) == LLMRUN_OK && lr_hparams_read(&h, &family, &c, &none, NULL) == LLMRUN_OK;
    /* list_tensors knows neither experts nor latent attention. */
    if (ok && !h.n_experts && !h.kv_rank && n_shapes < MOST_SHAPES) {
        unsigned has = lr_config_bool(&c, "tie_word_embeddings", false) ? 0 : HAS_HEAD;
        if (strcmp(family->name, "qwen2") == 0) has |= HAS_QKV_BIAS;
        if (strcmp(family->name, "qwen3") == 0) has |= HAS_QK_NORM;
        shapes[n_shapes++] = (model){ .name = "config", .h = h, .has = has };
    }
    lr_config_close(&c);
}

static void read_shapes(void) {
    static const char *const dirs[] = { "aiconfigurator", "dotnet-ml", "mlc-presets", "ollama-convert" };
    n_shapes = 0;
    for (size_t i = 0; i < LR_COUNT(models); i++) shapes[n_shapes++] = models[i];
    for (size_t i = 0; i < LR_COUNT(dirs); i++) {
        char path[512];
        snprintf(path, sizeof path, "../shared/data/configs/%s", dirs[i]);
        DIR *dir = opendir(path);
        for (struct dirent *e; dir && (e = readdir(dir));) {
            char file[800];
            snprintf(file, sizeof file, "%s/%s", path, e->d_name);
            if (strstr(e->d_name, ".json")) read_shape(file);
        }
        if (dir) closedir(dir);
    }
}

/* Sets of devices that share a sum of bytes.                                                                         */
static void draw_devices(lr_plan_input *in, uint64_t *rng, uint64_t bytes) {
    static const double shares[][4] = { { 1 }, { 0.5, 0.5 }, { 0.2, 0.4, 0.1, 0.3 }, { 0.7, 0.3 } };
    static const int counts[] = { 1, 2, 4, 2 };
    uint32_t set = draw(rng, 4);
    uint64_t each[4];
    for (int i = 0; i < counts[set]; i++) each[i] = (uint64_t)((double)bytes * shares[set][i]);
    give_gpus(in, counts[set], each, 900e9, 90e12, 25e9);
    for (int i = 0; i < counts[set]; i++) {
        if (draw(rng, 3) == 0) gpus[i].flops_per_s = 20e12;
        if (draw(rng, 3) == 0) gpus[i].link_bytes_per_s = 6e9;
        if (draw(rng, 4) == 0) gpus[i].overhead_bytes = bytes / 50;
    }
}

static void test_grid(void **state) {
    (void)state;
    static const lr_format files[] = { LR_F16, LR_BF16, LR_F32 };
    static const lr_format quants[] = { LR_FORMAT_NONE, LR_FORMAT_NONE, LR_F16, LR_Q8_0, LR_Q4_K, LR_NF4 };
    static const int32_t contexts[] = { 0, 0, 77, 512, 4096, 20000 };
    uint64_t rng = 20261121;
    int n_whole = 0, n_split = 0, n_streamed = 0, n_refused = 0, n_head_out = 0;
    read_shapes();
    if (n_shapes == LR_COUNT(models))
        print_message("../shared/data/configs is absent: %zu shapes of this file alone\n", n_shapes);
    else assert_true(n_shapes >= 25);
    for (size_t i = 0; i < n_shapes; i++)
        for (int k = 0; k < 200; k++) {
            const model *m = &shapes[i];
            lr_plan_input in = input_for(m, files[draw(&rng, 3)]);
            in.host.read_bytes_per_s = 40e9;
            in.host.flops_per_s = draw(&rng, 3) ? 0.6e12 : 20e12;
            if (draw(&rng, 5) == 0) in.host.budget_bytes = (uint64_t)1 << (22 + draw(&rng, 16));
            in.quant = quants[draw(&rng, LR_COUNT(quants))];
            in.n_ctx = contexts[draw(&rng, LR_COUNT(contexts))];
            in.prefer = (lr_prefer)draw(&rng, 3);
            if (draw(&rng, 4) == 0 && m->h.head_dim % 32 == 0) in.kv = LR_Q8_0;
            in.n_batch = draw(&rng, 3) ? 0 : 1 + (int32_t)draw(&rng, 700);
            in.n_sessions = draw(&rng, 4) ? 1 : 1 + (int32_t)draw(&rng, 5);
            in.cached = draw(&rng, 5) == 0;
            in.use_mmap = draw(&rng, 5) > 0;
            in.disk = draw(&rng, 9) == 0;
            in.disk_bytes_per_s = 3e9;
            double most_bytes = 0;
            for (size_t t = 0; t < in.n_tensors; t++)
                most_bytes += 3.0 * (double)in.tensors[t].rows * (double)in.tensors[t].cols;
            draw_devices(&in, &rng, (uint64_t)(most_bytes * 0.02 * __builtin_pow(50, k / 200.0)));
            if (in.n_gpus > m->h.n_layers) in.n_gpus = 1;
            lr_plan p;
            llmrun_error err = { 0 };
            llmrun_status status = lr_plan_make(&p, &in, &err);
            if (status == LLMRUN_OK) {
                check_plan(&p, &in);
                if (k % 10 == 0) check_replay(&p, &in);
                n_whole += p.n_host_layers == 0;
                n_split += p.n_host_layers > 0;
                n_streamed += p.stream_from > 0;
                n_head_out += p.head_place == LR_PLACE_HOST;
            } else {
                assert_true(status == LLMRUN_VRAM || status == LLMRUN_NOMEM);
                assert_non_null(strstr(err.message, "needs"));
                n_refused++;
            }
            lr_plan_close(&p);
        }
    print_message(
        "%zu shapes: %d plans whole on GPUs, %d split, %d of them streaming, %d heads on the CPU, %d refused\n",
        n_shapes, n_whole, n_split, n_streamed, n_head_out, n_refused);
    assert_true(n_whole > 300 && n_split > 300 && n_streamed > 50 && n_refused > 50);
}

/* ---- what is promised for given machines ---- */

static void test_tinystories(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(&tinystories, LR_F16, 1, (uint64_t[]){ MIB });
    lr_plan p;
    llmrun_error err = { 0 };
    in.quant = LR_F16;
    in.n_ctx = 512;
    must_fit(&p, &in);
    assert_int_equal(p.n_host_layers, 1);
    assert_non_null(strstr(p.why, "1 of 2 layers on the CPU"));
    check_plan(&p, &in);
    lr_plan_close(&p);
    gpus[0].budget_bytes = 2 * MIB;
    must_fit(&p, &in);
    assert_int_equal(p.n_host_layers, 0);
    assert_int_equal(p.head_place, 0);
    assert_int_equal(p.kv_bytes, 0); /* the host keeps tokens and scratch alone */
    assert_int_equal(p.weights_bytes + p.mapped_bytes, 0);
    lr_plan_close(&p);
    gpus[0].budget_bytes = 64 << 10;
    assert_int_equal(lr_plan_make(&p, &in, &err), LLMRUN_VRAM);
    assert_non_null(strstr(err.message, "--vram "));
    assert_non_null(strstr(err.message, "--device cpu"));
}

/* Bits and context give way in the promised order as one card shrinks; with the context asked for, layers move.      */
static void test_auto_order(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-3.1-8b"), LR_BF16, 1, (uint64_t[]){ 0 });
    int32_t bits = 16, host_layers = 0;
    bool seen16 = false, seen8 = false, seen4 = false, seen_host = false;
    for (uint64_t mib = 36 << 10; mib > 2000; mib -= 200) {
        lr_plan p;
        gpus[0].budget_bytes = mib * MIB;
        in.n_ctx = 0;
        if (lr_plan_make(&p, &in, NULL) != LLMRUN_OK) continue;
        assert_true(lr_formats[p.quant].bits <= bits && p.n_ctx >= 4096);
        bits = lr_formats[p.quant].bits;
        assert_true(!seen_host || p.n_host_layers > 0);
        host_layers = p.n_host_layers;
        assert_true(host_layers == 0 || bits == 4);
        *(host_layers ? &seen_host : bits == 16 ? &seen16 : bits == 8 ? &seen8 : &seen4) = true;
        lr_plan_close(&p);
        in.n_ctx = 8192;
        must_fit(&p, &in);
        assert_int_equal(p.n_ctx, 8192);
        lr_plan_close(&p);
    }
    assert_true(seen16 && seen8 && seen4 && seen_host);
    lr_plan p;
    gpus[0].budget_bytes = 8 * GIB;
    in.n_ctx = 0;
    in.prefer = LR_PREFER_QUALITY;
    must_fit(&p, &in);
    assert_true(p.quant_kept && p.n_host_layers > 0);
    lr_plan_close(&p);
    in.prefer = LR_PREFER_SPEED;
    gpus[0].budget_bytes = 40 * GIB;
    must_fit(&p, &in);
    assert_int_equal(p.quant, LR_Q4_K);
    lr_plan_close(&p);
}

/* Layers in proportion to the rates, as far as memory allows.                                                        */
static void test_split_by_rates(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-2-7b"), LR_F16, 2, (uint64_t[]){ 24 * GIB, 24 * GIB });
    lr_plan p;
    int32_t n[2];
    for (int k = 0; k < 5; k++) {
        static const double flops[5][2] = { { 1, 1 }, { 3, 1 }, { 1, 3 }, { 0, 0 }, { 1, 3 } };
        static const double read[5][2] = { { 1, 1 }, { 1, 1 }, { 1, 1 }, { 7, 1 }, { 1, 1 } };
        for (int i = 0; i < 2; i++) {
            gpus[i].flops_per_s = flops[k][i] * 30e12;
            gpus[i].read_bytes_per_s = read[k][i] * 300e9;
        }
        if (k == 4) gpus[1].budget_bytes = 6 * GIB;
        must_fit(&p, &in);
        n[0] = n[1] = 0;
        for (int32_t l = 0; l < 32; l++) n[at(&p, l, LR_GROUP_ATTN)]++;
        static const int32_t first[5] = { 16, 24, 8, 29, 0 };
        if (k < 4) assert_int_equal(n[0], first[k]);
        else assert_true(n[0] > 8 && p.quant_kept); /* the faster one is full */
        lr_plan_close(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid), cmocka_unit_test(test_tinystories), cmocka_unit_test(test_auto_order),
        cmocka_unit_test(test_split_by_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
