/* Fuzzing a tokenizer's file: any bytes give a tokenizer or an error; a tokenizer encodes a fixed set of texts, prints
 * every id, and names only ids that it has.                                                                           */
#ifndef TESTS_FUZZ_TOKENIZER_H
#define TESTS_FUZZ_TOKENIZER_H

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_parts.h"

static const char *const texts[] = {
    "",
    " Hello  world's 12345\r\n\n\t <s>x</s> <|a|> ",
    "e\xcc\x81\xcc\xa3 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 \xe2\x96\x81\xe2\x96\x81 \xc4\xb0",
    "\xff\xc0\xaf\xed\xa0\x80 broken \xf0\x9f",
};

static void use(const llmrun_tokenizer *t, const char *text, size_t n, unsigned flags) {
    int32_t ids[512];
    size_t n_ids = 0, n_bytes, sum = 0;
    if (llmrun_tokenize(t, text, n, flags, ids, LR_COUNT(ids), &n_ids, NULL)) return;
    for (size_t i = 0; i < n_ids && i < LR_COUNT(ids); i++) {
        if (ids[i] < 0 || ids[i] >= llmrun_token_count(t)) abort();
        const char *bytes = llmrun_token_text(t, ids[i], flags & 1, i == 0, &n_bytes);
        for (size_t k = 0; k < n_bytes; k++) sum += (unsigned char)bytes[k];
        sum += llmrun_token_is_end(t, ids[i]);
    }
    if (sum == SIZE_MAX) abort(); /* every byte has been read */
}

/* start (n_start bytes) stands in for the first bytes of data, so that every input is of the kind that is fuzzed.      */
static int fuzz_tokenizer(const uint8_t *data, size_t size, const char *start, size_t n_start) {
    char *exact = malloc(size ? size : 1), runs[600];
    llmrun_tokenizer *t;
    if (!exact) return 0;
    memcpy(exact, data, size);
    memcpy(exact, start, n_start < size ? n_start : size);
    llmrun_status status = lr_tokenizer_parse(&t, exact, size, "fuzz", NULL, &(int32_t){2}, 1, NULL);
    free(exact);
    if (status) return 0;
    for (size_t i = 0; i < LR_COUNT(texts); i++)
        for (unsigned flags = 0; flags < 4; flags++) use(t, texts[i], strlen(texts[i]), flags);
    for (size_t i = 0; i < 3; i++) {
        memset(runs, "a \xcc"[i], sizeof runs);
        use(t, runs, sizeof runs, LLMRUN_PARSE_SPECIAL);
    }
    llmrun_tokenizer_close(t);
    return 0;
}

#endif
