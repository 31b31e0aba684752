/* GGUF models against the logits that Hugging Face transformers computes (tests/golden/make_gguf.py): the same weights
 * as in safetensors, and two models whose matrices are of every block type; for few and many tokens, at every
 * instruction set of this CPU.                                                                                                    */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "tests/golden.h"

#define ROOT "tests/golden/"
#define TINY "../shared/data/models/llama-2-tiny-random-gguf"

/* In f32 the container, the permutation of rows and the decoders are exact; in the file's own precision the bounds are
 * those of its activations, and of its rounding where the golden comes from the unrounded weights.                   */
static void check(const char *path, const golden *g, double exact, double own) {
    static const int chunks[] = { 1, 3, 40 };
    const char *isa[3];
    int n_isa = lr_cpu_isa_list(isa);
    for (int i = 0; i < n_isa; i++)
        for (size_t c = 0; c < LR_COUNT(chunks); c++)
            for (int kept = 0; kept < 2; kept++) {
                llmrun_options o = golden_options(path);
                o.cpu_isa = isa[i];
                o.quant = kept ? "auto" : "f32";
                o.kv = kept ? "f16" : "f32";
                double error = run_golden(g, o, chunks[c]), bound = kept ? own : exact;
                print_message("%-46s %-4s %-7s chunk %2d  error %.1e\n", path, o.quant, isa[i], chunks[c], error);
                if (!(error <= bound)) fail_msg("%s %s %s chunk %d: error %g above %g", path, o.quant, isa[i], chunks[c], error, bound);
            }
}

static void same_weights_as_safetensors(void **state) {
    (void)state;
    static const struct { const char *name, *type; double exact, own; } row[] = {
        { "llama-mha", "F16", 1e-5, 1e-2 },           { "llama-rope3", "F16", 1e-5, 1e-2 },
        { "qwen3-yarn", "F16", 1e-5, 1e-2 },          { "llama-tied-biases", "Q8_0", 3e-2, 4e-2 },
        { "mistral-head-dim", "Q8_0", 3e-2, 4e-2 },   { "qwen2-tied", "Q8_0", 3e-2, 4e-2 },
        { "gemma2", "F16", 1e-5, 1e-2 },              { "gemma3-v4", "F16", 1e-5, 1e-2 },
        { "phi3-long-v4", "F16", 1e-5, 1e-2 },        { "gpt2", "F16", 1e-5, 1e-2 },
        { "neox-parallel-v4", "F16", 1e-5, 1e-2 },    { "gemma", "Q8_0", 3e-2, 4e-2 },
        { "phi3", "Q8_0", 3e-2, 4e-2 },               { "phi", "Q8_0", 3e-2, 4e-2 },
        { "olmo2", "Q8_0", 3e-2, 4e-2 },              { "stablelm", "Q8_0", 3e-2, 4e-2 },
        { "granite", "Q8_0", 3e-2, 4e-2 },            { "mixtral", "F16", 1e-5, 1e-2 },
        { "qwen3-moe", "F16", 1e-5, 1e-2 },           { "gpt-oss", "F16", 1e-5, 1e-2 },
        { "qwen2-moe", "F16", 1e-5, 1e-2 },           { "smollm3-four", "F16", 1e-5, 1e-2 },
        { "deepseek-v2-groups", "Q8_0", 3e-2, 4e-2 }, { "deepseek-v2-yarn", "F16", 1e-5, 1e-2 },
        { "starcoder2", "F16", 1e-5, 1e-2 },          { "glm4", "F16", 1e-5, 1e-2 },
        { "cohere", "F16", 1e-5, 1e-2 },
        { "cohere2", "F16", 1e-5, 1e-2 },             { "exaone4", "F16", 1e-5, 1e-2 },
        { "olmoe", "F16", 1e-5, 1e-2 },               { "granite-moe", "F16", 1e-5, 1e-2 },
        { "stablelm-norms", "F16", 1e-5, 1e-2 },      { "cohere-norms", "F16", 1e-5, 1e-2 },
        { "deepseek-v3", "F16", 1e-5, 1e-2 },         { "glm4-moe", "F16", 1e-5, 1e-2 },
        { "ernie4.5-moe", "F16", 1e-5, 1e-2 },        { "minimax-m2", "Q8_0", 3e-2, 4e-2 },
        { "ministral3", "Q8_0", 3e-2, 4e-2 },
    };
    static golden g;
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        char path[256];
        snprintf(path, sizeof path, ROOT "models/%s/", row[i].name);
        read_golden(&g, path);
        snprintf(path, sizeof path, ROOT "gguf/%s.%s.gguf", row[i].name, row[i].type);
        check(path, &g, row[i].exact, row[i].own);
    }
}

static void every_block_type(void **state) {
    (void)state;
    static golden g;
    read_golden(&g, ROOT "gguf/blocks.");
    check(ROOT "gguf/blocks.gguf", &g, 1e-4, 3e-2);
    read_golden(&g, ROOT "gguf/grids.");
    check(ROOT "gguf/grids.gguf", &g, 1e-4, 3e-2);
}

/* Blocks stay as they are without a mapping, and the plan counts what it says.                                       */
static void copied_blocks(void **state) {
    (void)state;
    static golden g;
    llmrun_options o = golden_options(ROOT "gguf/blocks.gguf");
    read_golden(&g, ROOT "gguf/blocks.");
    double mapped = run_golden(&g, o, 8);
    o.use_mmap = false;
    assert_true(run_golden(&g, o, 8) == mapped);
}

/* A published file: a directory with one GGUF model.                                                                 */
static void published(void **state) {
    (void)state;
    if (access(TINY, R_OK) != 0) {
        print_message("skipped: %s is absent\n", TINY);
        skip();
    }
    llmrun_options o = golden_options(TINY);
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
