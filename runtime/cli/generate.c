/* What run and chat share: options of one answer, the line of figures after it.                                       */
#include <sys/random.h>

#include "runtime/cli/cli.h"

uint64_t random_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uint64_t)(1e9 * seconds());
    return seed >> 1; /* so that it can be typed back as --seed */
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

void print_stats(const llmrun_model_info *info, const llmrun_generate_result *r) {
    char planned[32], mapped[32], peak[32];
    int32_t evaluated = r->n_prompt - r->n_reused;
    double decode = rate(r->n_generated, r->decode_seconds);
    fprintf(stderr,
            "stats: prompt %d tokens (%d reused), prefill %.1f tok/s, generated %d, decode %.1f tok/s, weights %.2f GB/s, "
            "RAM planned %s + mapped %s, peak %s, %s on %s, %d threads, logits %016llx\n",
            r->n_prompt, r->n_reused, rate(evaluated, r->prefill_seconds), r->n_generated, decode,
            decode * (double)info->weight_bytes_per_token * 1e-9, size_text(planned, info->planned_bytes),
            size_text(mapped, info->mapped_bytes), size_text(peak, machine_peak_rss()), info->quant, info->cpu_isa,
            info->n_threads, (unsigned long long)r->logits_hash);
}
