/* Published models, planned from their config.json alone: as many parameters as the model's page says, and a KV cache
 * that knows windows and heads of any size.  The files are not part of the repository.                               */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "loaders/loader.h"
#include "runtime/bind.h"
#include "tests/plan_models.h"

#define CONFIGS "../shared/data/configs/"

/* kv: of a token in f16, in bytes, all layers; windowed: layers that have the window.                                 */
static const struct { const char *file; double n_params; uint64_t kv; int32_t windowed, window; } rows[] = {
    { "mlc-presets/gemma_2b.json", 2506172416, 2 * 2 * 256 * 18, 0, 0 },
    { "mlc-presets/gemma2_2b.json", 2614341888, 2 * 2 * 4 * 256 * 26, 13, 4096 },
    { "mlc-presets/gemma2_9b.json", 9241705984, 2 * 2 * 8 * 256 * 42, 21, 4096 },
    { "mlc-presets/gemma2_27b.json", 27227128320, 2 * 2 * 16 * 128 * 46, 23, 4096 },
    { "mlc-presets/gemma3_1b_it.json", 999885952, 2 * 2 * 256 * 26, 22, 512 },
    { "mlc-presets/gpt2.json", 124439808, 2 * 2 * 768 * 12, 0, 0 },
    { "mlc-presets/gpt2_medium.json", 354823168, 2 * 2 * 1024 * 24, 0, 0 },
    { "mlc-presets/olmo2_7b.json", 7298617344, 2 * 2 * 4096 * 32, 0, 0 },
    { "mlc-presets/olmo2_13b.json", 13716198400, 2 * 2 * 5120 * 40, 0, 0 },
    { "mlc-presets/olmo2_32b.json", 32234279936, 2 * 2 * 8 * 128 * 64, 0, 0 },
    { "mlc-presets/phi-3_5.json", 3821079552, 2 * 2 * 3072 * 32, 32, 262144 },
    { "mlc-presets/phi-4.json", 3836021760, 2 * 2 * 8 * 128 * 32, 32, 262144 },
    { "mlc-presets/redpajama_3b_v1.json", 2775864320, 2 * 2 * 2560 * 32, 0, 0 },
    { "mlc-presets/stablelm-2-zephyr-1_6b.json", 1644515328, 2 * 2 * 2048 * 24, 0, 0 },
    { "mlc-presets/stablelm.json", 2795443200, 2 * 2 * 2560 * 32, 0, 0 },
    { "mlc-presets/smollm2_135m.json", 134515008, 2 * 2 * 3 * 64 * 30, 0, 0 },
    { "mlc-presets/qwen3_0.6b.json", 596049920, 2 * 2 * 8 * 128 * 28, 0, 0 },
    { "mlc-presets/llama3_2_1b.json", 1235814400, 2 * 2 * 8 * 64 * 16, 0, 0 },
    { "mlc-presets/mistral_7b.json", 7241732096, 2 * 2 * 8 * 128 * 32, 0, 0 },
    { "dotnet-ml/phi-2-config.json", 2779683840, 2 * 2 * 2560 * 32, 0, 0 },
    { "dotnet-ml/phi-3-mini-4k-instruct-config.json", 3821079552, 2 * 2 * 3072 * 32, 32, 2047 },
    { "dotnet-ml/phi-3-mini-128k-instruct-config.json", 3821079552, 2 * 2 * 3072 * 32, 32, 262144 },
    { "dotnet-ml/phi-3-medium-128k-instruct-config.json", 13960238080, 2 * 2 * 10 * 128 * 40, 40, 131072 },
    { "aiconfigurator/mistralai--Mixtral-8x7B-v0.1_config.json", 46702792704, 2 * 2 * 8 * 128 * 32, 0, 0 },
    { "aiconfigurator/mistralai--Mixtral-8x22B-v0.1_config.json", 140620634112, 2 * 2 * 8 * 128 * 56, 0, 0 },
    { "aiconfigurator/Qwen--Qwen3-30B-A3B_config.json", 30532122624, 2 * 2 * 4 * 128 * 48, 0, 0 },
    { "aiconfigurator/Qwen--Qwen3-235B-A22B_config.json", 235093634560, 2 * 2 * 4 * 128 * 94, 0, 0 },
    { "mlc-presets/qwen2moe.json", 14315784192, 2 * 2 * 16 * 128 * 24, 0, 0 },
    { "mlc-presets/deepseek_v2_lite.json", 15706484224, 2 * (512 + 64) * 27, 0, 0 }, /* one latent row */
    { "aiconfigurator/openai--gpt-oss-20b_config.json", 20914757184, 2 * 2 * 8 * 64 * 24, 12, 128 },
    { "aiconfigurator/openai--gpt-oss-120b_config.json", 116829156672, 2 * 2 * 8 * 64 * 36, 18, 128 },
};

static void published(void **state) {
    (void)state;
    if (access(CONFIGS, R_OK) != 0) {
        print_message("skipped: %s is absent\n", CONFIGS);
        skip();
    }
    for (size_t i = 0; i < LR_COUNT(rows); i++) {
        static const int32_t contexts[] = { 256, 1024 };
        char path[256];
        lr_checkpoint c;
        lr_binding b;
        llmrun_error err;
        snprintf(path, sizeof path, CONFIGS "%s", rows[i].file);
        if (lr_checkpoint_open(&c, path, NULL, &err) || lr_bind(&b, &c, &err)) fail_msg("%s: %s", path, err.message);
        double n = (double)b.n_params;
        if (!(n > 0.999 * rows[i].n_params && n < 1.001 * rows[i].n_params))
            fail_msg("%s: expected %.0f parameters, got %.0f", path, rows[i].n_params, n);
        lr_plan_input in = input_for(&models[0], LR_F16);
        in.model = &b.hparams;
        in.tensors = b.tensors;
        in.n_tensors = b.n;
        in.n_batch = 32;
        int32_t n_windowed = 0, n_layers = b.hparams.n_layers;
        for (int32_t l = 0; l < n_layers; l++) n_windowed += lr_layer_windowed(&b.hparams, l);
        if (n_windowed != rows[i].windowed || b.hparams.window != rows[i].window)
            fail_msg("%s: %d layers with a window of %d", path, n_windowed, b.hparams.window);
        uint64_t layer = rows[i].kv / (uint64_t)n_layers;
        for (size_t k = 0; k <= LR_COUNT(contexts); k++) {
            lr_plan p;
            in.n_ctx = k < LR_COUNT(contexts) ? contexts[k] : b.hparams.n_ctx_train;
            in.kv = LR_F16;
            if (lr_plan_make(&p, &in, &err)) fail_msg("%s: %s", path, err.message);
            uint64_t ctx = (uint64_t)in.n_ctx, full = layer * (uint64_t)(n_layers - n_windowed) * ctx;
            uint64_t held = lr_min(in.n_ctx, rows[i].window + in.n_batch), least = lr_min(in.n_ctx, rows[i].window);
            uint64_t some = layer * (uint64_t)n_windowed;
            if (p.kv_bytes < full + some * least || p.kv_bytes > full + some * held + 64 * (uint64_t)n_layers)
                fail_msg("%s: %d tokens: expected %llu .. %llu bytes of cache, got %llu", path, in.n_ctx,
                         (unsigned long long)(full + some * least), (unsigned long long)(full + some * held),
                         (unsigned long long)p.kv_bytes);
            assert_true(p.kv_bytes_per_token <= rows[i].kv && p.kv_bytes_per_token >= p.kv_bytes / ctx - 64);
            if (!n_windowed || rows[i].window >= in.n_ctx) assert_int_equal(p.kv_bytes_per_token, rows[i].kv);
            lr_plan_close(&p);
        }
        lr_binding_close(&b);
        lr_checkpoint_close(&c);
    }
}

/* Three of four layers are gated delta nets: states of so many bytes whatever the context, positions cost in the others
 * alone.                                                                                                              */
static void recurrent(void **state) {
    (void)state;
    static const struct { const char *file; uint64_t n_params, kv, state; } models_of[] = {
        { "aiconfigurator/Qwen--Qwen3.5-27B_config.json", 26895998464, 65536, 3268608 },
        { "aiconfigurator/Qwen--Qwen3.5-35B-A3B_config.json", 34660610688, 20480, 2195456 },
    };
    if (access(CONFIGS, R_OK) != 0) {
        print_message("skipped: %s is absent\n", CONFIGS);
        skip();
    }
    for (size_t i = 0; i < LR_COUNT(models_of); i++) {
        char path[256];
        lr_checkpoint c;
        lr_binding b;
        llmrun_error err;
        snprintf(path, sizeof path, CONFIGS "%s", models_of[i].file);
        if (lr_checkpoint_open(&c, path, NULL, &err) || lr_bind(&b, &c, &err)) fail_msg("%s: %s", path, err.message);
        assert_true(b.n_params == models_of[i].n_params);
        lr_plan_input in = input_for(&models[0], LR_F16);
        in.model = &b.hparams;
        in.tensors = b.tensors;
        in.n_tensors = b.n;
        in.kv = LR_F16;
        uint64_t n_states = (uint64_t)b.hparams.n_layers / 4 * 3;
        for (in.n_ctx = 64; in.n_ctx <= 16384; in.n_ctx *= 16) {
            lr_plan p;
            must_fit(&p, &in);
            assert_true(p.kv_bytes_per_token == models_of[i].kv);
            assert_true(p.kv_bytes == models_of[i].kv * (uint64_t)in.n_ctx + n_states * models_of[i].state);
            for (int32_t l = 0; l < b.hparams.n_layers; l++) {
                bool full = l % 4 == 3;
                assert_int_equal(p.kv_slots[l], full ? in.n_ctx : 0);
                if (!full) assert_true(p.kv_page_bytes[l] == models_of[i].state);
            }
            lr_plan_close(&p);
        }
        lr_binding_close(&b);
        lr_checkpoint_close(&c);
    }
}

/* Gemma 3 with a vision part: the text_config leaves out what the family has by default.                              */
static void left_out(void **state) {
    (void)state;
    static const char text[] =
        "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"model_type\": \"gemma3\", \"text_config\": {"
        "\"hidden_size\": 2560, \"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", \"num_hidden_layers\": 34,"
        "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}, \"sliding_window\": 1024}}";
    char path[] = "/tmp/llmrun_config_XXXXXX.json";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    lr_checkpoint c;
    lr_binding b;
    llmrun_error err;
    if (lr_checkpoint_open(&c, path, NULL, &err) || lr_bind(&b, &c, &err)) fail_msg("%s", err.message);
    const lr_hparams *h = &b.hparams;
    assert_true(b.n_params == 3880263168);
    assert_true(h->n_heads == 8 && h->n_kv_heads == 4 && h->head_dim == 256 && h->n_vocab == 262208 && h->window == 1024);
    assert_true(h->rope[0].theta == 1e6f && h->rope[0].scaling == LR_ROPE_LINEAR && h->rope[0].factor == 8);
    assert_true(h->n_ropes == 2 && h->rope[1].theta == 1e4f && h->rope[1].scaling == LR_ROPE_NONE);
    assert_true(lr_layer_windowed(h, 4) && !lr_layer_windowed(h, 5) && h->attn_scale == 1.0f / 16);
    lr_binding_close(&b);
    lr_checkpoint_close(&c);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(published), cmocka_unit_test(recurrent), cmocka_unit_test(left_out) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
