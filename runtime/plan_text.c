/* Planner, words: the plan as a person reads it.                                                                     */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* One row of the table: what, bytes, how it comes about.                                                             */
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
    if (h->n_experts)
        lr_text_add(out, "experts  %d of %d values a layer, %d for a token%s\n", h->n_experts, h->expert_dim,
                    h->n_experts_used, h->shared_dim ? ", and a shared one" : "");
    /* A decision a line. */
    const char *why = plan->why, *title = "why", *end;
    for (; (end = strstr(why, "; ")); why = end + 2, title = "")
        lr_text_add(out, "%-9s%.*s\n", title, (int)(end - why), why);
    lr_text_add(out, "%-9s%s\n\n", title, why);
}

/* "q4_k 3.4 GB, f32 1.1 MB", largest first.                                                                          */
static void list_formats(char *text, size_t size, const lr_plan *plan) {
    uint64_t left[LR_N_FORMATS];
    size_t at = 0;
    memcpy(left, plan->format_bytes, sizeof left);
    text[0] = 0;
    for (;;) {
        int most = 0;
        for (int f = 1; f < LR_N_FORMATS; f++)
            if (left[f] > left[most]) most = f;
        if (!left[most]) return;
        char gb[32];
        if (at + sizeof gb > size) { /* a file may mix any number of formats */
            snprintf(text + at, size - at, ", ...");
            return;
        }
        int n = snprintf(text + at, size - at, "%s%s %s", at ? ", " : "", lr_formats[most].name,
                         lr_size_gb(gb, left[most]));
        at += n > 0 ? (size_t)n : 0;
        left[most] = 0;
    }
}

/* ---- the CPU alone: one table of what its memory holds ---- */

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
    row(out, "KV cache", plan->kv_bytes, "%s, %d tokens%s%.0d%s, %s a token", lr_kv_name(plan->kv), plan->n_ctx,
        plan->n_sessions > 1 ? " x " : "", plan->n_sessions > 1 ? plan->n_sessions : 0,
        plan->n_sessions > 1 ? " sessions" : "", lr_size_gib(token, plan->kv_bytes_per_token));
    if (plan->disk_bytes) row(out, "  from disk", plan->disk_bytes, "more than RAM holds: read again for every token");
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

/* ---- GPUs: a row a device, then what each computes ---- */

static void device_row(lr_text *out, const char *name, const uint64_t *bytes, size_t n) {
    char gib[32];
    lr_text_add(out, "  %-8s", name);
    for (size_t i = 0; i < n; i++) lr_text_add(out, " %11s", lr_size_gib(gib, bytes[i]));
    lr_text_add(out, "\n");
}

static void add_devices(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    char name[16];
    lr_text_add(out, "  %-8s %11s %11s %11s %11s %11s %11s %11s %11s\n", "", "weights", "KV cache", "activations",
                "staging", "overhead", "total", "budget", "free");
    for (int i = 0; i < plan->n_gpus; i++) {
        const lr_plan_gpu *g = &plan->gpus[i];
        uint64_t rounding = g->arena_bytes - g->weights_bytes - g->kv_bytes - g->activation_bytes - g->staging_bytes;
        device_row(out, lr_plan_place_name(name, i),
                   (const uint64_t[]){ g->weights_bytes, g->kv_bytes, g->activation_bytes, g->staging_bytes,
                                       g->overhead_bytes + rounding, g->total_bytes, in->gpus[i].budget_bytes,
                                       in->gpus[i].budget_bytes - g->total_bytes }, 8);
    }
    uint64_t weights = (in->cached ? 0 : plan->weights_bytes) + plan->mapped_bytes - plan->disk_bytes;
    uint64_t rounding = plan->needed_bytes - weights - plan->kv_bytes - plan->activation_bytes - plan->pinned_bytes;
    device_row(out, "cpu",
               (const uint64_t[]){ weights, plan->kv_bytes, plan->activation_bytes, plan->pinned_bytes, rounding,
                                   plan->needed_bytes, in->host.budget_bytes,
                                   in->host.budget_bytes - plan->needed_bytes }, 8);
}

/* "layers 3-9", "attention of 2": layers of which exactly these groups are at that place.                            */
static void add_layers_with(lr_text *out, const lr_plan *plan, const lr_plan_input *in, int place, unsigned groups,
                            const char **between) {
    static const char *const dense[1 << LR_N_GROUPS] = {
        NULL, "attention of ", "gate+up of ", "attention, gate+up of ", "down of ", "attention, down of ",
        "gate+up, down of ", "layers ",
    };
    static const char *const mixture[1 << LR_N_GROUPS] = {
        NULL, "attention of ", "shared part of ", "all but experts of ", "experts of ", "attention, experts of ",
        "shared part, experts of ", "layers ",
    };
    const char *const *names = in->model->n_experts ? mixture : dense;
    int32_t n = in->model->n_layers, first = -1;
    bool named = false;
    for (int32_t l = 0; l <= n; l++) {
        unsigned here = 0;
        for (unsigned g = 0; g < LR_N_GROUPS && l < n; g++)
            here |= (unsigned)(plan->place[(unsigned)l * LR_N_GROUPS + g] == place) << g;
        if (here == groups && first < 0) first = l;
        if (here == groups || first < 0) continue;
        lr_text_add(out, "%s%s%d", named ? ", " : *between, named ? "" : names[groups], first);
        if (l - 1 > first) lr_text_add(out, "-%d", l - 1);
        named = true;
        first = -1;
    }
    if (named) *between = "; ";
}

static void add_work(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    char name[16], gib[32];
    for (int place = LR_PLACE_HOST; place < plan->n_gpus; place++) {
        const char *between = "";
        lr_text_add(out, "  %-8s ", lr_plan_place_name(name, place));
        if (plan->embed_place == place) {
            lr_text_add(out, "embedding");
            between = "; ";
        }
        for (unsigned groups = (1 << LR_N_GROUPS) - 1; groups > 0; groups--)
            add_layers_with(out, plan, in, place, groups, &between);
        if (plan->head_place == place) lr_text_add(out, "%shead", between);
        lr_text_add(out, "%s\n", *between || plan->head_place == place ? "" : "nothing");
    }
    for (int i = 0; i < plan->n_gpus; i++)
        if (plan->gpus[i].pinned_slot_bytes && plan->gpus[i].staging_bytes)
            lr_text_add(
                out, "  streaming: prompts send the CPU's layers to %s, from %d tokens on, through slots of %s\n",
                lr_plan_place_name(name, i), plan->stream_from, lr_size_gib(gib, plan->gpus[i].staging_bytes));
    for (int i = 0; i < plan->n_gpus; i++)
        if (plan->gpus[i].library_bytes)
            lr_text_add(out, "  dense products of long passes on %s by its vendor's library, in %s\n",
                        lr_plan_place_name(name, i), lr_size_gib(gib, plan->gpus[i].library_bytes));
    if (plan->mapped_rows_bytes)
        lr_text_add(out, "  the embedding is mapped too (%s); a token reads one row, so it is not counted\n",
                    lr_size_gib(gib, plan->mapped_rows_bytes));
    if (plan->disk_bytes)
        lr_text_add(out, "  %s of weights are more than RAM holds: read from disk for every token\n",
                    lr_size_gib(gib, plan->disk_bytes));
}

static bool same_rates(const lr_plan_device *a, const lr_plan_device *b) {
    return a->rates_stated == b->rates_stated && a->read_bytes_per_s == b->read_bytes_per_s &&
           a->flops_per_s == b->flops_per_s && a->link_bytes_per_s == b->link_bytes_per_s;
}

/* Rates of cards that are not there; cards alike share a line.                                                       */
static void add_stated(lr_text *out, const lr_plan_input *in) {
    char name[16];
    bool any = false;
    for (int i = 0, next; i < in->n_gpus; i = next) {
        const lr_plan_device *d = &in->gpus[i];
        for (next = i + 1; next < in->n_gpus && same_rates(d, &in->gpus[next]);) next++;
        if (!d->rates_stated) continue;
        lr_text_add(out, "  stated, not measured: %s", lr_plan_place_name(name, i));
        if (next - 1 > i) lr_text_add(out, " to %d each", next - 1);
        lr_text_add(out, ": memory %.0f GB/s, f16 %.1f TFLOP/s, link %.1f GB/s\n", d->read_bytes_per_s / 1e9,
                    d->flops_per_s / 1e12, d->link_bytes_per_s / 1e9);
        any = true;
    }
    if (any) lr_text_add(out, "  (a card's own rates: --gpu SIZE:GB/s:TFLOP/s, as in --gpu 8G:448:80)\n");
}

/* ---- the rest ---- */

double lr_plan_marginal(const lr_plan *plan, const lr_plan_input *in) {
    lr_plan_input more = *in;
    lr_plan_device gpus[LR_PLAN_MAX_GPUS];
    lr_plan other;
    double gain = 0;
    if (!plan->n_gpus || plan->decode_tokens_per_s <= 0) return 0;
    if (!plan->n_host_layers && plan->head_place != LR_PLACE_HOST) return 0;
    for (int i = 0; i < in->n_gpus; i++) {
        gpus[i] = in->gpus[i];
        gpus[i].budget_bytes += (uint64_t)1 << 30;
    }
    more.gpus = gpus;
    more.n_ctx = plan->n_ctx;
    if (plan->formats) {
        more.formats = plan->formats;
        more.mixed = false;
    } else if (!plan->quant_kept) {
        more.quant = plan->quant;
        more.quant_bits = 0;
    } else {
        more.prefer = LR_PREFER_QUALITY;
    }
    if (lr_plan_make(&other, &more, NULL) == LLMRUN_OK) gain = other.decode_tokens_per_s - plan->decode_tokens_per_s;
    lr_plan_close(&other);
    return gain > 0 ? gain : 0;
}

static void add_prediction(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
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
    double more = lr_plan_marginal(plan, in);
    if (more > 0)
        lr_text_add(out, "  1 GiB more of VRAM%s gives %+.1f tokens/s (decode, by planning again)\n",
                    plan->n_gpus > 1 ? " on each GPU" : "", more);
}

void lr_plan_command(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    char path[512];
    const char *model = in->model_path ? in->model_path : "MODEL";
    lr_printable(path, sizeof path, model, strlen(model));
    bool plain =
        strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+~@:,") == strlen(path);
    lr_text_add(out, "llmrun --model ");
    if (plain) {
        lr_text_add(out, "%s", path);
    } else {
        lr_text_add(out, "'");
        for (const char *c = path; *c; c++) lr_text_add(out, *c == '\'' ? "'\\''" : "%c", *c);
        lr_text_add(out, "'");
    }
    lr_text_add(out, " --ram %llu", (unsigned long long)plan->needed_bytes);
    for (int i = 0; i < in->n_gpus; i++)
        lr_text_add(out, "%s%llu", i ? "," : " --vram ", (unsigned long long)in->gpus[i].budget_bytes);
    if (plan->disk_bytes) lr_text_add(out, " --disk");
    if (plan->quant_kept && in->prefer == LR_PREFER_QUALITY) lr_text_add(out, " --prefer quality");
    if (plan->formats) lr_text_add(out, " --quant mixed:%.6g", plan->mixed_bits);
    else if (!plan->quant_kept) lr_text_add(out, " --quant %s", lr_formats[plan->quant].name);
    lr_text_add(out, " --kv %s -c %d -t %d%s", lr_kv_name(plan->kv), plan->n_ctx, plan->n_threads,
                in->use_mmap ? "" : " --no-mmap");
}

void lr_plan_text(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    add_model(out, plan, in);
    if (plan->n_gpus) {
        add_devices(out, plan, in);
        lr_text_add(out, "\n");
        add_work(out, plan, in);
        add_stated(out, in);
    } else {
        add_table(out, plan, in);
    }
    add_prediction(out, plan, in);
    lr_text_add(out, "\nrepeat   ");
    lr_plan_command(plan, in, out);
    lr_text_add(out, "\nplan     %016llx\n", (unsigned long long)plan->hash);
}
