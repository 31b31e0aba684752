/* The command line: finds the command, parses its options, runs it.  One file per command.                            */
#include <signal.h>
#include <string.h>

#include "runtime/cli/cli.h"

static const cli_command commands[] = {
    { "run", CMD_RUN, "generate text: one answer for -p, -f or piped input, else a chat", "[options]", run_main },
    { "plan", CMD_PLAN, "print the memory plan of a model, from its headers alone", "--model PATH [options]", plan_main },
    { "info", CMD_INFO, "describe a model file or directory", "--model PATH", info_main },
    { "tokenize", CMD_TOKENIZE, "print the tokens of a text", "--model PATH -p TEXT", tokenize_main },
    { "bench", CMD_BENCH, "measure prefill and decode speed", "--model PATH [options]", bench_main },
    { "compare", CMD_COMPARE, "measure what each precision costs and gains, on one text", "--model PATH [options]", compare_main },
    { "quantize", CMD_QUANTIZE, "write a model in another format, as GGUF or in the Hugging Face layout",
      "--model PATH --quant Q -o OUT", quantize_main },
    { "devices", CMD_DEVICES, "list what this machine can compute on", "[--json]", devices_main },
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

/* Words that belong to the design but not to this version.                                                            */
static const char *const later[] = { "serve" };
enum { N_LATER = sizeof later / sizeof later[0] };

static const cli_command *find(const char *name) {
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static const char *nearest(const char *name) {
    const char *best = NULL;
    int best_distance = 3;
    for (int i = 0; i < N_COMMANDS; i++) {
        int d = word_distance(name, commands[i].name);
        if (d < best_distance) best_distance = d, best = commands[i].name;
    }
    return best;
}

static int help(const cli_command *command) {
    if (command) {
        cli_options_help(command, stdout);
        return finish_stdout();
    }
    printf("llmrun %s: run transformer language models inside a memory budget\n\n", llmrun_version());
    printf("Usage: llmrun [COMMAND] [options]        (the command may be left out: run)\n\n");
    for (int i = 0; i < N_COMMANDS; i++) printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\nEach command has --help.  Without --model the bundled demo model speaks.\n\n"
           "  llmrun -p \"Once upon a time\" -n 100\n"
           "  llmrun plan --model DIR --ram 4G\n"
           "  llmrun --model DIR --quant 4bit -p \"Hello\" --stats\n");
    return finish_stdout();
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe ends the text quietly; see finish_stdout */
    const cli_command *command = find("run");
    const char *first = argc > 1 ? argv[1] : "";
    int used = 1;
    bool wants_help = strcmp(first, "help") == 0;
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
        printf("llmrun %s\n", llmrun_version());
        return finish_stdout();
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || (wants_help && argc < 3)) return help(NULL);
    if (wants_help) first = argv[2];
    if (first[0] && first[0] != '-') {
        for (int i = 0; i < N_LATER; i++)
            if (strcmp(first, later[i]) == 0) return cli_fail(EXIT_UNSUPPORTED, "%s: not in this version", first);
        command = find(first);
        if (!command) {
            const char *near = nearest(first);
            if (near) return cli_fail(EXIT_USAGE, "unknown command \"%s\"; did you mean %s?", first, near);
            return cli_fail(EXIT_USAGE, "unknown command \"%s\"; see llmrun --help (a prompt is given with -p)", first);
        }
        used = 2;
    }
    if (wants_help) return help(command);

    cli_options o;
    cli_options_default(&o);
    int code = cli_options_parse(&o, command, argc - used, argv + used);
    if (code == 0)
        code = command->run(&o);
    else if (code == WANTS_HELP)
        code = help(command);
    cli_options_close(&o);
    return code;
}
