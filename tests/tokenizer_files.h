/* For tests of tokenizers that are no tokenizer.json: files made byte by byte, and what they give.                    */
#ifndef TESTS_TOKENIZER_FILES_H
#define TESTS_TOKENIZER_FILES_H

#include "tests/model_files.h"

#include "runtime/tokenizer_parts.h"

typedef struct blob {
    lr_text bytes;
    uint64_t n_values; /* of a GGUF */
} blob;

static void put(blob *b, const void *bytes, size_t n) {
    lr_text_add_bytes(&b->bytes, bytes, n);
    assert_false(b->bytes.failed);
}
static void put_int(blob *b, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) put(b, &(uint8_t){ (uint8_t)(value >> 8 * i) }, 1);
}

/* From a block of exactly n bytes, so that a sanitizer sees every read beyond it.                                     */
static llmrun_status parse_exact(llmrun_tokenizer **t, const void *bytes, size_t n) {
    char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    llmrun_status status = lr_tokenizer_parse(t, exact, n, "t", NULL, NULL, 0, &err);
    free(exact);
    return status;
}

/* The ids as "1 2 3".                                                                                                 */
static const char *show_ids(const llmrun_tokenizer *t, const char *text, unsigned flags) {
    static char shown[1024];
    int32_t ids[128];
    size_t n_ids, at = 0;
    EXPECT_OK(llmrun_tokenize(t, text, strlen(text), flags, ids, LR_COUNT(ids), &n_ids, &err));
    shown[0] = 0;
    for (size_t i = 0; i < n_ids && i < LR_COUNT(ids); i++) at += (size_t)sprintf(shown + at, i ? " %d" : "%d", (int)ids[i]);
    return shown;
}

#endif
