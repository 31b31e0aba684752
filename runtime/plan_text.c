/* Planner, words: the plan as a person reads it.                                                                      */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* One row of the table: what, bytes, how it comes about.                                                              */
static void row(lr_text *out, const char *what, uint64_t bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void row(lr_text *out, const char *what, uint64_t bytes, const char *format, ...) {
    char gb[32], gib[32], how[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(how, sizeof how, format, ap);
    va_end(ap);
    lr_text_add(out, "  %-14s %9s  %9s  %s\n", what, lr_size_gb(gb, bytes), lr_size_gib(gib, bytes), how);
}

static void add_model(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    const lr_hparams *h = in->model;
    bool billions = plan->n_params >= 1000000000;
    lr_text_add(out, "model    %.*f %s parameters: %d layers, dim %d, %d/%d heads of %d, hidden %d, vocabulary %d%s\n",
                billions ? 2 : 1, (double)plan->n_params / (billions ? 1e9 : 1e6), billions ? "billion" : "million",
                h->n_layers, h->dim, h->n_heads, h->n_kv_heads, h->head_dim, h->hidden_dim, h->n_vocab,
                lr_plan_tied(in) ? ", head tied" : "");
    lr_text_add(out, "why      %s\n\n", plan->why);
}

/* "q4_k 3.4 GB, f32 1.1 MB", largest first.                                                                           */
static void list_formats(char *text, size_t size, const lr_plan *plan) {
    uint64_t left[LR_N_FORMATS];
    size_t at = 0;
    memcpy(left, plan->format_bytes, sizeof left);
    text[0] = 0;
    for (;;) {
        int most = 0;
        for (int f = 1; f < LR_N_FORMATS; f++)
            if (left[f] > left[most]) most = f;
        if (!left[most] || at >= size) return;
        char gb[32];
        int n = snprintf(text + at, size - at, "%s%s %s", at ? ", " : "", lr_formats[most].name,
                         lr_size_gb(gb, left[most]));
        at += n > 0 ? (size_t)n : 0;
        left[most] = 0;
    }
}

static void add_table(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    char formats[160], token[32], a[32];
    const char *home = in->cached ? "mapped from the cache of converted weights" : "converted, in the arena";
    list_formats(formats, sizeof formats, plan);
    row(out, "weights", plan->weight_bytes, "%s", formats);
    if (plan->weights_bytes) row(out, "  converted", plan->weights_bytes, "%s", home);
    uint64_t from_file = plan->mapped_bytes - (in->cached ? plan->weights_bytes : 0);
    if (from_file) row(out, "  mapped", from_file, "used straight from the model's file, read by every token");
    if (plan->mapped_rows_bytes)
        row(out, "  embedding", plan->mapped_rows_bytes, "mapped too; a token reads one row, so not counted");
    row(out, "KV cache", plan->kv_bytes, "%s, %d tokens%s%.0d%s, %s a token", lr_formats[plan->kv].name, plan->n_ctx,
        plan->n_sessions > 1 ? " x " : "", plan->n_sessions > 1 ? plan->n_sessions : 0,
        plan->n_sessions > 1 ? " sessions" : "", lr_size_gib(token, plan->kv_bytes_per_token));
    uint64_t scratch = plan->buffers.scratch_stride * (uint64_t)plan->n_threads;
    row(out, "activations", plan->activation_bytes - scratch, "chunks of %d tokens, logits of %d row%s", plan->n_batch,
        plan->logit_rows, plan->logit_rows > 1 ? "s" : "");
    row(out, "scratch", scratch, "%d thread%s of %s", plan->n_threads, plan->n_threads > 1 ? "s" : "",
        lr_size_gib(a, plan->buffers.scratch_stride));
    row(out, "overhead", plan->fixed_bytes, "tokenizer, directory, threads");
    lr_text_add(out, "  --------------------------------------\n");
    row(out, "allocated", plan->total_bytes, "of it one arena of %llu bytes", (unsigned long long)plan->arena_bytes);
    row(out, "needed", plan->needed_bytes, "allocated and mapped: the least --ram that works");
    row(out, "budget", in->host.budget_bytes, "%s free", lr_size_gib(a, in->host.budget_bytes - plan->needed_bytes));
}

static void add_prediction(lr_text *out, const lr_plan *plan) {
    char gb[32];
    lr_text_add(out, "\n  a token reads %s of weights", lr_size_gb(gb, plan->weight_bytes_per_token));
    const struct { const char *what, *unit; double value; } rates[] = {
        { "decode", "tokens/s", plan->decode_tokens_per_s },
        { "prefill", "tokens/s", plan->prefill_tokens_per_s },
        { "conversion", "s, once", plan->load_seconds >= 0.05 ? plan->load_seconds : 0 },
    };
    for (size_t i = 0; i < LR_COUNT(rates); i++)
        if (rates[i].value > 0)
            lr_text_add(out, "; %s about %.*f %s", rates[i].what, rates[i].value < 100, rates[i].value, rates[i].unit);
    lr_text_add(out, "\n");
}

void lr_plan_command(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    char path[512];
    const char *model = in->model_path ? in->model_path : "MODEL";
    lr_printable(path, sizeof path, model, strlen(model));
    bool plain = strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+~@:,") == strlen(path);
    lr_text_add(out, "llmrun --model ");
    if (plain) {
        lr_text_add(out, "%s", path);
    } else {
        lr_text_add(out, "'");
        for (const char *c = path; *c; c++) lr_text_add(out, *c == '\'' ? "'\\''" : "%c", *c);
        lr_text_add(out, "'");
    }
    lr_text_add(out, " --ram %llu", (unsigned long long)plan->needed_bytes);
    if (!plan->quant_kept) lr_text_add(out, " --quant %s", lr_formats[plan->quant].name);
    lr_text_add(out, " --kv %s -c %d -t %d%s", lr_formats[plan->kv].name, plan->n_ctx, plan->n_threads,
                in->use_mmap ? "" : " --no-mmap");
}

void lr_plan_text(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    add_model(out, plan, in);
    add_table(out, plan, in);
    add_prediction(out, plan);
    lr_text_add(out, "\nrepeat   ");
    lr_plan_command(plan, in, out);
    lr_text_add(out, "\nplan     %016llx\n", (unsigned long long)plan->hash);
}
