/* llmrun on a terminal: a chat.  The conversation is kept as messages; for each answer the model's template makes the
 * whole of it a prompt, and the session evaluates only what it does not hold yet.  The model's answer goes to stdout,
 * everything else to stderr.                                                                                          */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

typedef struct chat {
    cli_options *o;
    llmrun_engine *engine;
    llmrun_session *session;
    bool templated; /* else text is completed as it is */
    char *system;   /* set by /system, else NULL */
    llmrun_model_info info;
    cli_conversation said;
    cli_text answer; /* as it comes */
    int32_t *ids;    /* (n_ctx + 1) prompt and answer, for the repeat penalty */
    size_t n_ids;
    uint64_t rng;
    llmrun_generate_result last;
} chat;

/* ---- answers ---- */

static bool on_text(void *user, const char *utf8, size_t n) {
    chat *c = user;
    return text_add(&c->answer, utf8, n) && fwrite(utf8, 1, n, stdout) == n && fflush(stdout) == 0;
}

/* Samples here rather than in the library, whose sampling starts from the seed with every answer.                     */
static int32_t on_choose(void *user, float *logits, int32_t n_vocab) {
    chat *c = user;
    if (c->n_ids > (size_t)c->info.n_ctx) return -1;
    int32_t id = llmrun_sample(logits, n_vocab, &c->o->sampling, &c->rng, c->ids, (int32_t)c->n_ids, NULL);
    c->ids[c->n_ids++] = id;
    return id;
}

/* Lets the model speak after the ids, and keeps what it said.  False after an error, which is told.                   */
static bool generate(chat *c) {
    llmrun_generate_options g;
    llmrun_error err = { 0 };
    llmrun_generate_result r = { .struct_size = sizeof r };
    cli_generate_options(c->o, &g);
    g.text = on_text;
    g.choose = on_choose;
    g.user = c;
    c->answer.n = 0;
    interrupt_arm(c->session);
    llmrun_status status = llmrun_generate(c->session, c->ids, (int32_t)c->n_ids, &g, &r, &err);
    bool stopped = interrupt_seen();
    interrupt_arm(NULL);
    if (stopped || (c->answer.n && c->answer.bytes[c->answer.n - 1] != '\n')) fputs("\n", stdout);
    fflush(stdout);
    if (status != LLMRUN_OK) {
        if (!stopped) cli_fail_error(&err);
        return false;
    }
    c->last = r;
    if (r.finish == LLMRUN_FINISH_CONTEXT)
        cli_note(c->o, "the context of %d tokens is full; /clear starts anew, /undo goes back", c->info.n_ctx);
    if (c->o->stats) print_stats(c->engine, &c->info, &r);
    return conversation_add(&c->said, ROLE_ASSISTANT, c->answer.bytes ? c->answer.bytes : "", c->answer.n);
}

/* Answers the conversation; false if there is no answer, for a reason that is told.                                   */
static bool answer(chat *c) {
    int32_t *ids = NULL;
    size_t n = 0;
    bool answered = false;
    if (conversation_ids(c->o, c->engine, &c->said, &ids, &n)) return false;
    if (n > (size_t)c->info.n_ctx) {
        cli_fail(EXIT_CONTEXT, "the conversation has %zu tokens, the context holds %d; /clear starts anew", n, c->info.n_ctx);
    } else if (n > 0) {
        memcpy(c->ids, ids, n * sizeof *ids);
        c->n_ids = n;
        answered = generate(c);
    }
    free(ids);
    return answered;
}

/* Adds the message to the conversation and answers it; without an answer it is taken back.                            */
static void say(chat *c, const char *bytes, size_t n) {
    size_t n_before = c->said.n;
    const char *system = n_before ? NULL : c->o->system;
    bool added = (!system || conversation_add(&c->said, ROLE_SYSTEM, system, strlen(system))) &&
                 conversation_add(&c->said, ROLE_USER, bytes, n);
    if (!added) cli_fail(EXIT_FIT, "out of host memory");
    if (!added || !answer(c)) conversation_cut(&c->said, n_before);
}

/* ---- commands ---- */

static void clear(chat *c, const char *unused) {
    (void)unused;
    conversation_cut(&c->said, 0);
}

static void regenerate(chat *c, const char *unused) {
    (void)unused;
    if (!c->said.n) {
        cli_note(c->o, "there is no answer yet");
        return;
    }
    if (c->said.items[c->said.n - 1].role == ROLE_ASSISTANT) conversation_cut(&c->said, c->said.n - 1);
    answer(c);
}

static void undo(chat *c, const char *unused) {
    size_t n = c->said.n;
    (void)unused;
    while (n > 0 && c->said.items[n - 1].role != ROLE_USER) n--;
    conversation_cut(&c->said, n > 0 ? n - 1 : 0);
    size_t left = conversation_count(&c->said, ROLE_USER);
    if (!left) conversation_cut(&c->said, 0); /* the system text opens the next conversation */
    cli_note(c->o, "%zu messages left", left);
}

/* The system text opens a conversation: a change shows in the next one.                                               */
static void set_system(chat *c, const char *text) {
    char *copy = c->templated ? strdup(text) : NULL;
    if (!c->templated) {
        cli_fail(EXIT_UNSUPPORTED, "/system: the model has no chat template");
    } else if (!copy) {
        cli_fail(EXIT_FIT, "out of host memory");
    } else {
        free(c->system);
        c->o->system = c->system = copy;
        if (c->said.n) cli_note(c->o, "/clear starts a conversation with this system text");
    }
}

static void stats(chat *c, const char *unused) {
    (void)unused;
    fprintf(stderr, "context: %d of %d tokens\n", llmrun_session_position(c->session), c->info.n_ctx);
    if (c->last.struct_size) print_stats(c->engine, &c->info, &c->last);
}

static void set(chat *c, const char *text) {
    char name[40], value[40];
    if (sscanf(text, "%39s %39s", name, value) != 2)
        cli_fail(EXIT_USAGE, "/set: expected a name and a value, such as /set temp 0.5");
    else if (cli_options_set(c->o, name, value) == 0 && strcmp(name, "seed") == 0)
        c->rng = c->o->sampling.seed;
}

static void save(chat *c, const char *path) {
    if (conversation_save(&c->said, path) == 0) cli_note(c->o, "saved %zu messages to %s", c->said.n, path);
}

static void load(chat *c, const char *path) {
    if (conversation_load(&c->said, path) == 0) cli_note(c->o, "loaded %zu messages from %s", c->said.n, path);
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
    c.templated = cli_templated(o, c.engine, note);
    llmrun_engine_info(c.engine, &c.info);
    c.ids = malloc(sizeof *c.ids * ((size_t)c.info.n_ctx + 1));
    if (!llmrun_engine_tokenizer(c.engine)) {
        code = cli_fail(EXIT_UNSUPPORTED, "%s: has no tokenizer, so text cannot be read", o->engine.model);
    } else if (o->system && !c.templated) {
        code = cli_fail(EXIT_UNSUPPORTED, "--system: the model has no chat template");
    } else if (!c.ids) {
        code = cli_fail(EXIT_FIT, "out of host memory");
    } else if (llmrun_session_open(&c.session, c.engine, &err) != LLMRUN_OK) {
        code = cli_fail_error(&err);
    } else if ((code = cli_prompt(o, &first, &given)) == 0) {
        bool limited = !c.templated && !o->max_tokens_given;
        if (limited) o->max_tokens = COMPLETION_TOKENS;
        cli_note(o, "%s%s", note, limited ? ", up to 256 tokens at a time (/set max-tokens N)" : "");
        if (!o->quiet) fprintf(stderr, "Send a message (/? for help)\n");
        if (given) say(&c, first.bytes, first.n);
        talk(&c);
        code = finish_stdout();
    }
    text_close(&first);
    text_close(&c.answer);
    conversation_close(&c.said);
    free(c.ids);
    free(c.system);
    llmrun_session_close(c.session);
    llmrun_engine_close(c.engine);
    return code;
}
