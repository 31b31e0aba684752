/* What run and chat share: options of one answer, the line of figures after it.                                       */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/cli/cli.h"

uint64_t random_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uint64_t)(1e9 * seconds());
    return seed >> 1; /* so that it can be typed back as --seed */
}

bool cli_templated(const cli_options *o, const llmrun_engine *e, char note[96]) {
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_engine_info(e, &info);
    bool plain = o->raw || o->parse_special || (o->logits && !o->chat), templated = !plain && info.has_chat_template;
    const char *whose = o->chat_template ? "the chat template that was given" : "the model's chat template";
    note[0] = 0;
    if (templated)
        snprintf(note, 96, "using %s", whose);
    else if (o->chat)
        snprintf(note, 96, "%s: completing text", plain ? "as asked" : "no chat template");
    return templated;
}

int cli_check_ids(const cli_options *o, const llmrun_engine *e, const int32_t *ids, size_t n) {
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_engine_info(e, &info);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= info.n_vocab)
            return cli_fail(EXIT_FORMAT, "%s: its tokenizer gives id %d, the model has %d: it belongs to another model",
                            o->engine.model, ids[i], info.n_vocab);
    return 0;
}

int cli_prompt_ids(const cli_options *o, const llmrun_engine *e, bool templated, const cli_text *prompt, int32_t **ids,
                   size_t *n_ids) {
    unsigned flags = LLMRUN_ADD_SPECIAL | (o->parse_special ? LLMRUN_PARSE_SPECIAL : 0);
    *ids = NULL;
    if (templated) {
        cli_conversation c = { 0 };
        bool added = (!o->system || conversation_add(&c, ROLE_SYSTEM, o->system, strlen(o->system))) &&
                     conversation_add(&c, ROLE_USER, prompt->bytes, prompt->n);
        int code = added ? conversation_ids(o, e, &c, ids, n_ids) : cli_fail(EXIT_FIT, "prompt: out of host memory");
        conversation_close(&c);
        return code;
    }
    int code = cli_tokenize(llmrun_engine_tokenizer(e), prompt->bytes, prompt->n, flags, ids, n_ids);
    return code ? code : cli_check_ids(o, e, *ids, *n_ids);
}

void cli_generate_options(const cli_options *o, llmrun_generate_options *g) {
    llmrun_generate_options_default(g);
    g->sampling = o->sampling;
    g->max_tokens = o->max_tokens;
    g->stop = o->stop;
    g->n_stop = o->n_stop;
}

const char *finish_text(llmrun_finish finish) {
    switch (finish) {
    case LLMRUN_FINISH_LENGTH: return "length";
    case LLMRUN_FINISH_END: return "end";
    case LLMRUN_FINISH_STOP: return "stop";
    case LLMRUN_FINISH_CONTEXT: return "context";
    case LLMRUN_FINISH_CANCELLED: return "cancelled";
    case LLMRUN_FINISH_ERROR: break;
    }
    return "error";
}

const char *size_text(char buf[32], uint64_t bytes) {
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
    double v = (double)bytes;
    int unit = 0;
    while (v >= 1000 && unit < 4) v /= 1000, unit++;
    snprintf(buf, 32, unit && v < 100 ? "%.1f %s" : "%.0f %s", v, units[unit]);
    return buf;
}

static double rate(double amount, double time) { return time > 0 ? amount / time : 0; }

/* Planned, peak and budget of each GPU, region by region, on stderr.                                                   */
static void print_vram(const llmrun_engine *e, const llmrun_model_info *info) {
    for (int32_t i = 0; i < info->n_gpus; i++) {
        llmrun_memory m = { .struct_size = sizeof m };
        char planned[32], peak[32], budget[32], weights[32], kv[32], activations[32], staging[32], overhead[32];
        if (llmrun_engine_memory(e, i, &m) != LLMRUN_OK) return;
        fprintf(stderr,
                "stats: %s VRAM planned %s, peak %s, budget %s: weights %s, KV %s, activations %s, staging %s, overhead %s\n",
                m.name, size_text(planned, m.planned_bytes), size_text(peak, m.peak_bytes),
                size_text(budget, m.budget_bytes), size_text(weights, m.weights_bytes), size_text(kv, m.kv_bytes),
                size_text(activations, m.activation_bytes), size_text(staging, m.staging_bytes),
                size_text(overhead, m.overhead_bytes));
    }
    if (info->n_gpus)
        fprintf(stderr, "stats: %d of %d layers on the CPU\n", info->n_host_layers, info->n_layers);
}

void print_stats(const llmrun_engine *e, const llmrun_model_info *info, const llmrun_generate_result *r) {
    print_vram(e, info);
    char planned[32], mapped[32], peak[32], budget[32];
    int32_t evaluated = r->n_prompt - r->n_reused;
    double decode = rate(r->n_generated, r->decode_seconds);
    fprintf(stderr,
            "stats: prompt %d tokens (%d reused), prefill %.1f tok/s, generated %d, decode %.1f tok/s, weights %.2f GB/s, "
            "RAM planned %s + mapped %s, peak %s, budget %s, %s on %s, %d threads, logits %016llx\n",
            r->n_prompt, r->n_reused, rate(evaluated, r->prefill_seconds), r->n_generated, decode,
            decode * (double)info->weight_bytes_per_token * 1e-9, size_text(planned, info->planned_bytes),
            size_text(mapped, info->mapped_bytes), size_text(peak, machine_peak_rss()),
            size_text(budget, info->ram_budget_bytes), info->quant, info->cpu_isa, info->n_threads,
            (unsigned long long)r->logits_hash);
}
