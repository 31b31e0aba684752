/* Text in and out: the prompt from option, file and pipe; JSON strings; the end of stdout.                            */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

bool text_add(cli_text *t, const char *bytes, size_t n) {
    if (t->n + n + 1 > t->cap) {
        size_t cap = 2 * (t->n + n + 1);
        char *grown = realloc(t->bytes, cap);
        if (!grown) return false;
        t->bytes = grown;
        t->cap = cap;
    }
    if (n) memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    t->bytes[t->n] = 0;
    return true;
}

void text_close(cli_text *t) {
    free(t->bytes);
    *t = (cli_text){ 0 };
}

int text_read(cli_text *t, FILE *from, const char *name) {
    char block[16384];
    size_t n;
    while ((n = fread(block, 1, sizeof block, from)) > 0)
        if (!text_add(t, block, n)) return cli_fail(EXIT_FIT, "%s: out of host memory", name);
    if (ferror(from)) return cli_fail(EXIT_IO, "%s: %s", name, strerror(errno));
    return 0;
}

/* Beside -p only a file or a pipe is read: a script's other kinds of stdin may never end.                             */
static bool stdin_has_text(const cli_options *o, bool beside_prompt) {
    struct stat info;
    if (isatty(STDIN_FILENO) || fstat(STDIN_FILENO, &info) != 0) return false;
    if (beside_prompt && !S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) return false;
    struct pollfd waits = { .fd = STDIN_FILENO, .events = POLLIN };
    if (poll(&waits, 1, 1000) == 0)
        cli_note(o, "reading text from stdin until it ends (</dev/null if there is none)");
    return true;
}

int cli_prompt(const cli_options *o, cli_text *t, bool *given) {
    int code = 0;
    *given = o->prompt || o->file;
    if (!text_add(t, "", 0)) return cli_fail(EXIT_FIT, "out of host memory");
    if (o->prompt && !text_add(t, o->prompt, strlen(o->prompt))) return cli_fail(EXIT_FIT, "out of host memory");
    if (o->file) {
        FILE *f = fopen(o->file, "rb");
        if (!f) return cli_fail(EXIT_IO, "%s: %s", o->file, strerror(errno));
        code = text_read(t, f, o->file);
        fclose(f);
        return code;
    }
    if (!stdin_has_text(o, *given)) return 0;
    cli_text piped = { 0 };
    code = text_read(&piped, stdin, "stdin");
    if (!code && piped.n) {
        *given = true;
        if ((t->n && !text_add(t, "\n\n", 2)) || !text_add(t, piped.bytes, piped.n))
            code = cli_fail(EXIT_FIT, "out of host memory");
    }
    text_close(&piped);
    return code;
}

int cli_tokenize(const llmrun_tokenizer *t, const char *bytes, size_t n, unsigned flags, int32_t **ids, size_t *n_ids) {
    llmrun_error err = { 0 };
    size_t cap = n + 16;
    *ids = NULL;
    for (;;) {
        int32_t *grown = realloc(*ids, cap * sizeof **ids);
        if (!grown) {
            free(*ids);
            *ids = NULL;
            return cli_fail(EXIT_FIT, "prompt: out of host memory");
        }
        *ids = grown;
        if (llmrun_tokenize(t, bytes, n, flags, *ids, cap, n_ids, &err) != LLMRUN_OK) {
            free(*ids);
            *ids = NULL;
            return cli_fail_error(&err);
        }
        if (*n_ids <= cap) return 0;
        cap = *n_ids;
    }
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none.                                                        */
static size_t utf8_length(const unsigned char *s, size_t n) {
    size_t want = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (want > n) return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (want > 2 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))) return 0;
    if (want > 3 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return want;
}

void json_string(FILE *to, const char *bytes, size_t n) {
    const unsigned char *s = (const unsigned char *)bytes;
    fputc('"', to);
    for (size_t i = 0; i < n;) {
        size_t k = utf8_length(s + i, n - i);
        if (k == 0)
            fputs("\\ufffd", to);
        else if (s[i] == '"' || s[i] == '\\')
            fprintf(to, "\\%c", s[i]);
        else if (s[i] == '\n')
            fputs("\\n", to);
        else if (s[i] < 0x20 || s[i] == 0x7f)
            fprintf(to, "\\u%04x", s[i]);
        else
            fwrite(s + i, 1, k, to);
        i += k ? k : 1;
    }
    fputc('"', to);
}

void json_number(FILE *to, double value) {
    if (isfinite(value))
        fprintf(to, "%.9g", value);
    else
        fputs("null", to);
}

int finish_stdout(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_OK;
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    bool closed_pipe = poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
    return closed_pipe ? EXIT_OK : cli_fail(EXIT_IO, "stdout: not everything could be written");
}
