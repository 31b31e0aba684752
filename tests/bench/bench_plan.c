/* How long planning takes: a model of 100 layers of a 70B model's shape, its headers on disk (the weights are a hole in
 * the file), without a GPU, with one that holds a part, with four.  The planner itself is a pure function; beside it
 * what `llmrun plan` does from opening the headers to the text.  The aims: 1 ms and 50 ms.
 *
 *     bench_plan                                                                                                      */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/engine.h"

enum { LAYERS = 100, DIM = 8192, KV = 1024, HIDDEN = 28672, VOCAB = 32000, RUNS = 15 };

static void add_tensor(lr_text *header, uint64_t *end, const char *name, int64_t rows, int64_t cols) {
    uint64_t bytes = 2 * (uint64_t)rows * (uint64_t)cols;
    lr_text_add(header, "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%lld", *end ? "," : "{", name, (long long)rows);
    if (cols > 1) lr_text_add(header, ",%lld", (long long)cols);
    lr_text_add(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*end, (unsigned long long)(*end + bytes));
    *end += bytes;
}

static void add_layer(lr_text *header, uint64_t *end, int layer) {
    static const struct { const char *name; int64_t rows, cols; } tensors[] = {
        { "input_layernorm", DIM, 1 },         { "self_attn.q_proj", DIM, DIM },
        { "self_attn.k_proj", KV, DIM },       { "self_attn.v_proj", KV, DIM },
        { "self_attn.o_proj", DIM, DIM },      { "post_attention_layernorm", DIM, 1 },
        { "mlp.gate_proj", HIDDEN, DIM },      { "mlp.up_proj", HIDDEN, DIM },
        { "mlp.down_proj", DIM, HIDDEN },
    };
    char name[96];
    for (size_t i = 0; i < LR_COUNT(tensors); i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, tensors[i].name);
        add_tensor(header, end, name, tensors[i].rows, tensors[i].cols);
    }
}

static bool write_model(const char *dir) {
    lr_text header = { 0 };
    char path[256];
    uint64_t end = 0;
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "we");
    if (!f) return false;
    fprintf(f,
            "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":%d,\"num_hidden_layers\":%d,"
            "\"num_attention_heads\":64,\"num_key_value_heads\":8,\"intermediate_size\":%d,\"vocab_size\":%d,"
            "\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":false}",
            DIM, LAYERS, HIDDEN, VOCAB);
    bool ok = fclose(f) == 0;
    add_tensor(&header, &end, "model.embed_tokens.weight", VOCAB, DIM);
    for (int i = 0; i < LAYERS; i++) add_layer(&header, &end, i);
    add_tensor(&header, &end, "model.norm.weight", DIM, 1);
    add_tensor(&header, &end, "lm_head.weight", VOCAB, DIM);
    lr_text_add(&header, "}");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "we");
    if (!f) return false;
    uint64_t n = header.n;
    ok = ok && fwrite(&n, 8, 1, f) == 1 && fwrite(header.text, 1, n, f) == n;
    ok = ok && ftruncate(fileno(f), (off_t)(8 + n + end)) == 0;
    lr_free(header.text);
    return fclose(f) == 0 && ok;
}

static void remove_model(const char *dir) {
    static const char *const names[] = { "config.json", "model.safetensors" };
    char path[256];
    for (size_t i = 0; i < LR_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static double best(double a, double b) { return a == 0 || b < a ? b : a; }

/* Seconds of the best run: the function, and all of `llmrun plan`.                                                     */
static bool time_plan(const llmrun_options *o, double *function, double *whole, lr_plan *last, llmrun_error *err) {
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    llmrun_status status = e ? lr_engine_prepare(e, o, err) : lr_fail_nomem(err, "bench", sizeof *e);
    if (!status) status = lr_engine_find_devices(e, o, err);
    *function = *whole = 0;
    for (int i = 0; i < RUNS && !status; i++) {
        lr_plan plan;
        double start = lr_seconds();
        status = lr_plan_make(&plan, &e->plan_input, err);
        *function = best(*function, lr_seconds() - start);
        *last = plan; /* its numbers; the arrays go */
        lr_plan_close(&plan);
    }
    for (int i = 0; i < RUNS && !status; i++) {
        char *text = NULL;
        double start = lr_seconds();
        status = llmrun_plan(o, NULL, &text, err);
        *whole = best(*whole, lr_seconds() - start);
        llmrun_free(text);
    }
    lr_engine_free(e);
    return status == LLMRUN_OK;
}

int main(void) {
    static const struct { const char *what; int n_cards; uint64_t gib; } cases[] = {
        { "the CPU alone", 0, 0 }, { "one GPU of 24 GiB", 1, 24 }, { "one GPU of 96 GiB", 1, 96 },
        { "four GPUs of 24 GiB", 4, 24 },
    };
    char dir[] = "/tmp/llmrun-bench-XXXXXX";
    llmrun_error err;
    bool ok = mkdtemp(dir) && write_model(dir);
    if (!ok) fprintf(stderr, "bench_plan: cannot write a model into /tmp\n");
    printf("plans for %d layers, %d x %d, precision and context on auto: the planner, with headers and text\n", LAYERS,
           DIM, HIDDEN);
    for (size_t i = 0; i < LR_COUNT(cases) && ok; i++) {
        llmrun_card cards[4] = { { .bytes = 0 } };
        llmrun_options o;
        lr_plan plan;
        double function, whole;
        llmrun_options_default(&o);
        o.model = dir;
        o.device = "cpu";
        o.cache_dir = "";
        o.ram_bytes = (uint64_t)512 << 30;
        o.cards = cards;
        o.n_cards = cases[i].n_cards;
        for (int k = 0; k < o.n_cards; k++) cards[k].bytes = cases[i].gib << 30;
        ok = time_plan(&o, &function, &whole, &plan, &err);
        if (!ok) fprintf(stderr, "bench_plan: %s\n", err.message);
        else printf("  %-20s %7.3f ms  %7.2f ms   %s, %d layers on the CPU\n", cases[i].what, 1e3 * function, 1e3 * whole,
                    lr_formats[plan.quant].name, plan.n_host_layers);
    }
    remove_model(dir);
    return !ok;
}
