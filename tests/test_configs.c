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
    { "mlc-presets/minicpm_2b_sft_bf16.json", 2724880896, 2 * 2 * 36 * 64 * 40, 0, 0 },
    { "mlc-presets/internlm2_5_7b.json", 7737708544, 2 * 2 * 8 * 128 * 32, 0, 0 },
    { "mlc-presets/ministral3_3b_2512.json", 3429006336, 2 * 2 * 8 * 128 * 26, 0, 0 },
    { "aiconfigurator/deepseek-ai--DeepSeek-V3_config.json", 671026404352, 2 * (512 + 64) * 61, 0, 0 },
    { "aiconfigurator/moonshotai--Kimi-K2-Instruct_config.json", 1026408209408, 2 * (512 + 64) * 61, 0, 0 },
    { "aiconfigurator/moonshotai--Kimi-K2.5_config.json", 1026408209408, 2 * (512 + 64) * 61, 0, 0 },
    { "aiconfigurator/MiniMaxAI--MiniMax-M2.5_config.json", 228689748992, 2 * 2 * 8 * 128 * 62, 0, 0 },
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
 * alone.                                                                                                             */
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

static void bind_text(lr_checkpoint *c, lr_binding *b, const char *text) {
    char path[] = "/tmp/llmrun_config_XXXXXX.json";
    llmrun_error err;
    int fd = mkstemps(path, 5);
    ssize_t n = (ssize_t)strlen(text);
    assert_true(fd >= 0 && write(fd, text, (size_t)n) == n);
    close(fd);
    if (lr_checkpoint_open(c, path, NULL, &err) || lr_bind(b, c, &err)) fail_msg("%s", err.message);
    unlink(path);
}

/* Gemma 3 with a vision part: the text_config leaves out what the family has by default.                              */
static void left_out(void **state) {
    (void)state;
    static const char text[] =
        "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"model_type\": \"gemma3\", \"text_config\": {"
        "\"hidden_size\": 2560, \"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", \"num_hidden_layers\": 34,"
        "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}, \"sliding_window\": 1024}}";
    lr_checkpoint c;
    lr_binding b;
    bind_text(&c, &b, text);
    const lr_hparams *h = &b.hparams;
    assert_true(b.n_params == 3880263168);
    assert_true(h->n_heads == 8 && h->n_kv_heads == 4 && h->head_dim == 256 && h->n_vocab == 262208 && h->window == 1024);
    assert_true(h->rope[0].theta == 1e6f && h->rope[0].scaling == LR_ROPE_LINEAR && h->rope[0].factor == 8);
    assert_true(h->n_ropes == 2 && h->rope[1].theta == 1e4f && h->rope[1].scaling == LR_ROPE_NONE);
    assert_true(lr_layer_windowed(h, 4) && !lr_layer_windowed(h, 5) && h->attn_scale == 1.0f / 16);
    lr_binding_close(&b);
    lr_checkpoint_close(&c);
}

/* Models that choose experts with a bias, as they are published.                                                      */
static void by_sigmoids(void **state) {
    (void)state;
    static const struct { const char *text; double n_params; int32_t dense; bool sigmoid; } by_name[] = {
        { "{\"model_type\": \"deepseek_v3\", \"hidden_size\": 2048, \"intermediate_size\": 11264, \"num_hidden_layers\": 27,"
          "\"num_attention_heads\": 16, \"num_key_value_heads\": 16, \"vocab_size\": 163840, \"q_lora_rank\": null,"
          "\"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128,"
          "\"n_routed_experts\": 64, \"n_shared_experts\": 2, \"moe_intermediate_size\": 1408, \"num_experts_per_tok\": 6,"
          "\"first_k_dense_replace\": 1, \"topk_method\": \"noaux_tc\", \"n_group\": 1, \"topk_group\": 1,"
          "\"scoring_func\": \"sigmoid\", \"routed_scaling_factor\": 2.446}", 15960108544, 1, true }, /* Moonlight */
        { "{\"model_type\": \"glm4_moe\", \"hidden_size\": 4096, \"intermediate_size\": 10944, \"num_hidden_layers\": 46,"
          "\"num_attention_heads\": 96, \"num_key_value_heads\": 8, \"head_dim\": 128, \"vocab_size\": 151552,"
          "\"attention_bias\": true, \"use_qk_norm\": false, \"n_routed_experts\": 128, \"n_shared_experts\": 1,"
          "\"moe_intermediate_size\": 1408, \"num_experts_per_tok\": 8, \"first_k_dense_replace\": 1, \"n_group\": 1,"
          "\"topk_group\": 1, \"num_nextn_predict_layers\": 1}", 106852245504, 1, true }, /* GLM-4.5-Air */
        { "{\"model_type\": \"ernie4_5_moe\", \"hidden_size\": 2560, \"intermediate_size\": 12288, \"num_hidden_layers\": 28,"
          "\"num_attention_heads\": 20, \"num_key_value_heads\": 4, \"vocab_size\": 103424, \"moe_num_experts\": 64,"
          "\"moe_k\": 6, \"moe_num_shared_experts\": 2, \"moe_intermediate_size\": 1536, \"moe_layer_start_index\": 1,"
          "\"moe_layer_end_index\": 27, \"moe_layer_interval\": 1, \"tie_word_embeddings\": true}", 21825436160, 1, false },
    };
    for (size_t i = 0; i < LR_COUNT(by_name); i++) {
        lr_checkpoint c;
        lr_binding b;
        bind_text(&c, &b, by_name[i].text);
        const lr_hparams *h = &b.hparams;
        double n = (double)b.n_params;
        if (!(n > 0.999 * by_name[i].n_params && n < 1.001 * by_name[i].n_params)) fail_msg("%s: %.0f", by_name[i].text, n);
        assert_true(h->sigmoid == by_name[i].sigmoid && h->bias_chooses && h->among_chosen && h->n_expert_groups == 0);
        for (int32_t l = 0; l < h->n_layers; l++) assert_int_equal(lr_layer_has_experts(h, l), l >= by_name[i].dense);
        lr_binding_close(&b);
        lr_checkpoint_close(&c);
    }
}

/* Layers that guess further tokens are behind the last one: known, not used.  Without the word for them they are wrong.  */
static void further_tokens(void **state) {
    (void)state;
    static const char golden[] = "tests/golden/models/glm4-moe-lite/";
    static char text[4096];
    char dir[] = "/tmp/llmrun_next_XXXXXX", path[64], weights[64], target[4096], from[128];
    llmrun_error err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    snprintf(from, sizeof from, "%smodel.safetensors", golden);
    assert_non_null(realpath(from, target));
    assert_int_equal(symlink(target, weights), 0);
    snprintf(from, sizeof from, "%sconfig.json", golden);
    FILE *in = fopen(from, "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    fclose(in);
    char *n_layers = strstr(text, "\"num_hidden_layers\": 2");
    assert_non_null(n_layers);
    n_layers[strlen("\"num_hidden_layers\": ")] = '1';
    for (int n_next = 0; n_next < 2; n_next++) {
        lr_checkpoint c;
        lr_binding b;
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fprintf(out, "{\"num_nextn_predict_layers\": %d,%s", n_next, strchr(text, '{') + 1);
        fclose(out);
        assert_int_equal(lr_checkpoint_open(&c, dir, NULL, &err), LLMRUN_OK);
        llmrun_status status = lr_bind(&b, &c, &err);
        assert_int_equal(status, n_next ? LLMRUN_OK : LLMRUN_UNSUPPORTED);
        if (n_next) assert_true(b.hparams.n_layers == 1 && b.n_next > 10);
        else assert_non_null(strstr(err.message, "is not part of deepseek3 with 1 layers"));
        if (n_next) lr_binding_close(&b);
        lr_checkpoint_close(&c);
    }
    unlink(path);
    unlink(weights);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(published), cmocka_unit_test(recurrent),
                                        cmocka_unit_test(left_out), cmocka_unit_test(by_sigmoids), cmocka_unit_test(further_tokens) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
