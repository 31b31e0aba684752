/* Texts and moments made to hurt the tokenizer.  Work is counted, not timed, and runs on a stack of 256 KiB; two threads
 * share one tokenizer; every allocation fails once.                                                                   */
#include "tests/model_files.h"

#include <pthread.h>

#include "runtime/tokenizer_parts.h"

static char *repeat(const char *unit, size_t n) {
    size_t k = strlen(unit);
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) text[i] = unit[i % k];
    return text;
}

/* A pattern that looks at all of the text for every match ends with an error, not after an hour.                      */
static void quadratic_pattern(void **state) {
    (void)state;
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a*b|a\"},"
                               "\"behavior\":\"Isolated\"},\"decoder\":{\"type\":\"Fuse\"},"
                               "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    llmrun_tokenizer *t;
    EXPECT_OK(lr_tokenizer_parse(&t, json, sizeof json - 1, "t.json", NULL, NULL, 0, &err));
    char *text = repeat("a", 1 << 20);
    size_t n;
    EXPECT_OK(llmrun_tokenize(t, text, 1000, 0, NULL, 0, &n, &err));
    assert_int_equal(n, 1000);
    EXPECT_FAIL(llmrun_tokenize(t, text, 1 << 20, 0, NULL, 0, &n, &err), LLMRUN_UNSUPPORTED, "too many steps");
    free(text);
    llmrun_tokenizer_close(t);
}

/* Steps that a text costs; UINT64_MAX if it failed.                                                                   */
static uint64_t work(const llmrun_tokenizer *t, const char *text, size_t n) {
    lr_encode e = { .t = t, .flags = LLMRUN_PARSE_SPECIAL };
    llmrun_status status = lr_encode_run(&e, text, n);
    lr_encode_close(&e);
    return status ? UINT64_MAX : e.work;
}

/* Runs of one unit: four times the text is at most 4.4 times the work, and no byte costs more than 100 steps.  Returns
 * what is wrong, or NULL: it runs on a thread, where cmocka cannot fail.                                              */
static void *runs_are_linear(void *tokenizer) {
    static const char *const units[] = { "A", "a", " ", "\n", ".", "1", "-a", "ab", " \n", "<|", "\t ", "'s", "\xff",
                                         "\xe4\xb8\xad", "\xcc\xa3\xcc\x81", "\xe2\x96\x81", "\xf0\x9f\xa6\x99", "<s>" };
    static char wrong[200];
    enum { N = 1 << 16 };
    for (size_t i = 0; i < LR_COUNT(units); i++) {
        char *text = repeat(units[i], 4 * N);
        uint64_t once = work(tokenizer, text, N), four = work(tokenizer, text, 4 * N);
        snprintf(wrong, sizeof wrong, "\"%s\": %llu steps for %d bytes, %llu for four times that", units[i],
                 (unsigned long long)once, N, (unsigned long long)four);
        free(text);
        if (once > 100u * N || four > once * 44 / 10) return wrong;
    }
    return NULL;
}

static void linear_on_a_small_stack(void **state) {
    if (access(*state, R_OK) != 0) {
        print_message("%s is not here: skipped\n", (char *)*state);
        skip();
    }
    llmrun_tokenizer *t;
    pthread_attr_t attributes;
    pthread_t thread;
    void *wrong;
    EXPECT_OK(llmrun_tokenizer_open(&t, *state, &err));
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
    assert_int_equal(pthread_create(&thread, &attributes, runs_are_linear, t), 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    pthread_attr_destroy(&attributes);
    llmrun_tokenizer_close(t);
    if (wrong) fail_msg("%s: %s", (char *)*state, (char *)wrong);
}

static void *encode_often(void *tokenizer) {
    char *text = repeat("ab -- a\xcc\x81 12 ", 5000);
    size_t n, first = 0;
    for (int i = 0; i < 20; i++) {
        if (llmrun_tokenize(tokenizer, text, 5000, 0, NULL, 0, &n, NULL) || (first && n != first)) return NULL;
        first = n;
    }
    free(text);
    return tokenizer;
}

static void shared_by_threads(void **state) {
    (void)state;
    llmrun_tokenizer *t;
    pthread_t thread[2];
    void *result;
    EXPECT_OK(llmrun_tokenizer_open(&t, "tests/corpus/tokenizer/byte_level.json", &err));
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], &result), 0);
        assert_ptr_equal(result, t);
    }
    llmrun_tokenizer_close(t);
}

/* ---- every allocation fails once ---- */

static struct {
    long until_failure, live; /* calls that still succeed; blocks not freed */
} heap;

static void *failing_realloc(void *user, void *old, size_t size) {
    (void)user;
    if (size == 0) {
        heap.live -= old != NULL;
        free(old);
        return NULL;
    }
    if (heap.until_failure-- == 0) return NULL;
    heap.live += old == NULL;
    return realloc(old, size);
}

static llmrun_status load_and_encode(const char *path) {
    static const char text[] = " Hello <s> e\xcc\x81 12 \xff ab--a";
    llmrun_tokenizer *t;
    int32_t ids[64];
    size_t n;
    llmrun_status status = llmrun_tokenizer_open(&t, path, &err);
    if (!status) status = llmrun_tokenize(t, text, sizeof text - 1, 3, ids, LR_COUNT(ids), &n, &err);
    llmrun_tokenizer_close(t);
    return status;
}

static void allocations_fail(void **state) {
    long n = 0;
    llmrun_status status;
    llmrun_set_allocator(failing_realloc, NULL);
    do {
        heap.until_failure = n++;
        heap.live = 0;
        err = (llmrun_error){ 0 };
        status = load_and_encode(*state);
        if (status != LLMRUN_OK && status != LLMRUN_NOMEM) fail_msg("allocation %ld: %d: %s", n, status, err.message);
        if (heap.live) fail_msg("allocation %ld: %ld blocks are lost", n, heap.live);
    } while (status && n < 100000);
    llmrun_set_allocator(NULL, NULL);
    assert_true(status == LLMRUN_OK && n > 50);
}

#define CASE(what, function, path) { what ": " path, function, NULL, NULL, (void *)(uintptr_t) path }
#define LINEAR(path) CASE("linear", linear_on_a_small_stack, path)
#define FAULTS(path) CASE("faults", allocations_fail, path)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_by_threads),
        cmocka_unit_test(quadratic_pattern),
        FAULTS("tests/corpus/tokenizer/byte_level.json"),
        FAULTS("tests/corpus/tokenizer/sentencepiece.json"),
        FAULTS("tests/corpus/tokenizer/metaspace.json"),
        FAULTS("tests/corpus/tokenizer/splits.json"),
        FAULTS("tests/corpus/tokenizer/unigram.json"),
        FAULTS("tests/corpus/sentencepiece/bpe_bytes.model"),
        FAULTS("tests/corpus/sentencepiece/bpe_rules.model"),
        FAULTS("tests/corpus/sentencepiece/unigram_rules.model"),
        FAULTS("tests/corpus/gguf_vocab/llama.gguf"),
        FAULTS("tests/corpus/gguf_vocab/gpt2.gguf"),
        FAULTS("tests/corpus/gguf_vocab/t5.gguf"),
        LINEAR("tests/corpus/tokenizer/byte_level.json"),
        LINEAR("tests/corpus/tokenizer/sentencepiece.json"),
        LINEAR("tests/corpus/tokenizer/metaspace.json"),
        LINEAR("tests/corpus/tokenizer/splits.json"),
        LINEAR("tests/corpus/tokenizer/unigram.json"),
        LINEAR("tests/corpus/tokenizer/unigram_bytes.json"),
        LINEAR("tests/corpus/sentencepiece/bpe_bytes.model"),
        LINEAR("tests/corpus/sentencepiece/bpe_rules.model"),
        LINEAR("tests/corpus/gguf_vocab/llama.gguf"),
        LINEAR("tests/corpus/gguf_vocab/t5.gguf"),
        LINEAR("../shared/data/tokenizers/llama2/tokenizer.json"),
        LINEAR("../shared/data/tokenizers/llama3/tokenizer.json"),
        LINEAR("../shared/data/tokenizers/gpt-oss-o200k/tokenizer.json"),
        LINEAR("../shared/data/tokenizers/t5-small/tokenizer.json"),
        LINEAR("../shared/data/tokenizers/gguf-vocab/ggml-vocab-deepseek-llm.gguf"),
        LINEAR("../shared/data/tokenizers/gguf-vocab/ggml-vocab-falcon.gguf"),
    };
#ifdef __SANITIZE_THREAD__
    return _cmocka_run_group_tests("threads", tests, 1, NULL, NULL); /* the others use one thread, and take minutes here */
#else
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
