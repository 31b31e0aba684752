/* The planner's outputs and edges: hash, JSON, text, hostile shapes, failing allocations.                            */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "tests/plan_models.h"

static uint64_t hash_of(const lr_plan_input *in) {
    lr_plan plan;
    memset(&plan, 0xa5, sizeof plan);
    must_fit(&plan, in);
    uint64_t hash = plan.hash;
    lr_plan_close(&plan);
    return hash;
}

static void test_hash(void **state) {
    (void)state;
    const lr_plan_input in = input_for(model_named("tinyllama-1.1b"), LR_F16);
    const uint64_t hash = hash_of(&in);
    lr_plan_input same = in;
    same.host.budget_bytes--;
    same.host.read_bytes_per_s = 1e9;
    same.model_path = "elsewhere";
    same.n_ctx = 2048;
    assert_int_equal(hash_of(&same), hash);
    lr_plan_input other[9];
    for (size_t i = 0; i < LR_COUNT(other); i++) other[i] = in;
    other[0].n_ctx = 2047;
    other[1].n_batch = 511;
    other[2].kv = LR_Q8_0;
    other[3].quant_bits = 8;
    other[4].n_threads = 3;
    other[5].n_sessions = 2;
    other[6].use_mmap = false;
    other[7].host_fixed_bytes++;
    other[8].quant = LR_BF16;
    for (size_t i = 0; i < LR_COUNT(other); i++) assert_int_not_equal(hash_of(&other[i]), hash);
}

static double number(const cJSON *json, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsNumber(item)) fail_msg("no number %s", name);
    return item->valuedouble;
}

static void check_json(const cJSON *json, const lr_plan *plan) {
    const struct { const char *name; uint64_t value; } rows[] = {
        { "arena_bytes", plan->arena_bytes }, { "needed_bytes", plan->needed_bytes },
        { "mapped_bytes", plan->mapped_bytes }, { "weight_bytes", plan->weight_bytes },
        { "weights_bytes", plan->weights_bytes }, { "kv_bytes", plan->kv_bytes },
        { "kv_bytes_per_token", plan->kv_bytes_per_token }, { "n_ctx", (uint64_t)plan->n_ctx },
        { "n_batch", (uint64_t)plan->n_batch }, { "activation_bytes", plan->activation_bytes },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++) assert_true(number(json, rows[i].name) == (double)rows[i].value);
    const cJSON *devices = cJSON_GetObjectItem(json, "devices");
    const cJSON *regions = cJSON_GetObjectItem(cJSON_GetArrayItem(devices, 0), "regions"),
                *tensors = cJSON_GetObjectItem(json, "tensors"), *item;
    assert_int_equal(cJSON_GetArraySize(regions), plan->n_regions);
    assert_int_equal(cJSON_GetArraySize(tensors), plan->n_tensors);
    size_t i = 0;
    cJSON_ArrayForEach(item, regions) {
        assert_string_equal(cJSON_GetObjectItem(item, "name")->valuestring, plan->regions[i].name);
        assert_true(number(item, "offset") == (double)plan->regions[i].offset);
        assert_true(number(item, "bytes") == (double)plan->regions[i++].bytes);
    }
    i = 0;
    cJSON_ArrayForEach(item, tensors) {
        const char *format = cJSON_GetObjectItem(item, "format")->valuestring;
        assert_string_equal(format, lr_formats[plan->placements[i].format].name);
        assert_true(number(item, "bytes") == (double)plan->placements[i++].bytes);
    }
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)plan->hash);
    assert_string_equal(cJSON_GetObjectItem(json, "hash")->valuestring, hash);
    assert_string_equal(cJSON_GetObjectItem(json, "why")->valuestring, plan->why);
}

static void test_json_and_text(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        lr_plan_input in = input_for(&models[i], LR_BF16);
        in.model_path = "a \"quoted\" \\ path's \xff";
        in.quant_bits = i % 3 ? 4 : 0;
        in.cached = i % 2;
        lr_plan plan;
        must_fit(&plan, &in);
        lr_text json = { 0 }, text = { 0 };
        lr_plan_json(&plan, &in, &json);
        lr_plan_text(&plan, &in, &text);
        assert_false(json.failed || text.failed);
        cJSON *parsed = cJSON_Parse(json.text);
        assert_non_null(parsed);
        check_json(parsed, &plan);
        char ram[48];
        snprintf(ram, sizeof ram, "--ram %llu ", (unsigned long long)plan.needed_bytes);
        assert_non_null(strstr(text.text, ram));
        char why[sizeof plan.why], *rest = why, *decision;
        memcpy(why, plan.why, sizeof why);
        while ((decision = strtok_r(rest, ";", &rest))) assert_non_null(strstr(text.text, decision + strspn(decision, " ")));
        cJSON_Delete(parsed);
        lr_free(json.text);
        lr_free(text.text);
        lr_plan_close(&plan);
    }
}

/* ---- hostile input, failing allocations ---- */

static void test_hostile(void **state) {
    (void)state;
    static const int32_t extremes[] = { INT32_MIN, -1, 0, 1, 2, 1024, 65536, INT32_MAX - 1, INT32_MAX };
    model m = *model_named("odd");
    uint64_t rng = 7;
    for (int k = 0; k < 3000; k++) {
        lr_hparams *h = &m.h;
        *h = model_named("odd")->h;
        int32_t *fields[] = { &h->dim, &h->n_heads, &h->n_kv_heads, &h->head_dim, &h->hidden_dim, &h->n_vocab,
                              &h->n_ctx_train, &h->window, &h->n_rot };
        for (int j = 0; j < 3; j++) *fields[draw(&rng, LR_COUNT(fields))] = extremes[draw(&rng, LR_COUNT(extremes))];
        h->n_layers = draw(&rng, 2) ? 3 : 1024;
        lr_plan_input in = input_for(&m, LR_F32);
        in.quant_bits = (int32_t[]){ 0, 4, 8, 3 }[draw(&rng, 4)];
        in.n_ctx = draw(&rng, 2) ? 0 : extremes[draw(&rng, LR_COUNT(extremes))];
        in.n_batch = draw(&rng, 2) ? 0 : extremes[draw(&rng, LR_COUNT(extremes))];
        in.n_sessions = draw(&rng, 2) ? 1 : extremes[draw(&rng, LR_COUNT(extremes))];
        in.host.budget_bytes = draw(&rng, 2) ? UINT64_MAX : (uint64_t)1 << 33;
        if (in.n_sessions > 1000) in.host.budget_bytes = 1000;
        in.host.granule_bytes = (uint64_t)1 << draw(&rng, 64);
        in.host.overhead_bytes = draw(&rng, 8) ? 0 : UINT64_MAX;
        lr_plan_device gpus[3];
        in.gpus = gpus;
        in.n_gpus = (int32_t)draw(&rng, 4);
        in.disk = draw(&rng, 4) == 0;
        for (int i = 0; i < in.n_gpus; i++) {
            double rate = (double[]){ 0, 1e-300, 1e300, 1e12 }[draw(&rng, 4)];
            gpus[i] = (lr_plan_device){ .name = "GPU",
                                        .budget_bytes = (uint64_t[]){ 0, UINT64_MAX, 1 << 20, 1 << 30 }[draw(&rng, 4)],
                                        .granule_bytes = (uint64_t)1 << draw(&rng, 64),
                                        .overhead_bytes = draw(&rng, 8) ? 0 : UINT64_MAX,
                                        .read_bytes_per_s = rate,
                                        .flops_per_s = rate,
                                        .link_bytes_per_s = rate };
        }
        lr_plan plan;
        llmrun_error err = { 0 };
        llmrun_status status = lr_plan_make(&plan, &in, &err);
        if (status == LLMRUN_OK) assert_true(plan.needed_bytes <= in.host.budget_bytes);
        else assert_true(err.status == status && err.message[0]);
        assert_true(status == LLMRUN_OK || status == LLMRUN_NOMEM || status == LLMRUN_VRAM || status == LLMRUN_ARG ||
                    status == LLMRUN_FORMAT);
        for (int i = 0; i < plan.n_gpus; i++) assert_true(plan.gpus[i].total_bytes <= gpus[i].budget_bytes);
        lr_plan_close(&plan);
    }
}

static void test_wishes_that_cannot_be(void **state) {
    (void)state;
    lr_plan plan;
    llmrun_error err;
    lr_plan_input in = input_for(model_named("stories260k"), LR_F32);
    in.kv = LR_Q8_0; /* heads of 8 values */
    assert_int_equal(lr_plan_make(&plan, &in, &err), LLMRUN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "--kv f16"));
    in.kv = LR_Q4_K;
    assert_int_equal(lr_plan_make(&plan, &in, &err), LLMRUN_ARG);
    in.kv = LR_FORMAT_NONE;
    in.n_sessions = 0;
    assert_int_equal(lr_plan_make(&plan, &in, &err), LLMRUN_ARG);
    in = input_for(model_named("llama-2-7b"), LR_F16);
    in.host.budget_bytes = 0;
    assert_int_equal(lr_plan_make(&plan, &in, &err), LLMRUN_NOMEM);
    in.host.budget_bytes = UINT64_MAX;
    in.n_ctx = in.n_batch = INT32_MAX; /* more than 2^60 bytes */
    in.n_sessions = 1 << 16;
    assert_int_equal(lr_plan_make(&plan, &in, &err), LLMRUN_ARG);
}

static struct { long live, countdown; } heap;

static void *counting_realloc(void *user, void *old, size_t size) {
    (void)user;
    if (size == 0) {
        heap.live -= old != NULL;
        free(old);
        return NULL;
    }
    if (heap.countdown > 0 && --heap.countdown == 0) return NULL;
    heap.live += old == NULL;
    return realloc(old, size);
}

static void fail_each_allocation(const lr_plan_input *in) {
    llmrun_set_allocator(counting_realloc, NULL);
    bool all_done = false;
    for (long nth = 1; !all_done; nth++) {
        assert_true(nth < 1000);
        heap.countdown = nth;
        lr_plan plan;
        lr_text json = { 0 }, text = { 0 };
        llmrun_error err = { 0 };
        llmrun_status status = lr_plan_make(&plan, in, &err);
        if (status == LLMRUN_OK) {
            lr_plan_json(&plan, in, &json);
            lr_plan_text(&plan, in, &text);
        } else {
            assert_int_equal(status, LLMRUN_NOMEM);
            assert_null(plan.regions);
        }
        all_done = heap.countdown > 0;
        assert_int_equal(status == LLMRUN_OK && !json.failed && !text.failed, all_done);
        lr_free(json.text);
        lr_free(text.text);
        lr_plan_close(&plan);
        assert_int_equal(heap.live, 0);
    }
    llmrun_set_allocator(NULL, NULL);
}

static void test_failing_allocations(void **state) {
    (void)state;
    lr_plan_device gpus[2] = { { .name = "GPU 0", .budget_bytes = 700000 },
                               { .name = "GPU 1", .budget_bytes = 600000 } };
    lr_plan_input in = input_for(model_named("odd"), LR_BF16);
    fail_each_allocation(&in);
    in.gpus = gpus;
    in.n_gpus = 2;
    fail_each_allocation(&in);
}

/* A plan for two GPUs as a person reads it.                                                                          */
static void test_text_with_gpus(void **state) {
    (void)state;
    static const char *const words[] = {
        "GPU 0", "GPU 1", "layers 0-", "attention", "; head", "embedding", "streaming: prompts", "stated, not measured",
        "1 GiB more of VRAM on each GPU gives +", "of 40 layers on the CPU", "--vram 3221225472,2147483648 --quant",
    };
    lr_plan_device gpus[2] = { { .name = "GPU 0", .budget_bytes = (uint64_t)3 << 30, .read_bytes_per_s = 900e9,
                                 .flops_per_s = 90e12, .link_bytes_per_s = 25e9 },
                               { .name = "GPU 1", .budget_bytes = (uint64_t)2 << 30, .read_bytes_per_s = 400e9,
                                 .flops_per_s = 40e12, .link_bytes_per_s = 12e9, .rates_stated = true } };
    lr_plan_input in = input_for(model_named("llama-2-13b"), LR_F16);
    in.gpus = gpus;
    in.n_gpus = 2;
    in.host.read_bytes_per_s = 40e9;
    in.host.flops_per_s = 0.6e12;
    lr_plan plan;
    lr_text text = { 0 };
    must_fit(&plan, &in);
    lr_plan_text(&plan, &in, &text);
    for (size_t i = 0; i < LR_COUNT(words); i++)
        if (!strstr(text.text, words[i])) fail_msg("no \"%s\" in\n%s", words[i], text.text);
    lr_free(text.text);
    lr_plan_close(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash), cmocka_unit_test(test_json_and_text), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_wishes_that_cannot_be), cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_text_with_gpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
