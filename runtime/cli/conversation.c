/* The messages of a chat, and their ids by the model's chat template.                                                  */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

bool conversation_add(cli_conversation *c, cli_role role, const char *bytes, size_t n) {
    struct cli_message *grown = realloc(c->items, sizeof *grown * (c->n + 1));
    if (!grown) return false;
    c->items = grown;
    c->items[c->n] = (struct cli_message){ .role = role };
    if (!text_add(&c->items[c->n].text, bytes, n)) return false;
    c->n++;
    return true;
}

void conversation_cut(cli_conversation *c, size_t n) {
    while (c->n > n) text_close(&c->items[--c->n].text);
}

void conversation_close(cli_conversation *c) {
    conversation_cut(c, 0);
    free(c->items);
    *c = (cli_conversation){ 0 };
}

size_t conversation_count(const cli_conversation *c, cli_role role) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += c->items[i].role == role;
    return n;
}

/* ---- ids ---- */

static const char *const roles[] = { "system", "user", "assistant" };

static void write_json(FILE *to, const cli_conversation *c) {
    for (size_t i = 0; i < c->n; i++) {
        fprintf(to, "%s{\"role\": \"%s\", \"content\": ", i ? ", " : "[", roles[c->items[i].role]);
        json_string(to, c->items[i].text.bytes, c->items[i].text.n);
        fputc('}', to);
    }
    fputc(']', to);
}

/* NUL cannot stand in a message: it becomes what stands for other bytes that are no text.                              */
static char *messages_json(cli_conversation *c) {
    char *json = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&json, &n);
    if (!to) return NULL;
    for (size_t i = 0; i < c->n; i++)
        for (char *s = c->items[i].text.bytes; (s = memchr(s, 0, c->items[i].text.n - (size_t)(s - c->items[i].text.bytes)));)
            *s = (char)0xff;
    write_json(to, c);
    if (fclose(to) == 0) return json;
    free(json);
    return NULL;
}

int conversation_ids(const cli_options *o, const llmrun_engine *e, cli_conversation *c, int32_t **ids, size_t *n_ids) {
    llmrun_chat_options chat;
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_error err = { 0 };
    size_t max = 0;
    int code = 0;
    llmrun_chat_options_default(&chat);
    llmrun_engine_info(e, &info);
    char *json = messages_json(c);
    chat.messages = json;
    for (*ids = NULL, *n_ids = (size_t)info.n_ctx; json && !code && max < *n_ids;) {
        free(*ids);
        max = *n_ids;
        *ids = malloc((max + 1) * sizeof **ids);
        if (!*ids) break;
        if (llmrun_chat_tokenize(e, &chat, *ids, max, n_ids, &err) == LLMRUN_OK) continue;
        bool template = err.status == LLMRUN_FORMAT || err.status == LLMRUN_UNSUPPORTED;
        code = cli_fail(exit_code(err.status), "%s%s", err.message, template ? "; --raw completes the text itself" : "");
    }
    if (!json || !*ids) code = cli_fail(EXIT_FIT, "prompt: out of host memory");
    free(json);
    if (!code) code = cli_check_ids(o, e, *ids, *n_ids);
    if (code) {
        free(*ids);
        *ids = NULL;
    }
    return code;
}

/* ---- files: "llmrun chat 2", then for each message a line "role bytes", its text and the end of a line ---- */

int conversation_save(const cli_conversation *c, const char *path) {
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "w");
    if (!f) return cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    fprintf(f, "llmrun chat 2\n");
    for (size_t i = 0; i < c->n; i++) {
        const cli_text *text = &c->items[i].text;
        fprintf(f, "%s %zu\n", roles[c->items[i].role], text->n);
        fwrite(text->bytes, 1, text->n, f);
        fputc('\n', f);
    }
    bool written = fflush(f) == 0 && !ferror(f);
    if (fclose(f) == 0 && written && rename(temporary, path) == 0) return 0;
    int code = cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    remove(temporary);
    return code;
}

/* What follows the first line; false where it is not what conversation_save writes.                                    */
static bool read_messages(const char *s, size_t n, cli_conversation *c) {
    while (n) {
        char word[16];
        size_t bytes = 0;
        int head = 0, role = 2;
        if (sscanf(s, "%15s %zu%n", word, &bytes, &head) != 2 || s[head] != '\n') return false;
        while (role >= 0 && strcmp(roles[role], word) != 0) role--;
        s += head + 1;
        n -= (size_t)head + 1;
        if (role < 0 || bytes >= n || s[bytes] != '\n' || !conversation_add(c, (cli_role)role, s, bytes)) return false;
        s += bytes + 1;
        n -= bytes + 1;
    }
    return c->n > 0;
}

int conversation_load(cli_conversation *c, const char *path) {
    static const char first[] = "llmrun chat 2\n";
    cli_conversation read = { 0 };
    cli_text text = { 0 };
    FILE *f = fopen(path, "r");
    if (!f) return cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    int code = text_read(&text, f, path);
    fclose(f);
    bool head = !code && text.n >= sizeof first - 1 && memcmp(text.bytes, first, sizeof first - 1) == 0;
    if (head && read_messages(text.bytes + sizeof first - 1, text.n - (sizeof first - 1), &read)) {
        conversation_close(c);
        *c = read;
    } else {
        conversation_close(&read);
        if (!code) code = cli_fail(EXIT_FORMAT, "%s: not a conversation", path);
    }
    text_close(&text);
    return code;
}
