/* llmrun compare: what each precision costs and gains.  A reference runs over windows of a text first; of its logits a
 * bounded number is kept, in two bytes each.  Then each mode runs over the same windows, one model open at a time.
 * Ctrl-C leaves what is done in the cache directory, and the same command goes on from there (compare_state.c).        */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/compare.h"

enum { WINDOW = 512, TIMED_RUNS = 3, TIMED_DECODE = 32, MOST_CHUNK_BYTES = 64 << 20 };

typedef struct work {
    cli_options *options;
    compare_state state;
    double start, from;   /* when and at which share of the work this run began; for the time left */
    double shown;         /* when progress was printed last */
    char path[4096];      /* of the state, empty: nothing is kept */
    uint64_t key;
    uint64_t measured;    /* hash of what fewer bits cost each tensor, 0: no mode needs to know */
    bool resumed;
} work;

/* ---- what the system says about memory ---- */

/* A "Name:  123 kB" line of /proc/self/status in bytes, 0 if there is none.                                            */
static uint64_t status_bytes(const char *name) {
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    size_t n = strlen(name);
    while (f && !kib && fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && line[n] == ':') sscanf(line + n + 1, "%llu", &kib);
    if (f) fclose(f);
    return (uint64_t)kib * 1024;
}

/* Lets the peak of the resident set start anew; false where the system cannot.                                        */
static bool reset_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    bool written = f && fputs("5", f) >= 0;
    return f && fclose(f) == 0 && written;
}

/* ---- progress ---- */

static void show_progress(work *w, const char *name, size_t position) {
    const compare_state *s = &w->state;
    const compare_report *r = &s->report;
    double now = seconds(), total = (double)(r->n_rows + 1) * (double)s->n_ids;
    double done = ((double)s->n_done * (double)s->n_ids + (double)position) / total;
    if (!w->start) w->start = now, w->from = done;
    if (w->options->quiet || !isatty(STDERR_FILENO) || now - w->shown < 0.2) return;
    w->shown = now;
    int left = done > w->from ? (int)((now - w->start) * (1 - done) / (done - w->from) + 0.5) : 0;
    fprintf(stderr, "\r\033[K%d of %d  %s  %3.0f %%  %d:%02d left", s->n_done + 1, r->n_rows + 1, name, 100 * done, left / 60,
            left % 60);
    fflush(stderr);
}

static void clear_progress(const work *w) {
    if (!w->options->quiet && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* ---- the text ---- */

/* Opens --text, or the text beside the bundled model.                                                                 */
static int read_text(work *w, cli_text *text) {
    char path[4096];
    const char *name = w->options->text, *demo = cli_demo_model();
    w->state.report.text = name ? name : "bundled";
    if (!name) {
        snprintf(path, sizeof path, "%s/eval.txt", demo ? demo : "");
        if (!demo || access(path, R_OK) != 0)
            return cli_fail(EXIT_USAGE, "no text: give --text FILE (the bundled one is not here)");
        name = path;
    }
    int code = cli_read_file(name, text);
    w->state.report.text_bytes = text->n;
    return code;
}

/* True if the tokenizer opens texts with the begin token.                                                             */
static bool adds_begin(const llmrun_tokenizer *t, int32_t bos) {
    int32_t with[4], without[4];
    size_t n_with = 0, n_without = 0;
    llmrun_tokenize(t, "a", 1, LLMRUN_ADD_SPECIAL, with, 4, &n_with, NULL);
    llmrun_tokenize(t, "a", 1, 0, without, 4, &n_without, NULL);
    return bos >= 0 && n_with > n_without && with[0] == bos && (!n_without || without[0] != bos);
}

/* Cuts the text into windows: each opens with the begin token where the model has one, so that each can be computed
 * alone, and every other token of a window is predicted from those before it.                                         */
static int make_windows(work *w, const llmrun_engine *e, const llmrun_model_info *info, const cli_text *text) {
    compare_report *r = &w->state.report;
    const llmrun_tokenizer *t = llmrun_engine_tokenizer(e);
    int32_t *plain = NULL;
    if (!t) return cli_fail(EXIT_UNSUPPORTED, "%s: has no tokenizer, so text cannot be read", w->options->engine.model);
    int code = cli_tokenize(t, text->bytes, text->n, 0, &plain, &r->text_tokens);
    if (code) return code;
    bool begin = adds_begin(t, info->bos_id);
    size_t fresh = (size_t)r->window - begin; /* text tokens of a window */
    size_t room = w->options->keep_bytes / kept_row_bytes(info->n_vocab); /* positions that may be kept */
    size_t n = r->text_tokens;
    if (room > (size_t)INT32_MAX) room = (size_t)INT32_MAX;
    size_t most = room / (size_t)(r->window - 1) * fresh; /* whole windows */
    if (!most) most = room + !begin;
    if (n > most) n = most;
    if (w->options->max_tokens_given && w->options->max_tokens >= 0 && n > (size_t)w->options->max_tokens)
        n = (size_t)w->options->max_tokens;
    if (fresh && n > fresh && n % fresh + begin < 2) n -= n % fresh; /* a lone token predicts nothing */
    if (!fresh || n + begin < 2) {
        code = cli_fail(EXIT_USAGE, "compare: the windows hold no token to predict; give a longer text, -c, -n or --keep");
    } else {
        r->n_windows = (n + fresh - 1) / fresh;
        w->state.ids = malloc((n + r->n_windows) * sizeof *w->state.ids);
        if (!w->state.ids) code = cli_fail(EXIT_FIT, "compare: out of host memory");
    }
    for (size_t i = 0; i < n && !code; i++) {
        if (begin && i % fresh == 0) w->state.ids[w->state.n_ids++] = info->bos_id;
        w->state.ids[w->state.n_ids++] = plain[i];
    }
    free(plain);
    r->n_tokens = n;
    r->n_scored = w->state.n_ids - r->n_windows;
    if (code) return code;
    if (!kept_open(&w->state.kept, info->n_vocab, r->n_scored) || !comparison_open(&w->state.comparison, r->n_scored))
        return cli_fail(EXIT_FIT, "compare: out of host memory; --keep SIZE says how much to use");
    r->kept_bytes = (uint64_t)r->n_scored * kept_row_bytes(info->n_vocab);
    return 0;
}

/* ---- one row ---- */

static bool take_logits(compare_state *s, const float *logits, int32_t next, bool keep) {
    return keep ? kept_add(&s->kept, logits, next) : comparison_add(&s->comparison, &s->kept, logits);
}

/* Runs the windows that are not done.  keep: the logits become the reference; else they are compared with it.  After a
 * failure the state is that of the last window that was finished.                                                     */
static llmrun_status run_windows(work *w, llmrun_session *s, const llmrun_model_info *info, const char *name, bool keep,
                                 float *logits, size_t chunk, llmrun_error *err) {
    compare_state *st = &w->state;
    size_t window = (size_t)st->report.window, n_kept = st->kept.n;
    comparison sums = st->comparison;
    llmrun_status status = LLMRUN_OK;
    while (st->at < st->n_ids && !status) {
        size_t end = st->at + window < st->n_ids ? st->at + window : st->n_ids;
        status = llmrun_session_rewind(s, 0, err);
        for (size_t i = st->at; i < end && !status; i += chunk) {
            size_t n = end - i < chunk ? end - i : chunk;
            show_progress(w, name, i);
            status = llmrun_session_eval_all(s, st->ids + i, (int32_t)n, logits, err);
            for (size_t j = 0; j < n && i + j + 1 < end && !status; j++)
                if (!take_logits(st, logits + j * (size_t)info->n_vocab, st->ids[i + j + 1], keep)) {
                    *err = (llmrun_error){ LLMRUN_INTERNAL, "" };
                    snprintf(err->message, sizeof err->message, "compare: %s: a logit of token %zu is not finite", name, i + j);
                    status = err->status;
                }
        }
        if (status) {
            st->kept.n = n_kept;
            st->comparison = sums;
        } else {
            st->at = end;
            n_kept = st->kept.n;
            sums = st->comparison;
        }
    }
    return status;
}

/* Tokens per second: the middle one of a few runs over the first window, at once or its first tokens one by one.       */
static llmrun_status time_tokens(const work *w, llmrun_session *s, bool decode, float *logits, double *rate, llmrun_error *err) {
    double rates[TIMED_RUNS];
    size_t n = w->state.n_ids < (size_t)w->state.report.window ? w->state.n_ids : (size_t)w->state.report.window;
    if (decode && n > TIMED_DECODE) n = TIMED_DECODE;
    for (int run = 0; run < TIMED_RUNS; run++) {
        if (llmrun_session_rewind(s, 0, err) != LLMRUN_OK) return err->status;
        double start = seconds();
        for (size_t i = 0; i < n; i += decode ? 1 : n)
            if (llmrun_session_eval(s, w->state.ids + i, decode ? 1 : (int32_t)n, logits, err) != LLMRUN_OK) return err->status;
        double time = seconds() - start;
        rates[run] = (double)n / (time > 0 ? time : 1e-9);
        for (int i = run; i > 0 && rates[i] < rates[i - 1]; i--) {
            double swap = rates[i];
            rates[i] = rates[i - 1];
            rates[i - 1] = swap;
        }
    }
    *rate = rates[TIMED_RUNS / 2];
    return LLMRUN_OK;
}

/* Adds ", text" to a list, as far as it fits.                                                                         */
static void list_add(char *list, size_t size, const char *text) {
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", text);
}

/* Formats of the weights, and which tensors could not have the one asked for.                                          */
static void describe_weights(const llmrun_engine *e, const llmrun_model_info *info, compare_row *row) {
    enum { MOST = 24 };
    struct { const char *role, *format; int n; } formats[MOST], fell[MOST];
    int n_formats = 0, n_fell = 0, at;
    char item[80];
    llmrun_tensor_info t = { .struct_size = sizeof t };
    for (size_t i = 0; llmrun_engine_tensor(e, i, &t) == LLMRUN_OK; i++) {
        row->weight_bytes += t.bytes;
        for (at = 0; at < n_formats && strcmp(formats[at].format, t.format) != 0; at++) continue;
        if (at == n_formats && at < MOST) formats[n_formats].format = t.format, formats[n_formats++].n = 0;
        if (at < MOST) formats[at].n++;
        if (!t.fell_back) continue;
        row->n_fell_back++;
        for (at = 0; at < n_fell && (strcmp(fell[at].role, t.role) != 0 || strcmp(fell[at].format, t.format) != 0); at++) continue;
        if (at == n_fell && at < MOST) fell[n_fell].role = t.role, fell[n_fell].format = t.format, fell[n_fell++].n = 0;
        if (at < MOST) fell[at].n++;
    }
    for (int i = 0; i < n_formats; i++) {
        snprintf(item, sizeof item, "%s %d", formats[i].format, formats[i].n);
        list_add(row->formats, sizeof row->formats, item);
    }
    for (int i = 0; i < n_fell; i++) {
        snprintf(item, sizeof item, "%d %s in %s", fell[i].n, fell[i].role, fell[i].format);
        list_add(row->fell_back, sizeof row->fell_back, item);
    }
    row->bits_per_weight = info->n_params ? 8 * (double)row->weight_bytes / (double)info->n_params : 0;
    bool named = row->file[0] || compare_is_mixed(row->quant);
    if (!named) snprintf(row->quant, sizeof row->quant, "%s", info->quant);
    snprintf(row->kv, sizeof row->kv, "%s", info->kv);
}

static void describe_memory(const llmrun_engine *e, const llmrun_model_info *info, compare_row *row) {
    row->host_planned = info->planned_bytes + info->mapped_bytes;
    for (int32_t g = 0; g < info->n_gpus; g++) {
        llmrun_memory m = { .struct_size = sizeof m };
        if (llmrun_engine_memory(e, g, &m) == LLMRUN_OK) row->gpu_planned += m.planned_bytes, row->gpu_peak += m.peak_bytes;
    }
}

static void describe_model(work *w, const llmrun_model_info *info) {
    compare_report *r = &w->state.report;
    snprintf(r->family, sizeof r->family, "%s", info->family);
    snprintf(r->isa, sizeof r->isa, "%s", info->cpu_isa);
    r->n_params = info->n_params;
    r->n_vocab = info->n_vocab;
    r->n_threads = info->n_threads;
    r->n_gpus = info->n_gpus;
    r->window = info->n_ctx;
    if (!w->options->window && r->window > info->n_ctx_train) r->window = info->n_ctx_train;
}

/* Measures with an open engine.  text: not NULL for the reference, which cuts it into windows.  before: the resident set
 * before the model was opened, 0 if its peak cannot be told.                                                          */
static int measure(work *w, llmrun_engine *e, compare_row *row, const cli_text *text, uint64_t before) {
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_error err = { 0 };
    llmrun_session *s = NULL;
    int code = 0;
    llmrun_engine_info(e, &info);
    describe_weights(e, &info, row);
    if (text && !w->state.ids) {
        describe_model(w, &info);
        code = make_windows(w, e, &info, text);
        if (code) return code;
    }
    size_t chunk = MOST_CHUNK_BYTES / (sizeof(float) * (size_t)info.n_vocab);
    if (chunk > (size_t)info.n_batch) chunk = (size_t)info.n_batch;
    if (chunk < 1) chunk = 1;
    size_t own = chunk * (size_t)info.n_vocab * sizeof(float);
    float *logits = malloc(own);
    if (!w->state.at) w->state.comparison = (comparison){ .kl = w->state.comparison.kl, .most = w->state.comparison.most };
    if (!logits) {
        code = cli_fail(EXIT_FIT, "compare: out of host memory");
    } else if (llmrun_session_open(&s, e, &err) == LLMRUN_OK && !interrupt_seen()) {
        interrupt_arm(s);
        if (run_windows(w, s, &info, row->quant, text != NULL, logits, chunk, &err) == LLMRUN_OK) {
            row->figures = text ? kept_figures(&w->state.kept) : comparison_figures(&w->state.comparison);
            if (compare_layers(&w->state, s, &info, text != NULL, logits, row->layer_errors, &err) == LLMRUN_OK &&
                time_tokens(w, s, false, logits, &row->prefill, &err) == LLMRUN_OK)
                time_tokens(w, s, true, logits, &row->decode, &err);
        }
        if (text) own += w->state.report.kept_bytes;
        uint64_t peak = status_bytes("VmHWM");
        row->host_peak = before && peak > before + own ? peak - before - own : 0;
        describe_memory(e, &info, row);
    }
    if (!code && err.status) code = cli_fail_error(&err);
    if (interrupt_seen()) code = EXIT_INTERRUPTED;
    interrupt_disarm();
    free(logits);
    llmrun_session_close(s);
    return code;
}

static void set_mode(llmrun_options *o, const compare_row *row) {
    o->quant = row->file[0] ? "auto" : row->quant;
    o->kv = row->kv;
    if (row->file[0]) o->model = row->file;
}

/* True if the mode is at fault, not the command or the file: then its row says why, and the others go on.              */
static bool is_of_the_mode(llmrun_status status) {
    return status == LLMRUN_NOMEM || status == LLMRUN_VRAM || status == LLMRUN_UNSUPPORTED;
}

static void fail_row(compare_row *row, const llmrun_error *err) {
    row->failed = true;
    snprintf(row->failure, sizeof row->failure, "%.*s", (int)strcspn(err->message, "\n"), err->message);
}

/* Opens the model as the row says, measures, closes it.                                                               */
static int run_row(work *w, compare_row *row, const cli_text *text) {
    llmrun_options o = w->options->engine;
    llmrun_engine *e = NULL;
    llmrun_error err = { 0 };
    set_mode(&o, row);
    o.n_ctx = text ? w->options->window ? w->options->window : WINDOW : w->state.report.window;
    compare_row asked = *row;
    row->layer_errors[0] = -1;
    malloc_trim(0);
    uint64_t before = reset_peak() ? status_bytes("VmRSS") : 0;
    double start = seconds();
    int code = 0;
    if (interrupt_seen()) {
        code = EXIT_INTERRUPTED;
    } else if (llmrun_engine_open(&e, &o, &err) != LLMRUN_OK) {
        if (text || !is_of_the_mode(err.status)) code = cli_fail_error(&err);
        else fail_row(row, &err);
    } else {
        llmrun_model_info info = { .struct_size = sizeof info };
        row->load_seconds = seconds() - start;
        llmrun_engine_info(e, &info);
        if (!text && info.n_vocab != w->state.report.n_vocab) {
            row->failed = true;
            snprintf(row->failure, sizeof row->failure, "another model: it has %d tokens, the reference %d", info.n_vocab,
                     w->state.report.n_vocab);
        } else {
            code = measure(w, e, row, text, before);
        }
    }
    llmrun_engine_close(e);
    if (code) {
        *row = asked;
        return code;
    }
    w->state.n_done++;
    w->state.at = 0;
    return 0;
}

/* ---- what to compare ---- */

/* Copies the next word of a list with commas; false at its end.                                                       */
static bool next_item(const char **list, char *item, size_t size) {
    size_t n = strcspn(*list, ",");
    if (!n) return false;
    snprintf(item, size, "%.*s", (int)n, *list);
    *list += n;
    *list += **list == ',';
    return true;
}

/* A mode is a word of --quant, or a file: then its name, of letters that every report can hold, is what the row is called. */
static void name_row(compare_row *row, const char *mode) {
    const char *slash = strrchr(mode, '/'), *name = slash && slash[1] ? slash + 1 : mode;
    bool is_file = !compare_is_mixed(mode) && (slash || strchr(mode, '.'));
    if (is_file) snprintf(row->file, sizeof row->file, "%s", mode);
    snprintf(row->quant, sizeof row->quant, "%.*s", (int)sizeof row->quant - 1, is_file ? name : mode);
    for (char *c = row->quant; *c && is_file; c++)
        if (strchr("<>&\"'\\", *c) || (unsigned char)*c < ' ' || (unsigned char)*c > '~') *c = '_';
}

/* Rows: every mode with every kind of KV cache.  Each is planned, so that a wrong word ends the command at once.       */
static int list_rows(work *w) {
    const char *modes = w->options->modes ? w->options->modes : "f16,q8_0,q4_k,iq4_nl,nf4";
    const char *kvs = strcmp(w->options->engine.kv, "auto") == 0 ? "f16" : w->options->engine.kv;
    compare_report *r = &w->state.report;
    char mode[sizeof r->rows[0].file], kv[sizeof r->rows[0].kv];
    while (next_item(&kvs, kv, sizeof kv))
        for (const char *rest = modes; next_item(&rest, mode, sizeof mode);) {
            if (r->n_rows == MOST_COMPARE_ROWS) return cli_fail(EXIT_USAGE, "compare: more than %d modes", MOST_COMPARE_ROWS);
            compare_row *row = &r->rows[r->n_rows++];
            name_row(row, mode);
            memcpy(row->kv, kv, sizeof kv);
            llmrun_options o = w->options->engine;
            llmrun_error err = { 0 };
            set_mode(&o, row);
            o.n_ctx = w->options->window ? w->options->window : WINDOW;
            if (llmrun_plan(&o, NULL, NULL, &err) != LLMRUN_OK && !is_of_the_mode(err.status)) return cli_fail_error(&err);
        }
    if (!r->n_rows) return cli_fail(EXIT_USAGE, "compare: expected words in --modes and --kv, such as --modes q8_0,q4_k");
    return 0;
}

/* The reference: as asked; else f32 where that fits; else the file's precision, as much of it on the CPU as needed.    */
static void choose_reference(work *w) {
    compare_row *row = &w->state.report.reference;
    llmrun_options o = w->options->engine;
    snprintf(row->quant, sizeof row->quant, "%s", w->options->reference ? w->options->reference : "f32");
    snprintf(row->kv, sizeof row->kv, "%s", strcmp(row->quant, "f32") == 0 ? "f32" : "f16");
    o.quant = row->quant;
    o.kv = row->kv;
    o.n_ctx = w->options->window ? w->options->window : WINDOW;
    if (w->options->reference || llmrun_plan(&o, NULL, NULL, NULL) == LLMRUN_OK) return;
    w->options->engine.prefer = "quality";
    snprintf(row->quant, sizeof row->quant, "auto");
    snprintf(row->kv, sizeof row->kv, "f16");
}

static int write_html(const compare_report *r, const char *path) {
    FILE *f = fopen(path, "w");
    if (!f) return cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    compare_print_html(r, f);
    bool written = !ferror(f);
    if (fclose(f) != 0 || !written) return cli_fail(EXIT_IO, "%s: not everything could be written", path);
    return 0;
}

/* ---- Ctrl-C, and going on ---- */

static uint64_t hash_text(uint64_t h, const char *text) { return compare_hash(h, text ? text : "", text ? strlen(text) + 1 : 1); }

/* A file counts by its content's hash.                                                                                */
static uint64_t hash_row(uint64_t h, const compare_row *row) {
    llmrun_options o;
    uint64_t file = 0;
    llmrun_options_default(&o);
    o.model = row->file;
    if (row->file[0]) llmrun_model_hash(&o, &file, NULL);
    h = hash_text(hash_text(hash_text(h, row->file), row->quant), row->kv);
    return compare_hash(h, &file, sizeof file);
}

/* All that the figures depend on.                                                                                     */
static uint64_t work_key(const work *w, const cli_text *text, uint64_t model) {
    const cli_options *o = w->options;
    const llmrun_options *e = &o->engine;
    const compare_report *r = &w->state.report;
    const uint64_t numbers[] = { model, sizeof *r, o->keep_bytes, (uint64_t)o->window, o->max_tokens_given,
                                 (uint64_t)o->max_tokens, e->ram_bytes, (uint64_t)e->n_vram, (uint64_t)e->n_batch,
                                 (uint64_t)e->n_threads, e->use_mmap, e->mlock, e->disk, (uint64_t)r->n_rows, w->measured };
    const char *const words[] = { llmrun_version(), e->model, r->reference.quant, r->reference.kv, e->cpu_isa, e->device,
                                  e->sim_gpus, e->prefer };
    uint64_t h = compare_hash(COMPARE_HASH_START, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) h = hash_text(h, words[i]);
    for (int32_t i = 0; i < r->n_rows; i++) h = hash_row(h, &r->rows[i]);
    h = compare_hash(h, e->vram_bytes, (size_t)e->n_vram * sizeof e->vram_bytes[0]);
    return compare_hash(h, text->bytes, text->n);
}

/* Where an earlier run with the same key left its state, if it did.  Slots bound what interrupted comparisons keep.     */
static int resume(work *w, const cli_text *text) {
    enum { SLOTS = 4 };
    compare_state *s = &w->state;
    uint64_t model = 0;
    llmrun_error err = { 0 };
    llmrun_options o = w->options->engine;
    o.kv = "auto"; /* that of the options is a list */
    if (llmrun_model_hash(&o, &model, &err) != LLMRUN_OK) return cli_fail_error(&err);
    w->key = work_key(w, text, model);
    char *dir = llmrun_cache_dir(&w->options->engine);
    if (dir && *dir && strlen(dir) < sizeof w->path - 32)
        snprintf(w->path, sizeof w->path, "%s/compare-%d.state", dir, (int)(w->key % SLOTS));
    llmrun_free(dir);
    if (!w->path[0]) return 0;
    compare_found found = compare_state_load(s, w->path, w->key);
    w->resumed = found == FOUND_STATE;
    if (found == FOUND_DAMAGED) {
        cli_note(w->options, "compare: %s is damaged; it is removed, and all starts anew", w->path);
        unlink(w->path);
    } else if (found == FOUND_STATE) {
        const compare_row *row = s->n_done ? &s->report.rows[s->n_done - 1] : &s->report.reference;
        size_t window = (size_t)s->report.window;
        if (s->n_done <= s->report.n_rows)
            cli_note(w->options, "compare: goes on where it was interrupted: run %d of %d, %s, %zu of %zu windows done",
                     s->n_done + 1, s->report.n_rows + 1, row->quant, (s->at + window - 1) / window, s->report.n_windows);
    }
    return 0;
}

/* What is done stays for the same command.                                                                            */
static void keep_state(const work *w) {
    const compare_state *s = &w->state;
    if (!s->n_done && !s->at) {
        cli_note(w->options, "compare: interrupted before anything was done");
        return;
    }
    int error = w->path[0] ? compare_state_save(s, w->path, w->key) : 0;
    if (error)
        cli_note(w->options, "compare: interrupted; %s: %s: nothing is kept", w->path, strerror(error));
    else if (w->path[0])
        cli_note(w->options, "compare: interrupted; the same command goes on from here");
    else
        cli_note(w->options, "compare: interrupted; without a cache directory nothing is kept");
}

int compare_main(cli_options *o) {
    work w = { .options = o };
    compare_state *s = &w.state;
    cli_text text = { 0 };
    int code = cli_prepare(o);
    s->report.model = o->engine.model;
    if (!code) code = read_text(&w, &text);
    if (!code && o->sensitivity) {
        code = compare_sensitivity(o, &text);
        text_close(&text);
        return code;
    }
    if (!code) code = compare_measure_mixed(o, &text, &w.measured);
    if (!code) code = list_rows(&w);
    if (!code) {
        choose_reference(&w);
        interrupt_arm(NULL);
        code = resume(&w, &text);
    }
    if (!code && !s->n_done) code = run_row(&w, &s->report.reference, &text);
    while (!code && s->n_done <= s->report.n_rows) code = run_row(&w, &s->report.rows[s->n_done - 1], NULL);
    clear_progress(&w);
    if (code == EXIT_INTERRUPTED) keep_state(&w);
    if (!code && o->html) code = write_html(&s->report, o->html);
    if (!code) {
        (o->json ? compare_print_json : compare_print_table)(&s->report, stdout);
        code = finish_stdout();
    }
    if (!code && w.resumed) unlink(w.path);
    compare_state_close(s);
    text_close(&text);
    return code;
}
