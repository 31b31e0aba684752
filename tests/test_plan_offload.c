/* Plans that leave layers to the CPU, and plans that do not fit: streaming, disk, what more memory gives, refusals with
 * their remedies, replay.                                                                                            */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/plan_rules.h"

/* Streaming begins where copying takes less time than the CPU would: 2 * values * n / flops > bytes / link.          */
static void test_crossover(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-2-13b"), LR_F16, 1, (uint64_t[]){ 10 * GIB });
    lr_plan p;
    in.quant_bits = 8;
    in.n_ctx = 512;
    for (double flops = 0.2e12; flops < 3e12; flops *= 2) {
        in.host.flops_per_s = flops;
        must_fit(&p, &in);
        double expected = 34.0 / 32 * flops / (2 * 25e9);
        check_plan(&p, &in);
        assert_true(p.stream_from > 0.9 * expected && p.stream_from < 1.2 * expected + 2);
        lr_plan_close(&p);
    }
    in.host.flops_per_s = 100e12; /* faster than the link: no slots */
    must_fit(&p, &in);
    assert_int_equal(p.stream_from, 0);
    assert_int_equal(p.gpus[0].staging_bytes, 0);
    lr_plan_close(&p);
}

/* More memory never makes the prediction worse, and the marginal value is what planning again gives.                 */
static void test_marginal(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-2-13b"), LR_F16, 1, (uint64_t[]){ 0 });
    double last = 0, promised = 0;
    in.quant_bits = 4;
    in.n_ctx = 4096;
    for (uint64_t gib = 3; gib < 14; gib++) {
        lr_plan p;
        gpus[0].budget_bytes = gib * GIB;
        must_fit(&p, &in);
        assert_true(p.decode_tokens_per_s >= 0.99 * last);
        if (promised > 0)
            assert_true(p.decode_tokens_per_s - last > 0.999 * promised &&
                        p.decode_tokens_per_s - last < 1.001 * promised);
        promised = lr_plan_marginal(&p, &in);
        assert_true((promised > 0) == (p.n_host_layers > 0));
        last = p.decode_tokens_per_s;
        lr_plan_close(&p);
    }
}

/* Blocks of a GGUF file stay as they are, on the host and on a GPU, and so the host's can be streamed.               */
static void test_block_formats(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-3-8b"), LR_BLOCK_Q4_K, 1, (uint64_t[]){ 4 * GIB });
    for (size_t i = 0; i < in.n_tensors; i++) {
        lr_plan_tensor *t = &list[i];
        if (t->cols == 1) t->file_format = LR_F32;
        if (t->role == LR_W_DOWN || t->role == LR_HEAD) t->file_format = LR_BLOCK_Q6_K;
    }
    lr_plan p;
    in.n_ctx = 4096;
    in.prefer = LR_PREFER_QUALITY;
    must_fit(&p, &in);
    check_plan(&p, &in);
    assert_true(p.quant_kept && p.n_host_layers > 0 && p.n_host_layers < 32);
    for (size_t i = 0; i < p.n_tensors; i++) {
        const lr_plan_tensor *t = &in.tensors[i];
        lr_format f = p.placements[i].format;
        if (t->cols == 1 || t->role == LR_EMBED) continue;
        assert_int_equal(f, t->file_format);
        assert_false(p.placements[i].converted);
    }
    assert_true(p.stream_from > 0);
    check_replay(&p, &in);
    lr_plan_close(&p);
}

/* ---- refusals ---- */

static bool fits(const lr_plan_input *in) {
    lr_plan p;
    llmrun_status status = lr_plan_make(&p, in, NULL);
    lr_plan_close(&p);
    return status == LLMRUN_OK;
}

static void test_refusals(void **state) {
    (void)state;
    static const uint64_t sets[][2] = { { 250 * MIB, 0 }, { 900 * MIB, 200 * MIB }, { 4 * GIB, 100 * MIB } };
    lr_plan_remedy remedies[LR_PLAN_MAX_REMEDIES];
    for (int k = 0; k < 6; k++) {
        lr_plan_input in = with_gpus(model_named("llama-2-13b"), LR_F16, sets[k % 3][1] ? 2 : 1, sets[k % 3]);
        lr_plan p;
        llmrun_error err = { 0 };
        in.n_ctx = 4096;
        if (k >= 3) { /* the GPUs would do, the host is too small */
            gpus[0].budget_bytes = gpus[1].budget_bytes = 2 * GIB;
            in.host.budget_bytes = GIB;
        }
        if (k == 4) {
            in.quant = LR_F16;
            in.n_ctx = 128;
        }
        assert_int_equal(lr_plan_make(&p, &in, &err), k < 3 ? LLMRUN_VRAM : LLMRUN_NOMEM);
        int n = lr_plan_remedies(&in, remedies);
        bool vram = false, fewer = false, cpu = false, ram = false, disk = false;
        assert_true(n >= 2);
        for (int i = 0; i < n; i++) {
            assert_non_null(strstr(err.message, remedies[i].words));
            assert_true(fits(&remedies[i].input));
            if (strncmp(remedies[i].words, "--vram ", 7) == 0 && strchr(remedies[i].words, ',')) {
                assert_string_equal(strchr(remedies[i].words, ','), ",0"); /* the smaller GPU is left out */
                fewer = true;
            } else if (strncmp(remedies[i].words, "--vram ", 7) == 0) {
                lr_plan_device less[2] = { gpus[0], gpus[1] };
                less[0].budget_bytes = less[1].budget_bytes = strtoull(remedies[i].words + 7, NULL, 10);
                lr_plan_input small = in;
                small.gpus = less;
                assert_true(fits(&small));
                less[0].budget_bytes = less[1].budget_bytes -= 1;
                assert_false(fits(&small));
                vram = true;
            }
            cpu |= strcmp(remedies[i].words, "--device cpu") == 0;
            disk |= strcmp(remedies[i].words, "--disk") == 0;
            ram |= strncmp(remedies[i].words, "--ram ", 6) == 0;
        }
        assert_true(vram && (k >= 3 || cpu) && (k < 3 || ram) && (k != 4 || disk) && fewer == (k == 1 || k == 2));
    }
}

static void test_disk(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-2-7b"), LR_F16, 1, (uint64_t[]){ 4 * GIB });
    lr_plan p;
    in.quant = LR_F16;
    in.n_ctx = 512;
    in.host.budget_bytes = 3 * GIB;
    assert_int_equal(lr_plan_make(&p, &in, NULL), LLMRUN_NOMEM);
    in.disk = true;
    in.disk_bytes_per_s = 2e9;
    must_fit(&p, &in);
    assert_true(p.disk_bytes > 0 && p.needed_bytes <= in.host.budget_bytes);
    assert_true(p.decode_tokens_per_s < 2e9 / (double)p.disk_bytes);
    uint64_t marked = 0;
    for (size_t i = 0; i < p.n_tensors; i++) marked += p.placements[i].tier == LR_TIER_DISK ? p.placements[i].bytes : 0;
    assert_true(marked >= p.disk_bytes);
    assert_non_null(strstr(p.why, "from disk"));
    check_replay(&p, &in);
    lr_plan_close(&p);
    in.host.budget_bytes = 64 * GIB; /* enough: nothing is read from disk */
    must_fit(&p, &in);
    assert_int_equal(p.disk_bytes, 0);
    lr_plan_close(&p);
}

/* ---- replay ---- */

static void replay_fails(const lr_plan_input *in, const char *json, llmrun_status status, const char *word) {
    lr_plan p;
    llmrun_error err = { 0 };
    assert_int_equal(lr_plan_replay(&p, in, json, &err), status);
    if (!strstr(err.message, word)) fail_msg("expected \"%s\" in: %s", word, err.message);
    assert_null(p.regions);
}

static void test_replay(void **state) {
    (void)state;
    lr_plan_input in = with_gpus(model_named("llama-2-7b"), LR_F16, 2, (uint64_t[]){ 2 * GIB, GIB });
    lr_plan p;
    lr_text json = { 0 };
    must_fit(&p, &in);
    assert_true(p.n_host_layers > 0);
    lr_plan_json(&p, &in, &json);
    lr_plan_input now = in;
    now.host.flops_per_s = 9e12; /* other rates choose otherwise: not here */
    now.quant_bits = 8;
    check_replay(&p, &in);
    lr_plan again;
    assert_int_equal(lr_plan_replay(&again, &now, json.text, NULL), LLMRUN_OK);
    assert_int_equal(again.hash, p.hash);
    lr_plan_close(&again);
    now.n_threads++;
    replay_fails(&now, json.text, LLMRUN_FORMAT, "n_threads");
    now = in;
    now.n_sessions = 2;
    replay_fails(&now, json.text, LLMRUN_FORMAT, "n_sessions");
    now = in;
    now.n_gpus = 1;
    replay_fails(&now, json.text, LLMRUN_FORMAT, "devices");
    now = in;
    now.host.budget_bytes = p.needed_bytes - 1;
    replay_fails(&now, json.text, LLMRUN_NOMEM, "host memory");
    gpus[1].budget_bytes = p.gpus[1].total_bytes - 1;
    replay_fails(&in, json.text, LLMRUN_VRAM, "GPU 1");
    gpus[1].budget_bytes = GIB;
    replay_fails(&in, "{}", LLMRUN_FORMAT, "devices");
    replay_fails(&in, "not json", LLMRUN_FORMAT, "--plan");
    lr_plan_input other = with_gpus(model_named("llama-2-13b"), LR_F16, 2, (uint64_t[]){ 2 * GIB, GIB });
    replay_fails(&other, json.text, LLMRUN_FORMAT, "layers");
    uint64_t rng = 5;
    in = with_gpus(&tinystories, LR_F16, 1, (uint64_t[]){ MIB });
    lr_plan_close(&p);
    json.n = 0;
    must_fit(&p, &in);
    lr_plan_json(&p, &in, &json);
    replay_damaged(&in, &p, &json, 3000, &rng);
    lr_plan_close(&p);
    lr_free(json.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crossover), cmocka_unit_test(test_marginal), cmocka_unit_test(test_block_formats),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_disk), cmocka_unit_test(test_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
