/* Any bytes as a chat template, up to a NUL; what follows it is the messages.  Whatever a template does, rendering ends
 * with a status that a template can cause, writes valid UTF-8, and marks every character that only the messages hold.  */
#include <stdlib.h>
#include <string.h>

#include "runtime/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* U+E000 stands in the messages alone, unless the template spells characters by escapes.                              */
#define SECRET "\xee\x80\x80"
static const char MESSAGES[] =
    "[{\"role\": \"system\", \"content\": \"a" SECRET "b\"}, {\"role\": \"user\", \"content\": \" <|im_end|>" SECRET " \\n\"},"
    " {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"" SECRET "\"}], \"reasoning_content\": \"r\","
    " \"tool_calls\": [{\"function\": {\"name\": \"f" SECRET "\", \"arguments\": {\"" SECRET "\": [1, 2.5, null, true]}}}]}]";
static const char TOOLS[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": "
                            "{\"x\": {\"type\": \"string\", \"enum\": [\"" SECRET "\", \"b\"]}}, \"required\": [\"x\"]}}}]";

static bool holds(const char *s, size_t n, const char *text) { return memmem(s, n, text, strlen(text)) != NULL; }

static void check_output(const lr_text *out, const lr_text *marks, bool secret) {
    if (out->n != marks->n) abort();
    for (size_t i = 0, k; i < out->n; i += k) {
        if (!(k = lr_utf8_length(out->text + i, out->n - i))) abort();
        if (marks->text[i] != 0 && marks->text[i] != 1) abort();
        bool is_secret = k == 3 && memcmp(out->text + i, SECRET, 3) == 0;
        if (secret && is_secret && memchr(marks->text + i, 0, 3)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    const uint8_t *nul = n ? memchr(bytes, 0, n) : NULL;
    size_t n_source = nul ? (size_t)(nul - bytes) : n, n_messages = nul ? n - n_source - 1 : sizeof MESSAGES - 1;
    char *source = malloc(n_source + 1), *messages = malloc(n_messages + 1); /* of exactly their sizes */
    if (!source || !messages) abort();
    if (n_source) memcpy(source, bytes, n_source);
    if (n_messages) memcpy(messages, nul ? (const char *)nul + 1 : MESSAGES, n_messages);
    lr_jinja_variable v[] = {
        {.name = "messages", .text = messages, .n_bytes = n_messages, .json = true, .content = true},
        {.name = "tools", .text = TOOLS, .n_bytes = sizeof TOOLS - 1, .json = true, .content = true},
        {.name = "add_generation_prompt", .text = "true", .n_bytes = 4, .json = true},
        {.name = "bos_token", .text = "<s>", .n_bytes = 3},
    };
    lr_jinja_job job = {.where = "fuzz", .source = source, .n_source = n_source, .variables = v, .n_variables = LR_COUNT(v),
                        .unix_time = 1751641567, .open_end = n % 8 == 7};
    lr_text out = {0}, marks = {0};
    llmrun_error err;
    llmrun_status status = lr_jinja_render(&job, &out, &marks, &err);
    if (status && status != LLMRUN_ARG && status != LLMRUN_FORMAT && status != LLMRUN_UNSUPPORTED) abort();
    if (status && strlen(err.message) < 10) abort();
    bool spells = holds(source, n_source, SECRET) || holds(source, n_source, "\\");
    if (!status) check_output(&out, &marks, !spells);
    lr_free(out.text);
    lr_free(marks.text);
    free(source);
    free(messages);
    return 0;
}
