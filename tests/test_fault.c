/* Every allocation fails once: opening a model, generating 8 tokens, planning, describing and tokenizing each survive the
 * failure of their nth allocation, for every n, with a clean error and without a leak.                               */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/base.h"

/* An allocator that counts, fails the nth request, and knows what is still held.                                      */
typedef struct meter {
    long count, fail_at, held;
} meter;

static void *metered(void *user, void *old, size_t size) {
    meter *m = user;
    if (size == 0) {
        if (old) __atomic_sub_fetch(&m->held, 1, __ATOMIC_RELAXED);
        free(old);
        return NULL;
    }
    if (__atomic_add_fetch(&m->count, 1, __ATOMIC_RELAXED) == m->fail_at) return NULL;
    void *p = realloc(old, size);
    if (p && !old) __atomic_add_fetch(&m->held, 1, __ATOMIC_RELAXED);
    return p;
}

static meter host;

/* One scenario: returns its status; *err is filled when it is not OK.                                                 */
typedef llmrun_status (*scenario)(const char *model, llmrun_error *err);

static void fill_options(llmrun_options *o, const char *model) {
    llmrun_options_default(o);
    o->model = model;
    o->quant = "q8_0";
    o->cache_dir = "";
    o->n_threads = 2;
    o->n_ctx = 64;
}

static bool keep(void *user, const char *text, size_t n) {
    (void)user, (void)text, (void)n;
    return true;
}

static llmrun_status generate(const char *model, llmrun_error *err) {
    llmrun_options o;
    fill_options(&o, model);
    llmrun_engine *e = NULL;
    llmrun_session *s = NULL;
    llmrun_status status = llmrun_engine_open(&e, &o, err);
    if (!status) status = llmrun_session_open(&s, e, err);
    if (!status) {
        llmrun_generate_options g;
        llmrun_generate_options_default(&g);
        g.sampling.temperature = 0;
        g.ignore_end = true;
        g.max_tokens = 8;
        g.text = keep;
        const char *const stop[] = {"never"};
        g.stop = stop;
        g.n_stop = 1;
        status = llmrun_generate(s, (const int32_t[]){3, 4, 5}, 3, &g, NULL, err);
    }
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return status;
}

static llmrun_status plan(const char *model, llmrun_error *err) {
    llmrun_options o;
    fill_options(&o, model);
    char *json, *text;
    llmrun_status status = llmrun_plan(&o, &json, &text, err);
    if (status) {
        assert_null(json);
        assert_null(text);
    }
    llmrun_free(json);
    llmrun_free(text);
    return status;
}

static llmrun_status info(const char *model, llmrun_error *err) {
    llmrun_options o;
    fill_options(&o, model);
    char *json, *text;
    llmrun_status status = llmrun_info(&o, &json, &text, err);
    llmrun_free(json);
    llmrun_free(text);
    return status;
}

static llmrun_status tokenize(const char *model, llmrun_error *err) {
    static const char text[] = "Once upon a time, there was a li\xc3\xa9vre <|endoftext|> \xff 12345";
    llmrun_tokenizer *t = NULL;
    int32_t ids[64];
    size_t n;
    llmrun_status status = llmrun_tokenizer_open(&t, model, err);
    if (!status) status = llmrun_tokenize(t, text, sizeof text - 1, LLMRUN_ADD_SPECIAL | LLMRUN_PARSE_SPECIAL, ids, 64, &n, err);
    llmrun_tokenizer_close(t);
    return status;
}

/* Fails allocation 1, 2, 3 ... until the scenario passes.                                                             */
static void sweep(const char *name, scenario run, const char *model) {
    host = (meter){0};
    llmrun_error err = {0};
    if (run(model, &err)) fail_msg("%s %s: %s", name, model, err.message);
    long total = host.count;
    assert_int_equal(host.held, 0);
    /* Large vocabularies allocate many times in one loop: every site is met with a step, every early site without. */
    long step = total > 4000 ? total / 2000 : 1;
    for (long n = 1; n <= total; n += n < 1000 ? 1 : step) {
        host = (meter){.fail_at = n};
        memset(&err, 0, sizeof err);
        llmrun_status status = run(model, &err);
        /* A failure that only costs a convenience, such as the cache of compiled patterns, may pass. */
        if (status != LLMRUN_OK && status != LLMRUN_NOMEM)
            fail_msg("%s: allocation %ld of %ld: status %d: %s", name, n, total, status, err.message);
        if (status == LLMRUN_NOMEM && !strstr(err.message, "memory"))
            fail_msg("%s: allocation %ld: unclear message: %s", name, n, err.message);
        if (host.held != 0) fail_msg("%s: allocation %ld of %ld: %ld blocks leaked", name, n, total, host.held);
    }
    print_message("%-9s %-40s %ld allocations\n", name, model, total);
    host = (meter){0};
    assert_int_equal(run(model, &err), LLMRUN_OK);
}

static const char *const models[] = {"models/demo", "tests/golden/models/qwen3", "tests/golden/models/mistral-window",
                                     "tests/golden/models/qwen3-next",
                                     "tests/golden/gguf/qwen2-tied.Q8_0.gguf"};

static void engines(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(models); i++) sweep("generate", generate, models[i]);
}
static void plans(void **state) {
    (void)state;
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        sweep("plan", plan, models[i]);
        sweep("info", info, models[i]);
    }
}
static void tokenizers(void **state) {
    (void)state;
    sweep("tokenize", tokenize, "models/demo/tokenizer.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(engines), cmocka_unit_test(plans), cmocka_unit_test(tokenizers)};
    llmrun_set_allocator(metered, &host);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
