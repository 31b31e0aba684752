/* llmrun bench: prefill and decode speed, beside the rate at which this machine reads memory.  A bare config.json is
 * filled with random weights, so that any shape can be measured without a download.                                   */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

enum { MOST_REPEATS = 1000 };

typedef struct result {
    char name[16];
    double median, deviation; /* tokens per second */
    double weight_rate;       /* bytes of weights read per second */
    double read_rate;         /* bytes per second that memory gave around the runs, median */
    double share;             /* of weight_rate in the read rate around each run, median; 0 where prompts are processed */
    bool decode;
} result;

static bool is_config(const char *path) {
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

/* Runs n tokens at the start of the session: all at once, or one by one.  Returns the seconds, < 0 on error.           */
static double time_tokens(llmrun_session *s, const int32_t *tokens, int32_t n, bool decode, float *logits, llmrun_error *err) {
    if (llmrun_session_rewind(s, 0, err) != LLMRUN_OK) return -1;
    double start = seconds();
    for (int32_t i = 0; i < n; i += decode ? 1 : n)
        if (llmrun_session_eval(s, tokens + i, decode ? 1 : n, logits, err) != LLMRUN_OK) return -1;
    return seconds() - start;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int32_t n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* One untimed run, then the repetitions.  Memory is measured before and after each: its rate drifts on shared machines,
 * and a share of it means something only within the same second.                                                      */
static llmrun_status measure(llmrun_session *s, const llmrun_model_info *info, read_meter *meter, int32_t repeat,
                             const int32_t *tokens, int32_t n, float *logits, result *r, llmrun_error *err) {
    double rates[MOST_REPEATS], reads[MOST_REPEATS], shares[MOST_REPEATS], sum = 0, squares = 0;
    int32_t chunk = r->decode ? 1 : n < info->n_batch ? n : info->n_batch;
    if (time_tokens(s, tokens, r->decode && n > 4 ? 4 : n, r->decode, logits, err) < 0) return err->status;
    double before = read_meter_rate(meter);
    for (int32_t i = 0; i < repeat; i++) {
        double time = time_tokens(s, tokens, n, r->decode, logits, err), after = read_meter_rate(meter);
        if (time < 0) return err->status;
        rates[i] = n / (time > 0 ? time : 1e-9);
        reads[i] = (before + after) / 2;
        shares[i] = reads[i] > 0 ? rates[i] / chunk * (double)info->weight_bytes_per_token / reads[i] : 0;
        before = after;
        sum += rates[i];
        squares += rates[i] * rates[i];
    }
    r->deviation = repeat > 1 ? sqrt(fmax(0, (squares - sum * sum / repeat) / (repeat - 1))) : 0;
    r->median = median(rates, repeat);
    r->read_rate = median(reads, repeat);
    r->share = r->decode ? median(shares, repeat) : 0;
    r->weight_rate = r->median / chunk * (double)info->weight_bytes_per_token;
    return LLMRUN_OK;
}

static void print_table(const llmrun_engine *e, const llmrun_model_info *info, const result *results, int n) {
    char size[32];
    uint64_t bytes = info->weight_bytes_per_token;
    printf("| model | params | weights/token | quant | kv | isa | threads | test | tok/s | weights GB/s | RAM GB/s | of RAM |\n");
    printf("| ----- | -----: | ------------: | ----- | -- | --- | ------: | ---: | ----: | -----------: | -------: | -----: |\n");
    for (int i = 0; i < n; i++) {
        const result *r = &results[i];
        printf("| %s | %.2f B | %s | %s | %s | %s | %d | %s | %.2f ± %.2f | %.2f | %.2f |", info->family,
               (double)info->n_params * 1e-9, size_text(size, bytes), info->quant, info->kv, info->cpu_isa, info->n_threads,
               r->name, r->median, r->deviation, r->weight_rate * 1e-9, r->read_rate * 1e-9);
        if (r->share > 0)
            printf(" %.0f %% |\n", 100 * r->share);
        else
            printf(" |\n");
    }
    for (int32_t i = 0; i < info->n_gpus; i++) {
        llmrun_memory m = { .struct_size = sizeof m };
        char planned[32], peak[32], budget[32];
        if (llmrun_engine_memory(e, i, &m) == LLMRUN_OK)
            printf("%s%s: planned %s, peak %s, budget %s\n", i ? "" : "\n", m.name, size_text(planned, m.planned_bytes),
                   size_text(peak, m.peak_bytes), size_text(budget, m.budget_bytes));
    }
    if (info->n_gpus) printf("%d of %d layers on the CPU\n", info->n_host_layers, info->n_layers);
}

static void print_json(const llmrun_engine *e, const llmrun_model_info *info, const result *results, int n) {
    printf("{\"family\": \"%s\", \"n_params\": %llu, \"weight_bytes_per_token\": %llu, \"quant\": \"%s\", \"kv\": \"%s\", "
           "\"cpu_isa\": \"%s\", \"threads\": %d", info->family,
           (unsigned long long)info->n_params, (unsigned long long)info->weight_bytes_per_token, info->quant, info->kv,
           info->cpu_isa, info->n_threads);
    printf(", \"n_host_layers\": %d, \"gpus\": [", info->n_host_layers);
    for (int32_t i = 0; i < info->n_gpus; i++) {
        llmrun_memory m = { .struct_size = sizeof m };
        if (llmrun_engine_memory(e, i, &m) == LLMRUN_OK)
            printf("%s{\"planned_bytes\": %llu, \"peak_bytes\": %llu, \"budget_bytes\": %llu, \"overhead_bytes\": %llu}",
                   i ? ", " : "", (unsigned long long)m.planned_bytes, (unsigned long long)m.peak_bytes,
                   (unsigned long long)m.budget_bytes, (unsigned long long)m.overhead_bytes);
    }
    printf("], \"tests\": [");
    for (int i = 0; i < n; i++) {
        printf("%s{\"name\": \"%s\", \"tokens_per_second\": ", i ? ", " : "", results[i].name);
        json_number(stdout, results[i].median);
        printf(", \"deviation\": ");
        json_number(stdout, results[i].deviation);
        printf(", \"weight_bytes_per_second\": ");
        json_number(stdout, results[i].weight_rate);
        printf(", \"ram_read_bytes_per_second\": ");
        json_number(stdout, results[i].read_rate);
        printf(", \"share_of_ram_read\": ");
        json_number(stdout, results[i].share);
        putchar('}');
    }
    printf("]}\n");
}

/* Measures with an open engine.                                                                                       */
static int bench(cli_options *o, const llmrun_engine *e, llmrun_session *s, const llmrun_model_info *info) {
    result results[2] = { 0 };
    llmrun_error err = { 0 };
    int n_results = 0, code = 0;
    int32_t most = o->bench_prompt > o->bench_generate ? o->bench_prompt : o->bench_generate;
    int32_t *tokens = malloc(sizeof *tokens * (size_t)(most ? most : 1));
    float *logits = malloc(sizeof *logits * (size_t)info->n_vocab);
    read_meter meter = { 0 };
    if (!tokens || !logits || !read_meter_open(&meter, info->n_threads)) {
        code = cli_fail(EXIT_FIT, "bench: out of host memory");
    } else {
        uint32_t x = 1;
        for (int32_t i = 0; i < most; i++) tokens[i] = (int32_t)((x = x * 1664525 + 1013904223) % (uint32_t)info->n_vocab);
        for (int decode = 0; decode < 2 && !code; decode++) {
            int32_t n = decode ? o->bench_generate : o->bench_prompt;
            result *r = &results[n_results];
            if (!n) continue;
            snprintf(r->name, sizeof r->name, decode ? "tg%d" : "pp%d", n);
            r->decode = decode;
            if (measure(s, info, &meter, o->bench_repeat, tokens, n, logits, r, &err) != LLMRUN_OK)
                code = cli_fail_error(&err);
            else
                n_results++;
        }
        if (!code) {
            (o->json ? print_json : print_table)(e, info, results, n_results);
            code = finish_stdout();
        }
    }
    read_meter_close(&meter);
    free(tokens);
    free(logits);
    return code;
}

int bench_main(cli_options *o) {
    llmrun_engine *engine = NULL;
    llmrun_session *session = NULL;
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_error err = { 0 };
    int32_t most = o->bench_prompt > o->bench_generate ? o->bench_prompt : o->bench_generate;
    if (o->engine.model && is_config(o->engine.model)) o->engine.random_weights = true;
    if (!o->engine.n_ctx) o->engine.n_ctx = most > 0 ? most : 1;
    int code = cli_open(o, &engine);
    if (code) return code;
    llmrun_engine_info(engine, &info);
    if (llmrun_session_open(&session, engine, &err) != LLMRUN_OK) {
        code = cli_fail_error(&err);
    } else {
        interrupt_arm(session);
        code = bench(o, engine, session, &info);
        interrupt_arm(NULL);
    }
    llmrun_session_close(session);
    llmrun_engine_close(engine);
    return code;
}
