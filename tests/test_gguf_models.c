/* GGUF models against the logits that Hugging Face transformers computes (tests/golden/make_gguf.py): the same weights
 * as in safetensors, and one model whose matrices are of every block type; for few and many tokens, at every instruction
 * set of this CPU.                                                                                                    */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "runtime/llmrun.h"

#define ROOT "tests/golden/"
#define TINY "../shared/data/models/llama-2-tiny-random-gguf"
enum { N_TOKENS = 40, N_VOCAB = 96 };

typedef struct golden {
    int32_t tokens[N_TOKENS];
    float logits[N_TOKENS * N_VOCAB];
} golden;

static void read_file(const char *path, void *out, size_t size) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is missing", path);
    assert_int_equal(fread(out, 1, size, f), size);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

/* Error of a run: max |d| / max |ref|; NaN counts as infinite.                                                        */
static double error_of(const float *got, const float *want, size_t n) {
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        most = fmax(most, fabs((double)want[i]));
    }
    return worst / most;
}

static llmrun_options options_for(const char *path) {
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = path;
    o.n_threads = 2;
    o.cache_dir = "";
    return o;
}

/* Evaluates the golden's tokens in chunks; returns the error.                                                        */
static double run(const golden *g, llmrun_options o, int chunk) {
    static float logits[N_TOKENS * N_VOCAB];
    llmrun_engine *e;
    llmrun_session *s;
    llmrun_error err;
    o.n_batch = chunk;
    memset(logits, 0xff, sizeof logits);
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s: %s", o.model, err.message);
    assert_int_equal(llmrun_session_open(&s, e, &err), LLMRUN_OK);
    for (int i = 0; i < N_TOKENS; i += chunk) {
        int n = N_TOKENS - i < chunk ? N_TOKENS - i : chunk;
        if (llmrun_session_eval_all(s, g->tokens + i, n, logits + i * N_VOCAB, &err)) fail_msg("%s", err.message);
    }
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return error_of(logits, g->logits, N_TOKENS * N_VOCAB);
}

/* In f32 the container, the permutation of rows and the decoders are exact; in the file's own precision the bounds are
 * those of its activations, and of its rounding where the golden comes from the unrounded weights.                   */
static void check(const char *path, const golden *g, double exact, double own) {
    static const int chunks[] = { 1, 3, 40 };
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (int i = 0; i < n_isa; i++)
        for (size_t c = 0; c < LR_COUNT(chunks); c++)
            for (int kept = 0; kept < 2; kept++) {
                llmrun_options o = options_for(path);
                o.cpu_isa = isa[i];
                o.quant = kept ? "auto" : "f32";
                o.kv = kept ? "f16" : "f32";
                double error = run(g, o, chunks[c]), bound = kept ? own : exact;
                print_message("%-46s %-4s %-7s chunk %2d  error %.1e\n", path, o.quant, isa[i], chunks[c], error);
                if (!(error <= bound)) fail_msg("%s %s %s chunk %d: error %g above %g", path, o.quant, isa[i], chunks[c], error, bound);
            }
}

static void same_weights_as_safetensors(void **state) {
    (void)state;
    static const struct { const char *name, *type; double exact, own; } row[] = {
        { "llama-mha", "F16", 1e-4, 1e-2 },           { "llama-rope3", "F16", 1e-4, 1e-2 },
        { "qwen3-yarn", "F16", 1e-4, 1e-2 },          { "llama-tied-biases", "Q8_0", 3e-2, 4e-2 },
        { "mistral-head-dim", "Q8_0", 3e-2, 4e-2 },   { "qwen2-tied", "Q8_0", 3e-2, 4e-2 },
    };
    static golden g;
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        char path[256];
        snprintf(path, sizeof path, ROOT "models/%s/tokens.i32", row[i].name);
        read_file(path, g.tokens, sizeof g.tokens);
        snprintf(path, sizeof path, ROOT "models/%s/logits.f32", row[i].name);
        read_file(path, g.logits, sizeof g.logits);
        snprintf(path, sizeof path, ROOT "gguf/%s.%s.gguf", row[i].name, row[i].type);
        check(path, &g, row[i].exact, row[i].own);
    }
}

static void every_block_type(void **state) {
    (void)state;
    static golden g;
    read_file(ROOT "gguf/blocks.tokens.i32", g.tokens, sizeof g.tokens);
    read_file(ROOT "gguf/blocks.logits.f32", g.logits, sizeof g.logits);
    check(ROOT "gguf/blocks.gguf", &g, 1e-4, 3e-2);
}

/* Blocks stay as they are without a mapping, and the plan counts what it says.                                       */
static void copied_blocks(void **state) {
    (void)state;
    static golden g;
    llmrun_options o = options_for(ROOT "gguf/blocks.gguf");
    read_file(ROOT "gguf/blocks.tokens.i32", g.tokens, sizeof g.tokens);
    read_file(ROOT "gguf/blocks.logits.f32", g.logits, sizeof g.logits);
    double mapped = run(&g, o, 8);
    o.use_mmap = false;
    assert_true(run(&g, o, 8) == mapped);
}

/* A published file: a directory with one GGUF model.                                                                 */
static void published(void **state) {
    (void)state;
    if (access(TINY, R_OK) != 0) {
        print_message("skipped: %s is absent\n", TINY);
        skip();
    }
    llmrun_options o = options_for(TINY);
    llmrun_engine *e;
    llmrun_session *s;
    llmrun_error err;
    static float logits[3 * 32000];
    const int32_t tokens[] = { 1, 450, 4996 };
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    assert_int_equal(llmrun_session_open(&s, e, &err), LLMRUN_OK);
    assert_int_equal(llmrun_session_eval_all(s, tokens, 3, logits, &err), LLMRUN_OK);
    for (size_t i = 0; i < LR_COUNT(logits); i++) assert_true(isfinite(logits[i]));
    assert_memory_not_equal(logits, logits + 32000, 32000 * sizeof *logits);
    llmrun_session_close(s);
    llmrun_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_weights_as_safetensors), cmocka_unit_test(every_block_type),
                                        cmocka_unit_test(copied_blocks), cmocka_unit_test(published) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
