/* llmrun on a terminal: a chat.  The conversation is kept as token ids, so each answer starts from the cache of the
 * one before; the model's answer goes to stdout, everything else to stderr.                                           */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

typedef struct turn {
    size_t start, answer; /* positions in ids: of the message, of what the model said to it */
} turn;

typedef struct chat {
    cli_options *o;
    llmrun_engine *engine;
    llmrun_session *session;
    const char *form; /* of the prompt; NULL: text is completed as it is */
    char *system;     /* set by /system, else NULL */
    llmrun_model_info info;
    int32_t *ids; /* (n_ctx + 1) the conversation */
    size_t n_ids;
    turn *turns;
    size_t n_turns;
    uint64_t rng;
    bool open_line; /* the answer did not end its line */
    llmrun_generate_result last;
} chat;

/* ---- answers ---- */

static bool on_text(void *user, const char *utf8, size_t n) {
    chat *c = user;
    if (n) c->open_line = utf8[n - 1] != '\n';
    return fwrite(utf8, 1, n, stdout) == n && fflush(stdout) == 0;
}

/* Samples here rather than in the library, so that the conversation keeps the exact ids.                              */
static int32_t on_choose(void *user, float *logits, int32_t n_vocab) {
    chat *c = user;
    if (c->n_ids > (size_t)c->info.n_ctx) return -1;
    int32_t id = llmrun_sample(logits, n_vocab, &c->o->sampling, &c->rng, c->ids, (int32_t)c->n_ids, NULL);
    c->ids[c->n_ids++] = id;
    return id;
}

/* Lets the model speak after the ids so far.  An error is told and the conversation goes on.                          */
static void answer(chat *c) {
    llmrun_generate_options g;
    llmrun_error err = { 0 };
    llmrun_generate_result r = { .struct_size = sizeof r };
    cli_generate_options(c->o, &g);
    g.text = on_text;
    g.choose = on_choose;
    g.user = c;
    size_t n_before = c->n_ids;
    c->open_line = false;
    interrupt_arm(c->session);
    llmrun_status status = llmrun_generate(c->session, c->ids, (int32_t)c->n_ids, &g, &r, &err);
    bool stopped = interrupt_seen();
    interrupt_arm(NULL);
    if (c->open_line || stopped) fputs("\n", stdout);
    fflush(stdout);
    if (status != LLMRUN_OK) {
        if (!stopped) cli_fail_error(&err);
        c->n_ids = n_before;
        return;
    }
    c->last = r;
    if (c->n_ids > (size_t)c->info.n_ctx) c->n_ids = (size_t)c->info.n_ctx;
    if (r.finish == LLMRUN_FINISH_END && c->n_ids) c->n_ids--; /* the end token is no part of the text */
    if (r.finish == LLMRUN_FINISH_CONTEXT)
        cli_note(c->o, "the context of %d tokens is full; /clear starts anew, /undo goes back", c->info.n_ctx);
    if (c->o->stats) print_stats(c->engine, &c->info, &r);
}

/* Adds the message to the conversation and answers it.                                                                */
static void say(chat *c, const char *bytes, size_t n) {
    int32_t *ids = NULL;
    size_t n_new = 0;
    cli_text joined = { 0 };
    bool new_line = c->open_line && !c->form;
    bool fits = (!new_line || text_add(&joined, "\n", 1)) && text_add(&joined, bytes, n);
    turn *grown = fits ? realloc(c->turns, sizeof *grown * (c->n_turns + 1)) : NULL;
    if (!grown) {
        cli_fail(EXIT_FIT, "out of host memory");
    } else if (c->turns = grown, cli_turn(c->o, c->engine, c->form, !c->n_ids, joined.bytes, joined.n, &ids, &n_new) == 0) {
        if (c->n_ids + n_new > (size_t)c->info.n_ctx) {
            cli_fail(EXIT_CONTEXT, "the message has %zu tokens, the context has room for %zu; /clear starts anew", n_new,
                     (size_t)c->info.n_ctx - c->n_ids);
        } else if (c->n_ids + n_new > 0) {
            memcpy(c->ids + c->n_ids, ids, n_new * sizeof *ids);
            c->turns[c->n_turns++] = (turn){ c->n_ids, c->n_ids + n_new };
            c->n_ids += n_new;
            answer(c);
        }
    }
    free(ids);
    text_close(&joined);
}

/* ---- files: a conversation as text, "llmrun chat 1", vocabulary size, turns, ids ---- */

static void save(chat *c, const char *path) {
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "w");
    if (!f) {
        cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
        return;
    }
    fprintf(f, "llmrun chat 1\n%d %zu %zu\n", c->info.n_vocab, c->n_turns, c->n_ids);
    for (size_t i = 0; i < c->n_turns; i++) fprintf(f, "%zu %zu\n", c->turns[i].start, c->turns[i].answer);
    for (size_t i = 0; i < c->n_ids; i++) fprintf(f, "%d\n", c->ids[i]);
    bool written = fflush(f) == 0 && !ferror(f);
    if (fclose(f) != 0 || !written || rename(temporary, path) != 0) {
        cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
        remove(temporary);
    } else {
        cli_note(c->o, "saved %zu tokens to %s", c->n_ids, path);
    }
}

/* Reads turns and ids into arrays of the given sizes; false if the file is not what save writes for this model.       */
static bool read_chat(FILE *f, const chat *c, turn *turns, size_t n_turns, int32_t *ids, size_t n_ids) {
    size_t from = 0;
    for (size_t i = 0; i < n_turns; i++) {
        if (fscanf(f, "%zu %zu", &turns[i].start, &turns[i].answer) != 2) return false;
        if (turns[i].start < from || turns[i].answer < turns[i].start || turns[i].answer > n_ids) return false;
        from = turns[i].answer;
    }
    for (size_t i = 0; i < n_ids; i++)
        if (fscanf(f, "%d", &ids[i]) != 1 || ids[i] < 0 || ids[i] >= c->info.n_vocab) return false;
    return true;
}

static void load(chat *c, const char *path) {
    int n_vocab = 0;
    size_t n_turns = 0, n_ids = 0, room = (size_t)c->info.n_ctx + 1;
    FILE *f = fopen(path, "r");
    if (!f) {
        cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
        return;
    }
    bool head = fscanf(f, "llmrun chat 1 %d %zu %zu", &n_vocab, &n_turns, &n_ids) == 3;
    bool fits = head && n_vocab == c->info.n_vocab && n_ids < room && n_turns <= n_ids;
    turn *turns = fits ? malloc(sizeof *turns * (n_turns + 1)) : NULL;
    int32_t *ids = fits ? malloc(sizeof *ids * room) : NULL;
    if (turns && ids && read_chat(f, c, turns, n_turns, ids, n_ids)) {
        free(c->turns);
        free(c->ids);
        c->turns = turns;
        c->ids = ids;
        c->n_turns = n_turns;
        c->n_ids = n_ids;
        c->open_line = false;
        cli_note(c->o, "loaded %zu tokens from %s", n_ids, path);
    } else {
        free(turns);
        free(ids);
        cli_fail(EXIT_FORMAT, "%s: not a conversation with this model that fits its context", path);
    }
    fclose(f);
}

/* ---- commands ---- */

static void clear(chat *c, const char *unused) {
    (void)unused;
    c->n_ids = c->n_turns = 0;
    c->open_line = false;
}

static void regenerate(chat *c, const char *unused) {
    (void)unused;
    if (!c->n_turns) {
        cli_note(c->o, "there is no answer yet");
        return;
    }
    c->n_ids = c->turns[c->n_turns - 1].answer;
    answer(c);
}

static void undo(chat *c, const char *unused) {
    (void)unused;
    if (c->n_turns) c->n_ids = c->turns[--c->n_turns].start;
    cli_note(c->o, "%zu messages left", c->n_turns);
}

/* The system text opens a conversation: a change shows in the next one.                                               */
static void set_system(chat *c, const char *text) {
    char *copy = c->form ? strdup(text) : NULL;
    if (!c->form) {
        cli_fail(EXIT_UNSUPPORTED, "/system: the model has no chat template of a known form");
    } else if (!copy) {
        cli_fail(EXIT_FIT, "out of host memory");
    } else {
        free(c->system);
        c->o->system = c->system = copy;
        if (c->n_ids) cli_note(c->o, "/clear starts a conversation with this system text");
    }
}

static void stats(chat *c, const char *unused) {
    (void)unused;
    fprintf(stderr, "context: %zu of %d tokens\n", c->n_ids, c->info.n_ctx);
    if (c->last.struct_size) print_stats(c->engine, &c->info, &c->last);
}

static void set(chat *c, const char *text) {
    char name[40], value[40];
    if (sscanf(text, "%39s %39s", name, value) != 2)
        cli_fail(EXIT_USAGE, "/set: expected a name and a value, such as /set temp 0.5");
    else if (cli_options_set(c->o, name, value) == 0 && strcmp(name, "seed") == 0)
        c->rng = c->o->sampling.seed;
}

static void help(chat *c, const char *unused);

static const struct { const char *name, *argument, *help; void (*run)(chat *c, const char *argument); } commands[] = {
    { "/help", NULL, "this list", help },
    { "/?", NULL, NULL, help },
    { "/clear", NULL, "forget the conversation", clear },
    { "/regen", NULL, "answer the last message again", regenerate },
    { "/undo", NULL, "drop the last message and its answer", undo },
    { "/system", "TEXT", "how the model should answer, from the next conversation on", set_system },
    { "/set", "NAME VALUE", "temp, top-k, top-p, min-p, repeat-penalty, repeat-last, seed, max-tokens", set },
    { "/stats", NULL, "figures of the last answer", stats },
    { "/save", "FILE", "write the conversation to a file", save },
    { "/load", "FILE", "go on with a saved conversation", load },
    { "/bye", NULL, "leave (also /exit, /quit, Ctrl-D)", NULL },
    { "/exit", NULL, NULL, NULL },
    { "/quit", NULL, NULL, NULL },
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void help(chat *c, const char *unused) {
    (void)unused;
    (void)c;
    for (int i = 0; i < N_COMMANDS; i++)
        if (commands[i].help)
            fprintf(stderr, "  %-7s %-10s  %s\n", commands[i].name, commands[i].argument ? commands[i].argument : "",
                    commands[i].help);
    fprintf(stderr, "  \"\"\" opens and closes a message of several lines; Ctrl-C stops an answer\n");
}

/* Runs a line that starts with a slash; false to leave the chat.                                                      */
static bool command(chat *c, const char *line) {
    size_t n = strcspn(line, " ");
    const char *argument = line + n + strspn(line + n, " ");
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strlen(commands[i].name) != n || memcmp(commands[i].name, line, n) != 0) continue;
        if (!commands[i].run) return false;
        if (commands[i].argument && !*argument)
            cli_fail(EXIT_USAGE, "%s: expected %s", commands[i].name, commands[i].argument);
        else
            commands[i].run(c, argument);
        return true;
    }
    cli_fail(EXIT_USAGE, "unknown command %.*s; /? lists them", (int)n, line);
    return true;
}

/* ---- the loop ---- */

/* Text that no template closes seldom ends.                                                               */
enum { COMPLETION_TOKENS = 256 }; /* the opening note says it too */

static void talk(chat *c) {
    cli_text message = { 0 };
    input_open();
    for (bool going = true; going;) {
        input_kind kind = input_message(&message);
        if (kind == INPUT_INTERRUPT) {
            fprintf(stderr, "\nUse Ctrl-D or /bye to leave\n");
        } else if (kind == INPUT_END) {
            fputc('\n', stderr);
            going = false;
        } else if (message.bytes[0] == '/') {
            going = command(c, message.bytes);
        } else if (message.n) {
            say(c, message.bytes, message.n);
        }
        if (ferror(stdout)) going = false;
    }
    input_close();
    text_close(&message);
}

int chat_main(cli_options *o) {
    chat c = { .o = o, .info.struct_size = sizeof c.info, .rng = o->sampling.seed };
    llmrun_error err = { 0 };
    cli_text first = { 0 };
    bool given = false;
    char note[96];
    int code = cli_open(o, &c.engine);
    if (code) return code;
    o->chat = true;
    c.form = cli_chat_form(o, c.engine, note);
    llmrun_engine_info(c.engine, &c.info);
    c.ids = malloc(sizeof *c.ids * ((size_t)c.info.n_ctx + 1));
    if (!llmrun_engine_tokenizer(c.engine)) {
        code = cli_fail(EXIT_UNSUPPORTED, "%s: has no tokenizer, so text cannot be read", o->engine.model);
    } else if (o->system && !c.form) {
        code = cli_fail(EXIT_UNSUPPORTED, "--system: the model has no chat template of a known form");
    } else if (!c.ids) {
        code = cli_fail(EXIT_FIT, "out of host memory");
    } else if (llmrun_session_open(&c.session, c.engine, &err) != LLMRUN_OK) {
        code = cli_fail_error(&err);
    } else if ((code = cli_prompt(o, &first, &given)) == 0) {
        bool limited = !c.form && !o->max_tokens_given;
        if (limited) o->max_tokens = COMPLETION_TOKENS;
        cli_note(o, "%s%s", note, limited ? ", up to 256 tokens at a time (/set max-tokens N)" : "");
        if (!o->quiet) fprintf(stderr, "Send a message (/? for help)\n");
        if (given) say(&c, first.bytes, first.n);
        talk(&c);
        code = finish_stdout();
    }
    text_close(&first);
    free(c.ids);
    free(c.turns);
    free(c.system);
    llmrun_session_close(c.session);
    llmrun_engine_close(c.engine);
    return code;
}
