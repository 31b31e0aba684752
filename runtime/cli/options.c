/* The one table of options.  Parsing, --help, "did you mean" and /set in a chat all read it; a new option is one row. */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli.h"

typedef enum option_type {
    OPT_ON,     /* bool = true */
    OPT_OFF,    /* bool = false */
    OPT_INT,    /* int32_t in [lo, hi]; "auto" is 0 where lo > 0 */
    OPT_INTS,   /* cli_list of such */
    OPT_REAL,   /* float in [lo, hi] */
    OPT_SEED,   /* uint64_t; -1 leaves it random */
    OPT_SIZE,   /* uint64_t bytes */
    OPT_SIZES,  /* engine.vram_bytes */
    OPT_CARDS,  /* engine.cards */
    OPT_TEXT,   /* const char * */
    OPT_LIST,   /* --stop: adds to a list */
    OPT_HELP
} option_type;

typedef struct option {
    const char *names;   /* "-c --ctx --ctx-size": help shows the first short and the first long one */
    option_type type;
    const char *metavar; /* words with | are the only values allowed */
    size_t offset;       /* into cli_options */
    double lo, hi;
    unsigned commands;
    const char *group, *help;
} option;

#define AT(field) offsetof(cli_options, field)
#define MODEL_GROUP "Model and memory"
#define TEXT_GROUP "Prompt and output"
#define SAMPLE_GROUP "Sampling"
#define MACHINE_GROUP "Machine"
#define OTHER_GROUP "Other"

static const option options[] = {
    { "-m --model", OPT_TEXT, "PATH", AT(engine.model), 0, 0, CMD_MODEL | CMD_TOKENIZE | CMD_QUANTIZE, MODEL_GROUP,
      "directory (HF layout), .safetensors or .gguf file, org/name in the HF cache; plan, info, bench: also a config.json" },
    { "--ram", OPT_SIZE, "SIZE", AT(engine.ram_bytes), 0, 0, CMD_MODEL, MODEL_GROUP,
      "host memory budget, such as 8G (K M G are powers of 1024)" },
    { "--vram", OPT_SIZES, "SIZE[,SIZE..]", AT(engine.vram_bytes), 0, 0, CMD_MODEL, MODEL_GROUP,
      "cap of all that is added to each GPU, such as 8G; one size for all, or one for each" },
    { "--gpu", OPT_CARDS, "SIZE[:GBps[:TFLOPS]][,..]", AT(cards), 0, 0, CMD_PLAN, MODEL_GROUP,
      "plan for these GPUs, which need not be there: memory, its GB/s, f16 TFLOP/s" },
    { "--plan", OPT_TEXT, "FILE", AT(plan_file), 0, 0, CMD_ONE_MODE, MODEL_GROUP,
      "replay a plan that `llmrun plan --json` printed, exactly or not at all" },
    { "--disk", OPT_ON, NULL, AT(engine.disk), 0, 0, CMD_MODEL, MODEL_GROUP,
      "weights beyond --ram may be read from disk for every token" },
    { "-c --ctx --ctx-size --max-model-len", OPT_INT, "N", AT(engine.n_ctx), 1, INT_MAX, CMD_ONE_MODE, MODEL_GROUP,
      "tokens that fit at once (auto: the model's own length, or what the budget allows)" },
    { "--quant", OPT_TEXT, "Q", AT(engine.quant), 0, 0, CMD_ONE_MODE, MODEL_GROUP,
      "weights: auto f16 8bit 4bit f32 bf16 q8_0 Q6_K q4_k iq4_nl nf4; mixed: bits where they count, as many as fit; mixed:5.5" },
    { "--quant", OPT_TEXT, "Q", AT(engine.quant), 0, 0, CMD_QUANTIZE, MODEL_GROUP,
      "format to write: f16 bf16 f32; as GGUF also q8_0 (8bit) q4_k (4bit) q4_0 iq4_nl; as a directory also nf4 (4bit)" },
    { "-o --out --output --outfile", OPT_TEXT, "OUT", AT(out), 0, 0, CMD_QUANTIZE, MODEL_GROUP,
      "NAME.gguf, or a directory; what is there stays whole until the new one is complete" },
    { "--calibrate", OPT_TEXT, "FILE", AT(calibrate), 0, 0, CMD_QUANTIZE, MODEL_GROUP,
      "a text that shows which weights matter: 4-bit formats keep those closer (runs the model over it once)" },
    { "--kv", OPT_TEXT, "T", AT(engine.kv), 0, 0, CMD_ONE_MODE, MODEL_GROUP, "KV cache: auto f32 f16 q8_0 q4_rot" },
    { "--prefer", OPT_TEXT, "auto|speed|quality", AT(engine.prefer), 0, 0, CMD_ONE_MODE, MODEL_GROUP, "what auto gives up last" },
    { "--no-mmap", OPT_OFF, NULL, AT(engine.use_mmap), 0, 0, CMD_MODEL, MODEL_GROUP,
      "read weights into memory instead of mapping the file" },
    { "--mlock", OPT_ON, NULL, AT(engine.mlock), 0, 0, CMD_MODEL, MODEL_GROUP, "pin the weights in memory" },
    { "--no-cache", OPT_ON, NULL, AT(no_cache), 0, 0, CMD_MODEL, MODEL_GROUP, "keep no converted weights on disk" },

    { "-p --prompt", OPT_TEXT, "TEXT", AT(prompt), 0, 0, CMD_RUN | CMD_TOKENIZE, TEXT_GROUP,
      "text to continue; piped input is added after an empty line" },
    { "-f --file", OPT_TEXT, "FILE", AT(file), 0, 0, CMD_RUN | CMD_TOKENIZE, TEXT_GROUP, "read the text from a file" },
    { "-n --max-tokens --predict --n-predict", OPT_INT, "N", AT(max_tokens), -1, INT_MAX, CMD_RUN, TEXT_GROUP,
      "tokens to generate at most (-1: until the model ends or the context is full)" },
    { "--stop", OPT_LIST, "TEXT", AT(stop), 0, 0, CMD_RUN, TEXT_GROUP, "stop before this text appears; may be repeated" },
    { "--chat", OPT_ON, NULL, AT(chat), 0, 0, CMD_RUN, TEXT_GROUP, "chat, also when a prompt is given" },
    { "--chat-template --chat-template-file", OPT_TEXT, "FILE", AT(chat_template), 0, 0, CMD_RUN, TEXT_GROUP,
      "a Jinja template instead of the model's own" },
    { "--system --system-prompt -sys", OPT_TEXT, "TEXT", AT(system), 0, 0, CMD_RUN, TEXT_GROUP,
      "how the model should answer; opens the conversation (models with a chat template)" },
    { "--raw", OPT_ON, NULL, AT(raw), 0, 0, CMD_RUN, TEXT_GROUP,
      "complete the text itself; else it is one message of the model's chat template, if it has one" },
    { "--parse-special", OPT_ON, NULL, AT(parse_special), 0, 0, CMD_RUN | CMD_TOKENIZE, TEXT_GROUP,
      "text such as <|eot_id|> becomes that one token; the text is completed as with --raw" },
    { "--ids", OPT_ON, NULL, AT(ids), 0, 0, CMD_TOKENIZE, TEXT_GROUP, "ids alone, on one line" },
    { "--no-bos", OPT_ON, NULL, AT(no_bos), 0, 0, CMD_TOKENIZE, TEXT_GROUP, "add no begin or end tokens" },
    { "--logits", OPT_TEXT, "FILE", AT(logits), 0, 0, CMD_RUN, TEXT_GROUP,
      "write the prompt's logits, float32 (n_tokens, n_vocab), as .npy; generates only if -n is given" },
    { "--stats", OPT_ON, NULL, AT(stats), 0, 0, CMD_RUN, TEXT_GROUP, "end with one line of figures on stderr; with -v memory by region" },
    { "--json", OPT_ON, NULL, AT(json), 0, 0, CMD_ALL, TEXT_GROUP, "one JSON document on stdout" },
    { "-q --quiet", OPT_ON, NULL, AT(quiet), 0, 0, CMD_ALL, TEXT_GROUP, "only errors on stderr" },
    { "-v --verbose", OPT_ON, NULL, AT(verbose), 0, 0, CMD_MODEL, TEXT_GROUP, "more on stderr" },

    { "--temp --temperature", OPT_REAL, "F", AT(sampling.temperature), 0, 100, CMD_RUN, SAMPLE_GROUP,
      "0 is greedy and deterministic (default 0.8)" },
    { "--top-k", OPT_INT, "N", AT(sampling.top_k), 0, INT_MAX, CMD_RUN, SAMPLE_GROUP,
      "keep the N likeliest tokens (default 40, 0: off)" },
    { "--top-p", OPT_REAL, "F", AT(sampling.top_p), 0, 1, CMD_RUN, SAMPLE_GROUP,
      "keep the fewest tokens that hold this probability (default 0.95, 1: off)" },
    { "--min-p", OPT_REAL, "F", AT(sampling.min_p), 0, 1, CMD_RUN, SAMPLE_GROUP,
      "drop tokens below this share of the likeliest (default 0.05, 0: off)" },
    { "--repeat-penalty", OPT_REAL, "F", AT(sampling.repeat_penalty), 0.01, 100, CMD_RUN, SAMPLE_GROUP,
      "make recent tokens less likely (default 1: off)" },
    { "--repeat-last --repeat-last-n", OPT_INT, "N", AT(sampling.repeat_last), 0, INT_MAX, CMD_RUN, SAMPLE_GROUP,
      "tokens that the penalty looks back (default 64)" },
    { "-s --seed", OPT_SEED, "N", AT(sampling.seed), 0, 0, CMD_RUN, SAMPLE_GROUP,
      "the same seed gives the same text (-1: random, the default)" },

    { "-p --n-prompt", OPT_INTS, "N[,N..]", AT(bench_prompt), 0, 1 << 20, CMD_BENCH, TEXT_GROUP,
      "tokens of the prefill tests (default 512, 0: skip)" },
    { "-n --n-gen", OPT_INTS, "N[,N..]", AT(bench_generate), 0, 1 << 20, CMD_BENCH, TEXT_GROUP,
      "tokens of the decode tests (default 128, 0: skip)" },
    { "-d --depth --n-depth", OPT_INTS, "N[,N..]", AT(bench_depth), 0, 1 << 20, CMD_BENCH, TEXT_GROUP,
      "tokens that are in the context before each test (default 0)" },
    { "-r --repeat --repetitions", OPT_INT, "N", AT(bench_repeat), 1, 1000, CMD_BENCH, TEXT_GROUP,
      "repetitions of each test (default 5)" },

    { "--modes", OPT_TEXT, "Q[,Q..]", AT(modes), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "weights to compare: words of --quant, or other files of the same model (default f16,q8_0,q4_k,iq4_nl,nf4)" },
    { "--sensitivity", OPT_ON, NULL, AT(sensitivity), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "measure what fewer bits cost each matrix, which --quant mixed goes by, and keep that; nothing is compared" },
    { "--kv", OPT_TEXT, "T[,T..]", AT(engine.kv), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "KV caches to compare, with each of the modes (default f16)" },
    { "--reference", OPT_TEXT, "Q", AT(reference), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "weights of the reference (default: f32 if that fits, else the file's precision)" },
    { "--text", OPT_TEXT, "FILE", AT(text), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "text to predict (default: tales that come with the demo model)" },
    { "-c --ctx --window", OPT_INT, "N", AT(window), 2, 1 << 24, CMD_COMPARE, TEXT_GROUP,
      "tokens of a window (default 512, or the model's own length if that is less)" },
    { "-n --max-tokens", OPT_INT, "N", AT(max_tokens), 1, INT_MAX, CMD_COMPARE, TEXT_GROUP,
      "tokens of the text to use at most (default: all, as far as --keep goes)" },
    { "--keep", OPT_SIZE, "SIZE", AT(keep_bytes), 0, 0, CMD_COMPARE, TEXT_GROUP,
      "memory for logits of the reference, two bytes each (default 512M); more text is left out" },
    { "--html", OPT_TEXT, "FILE", AT(html), 0, 0, CMD_COMPARE, TEXT_GROUP, "write a page with table and plots too" },

    { "-t --threads", OPT_INT, "N", AT(engine.n_threads), 1, 1024, (CMD_MODEL & ~CMD_BENCH) | CMD_QUANTIZE,
      MACHINE_GROUP, "threads (auto: the processors this process may use)" },
    { "-t --threads", OPT_INTS, "N[,N..]", AT(bench_threads), 1, 1024, CMD_BENCH, MACHINE_GROUP,
      "threads; every test with each count (auto: the processors this process may use)" },
    { "-b --batch --batch-size --ubatch-size", OPT_INT, "N", AT(engine.n_batch), 1, 1 << 20, CMD_MODEL, MACHINE_GROUP,
      "largest prefill chunk in tokens (auto: from the plan)" },
    { "--device", OPT_TEXT, "auto|cpu|cuda|sim", AT(engine.device), 0, 0, CMD_MODEL | CMD_DEVICES, MACHINE_GROUP,
      "where to compute: GPUs where they work, else the CPU; sim: simulated GPUs, for tests" },
    { "--sim-gpus", OPT_TEXT, "NxSIZE[,..]", AT(engine.sim_gpus), 0, 0, CMD_MODEL | CMD_DEVICES, MACHINE_GROUP,
      "which GPUs to simulate (default 1x1G); as --gpu otherwise" },
    { "--cpu-isa", OPT_TEXT, "auto|c|avx2|avx512", AT(engine.cpu_isa), 0, 0, CMD_MODEL, MACHINE_GROUP,
      "upper limit for the kernels" },

    { "-h --help", OPT_HELP, NULL, 0, 0, 0, CMD_ALL, OTHER_GROUP, "this text" },
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

/* Options that people know from other programs, and what to do here.                                                  */
static const struct { const char *names, *hint; } foreign[] = {
    { "-ngl --gpu-layers --n-gpu-layers", "layers are placed by the plan; give the budget with --vram SIZE" },
    { "--tensor-parallel-size -tp -ts --tensor-split -sm --split-mode -mg --main-gpu --device-map",
      "the plan splits the model; --vram takes one size for each device" },
    { "--gpu-memory-utilization", "give the budget as a size: --vram 8G" },
    { "--max-memory", "give the budgets as --vram SIZE and --ram SIZE" },
    { "-fa --flash-attn", "attention never stores scores here; leave it out" },
    { "-ctk -ctv --cache-type-k --cache-type-v --kv-cache-dtype", "use --kv f16, --kv q8_0 or --kv q4_rot" },
    { "--load-in-4bit --load-in-8bit --quantization", "use --quant 4bit or --quant 8bit" },
    { "--dtype", "use --quant f16, bf16 or f32" },
    { "-hf --hf-repo", "use --model org/name: it is looked up in the local Hugging Face cache" },
    { "-i --interactive -cnv --conversation", "use --chat" },
    { "-no-cnv --no-conversation -st --single-turn", "-p gives one answer and ends; --raw leaves the template out" },
    { "--trust-remote-code", "code of a model is never run; leave it out" },
    { "--lora --mmproj --grammar --grammar-file --json-schema --draft-model -md",
      "not in this version" },
    { "--jinja --no-jinja", "the model's chat template is always rendered; --raw leaves it out" },
    { "--host --port", "serve is not in this version" },
    { "--imatrix", "use --calibrate with a text; the matrix is made from it on the way" },
    { "--list-devices", "use llmrun devices" },
};
enum { N_FOREIGN = sizeof foreign / sizeof foreign[0] };

/* ---- names ---- */

/* Copies the next word of *names into word; false at the end.                                                         */
static bool next_word(const char **names, char word[40]) {
    size_t n = strcspn(*names, " ");
    if (!n) return false;
    snprintf(word, 40, "%.*s", (int)n, *names);
    *names += n;
    *names += strspn(*names, " ");
    return true;
}

static bool has_name(const char *names, const char *name) {
    char word[40];
    while (next_word(&names, word))
        if (strcmp(word, name) == 0) return true;
    return false;
}

/* The first long name: the one used in messages and help.                                                             */
static const char *long_name(const option *o, char word[40]) {
    const char *names = o->names;
    while (next_word(&names, word) && word[1] != '-') continue;
    return word;
}

static const option *find(const char *name, unsigned commands) {
    for (int i = 0; i < N_OPTIONS; i++)
        if ((options[i].commands & commands) && has_name(options[i].names, name)) return &options[i];
    return NULL;
}

static int fail_unknown(const char *name, const cli_command *command) {
    char word[40], best[40] = "";
    for (int i = 0; i < N_FOREIGN; i++)
        if (has_name(foreign[i].names, name)) return cli_fail(EXIT_USAGE, "%s: %s", name, foreign[i].hint);
    if (find(name, CMD_ALL)) return cli_fail(EXIT_USAGE, "%s: not an option of llmrun %s", name, command->name);
    size_t n = strlen(name);
    int best_distance = n < 4 ? 0 : n < 6 ? 2 : 3; /* every short option is near every other */
    for (int i = 0; i < N_OPTIONS; i++) {
        const char *names = options[i].names;
        while ((options[i].commands & command->bit) && next_word(&names, word)) {
            int d = word_distance(name, word);
            if (d < best_distance) best_distance = d, memcpy(best, word, sizeof best);
        }
    }
    if (best[0]) return cli_fail(EXIT_USAGE, "unknown option %s; did you mean %s?", name, best);
    return cli_fail(EXIT_USAGE, "unknown option %s; see llmrun %s --help", name, command->name);
}

/* ---- values ---- */

static bool is_choice(const char *choices, const char *value) {
    size_t n = strlen(value);
    for (const char *c = choices; *c; c += strcspn(c, "|"), c += *c == '|')
        if (strcspn(c, "|") == n && memcmp(c, value, n) == 0) return true;
    return false;
}

static const char *add_stop(cli_options *o, const char *value) {
    if (!value[0]) return "empty";
    const char **grown = realloc(o->stop, sizeof *grown * (size_t)(o->n_stop + 1));
    if (!grown) return "out of memory";
    o->stop = grown;
    o->stop[o->n_stop++] = value;
    return NULL;
}

/* Stores the value; NULL, or what is wrong with it.                                                                   */
static const char *store(cli_options *o, const option *row, const char *value) {
    void *field = (char *)o + row->offset;
    const char *wrong = NULL;
    int64_t i;
    double d;
    switch (row->type) {
    case OPT_ON: *(bool *)field = true; break;
    case OPT_OFF: *(bool *)field = false; break;
    case OPT_INT:
        if (row->lo == 1 && strcmp(value, "auto") == 0) {
            *(int32_t *)field = 0;
        } else if (!(wrong = parse_integer(value, (int64_t)row->lo, (int64_t)row->hi, &i))) {
            *(int32_t *)field = (int32_t)i;
        }
        break;
    case OPT_INTS:
        if (row->lo == 1 && strcmp(value, "auto") == 0)
            *(cli_list *)field = (cli_list){ .n = 1 };
        else
            wrong = parse_integers(value, (int64_t)row->lo, (int64_t)row->hi, field);
        break;
    case OPT_REAL:
        if (!(wrong = parse_real(value, row->lo, row->hi, &d))) *(float *)field = (float)d;
        break;
    case OPT_SEED:
        if (!(wrong = parse_integer(value, -1, INT64_MAX, &i))) {
            if (i >= 0) *(uint64_t *)field = (uint64_t)i;
            o->seed_given = i >= 0;
        }
        break;
    case OPT_SIZE: wrong = parse_size(value, field); break;
    case OPT_SIZES: wrong = parse_sizes(value, field, &o->engine.n_vram); break;
    case OPT_CARDS:
        wrong = parse_cards(value, field, &o->engine.n_cards);
        o->engine.cards = o->cards;
        break;
    case OPT_TEXT:
        if (strchr(row->metavar, '|') && !is_choice(row->metavar, value))
            wrong = "not one of the words below";
        else
            *(const char **)field = value;
        break;
    case OPT_LIST: wrong = add_stop(o, value); break;
    case OPT_HELP: break;
    }
    if (!wrong && row->offset == AT(max_tokens)) o->max_tokens_given = true;
    return wrong;
}

static int set(cli_options *o, const option *row, const char *value) {
    char name[40];
    const char *wrong = store(o, row, value);
    if (!wrong) return 0;
    long_name(row, name);
    if (row->metavar && strchr(row->metavar, '|'))
        return cli_fail(EXIT_USAGE, "%s \"%.60s\": expected %s", name, value, row->metavar);
    if (row->type == OPT_INT || row->type == OPT_INTS || row->type == OPT_REAL)
        if (strncmp(wrong, "too", 3) == 0)
            return cli_fail(EXIT_USAGE, "%s \"%.60s\": %s; expected %.10g .. %.10g", name, value, wrong, row->lo, row->hi);
    return cli_fail(EXIT_USAGE, "%s \"%.60s\": %s", name, value, wrong);
}

/* ---- public ---- */

void cli_options_default(cli_options *o) {
    memset(o, 0, sizeof *o);
    llmrun_options_default(&o->engine);
    llmrun_sampling_default(&o->sampling);
    o->max_tokens = -1;
    o->keep_bytes = (uint64_t)512 << 20;
    o->bench_prompt = (cli_list){ 1, { 512 } };
    o->bench_generate = (cli_list){ 1, { 128 } };
    o->bench_depth = o->bench_threads = (cli_list){ 1, { 0 } };
    o->bench_repeat = 5;
}

void cli_options_close(cli_options *o) { free(o->stop); }

int cli_options_set(cli_options *o, const char *name, const char *value) {
    char dashed[40];
    snprintf(dashed, sizeof dashed, "--%s", name);
    const option *row = find(dashed, CMD_RUN);
    bool allowed = row && (strcmp(row->group ? row->group : "", SAMPLE_GROUP) == 0 || row->offset == AT(max_tokens));
    if (!allowed)
        return cli_fail(EXIT_USAGE, "/set %.30s: expected temp, top-k, top-p, min-p, repeat-penalty, repeat-last, seed "
                                    "or max-tokens", name);
    return set(o, row, value);
}

int cli_options_parse(cli_options *o, const cli_command *command, int n, char **argv) {
    for (int i = 0; i < n; i++) {
        char name[40];
        const char *word = argv[i], *value = NULL;
        if (word[0] != '-' || !word[1] || strcmp(word, "--") == 0)
            return cli_fail(EXIT_USAGE, "unexpected argument \"%.60s\"; the command comes first, a prompt is given with -p",
                            word);
        size_t n_name = strcspn(word, "=");
        if (n_name >= sizeof name) return cli_fail(EXIT_USAGE, "unknown option %.60s", word);
        snprintf(name, sizeof name, "%.*s", (int)n_name, word);
        if (word[n_name]) value = word + n_name + 1;
        const option *row = find(name, command->bit);
        if (!row) return fail_unknown(name, command);
        if (row->type == OPT_HELP) return WANTS_HELP;
        if (row->metavar && !value) {
            bool option_follows = i + 1 < n && argv[i + 1][0] == '-' && argv[i + 1][1] == '-' &&
                                  find(argv[i + 1], command->bit);
            if (i + 1 == n || option_follows) return cli_fail(EXIT_USAGE, "%s: needs a value %s", name, row->metavar);
            value = argv[++i];
        } else if (!row->metavar && value) {
            return cli_fail(EXIT_USAGE, "%s: takes no value", name);
        }
        int code = set(o, row, value);
        if (code) return code;
    }
    const char *plain = o->raw ? "--raw" : o->parse_special ? "--parse-special" : NULL;
    if (plain && o->chat) return cli_fail(EXIT_USAGE, "--chat and %s contradict each other", plain);
    if (plain && o->chat_template) return cli_fail(EXIT_USAGE, "--chat-template and %s contradict each other", plain);
    if (plain && o->system) return cli_fail(EXIT_USAGE, "--system and %s contradict each other", plain);
    if (o->prompt && o->file) return cli_fail(EXIT_USAGE, "--prompt and --file: expected one of them");
    return 0;
}

void cli_options_help(const cli_command *command, FILE *to) {
    static const char *const groups[] = { MODEL_GROUP, TEXT_GROUP, SAMPLE_GROUP, MACHINE_GROUP, OTHER_GROUP };
    fprintf(to, "Usage: llmrun %s %s\n%s\n", command->name, command->usage, command->summary);
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        bool titled = false;
        for (int i = 0; i < N_OPTIONS; i++) {
            const option *row = &options[i];
            if (!(row->commands & command->bit) || !row->group || strcmp(row->group, groups[g]) != 0) continue;
            if (!titled) fprintf(to, "\n%s\n", groups[g]);
            titled = true;
            char name[40], left[80];
            long_name(row, name);
            bool is_short = row->names[1] != '-';
            snprintf(left, sizeof left, "%.2s%s %s %s", is_short ? row->names : "  ", is_short ? "," : " ", name,
                     row->metavar ? row->metavar : "");
            fprintf(to, strlen(left) > 28 ? "  %s\n%32s%s\n" : "  %-28s  %s%s\n", left, "", row->help);
        }
    }
}
