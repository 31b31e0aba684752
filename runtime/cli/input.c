/* Messages typed on a terminal.  A paste arrives as one message; """ opens and closes a message of several lines;
 * the history of typed lines lives in the user's state directory.                                                     */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

#ifdef HAVE_READLINE
#include <readline/history.h>
#include <readline/readline.h>

enum { MOST_HISTORY = 1000 };

static char history_path[4096];
static char *typed; /* set by take_line, which readline calls without a user pointer */
static bool line_ended;

/* $XDG_STATE_HOME/llmrun/history, its folder made; empty if there is no home.                                          */
static void find_history(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    bool has_state = state && state[0] == '/';
    history_path[0] = 0;
    if (!has_state && !home) return;
    int n = snprintf(history_path, sizeof history_path, "%s%s/llmrun/history", has_state ? state : home,
                     has_state ? "" : "/.local/state");
    if (n < 0 || (size_t)n >= sizeof history_path) history_path[0] = 0;
    for (char *slash = history_path; *slash && (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(history_path, 0700);
        *slash = '/';
    }
}

static void take_line(char *line) {
    typed = line;
    line_ended = true;
    rl_callback_handler_remove();
}

void input_open(void) {
    rl_outstream = stderr;
    rl_catch_signals = 0;
    rl_variable_bind("enable-bracketed-paste", "on");
    using_history();
    stifle_history(MOST_HISTORY);
    find_history();
    if (history_path[0]) read_history(history_path);
}

void input_close(void) {
    if (history_path[0]) write_history(history_path);
    clear_history();
}

/* Waits by poll, so that Ctrl-C is seen here and not inside readline.                                                 */
static input_kind read_line(const char *prompt, cli_text *line) {
    struct pollfd waits = { .fd = STDIN_FILENO, .events = POLLIN };
    bool added = true;
    typed = NULL;
    line_ended = false;
    rl_callback_handler_install(prompt, take_line);
    while (!line_ended) {
        int ready = poll(&waits, 1, -1);
        if (interrupt_seen()) {
            rl_callback_handler_remove();
            return INPUT_INTERRUPT;
        }
        if (ready > 0) rl_callback_read_char();
    }
    if (!typed) return INPUT_END;
    if (typed[0]) {
        add_history(typed);
        added = text_add(line, typed, strlen(typed));
    }
    free(typed);
    return added ? INPUT_TEXT : INPUT_END;
}

#else

void input_open(void) {}
void input_close(void) {}

static input_kind read_line(const char *prompt, cli_text *line) {
    char block[4096];
    fputs(prompt, stderr);
    fflush(stderr);
    for (;;) {
        if (!fgets(block, sizeof block, stdin)) {
            bool interrupted = errno == EINTR && interrupt_seen();
            clearerr(stdin);
            return interrupted ? INPUT_INTERRUPT : INPUT_END;
        }
        size_t n = strcspn(block, "\n");
        if (!text_add(line, block, n)) return INPUT_END;
        if (block[n] == '\n') return INPUT_TEXT;
    }
}

#endif

input_kind input_message(cli_text *message) {
    static const char fence[] = "\"\"\"";
    enum { FENCE = sizeof fence - 1 };
    message->n = 0;
    interrupt_arm(NULL);
    if (!text_add(message, "", 0)) return INPUT_END;
    input_kind kind = read_line(">>> ", message);
    if (kind != INPUT_TEXT || strncmp(message->bytes, fence, FENCE) != 0) return kind;
    memmove(message->bytes, message->bytes + FENCE, message->n - FENCE + 1);
    message->n -= FENCE;
    for (;;) {
        char *close = strstr(message->bytes, fence);
        if (close) {
            *close = 0;
            message->n = (size_t)(close - message->bytes);
            return INPUT_TEXT;
        }
        if (message->n && !text_add(message, "\n", 1)) return INPUT_END;
        kind = read_line("... ", message);
        if (kind != INPUT_TEXT) return kind;
    }
}
