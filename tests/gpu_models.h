/* For tests of whole models on simulated GPUs: the simulator's controls, opening a model on a set of GPUs, running it.  */
#ifndef TESTS_GPU_MODELS_H
#define TESTS_GPU_MODELS_H

#include <math.h>
#include <stdio.h>

#include "runtime/backends.h"
#include "runtime/engine.h"
#include "tests/model_files.h"
#include "tests/simulator.h"

/* Sanitizers make the simulator some five times slower: fewer of the same cases.                                       */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { QUICK = 1 };
#else
enum { QUICK = 0 };
#endif

enum { N_PROMPT = 21, N_MORE = 8, N_TOKENS = N_PROMPT + N_MORE, VOCAB_MOST = 4096 };


/* ---- the simulator's controls, which live in the backend's shared object ---- */

static struct {
    simgpu_stats (*stat)(void);
    void (*fail_at)(simgpu_fault kind, int nth, int error);
    uint64_t (*peak_bytes)(int device);
    const char *(*report)(void);
    double (*seconds)(void);
} sim;

__attribute__((unused)) static int load_controls(void **state) {
    (void)state;
    const lr_backend *b;
    EXPECT_OK(lr_backend_load(&b, "sim", "1x1M", &err));
    void *found[] = { simulator_symbol(b, "simgpu_stat"), simulator_symbol(b, "simgpu_fail"),
                      simulator_symbol(b, "simgpu_peak_bytes"), simulator_symbol(b, "simgpu_report"),
                      simulator_symbol(b, "simgpu_seconds") };
    _Static_assert(sizeof found == sizeof sim, "one name for each control, in their order");
    memcpy(&sim, found, sizeof sim);
    assert_true(sim.stat && sim.fail_at && sim.peak_bytes && sim.report && sim.seconds);
    return 0;
}

/* ---- running ---- */

typedef struct setup {
    const char *model, *quant, *kv, *gpus; /* gpus NULL: the CPU */
    int32_t n_batch, n_sessions, n_ctx; /* n_ctx 0: 64 */
    double host_read, host_flops; /* 0: unknown */
    simgpu_fault fault;           /* that the nth call meets, once the GPUs are found; nth 0: none */
    int nth, error;
} setup;

static char *model_path(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s%s", strchr(name, '/') ? "" : "tests/golden/models/", name);
    return path;
}

__attribute__((unused)) static llmrun_status open_setup(llmrun_engine **out, const setup *s) {
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = model_path(s->model);
    o.quant = s->quant;
    o.kv = s->kv;
    o.cache_dir = "";
    o.n_threads = 2;
    o.n_ctx = s->n_ctx ? s->n_ctx : 64;
    o.n_batch = s->n_batch;
    o.n_sessions = s->n_sessions ? s->n_sessions : 1;
    o.device = s->gpus ? "sim" : "cpu";
    o.sim_gpus = s->gpus;
    err = (llmrun_error){ 0 };
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    llmrun_status status = e ? lr_engine_prepare(e, &o, &err) : LLMRUN_NOMEM;
    if (!status) status = lr_engine_find_devices(e, &o, &err);
    if (!status) {
        e->plan_input.host.read_bytes_per_s = s->host_read;
        e->plan_input.host.flops_per_s = s->host_flops;
        if (s->nth) sim.fail_at(s->fault, s->nth, s->error);
        status = lr_engine_load(e, &o, &err);
    }
    if (status) lr_engine_free(e);
    *out = status ? NULL : e;
    return status;
}

typedef struct trace {
    int32_t tokens[N_TOKENS];
    float logits[N_TOKENS][VOCAB_MOST];
    int32_t n_vocab;
} trace;

static int32_t largest(const float *x, int32_t n) {
    int32_t at = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

/* The most that may be asked of a session: the rest of its context at once.                                            */
static llmrun_status fill_context(const llmrun_engine *e, llmrun_session *s) {
    static int32_t tokens[512];
    static float logits[VOCAB_MOST];
    int32_t n = e->plan.n_ctx - N_TOKENS;
    assert_true(n < (int32_t)LR_COUNT(tokens));
    for (int32_t i = 0; i < n; i++) tokens[i] = 3 + i * 11 % (e->binding.hparams.n_vocab - 3);
    return n > 0 ? llmrun_session_eval(s, tokens, n, logits, &err) : LLMRUN_OK;
}

/* The prompt at once, then greedy tokens one by one; or the tokens of `follow`.  What then fills the context counts for
 * memory alone.                                                                                                        */
__attribute__((unused)) static llmrun_status run(llmrun_engine *e, trace *t, const trace *follow) {
    llmrun_session *s = NULL;
    t->n_vocab = e->binding.hparams.n_vocab;
    assert_true(t->n_vocab <= VOCAB_MOST);
    static float rows[N_PROMPT * VOCAB_MOST];
    for (int i = 0; i < N_PROMPT; i++) t->tokens[i] = 3 + (i * 37 + 11) % (t->n_vocab - 3);
    llmrun_status status = llmrun_session_open(&s, e, &err);
    if (!status) status = llmrun_session_eval_all(s, t->tokens, N_PROMPT, rows, &err);
    for (int i = 0; i < N_PROMPT && !status; i++)
        memcpy(t->logits[i], rows + i * t->n_vocab, (size_t)t->n_vocab * sizeof(float));
    for (int i = N_PROMPT; i < N_TOKENS && !status; i++) {
        t->tokens[i] = follow ? follow->tokens[i] : largest(t->logits[i - 1], t->n_vocab);
        status = llmrun_session_eval(s, &t->tokens[i], 1, t->logits[i], &err);
    }
    if (!status) status = fill_context(e, s);
    llmrun_session_close(s);
    return status;
}

/* max |a - b| / max |b| over all logits; NaN counts as infinite.                                                      */
__attribute__((unused)) static double error_of(const trace *a, const trace *b) {
    double most = 0, size = 0;
    for (int i = 0; i < N_TOKENS; i++)
        for (int32_t j = 0; j < b->n_vocab; j++) {
            double d = fabs((double)a->logits[i][j] - (double)b->logits[i][j]);
            if (isnan(d)) return INFINITY;
            most = fmax(most, d);
            size = fmax(size, fabs((double)b->logits[i][j]));
        }
    return most / size;
}

__attribute__((unused)) static bool identical(const trace *a, const trace *b) {
    for (int i = 0; i < N_TOKENS; i++)
        if (memcmp(a->logits[i], b->logits[i], (size_t)b->n_vocab * sizeof(float)) != 0) return false;
    return true;
}

/* The greedy choice is the same wherever the best two are further apart than twice the error.                          */
__attribute__((unused)) static void check_text(const trace *a, const trace *b, double error, const char *what) {
    double size = 0;
    for (int i = 0; i < N_TOKENS; i++)
        for (int32_t j = 0; j < b->n_vocab; j++) size = fmax(size, fabs((double)b->logits[i][j]));
    for (int i = 0; i < N_TOKENS; i++) {
        int32_t best = largest(b->logits[i], b->n_vocab);
        double second = -INFINITY;
        for (int32_t j = 0; j < b->n_vocab; j++)
            if (j != best) second = fmax(second, (double)b->logits[i][j]);
        if ((double)b->logits[i][best] - second <= 2 * error * size) continue;
        if (largest(a->logits[i], a->n_vocab) != best) fail_msg("%s: token %d differs", what, i);
    }
}

/* What the simulator allocated is the arena of the plan, to the byte, and nothing more after opening.                  */
__attribute__((unused)) static void check_memory(const llmrun_engine *e, uint64_t allocations, const char *what) {
    for (int32_t i = 0; i < e->plan.n_gpus; i++) {
        const lr_plan_gpu *g = &e->plan.gpus[i];
        uint64_t got = sim.peak_bytes(e->gpu_index[i]);
        if (got != g->arena_bytes || g->total_bytes > e->plan_input.gpus[i].budget_bytes)
            fail_msg("%s: GPU %d: allocated %llu, arena %llu, planned %llu, budget %llu", what, i,
                     (unsigned long long)got, (unsigned long long)g->arena_bytes, (unsigned long long)g->total_bytes,
                     (unsigned long long)e->plan_input.gpus[i].budget_bytes);
    }
    assert_int_equal(sim.stat().live_allocations, allocations);
}

static void check_clean(const char *what) {
    simgpu_stats left = sim.stat();
    if (left.live_allocations || left.live_pinned || left.live_streams || left.live_events)
        fail_msg("%s: left behind: %llu blocks, %llu pinned, %llu streams, %llu events", what,
                 (unsigned long long)left.live_allocations, (unsigned long long)left.live_pinned,
                 (unsigned long long)left.live_streams, (unsigned long long)left.live_events);
    if (*sim.report()) fail_msg("%s: %s", what, sim.report());
}

__attribute__((unused)) static void run_setup(const setup *s, trace *out, const trace *follow, int32_t *n_host_layers) {
    llmrun_engine *e;
    char what[160];
    snprintf(what, sizeof what, "%s %s on %s", s->model, s->quant, s->gpus ? s->gpus : "the CPU");
    if (open_setup(&e, s)) fail_msg("%s: %s", what, err.message);
    uint64_t allocations = s->gpus ? sim.stat().live_allocations : 0;
    if (run(e, out, follow)) fail_msg("%s: %s", what, err.message);
    if (s->gpus) check_memory(e, allocations, what);
    if (n_host_layers) *n_host_layers = e->plan.n_host_layers;
    llmrun_engine_close(e);
    if (s->gpus) check_clean(what);
}

#endif
