/* llmrun bench: prefill and decode speed, beside the rate at which this machine reads memory.  A bare config.json is
 * filled with random weights, so that any shape can be measured without a download.                                   */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

typedef struct result {
    char name[16];
    double mean, deviation; /* tokens per second */
    double weight_rate;     /* bytes of weights read per second */
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

/* One untimed run, then the mean and deviation of the repetitions.                                                    */
static llmrun_status measure(llmrun_session *s, const llmrun_model_info *info, int32_t repeat, const int32_t *tokens,
                             int32_t n, float *logits, result *r, llmrun_error *err) {
    double sum = 0, squares = 0;
    if (time_tokens(s, tokens, r->decode && n > 4 ? 4 : n, r->decode, logits, err) < 0) return err->status;
    for (int32_t i = 0; i < repeat; i++) {
        double time = time_tokens(s, tokens, n, r->decode, logits, err);
        if (time < 0) return err->status;
        double rate = n / (time > 0 ? time : 1e-9);
        sum += rate;
        squares += rate * rate;
    }
    int32_t chunk = r->decode ? 1 : n < info->n_batch ? n : info->n_batch;
    r->mean = sum / repeat;
    r->deviation = repeat > 1 ? sqrt(fmax(0, (squares - sum * r->mean) / (repeat - 1))) : 0;
    r->weight_rate = r->mean / chunk * (double)info->weight_bytes_per_token;
    return LLMRUN_OK;
}

static void print_table(const llmrun_model_info *info, const result *results, int n, double read_rate) {
    char size[32];
    uint64_t bytes = info->weight_bytes_per_token;
    printf("| model | params | weights/token | quant | kv | isa | threads | test | tok/s | weights GB/s | of RAM rate |\n");
    printf("| ----- | -----: | ------------: | ----- | -- | --- | ------: | ---: | ----: | -----------: | ----------: |\n");
    for (int i = 0; i < n; i++) {
        const result *r = &results[i];
        printf("| %s | %.2f B | %s | %s | %s | %s | %d | %s | %.2f ± %.2f | %.2f |", info->family,
               (double)info->n_params * 1e-9, size_text(size, bytes), info->quant, info->kv, info->cpu_isa, info->n_threads,
               r->name, r->mean, r->deviation, r->weight_rate * 1e-9);
        if (r->decode && read_rate > 0)
            printf(" %.0f %% |\n", 100 * r->weight_rate / read_rate);
        else
            printf(" |\n");
    }
    printf("\nRAM read rate %.1f GB/s with %d threads\n", read_rate * 1e-9, info->n_threads);
}

static void print_json(const llmrun_model_info *info, const result *results, int n, double read_rate) {
    printf("{\"family\": \"%s\", \"n_params\": %llu, \"weight_bytes_per_token\": %llu, \"quant\": \"%s\", \"kv\": \"%s\", "
           "\"cpu_isa\": \"%s\", \"threads\": %d, \"ram_read_bytes_per_second\": ", info->family,
           (unsigned long long)info->n_params, (unsigned long long)info->weight_bytes_per_token, info->quant, info->kv,
           info->cpu_isa, info->n_threads);
    json_number(stdout, read_rate);
    printf(", \"tests\": [");
    for (int i = 0; i < n; i++) {
        printf("%s{\"name\": \"%s\", \"tokens_per_second\": ", i ? ", " : "", results[i].name);
        json_number(stdout, results[i].mean);
        printf(", \"deviation\": ");
        json_number(stdout, results[i].deviation);
        printf(", \"weight_bytes_per_second\": ");
        json_number(stdout, results[i].weight_rate);
        putchar('}');
    }
    printf("]}\n");
}

/* Measures with an open engine; the read rate first, while nothing else runs.                                         */
static int bench(cli_options *o, llmrun_session *s, const llmrun_model_info *info) {
    result results[2] = { 0 };
    llmrun_error err = { 0 };
    int n_results = 0, code = 0;
    int32_t most = o->bench_prompt > o->bench_generate ? o->bench_prompt : o->bench_generate;
    int32_t *tokens = malloc(sizeof *tokens * (size_t)(most ? most : 1));
    float *logits = malloc(sizeof *logits * (size_t)info->n_vocab);
    if (!tokens || !logits) {
        code = cli_fail(EXIT_FIT, "bench: out of host memory");
    } else {
        double read_rate = measure_read_rate(info->n_threads);
        uint32_t x = 1;
        for (int32_t i = 0; i < most; i++) tokens[i] = (int32_t)((x = x * 1664525 + 1013904223) % (uint32_t)info->n_vocab);
        for (int decode = 0; decode < 2 && !code; decode++) {
            int32_t n = decode ? o->bench_generate : o->bench_prompt;
            result *r = &results[n_results];
            if (!n) continue;
            snprintf(r->name, sizeof r->name, decode ? "tg%d" : "pp%d", n);
            r->decode = decode;
            if (measure(s, info, o->bench_repeat, tokens, n, logits, r, &err) != LLMRUN_OK)
                code = cli_fail_error(&err);
            else
                n_results++;
        }
        if (!code) {
            (o->json ? print_json : print_table)(info, results, n_results, read_rate);
            code = finish_stdout();
        }
    }
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
        code = bench(o, session, &info);
        interrupt_arm(NULL);
    }
    llmrun_session_close(session);
    llmrun_engine_close(engine);
    return code;
}
