/* What the commands share: exit codes, notes and progress on stderr, Ctrl-C, opening the model.                       */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

#ifndef LLMRUN_SHARE
#define LLMRUN_SHARE "/usr/local/share/llmrun"
#endif

int exit_code(llmrun_status status) {
    switch (status) {
    case LLMRUN_OK: return EXIT_OK;
    case LLMRUN_ARG: return EXIT_USAGE;
    case LLMRUN_IO: return EXIT_IO;
    case LLMRUN_FORMAT: return EXIT_FORMAT;
    case LLMRUN_UNSUPPORTED: return EXIT_UNSUPPORTED;
    case LLMRUN_NOMEM:
    case LLMRUN_VRAM: return EXIT_FIT;
    case LLMRUN_DEVICE: return EXIT_DEVICE;
    case LLMRUN_CANCELLED: return EXIT_INTERRUPTED;
    case LLMRUN_CONTEXT: return EXIT_CONTEXT;
    case LLMRUN_INTERNAL: break;
    }
    return EXIT_INTERNAL;
}

static void print_line(const char *format, va_list ap) {
    fputs("llmrun: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

int cli_fail(int code, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    print_line(format, ap);
    va_end(ap);
    return code;
}

int cli_fail_error(const llmrun_error *err) {
    if (err->status == LLMRUN_CANCELLED) return EXIT_INTERRUPTED;
    return cli_fail(exit_code(err->status), "%s", err->message);
}

void cli_note(const cli_options *o, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    if (!o->quiet) print_line(format, ap);
    va_end(ap);
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupts;
static llmrun_session *volatile interrupt_session;

static void on_interrupt(int number) {
    (void)number;
    if (interrupts++) _exit(EXIT_INTERRUPTED);
    if (interrupt_session) llmrun_session_cancel(interrupt_session);
}

void interrupt_arm(llmrun_session *s) {
    interrupt_session = s;
    interrupts = 0;
    struct sigaction action = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &action, NULL);
}

void interrupt_disarm(void) { interrupt_session = NULL; }

bool interrupt_seen(void) { return interrupts != 0; }

/* ---- engine ---- */

static void log_line(void *user, llmrun_log_level level, const char *text) {
    const cli_options *o = user;
    llmrun_log_level most = o->quiet ? LLMRUN_LOG_ERROR : o->verbose ? LLMRUN_LOG_DEBUG : LLMRUN_LOG_WARN;
    if (level <= most) fprintf(stderr, "llmrun: %s\n", text);
}

static bool show_progress(void *user, const char *stage, double done) {
    const cli_options *o = user;
    if (!o->quiet && isatty(STDERR_FILENO)) {
        fprintf(stderr, done < 1 ? "\r%s %3.0f %%" : "\r\033[K", stage, 100 * done);
        fflush(stderr);
    }
    return !interrupt_seen();
}

/* Beside the build, beside the installed program, or in the installed share directory.                                */
const char *cli_demo_model(void) {
    static char path[4096];
    static const char *const places[] = { "../models/demo", "../share/llmrun/demo" };
    char self[3072];
    struct stat info;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        *strrchr(self, '/') = 0;
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            snprintf(path, sizeof path, "%s/%s", self, places[i]);
            if (stat(path, &info) == 0) return path;
        }
    }
    snprintf(path, sizeof path, "%s/demo", LLMRUN_SHARE);
    return stat(path, &info) == 0 ? path : NULL;
}

int cli_device_options(cli_options *o) {
    if (o->engine.sim_gpus && strcmp(o->engine.device, "auto") == 0) o->engine.device = "sim";
    if (o->engine.sim_gpus && strcmp(o->engine.device, "sim") != 0)
        return cli_fail(EXIT_USAGE, "--sim-gpus and --device %s contradict each other", o->engine.device);
    if (strcmp(o->engine.device, "cpu") == 0 && o->engine.n_vram)
        return cli_fail(EXIT_USAGE, "--vram and --device cpu contradict each other; --ram is the budget of the CPU");
    o->engine.log = log_line;
    o->engine.progress = show_progress;
    o->engine.user = o;
    return 0;
}

int cli_read_file(const char *path, cli_text *text) {
    FILE *f = fopen(path, "rb");
    if (!f) return cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    int code = text_add(text, "", 0) ? text_read(text, f, path) : cli_fail(EXIT_FIT, "%s: out of host memory", path);
    fclose(f);
    return code;
}

/* The text of --plan, kept until the program ends.                                                                    */
static int read_plan(cli_options *o) {
    cli_text text = { 0 };
    int code = cli_read_file(o->plan_file, &text);
    o->engine.plan_json = text.bytes ? text.bytes : "";
    return code;
}

int cli_prepare(cli_options *o) {
    int code = cli_device_options(o);
    if (!code && o->plan_file) code = read_plan(o);
    if (code) return code;
    if (!o->engine.model) o->engine.model = cli_demo_model();
    if (!o->engine.model) return cli_fail(EXIT_USAGE, "no model: give --model PATH (the bundled demo model is not here)");
    if (o->no_cache) o->engine.cache_dir = "";
    return 0;
}

int cli_open(cli_options *o, llmrun_engine **out) {
    llmrun_error err = { 0 };
    cli_text template = { 0 };
    int code = cli_prepare(o);
    if (!code && o->chat_template) code = cli_read_file(o->chat_template, &template);
    if (code) return code;
    o->engine.chat_template = template.bytes;
    interrupt_arm(NULL);
    if (llmrun_engine_open(out, &o->engine, &err) != LLMRUN_OK) code = cli_fail_error(&err);
    text_close(&template);
    o->engine.chat_template = NULL;
    return code;
}
