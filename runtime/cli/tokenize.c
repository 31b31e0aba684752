/* llmrun tokenize: a text as tokens.  Needs a tokenizer.json, tokenizer.model or .gguf alone, no weights.             */
#include <stdlib.h>

#include "runtime/cli/cli.h"

static void print_table(const llmrun_tokenizer *t, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes;
        const char *bytes = llmrun_token_text(t, ids[i], true, false, &n_bytes);
        printf("%6d  ", ids[i]);
        json_string(stdout, bytes, n_bytes); /* quoted, so that spaces and newlines show */
        putchar('\n');
    }
}

static void print_json(const llmrun_tokenizer *t, const int32_t *ids, size_t n) {
    printf("{\"n_tokens\": %zu, \"tokens\": [", n);
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes;
        const char *bytes = llmrun_token_text(t, ids[i], true, false, &n_bytes);
        printf("%s{\"id\": %d, \"text\": ", i ? ", " : "", ids[i]);
        json_string(stdout, bytes, n_bytes);
        putchar('}');
    }
    printf("]}\n");
}

int tokenize_main(cli_options *o) {
    llmrun_tokenizer *tokenizer = NULL;
    llmrun_error err = { 0 };
    cli_text prompt = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    bool given = false;
    unsigned flags = (o->no_bos ? 0 : LLMRUN_ADD_SPECIAL) | (o->parse_special ? LLMRUN_PARSE_SPECIAL : 0);
    int code = cli_prepare(o);
    if (!code) code = cli_prompt(o, &prompt, &given);
    if (!code && !given) code = cli_fail(EXIT_USAGE, "no text: give -p TEXT, -f FILE or text on stdin");
    if (!code && llmrun_tokenizer_open(&tokenizer, o->engine.model, &err) != LLMRUN_OK) code = cli_fail_error(&err);
    if (!code) code = cli_tokenize(tokenizer, prompt.bytes, prompt.n, flags, &ids, &n);
    if (!code) {
        if (o->json) {
            print_json(tokenizer, ids, n);
        } else if (o->ids) {
            for (size_t i = 0; i < n; i++) printf(i ? " %d" : "%d", ids[i]);
            putchar('\n');
        } else {
            print_table(tokenizer, ids, n);
        }
        code = finish_stdout();
    }
    free(ids);
    llmrun_tokenizer_close(tokenizer);
    text_close(&prompt);
    return code;
}
