/* What the files of the command line share: the parsed options, the commands, exit codes, reports on stderr, small
 * readers and writers.  The command line sees the library through llmrun.h alone, as any program that embeds it.      */
#ifndef CLI_H
#define CLI_H

#include <stdarg.h>
#include <stdio.h>

#include "runtime/llmrun.h"

/* ---- exit codes: documented in llmrun.1 ---- */

enum { EXIT_OK = 0, EXIT_INTERNAL, EXIT_USAGE, EXIT_FIT, EXIT_FORMAT, EXIT_IO, EXIT_DEVICE, EXIT_UNSUPPORTED,
       EXIT_CONTEXT, EXIT_INTERRUPTED = 130 };

int exit_code(llmrun_status status);
/* Prints "llmrun: sentence" on stderr; returns code, so `return cli_fail(...)` works.                                 */
int cli_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_fail_error(const llmrun_error *err); /* the library's sentence and its exit code */

/* ---- options ---- */

enum { MOST_LISTED = 16 };
typedef struct cli_list { /* "512,1024" */
    int32_t n, at[MOST_LISTED];
} cli_list;

typedef struct cli_options {
    llmrun_options engine;
    llmrun_sampling sampling;
    int32_t max_tokens;
    bool max_tokens_given, seed_given;
    const char *prompt, *file, *system;
    const char *chat_template; /* a file */
    const char **stop; /* (n_stop) grown by the parser, released by cli_options_close */
    int32_t n_stop;
    const char *plan_file;
    llmrun_card cards[LLMRUN_MAX_GPUS]; /* engine.cards */
    const char *logits;
    const char *out, *calibrate; /* quantize */
    const char *modes, *reference, *text, *html; /* compare */
    uint64_t keep_bytes;
    int32_t window;
    bool chat, raw, parse_special, ids, no_bos, no_cache, stats, json, quiet, verbose, sensitivity;
    cli_list bench_prompt, bench_generate, bench_depth, bench_threads;
    int32_t bench_repeat;
} cli_options;

enum { CMD_RUN = 1, CMD_PLAN = 2, CMD_INFO = 4, CMD_TOKENIZE = 8, CMD_BENCH = 16, CMD_DEVICES = 32, CMD_COMPARE = 64,
       CMD_QUANTIZE = 128,
       CMD_MODEL = CMD_RUN | CMD_PLAN | CMD_INFO | CMD_BENCH | CMD_COMPARE,
       CMD_ONE_MODE = CMD_MODEL & ~CMD_COMPARE, CMD_ALL = 255 };

typedef struct cli_command {
    const char *name;
    unsigned bit;
    const char *summary;      /* one sentence for the list of commands */
    const char *usage;        /* what follows "llmrun NAME" */
    int (*run)(cli_options *o);
} cli_command;

void cli_options_default(cli_options *o);
void cli_options_close(cli_options *o);
/* Parses argv[0 .. n) for the command; 0, WANTS_HELP, or an exit code after one sentence on stderr.                   */
enum { WANTS_HELP = -1 };
int cli_options_parse(cli_options *o, const cli_command *command, int n, char **argv);
/* Sets one sampling option by its long name without dashes ("top-k"); used by /set.  Errors as above.                 */
int cli_options_set(cli_options *o, const char *name, const char *value);
void cli_options_help(const cli_command *command, FILE *to);

/* ---- strict values: the whole text or nothing; return NULL, or what is wrong with it ---- */

const char *parse_integer(const char *text, int64_t lo, int64_t hi, int64_t *out);
const char *parse_real(const char *text, double lo, double hi, double *out);
/* "8G" "1.5GiB" "512M" "4096": K M G T are powers of 1024, an optional B or iB follows.                               */
const char *parse_size(const char *text, uint64_t *out);
/* "8G" or "8G,24G": at most LLMRUN_MAX_GPUS sizes.                                                                    */
const char *parse_sizes(const char *text, uint64_t out[LLMRUN_MAX_GPUS], int32_t *n);
/* "1,2,8": at most MOST_LISTED integers.                                                                               */
const char *parse_integers(const char *text, int64_t lo, int64_t hi, cli_list *out);
/* "24G", "24G:936:71" (GB/s, TFLOP/s), "24G:936:71:25" (link GB/s); with commas for several, "2x24G" for equal ones.   */
const char *parse_cards(const char *text, llmrun_card out[LLMRUN_MAX_GPUS], int32_t *n);
/* Edits (insert, delete, change, swap) between two words.                                                             */
int word_distance(const char *a, const char *b);

/* ---- commands ---- */

int run_main(cli_options *o);
int chat_main(cli_options *o);
int plan_main(cli_options *o);
int info_main(cli_options *o);
int tokenize_main(cli_options *o);
int bench_main(cli_options *o);
int compare_main(cli_options *o);
int devices_main(cli_options *o);
int quantize_main(cli_options *o);

/* ---- reports ---- */

/* One line on stderr, unless --quiet.                                                                                 */
void cli_note(const cli_options *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Fills those engine options that say what to compute on, log and progress.  0 or an exit code.                        */
int cli_device_options(cli_options *o);
/* That, and the default model, the cache, the plan to replay.                                                         */
int cli_prepare(cli_options *o);
/* The folder of the bundled model, NULL if it is not here.                                                            */
const char *cli_demo_model(void);
/* cli_prepare, then llmrun_engine_open, cancelled by Ctrl-C.                                                          */
int cli_open(cli_options *o, llmrun_engine **out);

/* ---- Ctrl-C ---- */

/* From now on Ctrl-C cancels the session (NULL: only sets the flag, which stops loading); a second one exits at once. */
void interrupt_arm(llmrun_session *s);
void interrupt_disarm(void); /* the session goes away; a Ctrl-C that was seen stays seen */
bool interrupt_seen(void); /* since the last interrupt_arm */

/* ---- text in and out ---- */

typedef struct cli_text {
    char *bytes; /* NUL-terminated when not NULL */
    size_t n, cap;
} cli_text;
bool text_add(cli_text *t, const char *bytes, size_t n); /* false: out of memory */
void text_close(cli_text *t);
/* Reads the rest of a file.  0, or an exit code after a sentence.                                                     */
int text_read(cli_text *t, FILE *from, const char *name);
int cli_read_file(const char *path, cli_text *text); /* the same of a file by name */
/* The prompt of -p, -f and stdin; *given is false if there is none.                                                   */
int cli_prompt(const cli_options *o, cli_text *t, bool *given);

/* Ids of the text, in memory that the caller frees.  0, or an exit code after a sentence.                             */
int cli_tokenize(const llmrun_tokenizer *t, const char *bytes, size_t n, unsigned flags, int32_t **ids, size_t *n_ids);

/* A JSON string, quoted; invalid UTF-8 becomes U+FFFD.                                                                */
void json_string(FILE *to, const char *bytes, size_t n);
/* A number that JSON can hold (null for infinities and NaN).                                                          */
void json_number(FILE *to, double value);
/* Flushes stdout: 0, or EXIT_IO with a sentence if what was written did not arrive (a closed pipe is fine).           */
int finish_stdout(void);

/* ---- conversations ---- */

typedef enum cli_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT } cli_role;

typedef struct cli_conversation {
    struct cli_message {
        cli_role role;
        cli_text text;
    } *items;
    size_t n;
} cli_conversation;

bool conversation_add(cli_conversation *c, cli_role role, const char *bytes, size_t n); /* false: out of memory */
void conversation_cut(cli_conversation *c, size_t n);                                   /* keeps the first n */
void conversation_close(cli_conversation *c);
size_t conversation_count(const cli_conversation *c, cli_role role);
/* Ids up to where the model answers, in memory that the caller frees.  0, or an exit code after a sentence.           */
int conversation_ids(const cli_options *o, const llmrun_engine *e, cli_conversation *c, int32_t **ids, size_t *n_ids);
int conversation_save(const cli_conversation *c, const char *path); /* 0, or an exit code after a sentence */
int conversation_load(cli_conversation *c, const char *path);       /* the same; c is as before then */

/* ---- generation: what run and chat share ---- */

/* True if prompts go through a chat template.  note (96) gets what to tell: empty if nobody asked for another.        */
bool cli_templated(const cli_options *o, const llmrun_engine *e, char note[96]);
/* Ids of a prompt, in memory that the caller frees: one message of the template, or the text.  0, or an exit code after
 * a sentence.                                                                                                         */
int cli_prompt_ids(const cli_options *o, const llmrun_engine *e, bool templated, const cli_text *prompt, int32_t **ids,
                   size_t *n_ids);
/* 0 if the model has all ids, or an exit code after a sentence.                                                       */
int cli_check_ids(const cli_options *o, const llmrun_engine *e, const int32_t *ids, size_t n);
/* Options of one answer, from the command line; the caller sets text and user.                                        */
void cli_generate_options(const cli_options *o, llmrun_generate_options *g);
/* A seed for a run that asked for none.                                                                               */
uint64_t random_seed(void);
const char *finish_text(llmrun_finish finish);
/* One line of figures on stderr.                                                                                      */
void print_stats(const llmrun_engine *e, const llmrun_model_info *info, const llmrun_generate_result *r);
void print_memory(const llmrun_engine *e); /* planned, peak and budget, region by region (memory.c) */

/* ---- messages from the terminal: prompt on stderr, line editing and history where readline is present ---- */

typedef enum input_kind { INPUT_TEXT, INPUT_INTERRUPT, INPUT_END } input_kind;
void input_open(void);
/* One message: a line, a paste, or all between two """.                                                             */
input_kind input_message(cli_text *message);
void input_close(void);

/* ---- machine ---- */

uint64_t machine_peak_rss(void);  /* bytes, file mappings included */
const char *size_text(char buf[32], uint64_t bytes); /* "13.5 GB", decimal */
double seconds(void);             /* monotonic */
/* Measures how fast n_threads read from memory, over a buffer that no cache holds.                                    */
#define READ_METER_BYTES ((size_t)1 << 29)
typedef struct read_meter {
    int n_threads;
    char *buffer;
    struct reader *readers;
} read_meter;
bool read_meter_open(read_meter *m, int n_threads); /* false: no memory; then the rate is 0 */
double read_meter_rate(read_meter *m); /* bytes per second, the best of a few passes: some 50 ms */
void read_meter_close(read_meter *m);

#endif
