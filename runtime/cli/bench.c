/* llmrun bench: prefill and decode speed, beside the rate at which this machine reads memory; over lists of lengths,
 * depths (tokens that are in the context already) and thread counts.  A bare config.json is filled with random weights,
 * so that any shape can be measured without a download.                                                               */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

enum { MOST_REPEATS = 1000 };

/* One test: n tokens behind `depth` others, all at once or (decode) one by one.                                       */
typedef struct result {
    char name[40];
    int32_t n, depth, threads;
    bool decode;
    double median, deviation, least, most; /* tokens per second */
    double weight_rate;       /* bytes of weights read per second */
    double read_rate;         /* bytes per second that memory gave around the runs, median */
    double share;             /* of weight_rate in the read rate around each run, median; 0 where prompts are processed */
} result;

/* What the tests of one engine share.                                                                                 */
typedef struct work {
    llmrun_session *session;
    llmrun_model_info info;
    read_meter meter;
    int32_t *tokens;          /* as many as the longest test has */
    float *logits;
    int32_t repeat;
} work;

static bool is_config(const char *path) {
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

/* Brings the session to `depth` tokens: back where its cache allows that, else from the start.                        */
static llmrun_status go_to(const work *w, int32_t depth, llmrun_error *err) {
    if (llmrun_session_rewind(w->session, depth, NULL) == LLMRUN_OK) return LLMRUN_OK;
    llmrun_status status = llmrun_session_rewind(w->session, 0, err);
    return status ? status : llmrun_session_eval(w->session, w->tokens, depth, NULL, err);
}

/* Runs n tokens of the test.  Returns the seconds, < 0 on error.                                                      */
static double time_tokens(const work *w, const result *r, int32_t n, llmrun_error *err) {
    if (go_to(w, r->depth, err) != LLMRUN_OK) return -1;
    double start = seconds();
    for (int32_t i = 0; i < n; i += r->decode ? 1 : n)
        if (llmrun_session_eval(w->session, w->tokens + r->depth + i, r->decode ? 1 : n, w->logits, err) != LLMRUN_OK) return -1;
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
static llmrun_status measure(work *w, result *r, llmrun_error *err) {
    double rates[MOST_REPEATS], reads[MOST_REPEATS], shares[MOST_REPEATS], sum = 0, squares = 0;
    int32_t repeat = w->repeat, chunk = r->decode ? 1 : r->n < w->info.n_batch ? r->n : w->info.n_batch;
    double bytes = (double)w->info.weight_bytes_per_token;
    if (time_tokens(w, r, r->decode && r->n > 4 ? 4 : r->n, err) < 0) return err->status;
    double before = read_meter_rate(&w->meter);
    for (int32_t i = 0; i < repeat; i++) {
        double time = time_tokens(w, r, r->n, err), after = read_meter_rate(&w->meter);
        if (time < 0) return err->status;
        rates[i] = r->n / (time > 0 ? time : 1e-9);
        reads[i] = (before + after) / 2;
        shares[i] = reads[i] > 0 ? rates[i] / chunk * bytes / reads[i] : 0;
        before = after;
        sum += rates[i];
        squares += rates[i] * rates[i];
    }
    r->threads = w->info.n_threads;
    r->deviation = repeat > 1 ? sqrt(fmax(0, (squares - sum * sum / repeat) / (repeat - 1))) : 0;
    r->median = median(rates, repeat); /* sorts them */
    r->least = rates[0];
    r->most = rates[repeat - 1];
    r->read_rate = median(reads, repeat);
    r->share = r->decode ? median(shares, repeat) : 0;
    r->weight_rate = r->median / chunk * bytes;
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
               (double)info->n_params * 1e-9, size_text(size, bytes), info->quant, info->kv, info->cpu_isa, r->threads,
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
        printf("%s{\"name\": \"%s\", \"tokens\": %d, \"depth\": %d, \"threads\": %d, \"tokens_per_second\": ", i ? ", " : "",
               results[i].name, results[i].n, results[i].depth, results[i].threads);
        json_number(stdout, results[i].median);
        printf(", \"least\": ");
        json_number(stdout, results[i].least);
        printf(", \"most\": ");
        json_number(stdout, results[i].most);
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

/* ---- the lists ---- */

static int32_t largest(const cli_list *l) {
    int32_t most = 0;
    for (int32_t i = 0; i < l->n; i++)
        if (l->at[i] > most) most = l->at[i];
    return most;
}

/* Tests of an engine, in the order of the lists; lengths of 0 stand for no test.  results NULL: only counts them.      */
static int list_tests(const cli_options *o, result *results) {
    int n = 0;
    for (int32_t d = 0; d < o->bench_depth.n; d++)
        for (int decode = 0; decode < 2; decode++) {
            const cli_list *lengths = decode ? &o->bench_generate : &o->bench_prompt;
            for (int32_t i = 0; i < lengths->n; i++) {
                if (!lengths->at[i]) continue;
                if (results) {
                    result *r = &results[n];
                    *r = (result){ .n = lengths->at[i], .depth = o->bench_depth.at[d], .decode = decode };
                    int used = snprintf(r->name, sizeof r->name, decode ? "tg%d" : "pp%d", r->n);
                    if (r->depth) snprintf(r->name + used, sizeof r->name - (size_t)used, " @ d%d", r->depth);
                }
                n++;
            }
        }
    return n;
}

/* Measures with an open engine.                                                                                       */
static int run_tests(const cli_options *o, llmrun_engine *e, int32_t most, result *results, int n) {
    work w = { .repeat = o->bench_repeat, .info.struct_size = sizeof w.info };
    llmrun_error err = { 0 };
    int code = 0;
    llmrun_engine_info(e, &w.info);
    if (interrupt_seen() || llmrun_session_open(&w.session, e, &err) != LLMRUN_OK)
        return interrupt_seen() ? EXIT_INTERRUPTED : cli_fail_error(&err);
    interrupt_arm(w.session);
    w.tokens = malloc(sizeof *w.tokens * (size_t)(most ? most : 1));
    w.logits = malloc(sizeof *w.logits * (size_t)w.info.n_vocab);
    if (!w.tokens || !w.logits || !read_meter_open(&w.meter, w.info.n_threads)) {
        code = cli_fail(EXIT_FIT, "bench: out of host memory");
    } else {
        uint32_t x = 1;
        for (int32_t i = 0; i < most; i++) w.tokens[i] = (int32_t)((x = x * 1664525 + 1013904223) % (uint32_t)w.info.n_vocab);
        for (int i = 0; i < n && measure(&w, &results[i], &err) == LLMRUN_OK; i++) continue;
    }
    interrupt_arm(NULL);
    if (!code && err.status) code = cli_fail_error(&err);
    llmrun_session_close(w.session);
    read_meter_close(&w.meter);
    free(w.tokens);
    free(w.logits);
    return code;
}

int bench_main(cli_options *o) {
    llmrun_model_info info = { .struct_size = sizeof info };
    int n = list_tests(o, NULL), code = 0;
    int32_t most = largest(&o->bench_prompt), tg = largest(&o->bench_generate);
    if (tg > most) most = tg;
    most += largest(&o->bench_depth);
    result *results = calloc((size_t)n * (size_t)o->bench_threads.n + 1, sizeof *results);
    if (!results) return cli_fail(EXIT_FIT, "bench: out of host memory");
    if (!o->engine.n_ctx) o->engine.n_ctx = most > 0 ? most : 1;
    if (o->engine.model && is_config(o->engine.model)) o->engine.random_weights = true;
    for (int32_t t = 0; t < o->bench_threads.n && !code; t++) {
        llmrun_engine *e = NULL;
        o->engine.n_threads = o->bench_threads.at[t];
        list_tests(o, results + t * n);
        code = cli_open(o, &e);
        if (!code) code = run_tests(o, e, most, results + t * n, n);
        if (!code && t == o->bench_threads.n - 1) {
            llmrun_engine_info(e, &info);
            (o->json ? print_json : print_table)(e, &info, results, n * o->bench_threads.n);
            code = finish_stdout();
        }
        llmrun_engine_close(e);
    }
    free(results);
    return code;
}
