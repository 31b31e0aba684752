/* Golden logits of tests/golden: tokens and what Hugging Face transformers computes from them.                         */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/llmrun.h"

#define GOLDEN_MODELS "tests/golden/models/"

enum { N_TOKENS = 40, N_VOCAB = 96 };

typedef struct golden {
    int32_t tokens[N_TOKENS];
    float logits[N_TOKENS * N_VOCAB];
} golden;

/* The whole of file `head``tail`, which has exactly that size.                                                        */
static inline void read_file(const char *head, const char *tail, void *out, size_t size) {
    char path[600];
    snprintf(path, sizeof path, "%s%s", head, tail);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot be opened", path);
    assert_int_equal(fread(out, 1, size, f), size);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

/* What stands at HEADtokens.i32 and HEADlogits.f32.                                                                   */
static inline void read_golden(golden *g, const char *head) {
    read_file(head, "tokens.i32", g->tokens, sizeof g->tokens);
    read_file(head, "logits.f32", g->logits, sizeof g->logits);
}

/* Calls check with the name of each model in a directory; returns their number.                                       */
static inline int each_golden(const char *directory, void (*check)(const char *name)) {
    DIR *d = opendir(directory);
    int n = 0;
    if (!d) fail_msg("%s: cannot be opened", directory);
    for (struct dirent *f; (f = readdir(d));) {
        if (f->d_name[0] == '.') continue;
        check(f->d_name);
        n++;
    }
    closedir(d);
    return n;
}

/* Error of a run as the design defines it: max |d| / max |ref|; NaN counts as infinite.                               */
static inline double error_of(const float *got, const float *want, size_t n) {
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        most = fmax(most, fabs((double)want[i]));
    }
    return worst / most;
}

/* Options of a run whose result is compared: two threads, no cache of conversions, a context of N_TOKENS.             */
static inline llmrun_options golden_options(const char *path) {
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = path;
    o.n_threads = 2;
    o.cache_dir = "";
    o.n_ctx = N_TOKENS;
    return o;
}

/* Evaluates the tokens in chunks of the given size and returns the error against the golden logits.                   */
static inline double run_golden(const golden *g, llmrun_options o, int chunk) {
    static float logits[N_TOKENS * N_VOCAB];
    llmrun_engine *e;
    llmrun_session *s;
    llmrun_error err;
    o.n_batch = chunk;
    memset(logits, 0xff, sizeof logits);
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s: %s", o.model, err.message);
    assert_int_equal(llmrun_session_open(&s, e, &err), LLMRUN_OK);
    for (int i = 0; i < N_TOKENS; i += chunk) {
        int n = N_TOKENS - i < chunk ? N_TOKENS - i : chunk;
        if (llmrun_session_eval_all(s, g->tokens + i, n, logits + i * N_VOCAB, &err)) fail_msg("%s: %s", o.model, err.message);
    }
    llmrun_session_close(s);
    llmrun_engine_close(e);
    return error_of(logits, g->logits, N_TOKENS * N_VOCAB);
}

#endif
