/* llmrun run: one prompt, one answer.  The answer goes to stdout alone, everything else to stderr.                    */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/cli.h"

/* ---- --logits ---- */

/* Header of a .npy file: version 1.0, padded so that the data starts at a multiple of 64.                             */
static bool write_npy_header(FILE *f, int64_t rows, int64_t cols) {
    enum { SIZE = 128, MAGIC = 10 };
    char header[SIZE + 1];
    int n = snprintf(header + MAGIC, SIZE - MAGIC, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                     (long long)rows, (long long)cols);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = SIZE - MAGIC;
    header[9] = 0;
    memset(header + MAGIC + n, ' ', (size_t)(SIZE - MAGIC - n));
    header[SIZE - 1] = '\n';
    return fwrite(header, 1, SIZE, f) == SIZE;
}

/* Evaluates the prompt in chunks and writes every row, so memory stays small for any prompt.                          */
static int write_logits(llmrun_session *s, const llmrun_model_info *info, const int32_t *ids, size_t n, const char *path) {
    enum { MOST_BYTES = 64 << 20 };
    llmrun_error err = { 0 };
    int code = 0;
    size_t chunk = MOST_BYTES / (sizeof(float) * (size_t)info->n_vocab);
    if (chunk > (size_t)info->n_batch) chunk = (size_t)info->n_batch;
    if (chunk < 1) chunk = 1;
    float *logits = malloc(chunk * (size_t)info->n_vocab * sizeof *logits);
    FILE *f = fopen(path, "wb");
    if (!f) {
        code = cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    } else if (!logits) {
        code = cli_fail(EXIT_FIT, "--logits: out of host memory");
    } else {
        bool written = write_npy_header(f, (int64_t)n, info->n_vocab);
        for (size_t i = 0; i < n && written && !code; i += chunk) {
            size_t rows = n - i < chunk ? n - i : chunk;
            if (llmrun_session_eval_all(s, ids + i, (int32_t)rows, logits, &err) != LLMRUN_OK)
                code = cli_fail_error(&err);
            else
                written = fwrite(logits, sizeof *logits * (size_t)info->n_vocab, rows, f) == rows;
        }
        if (fflush(f) != 0) written = false;
        if (!written && !code) code = cli_fail(EXIT_IO, "%s: %s", path, strerror(errno));
    }
    if (f) fclose(f);
    free(logits);
    return code;
}

/* ---- the answer ---- */

typedef struct answer {
    cli_text all;   /* with --json the whole text, else only whether it ends its line */
    bool json, open_line, failed;
} answer;

static bool on_text(void *user, const char *utf8, size_t n) {
    answer *a = user;
    if (a->json) {
        a->failed = !text_add(&a->all, utf8, n);
        return !a->failed;
    }
    if (n) a->open_line = utf8[n - 1] != '\n';
    return fwrite(utf8, 1, n, stdout) == n && fflush(stdout) == 0;
}

static void print_json(const answer *a, const llmrun_model_info *info, const llmrun_generate_result *r, uint64_t seed) {
    printf("{\"text\": ");
    json_string(stdout, a->all.bytes ? a->all.bytes : "", a->all.n);
    printf(", \"finish\": \"%s\", \"prompt_tokens\": %d, \"reused_tokens\": %d, \"generated_tokens\": %d", finish_text(r->finish),
           r->n_prompt, r->n_reused, r->n_generated);
    printf(", \"prefill_seconds\": ");
    json_number(stdout, r->prefill_seconds);
    printf(", \"decode_seconds\": ");
    json_number(stdout, r->decode_seconds);
    printf(", \"weight_bytes_per_token\": %llu, \"planned_bytes\": %llu, \"mapped_bytes\": %llu, \"peak_rss_bytes\": %llu",
           (unsigned long long)info->weight_bytes_per_token, (unsigned long long)info->planned_bytes,
           (unsigned long long)info->mapped_bytes, (unsigned long long)machine_peak_rss());
    printf(", \"quant\": \"%s\", \"kv\": \"%s\", \"threads\": %d, \"seed\": %llu, \"logits_hash\": \"%016llx\"}\n", info->quant,
           info->kv, info->n_threads, (unsigned long long)seed, (unsigned long long)r->logits_hash);
}

static int answer_once(cli_options *o, const llmrun_engine *e, llmrun_session *s, const llmrun_model_info *info, const int32_t *ids, size_t n) {
    llmrun_generate_options g;
    llmrun_generate_result r = { .struct_size = sizeof r };
    llmrun_error err = { 0 };
    answer a = { .json = o->json };
    cli_generate_options(o, &g);
    g.text = on_text;
    g.user = &a;
    int code = 0;
    if (llmrun_generate(s, ids, (int32_t)n, &g, &r, &err) != LLMRUN_OK) {
        code = interrupt_seen() ? EXIT_INTERRUPTED : cli_fail_error(&err);
    } else if (a.failed) {
        code = cli_fail(EXIT_FIT, "--json: out of host memory");
    } else {
        if (o->json) print_json(&a, info, &r, g.sampling.seed);
        if (a.open_line) putchar('\n');
        code = finish_stdout();
        if (r.finish == LLMRUN_FINISH_CONTEXT)
            cli_note(o, "the context of %d tokens is full; -c gives more", info->n_ctx);
        if (o->stats) print_stats(e, info, &r);
        if (o->stats && o->verbose) print_memory(e);
        if (interrupt_seen()) code = EXIT_INTERRUPTED;
    }
    text_close(&a.all);
    return code;
}

/* Opens the model and answers; the prompt is known and the options are checked.                                       */
static int open_and_answer(cli_options *o, const cli_text *prompt) {
    llmrun_engine *engine = NULL;
    llmrun_session *session = NULL;
    llmrun_model_info info = { .struct_size = sizeof info };
    llmrun_error err = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    int code = cli_open(o, &engine);
    if (code) return code;
    const llmrun_tokenizer *tokenizer = llmrun_engine_tokenizer(engine);
    char note[96];
    bool templated = cli_templated(o, engine, note);
    llmrun_engine_info(engine, &info);
    if (!tokenizer) {
        code = cli_fail(EXIT_UNSUPPORTED, "%s: has no tokenizer, so text cannot be read", o->engine.model);
    } else if (o->system && !templated) {
        code = cli_fail(EXIT_UNSUPPORTED, "--system: the model has no chat template");
    } else if ((code = cli_prompt_ids(o, engine, templated, prompt, &ids, &n)) != 0) {
    } else if (n == 0) {
        code = cli_fail(EXIT_USAGE, "the prompt is empty and the model has no begin token; give -p TEXT");
    } else if (n > (size_t)info.n_ctx) {
        code = cli_fail(EXIT_CONTEXT, "prompt: %zu tokens do not fit the context of %d; -c gives more", n, info.n_ctx);
    } else if (llmrun_session_open(&session, engine, &err) != LLMRUN_OK) {
        code = cli_fail_error(&err);
    } else if (interrupt_seen()) {
        code = EXIT_INTERRUPTED;
    } else {
        interrupt_arm(session);
        if (note[0]) cli_note(o, "%s%s", note, templated ? "; --raw completes the text itself" : "");
        if (o->logits) code = write_logits(session, &info, ids, n, o->logits);
        if (!code && (!o->logits || o->max_tokens_given)) code = answer_once(o, engine, session, &info, ids, n);
    }
    interrupt_arm(NULL);
    free(ids);
    llmrun_session_close(session);
    llmrun_engine_close(engine);
    return code;
}

int run_main(cli_options *o) {
    cli_text prompt = { 0 };
    bool given = false;
    if (!o->seed_given) o->sampling.seed = random_seed();
    bool terminal = isatty(STDIN_FILENO);
    if (terminal && (o->chat || !(o->prompt || o->file)) && !o->json && !o->logits) return chat_main(o);
    int code = cli_prompt(o, &prompt, &given);
    if (!code && !given) code = cli_fail(EXIT_USAGE, "no prompt: give -p TEXT, -f FILE or text on stdin");
    if (!code) code = open_and_answer(o, &prompt);
    text_close(&prompt);
    return code;
}
