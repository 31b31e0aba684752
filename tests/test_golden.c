/* Every family against Hugging Face transformers: tiny seeded checkpoints (tests/golden/make_model_golden.py), logits of
 * all tokens, for one token at a time and for chunks of any size, at every instruction set of this CPU.               */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/kernels.h"
#include "runtime/llmrun.h"

#define ROOT "tests/golden/models/"
enum { N_TOKENS = 40, N_VOCAB = 96 };

typedef struct golden {
    int32_t tokens[N_TOKENS];
    float logits[N_TOKENS * N_VOCAB];
} golden;

static void read_file(const char *dir, const char *name, void *out, size_t size) {
    char path[512];
    snprintf(path, sizeof path, "%s%s/%s", ROOT, dir, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(out, 1, size, f), size);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

/* Error of a run as the design defines it: max |d| / max |ref|; NaN counts as infinite.                               */
static double error_of(const float *got, const float *want, size_t n) {
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        most = fmax(most, fabs((double)want[i]));
    }
    return worst / most;
}

static llmrun_engine *open_model(const char *name, const char *quant, const char *kv, const char *isa, int n_batch) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", ROOT, name);
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = path;
    o.quant = quant;
    o.kv = kv;
    o.cpu_isa = isa;
    o.n_batch = n_batch;
    o.n_threads = 2;
    o.cache_dir = "";
    llmrun_engine *e;
    llmrun_error err;
    if (llmrun_engine_open(&e, &o, &err) != LLMRUN_OK) fail_msg("%s: %s", name, err.message);
    return e;
}

/* Evaluates the tokens in chunks of the given size and returns the error against the golden logits.                   */
static double run(const golden *g, const char *name, const char *quant, const char *kv, const char *isa, int chunk) {
    llmrun_engine *e = open_model(name, quant, kv, isa, chunk);
    llmrun_session *s;
    llmrun_error err;
    assert_int_equal(llmrun_session_open(&s, e, &err), LLMRUN_OK);
    static float logits[N_TOKENS * N_VOCAB];
    memset(logits, 0xff, sizeof logits);
    for (int i = 0; i < N_TOKENS; i += chunk) {
        int n = N_TOKENS - i < chunk ? N_TOKENS - i : chunk;
        if (llmrun_session_eval_all(s, g->tokens + i, n, logits + i * N_VOCAB, &err)) fail_msg("%s: %s", name, err.message);
    }
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return error_of(logits, g->logits, N_TOKENS * N_VOCAB);
}

static void check_model(const char *name) {
    static const struct { const char *quant, *kv; double few, many; } bounds[] = {
        {"f32", "f32", 1e-4, 1e-4},
        {"f16", "f16", 2e-3, 1e-2}, /* many tokens: bf16 dot products */
    };
    static const int chunks[] = {1, 2, 7, 16, 40};
    static golden g;
    read_file(name, "tokens.i32", g.tokens, sizeof g.tokens);
    read_file(name, "logits.f32", g.logits, sizeof g.logits);
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (size_t b = 0; b < LR_COUNT(bounds); b++)
        for (int i = 0; i < n_isa; i++)
            for (size_t c = 0; c < LR_COUNT(chunks); c++) {
                double error = run(&g, name, bounds[b].quant, bounds[b].kv, isa[i], chunks[c]);
                double bound = chunks[c] <= 8 ? bounds[b].few : bounds[b].many;
                print_message("%-18s %-4s %-7s chunk %2d  error %.1e\n", name, bounds[b].quant, isa[i], chunks[c], error);
                if (!(error <= bound)) fail_msg("%s %s %s chunk %d: error %g above %g", name, bounds[b].quant, isa[i], chunks[c], error, bound);
            }
}

static void golden_logits(void **state) {
    (void)state;
    DIR *d = opendir(ROOT);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.') {
            check_model(f->d_name);
            n++;
        }
    closedir(d);
    assert_true(n >= 10);
}

/* A wrong model must not pass: the logits of one family are far from those of another.                               */
static void goldens_differ(void **state) {
    (void)state;
    static golden g;
    read_file("llama-mha", "tokens.i32", g.tokens, sizeof g.tokens);
    read_file("qwen3", "logits.f32", g.logits, sizeof g.logits);
    assert_true(run(&g, "llama-mha", "f32", "f32", "auto", 40) > 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_logits), cmocka_unit_test(goldens_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
