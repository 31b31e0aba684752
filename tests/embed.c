/* The README's program: opens a model, continues a text.  Built against the installed library through pkg-config.      */
#include <llmrun.h>
#include <stdio.h>
#include <string.h>

static bool print(void *user, const char *utf8, size_t n) { return fwrite(utf8, 1, n, user) == n; }

int main(int argc, char **argv) {
    const char *text = "Once upon a time";
    llmrun_engine *engine = NULL;
    llmrun_session *session = NULL;
    llmrun_error err = { LLMRUN_OK, "" };
    llmrun_options options;
    llmrun_generate_options how;
    int32_t ids[64];
    size_t n = 0;
    llmrun_options_default(&options);
    options.model = argc > 1 ? argv[1] : "models/demo";
    llmrun_generate_options_default(&how);
    how.max_tokens = 40;
    how.text = print;
    how.user = stdout;
    if (llmrun_engine_open(&engine, &options, &err) || llmrun_session_open(&session, engine, &err) ||
        llmrun_tokenize(llmrun_engine_tokenizer(engine), text, strlen(text), LLMRUN_ADD_SPECIAL, ids, 64, &n, &err) ||
        llmrun_generate(session, ids, (int32_t)n, &how, NULL, &err))
        fprintf(stderr, "%s\n", err.message);
    llmrun_session_close(session);
    llmrun_engine_close(engine);
    return (int)err.status;
}
