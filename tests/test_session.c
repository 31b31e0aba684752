/* Sessions: whatever the path to a sequence (one by one, chunks, rewind, sync, copy, save and restore, batch, a neighbour
 * on another thread), its logits are the same.                                                                       */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/base.h"

enum { N = 40, N_VOCAB = 96 };
static const char *const models[] = {"tests/golden/models/llama-mha", "tests/golden/models/mistral-window",
                                     "tests/golden/models/qwen3", "tests/golden/models/qwen3.5"};

typedef struct model {
    llmrun_engine *e;
    int32_t tokens[N];
    bool recurrent;      /* a state cannot go back */
    float want[N_VOCAB]; /* logits after all tokens, evaluated one by one, all in f32 */
} model;

static llmrun_engine *open_engine(const char *path, int n_sessions, const char *kv, int n_threads) {
    llmrun_options o;
    llmrun_options_default(&o);
    o.model = path;
    o.quant = "f32";
    o.kv = kv;
    o.cache_dir = "";
    o.n_sessions = n_sessions;
    o.n_batch = 8;
    o.n_threads = n_threads;
    llmrun_engine *e;
    llmrun_error err;
    if (llmrun_engine_open(&e, &o, &err)) fail_msg("%s", err.message);
    return e;
}

static llmrun_session *open_session(llmrun_engine *e) {
    llmrun_session *s;
    llmrun_error err;
    if (llmrun_session_open(&s, e, &err)) fail_msg("%s", err.message);
    return s;
}

static void eval(llmrun_session *s, const int32_t *tokens, int n, float *logits) {
    llmrun_error err;
    if (llmrun_session_eval(s, tokens, n, logits, &err)) fail_msg("%s", err.message);
}

/* Equal up to what another order of sums may change: kernels differ by the number of tokens in a pass.               */
static void same(const float *got, const float *want) {
    for (int i = 0; i < N_VOCAB; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-4f)) fail_msg("logit %d: %.9g, expected %.9g", i, (double)got[i], (double)want[i]);
}

static void identical(const float *got, const float *want) { assert_memory_equal(got, want, N_VOCAB * sizeof *got); }

static void open_model(model *m, const char *path, int n_sessions) {
    m->e = open_engine(path, n_sessions, "f32", 2);
    m->recurrent = strstr(path, "qwen3.5") != NULL;
    for (int i = 0; i < N; i++) m->tokens[i] = 3 + (i * 37 + 11) % (N_VOCAB - 3);
    llmrun_session *s = open_session(m->e);
    for (int i = 0; i < N; i++) eval(s, m->tokens + i, 1, m->want);
    llmrun_session_close(s);
}

/* A check that every model passes: the state of its test.                                                            */
typedef struct on_models {
    int n_sessions;
    void (*check)(model *m);
} on_models;

static void every_model(void **state) {
    const on_models *c = *state;
    for (size_t i = 0; i < LR_COUNT(models); i++) {
        model m;
        open_model(&m, models[i], c->n_sessions);
        c->check(&m);
        llmrun_engine_close(m.e);
    }
}

static void check_chunks(model *m) {
    float logits[N_VOCAB];
    for (int chunk = 1; chunk <= N; chunk += 3) {
        llmrun_session *s = open_session(m->e);
        for (int i = 0; i < N; i += chunk) eval(s, m->tokens + i, N - i < chunk ? N - i : chunk, logits);
        same(logits, m->want);
        assert_int_equal(llmrun_session_position(s), N);
        llmrun_session_close(s);
    }
}

static void check_rewind(model *m) {
    float logits[N_VOCAB];
    llmrun_error err;
    llmrun_session *s = open_session(m->e);
    eval(s, m->tokens, 20, NULL);
    const int32_t other[3] = {5, 6, 7};
    eval(s, other, 3, NULL);
    assert_int_equal(llmrun_session_rewind(s, 23, &err), LLMRUN_OK);
    if (m->recurrent) {
        assert_int_equal(llmrun_session_rewind(s, 20, &err), LLMRUN_ARG);
        assert_non_null(strstr(err.message, "recurrent state"));
        assert_int_equal(llmrun_session_position(s), 23);
        assert_int_equal(llmrun_session_rewind(s, 0, &err), LLMRUN_OK);
        eval(s, m->tokens, 20, NULL);
    }
    assert_int_equal(llmrun_session_rewind(s, 20, &err), LLMRUN_OK);
    eval(s, m->tokens + 20, N - 20, logits);
    same(logits, m->want);
    assert_int_equal(llmrun_session_rewind(s, N + 1, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_rewind(s, -1, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_rewind(s, 0, &err), LLMRUN_OK);
    eval(s, m->tokens, N, logits);
    same(logits, m->want);
    llmrun_session_close(s);
}

/* A window of 8 with chunks of 8 keeps 16 slots: after 40 tokens position 10 is gone, and saying so beats wrong text. */
static void window_refuses_far_rewind(void **state) {
    (void)state;
    model m;
    open_model(&m, "tests/golden/models/mistral-window", 1);
    llmrun_session *s = open_session(m.e);
    llmrun_error err;
    eval(s, m.tokens, N, NULL);
    assert_int_equal(llmrun_session_rewind(s, 10, &err), LLMRUN_ARG);
    assert_non_null(strstr(err.message, "sliding window"));
    assert_int_equal(llmrun_session_position(s), N);
    llmrun_session_close(s);
    llmrun_engine_close(m.e);
}

static void check_sync(model *m) {
    float logits[N_VOCAB];
    int32_t changed[N], reused;
    llmrun_error err;
    llmrun_session *s = open_session(m->e);
    memcpy(changed, m->tokens, sizeof changed);
    changed[N - 3] = 4;
    assert_int_equal(llmrun_session_sync(s, changed, N, logits, &reused, &err), LLMRUN_OK);
    assert_int_equal(reused, 0);
    assert_int_equal(llmrun_session_sync(s, m->tokens, N, logits, &reused, &err), LLMRUN_OK);
    assert_int_equal(reused, m->recurrent ? 0 : N - 3);
    same(logits, m->want);
    assert_int_equal(llmrun_session_sync(s, m->tokens, N, logits, &reused, &err), LLMRUN_OK);
    assert_int_equal(reused, m->recurrent ? 0 : N - 1);
    same(logits, m->want);
    assert_int_equal(llmrun_session_sync(s, m->tokens, 5, logits, &reused, &err), LLMRUN_OK);
    assert_int_equal(llmrun_session_position(s), 5);
    assert_int_equal(llmrun_session_sync(s, m->tokens, N, logits, &reused, &err), LLMRUN_OK); /* goes on */
    assert_int_equal(reused, 5);
    same(logits, m->want);
    llmrun_session_close(s);
}

static void check_copy(model *m) {
    float logits[N_VOCAB];
    llmrun_error err;
    llmrun_session *a = open_session(m->e), *b = open_session(m->e), *c;
    assert_int_equal(llmrun_session_open(&c, m->e, &err), LLMRUN_ARG); /* planned for two */
    assert_null(c);
    eval(a, m->tokens, 25, NULL);
    assert_int_equal(llmrun_session_copy(b, a, &err), LLMRUN_OK);
    const int32_t other[5] = {5, 6, 7, 8, 9};
    eval(a, other, 5, NULL);
    eval(b, m->tokens + 25, N - 25, logits);
    same(logits, m->want);
    assert_int_equal(llmrun_session_copy(a, a, &err), LLMRUN_ARG);
    llmrun_session_close(a);
    llmrun_session_close(b);
}

static void check_batch(model *m) {
    float logits[3 * N_VOCAB], alone[N_VOCAB];
    llmrun_error err;
    llmrun_session *s[3], *single = open_session(m->e);
    for (int i = 0; i < 3; i++) {
        s[i] = open_session(m->e);
        if (i) eval(s[i], m->tokens, i * 7, NULL); /* sessions at different positions */
    }
    for (int step = 0; step < 6; step++) {
        int32_t next[3];
        for (int i = 0; i < 3; i++) next[i] = m->tokens[i * 7 + step];
        assert_int_equal(llmrun_batch_eval(s, next, 3, logits, &err), LLMRUN_OK);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(llmrun_session_rewind(single, 0, &err), LLMRUN_OK);
        eval(single, m->tokens, i * 7 + 6, alone);
        same(logits + i * N_VOCAB, alone);
    }
    llmrun_session *const twice[3] = {s[0], s[1], s[0]};
    assert_int_equal(llmrun_batch_eval(twice, m->tokens, 3, logits, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_position(s[0]), 6);
    for (int i = 0; i < 3; i++) llmrun_session_close(s[i]);
    llmrun_session_close(single);
}
/* ---- files ---- */

static void check_save(model *m) {
    char path[] = "/tmp/llmrun-session-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    float logits[N_VOCAB];
    llmrun_error err;
    llmrun_session *s = open_session(m->e);
    eval(s, m->tokens, 25, NULL);
    if (llmrun_session_save(s, path, &err)) fail_msg("%s", err.message);
    assert_int_equal(llmrun_session_rewind(s, 0, &err), LLMRUN_OK);
    eval(s, m->tokens + 10, 9, NULL);
    if (llmrun_session_restore(s, path, &err)) fail_msg("%s", err.message);
    assert_int_equal(llmrun_session_position(s), 25);
    eval(s, m->tokens + 25, N - 25, logits);
    same(logits, m->want);
    /* Any byte changed, or any truncation, is refused and changes nothing. */
    FILE *f = fopen(path, "r+b");
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    for (long at = 0; at < size; at += at < 64 ? 1 : 997) {
        fseek(f, at, SEEK_SET);
        int byte = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(byte ^ 0x41, f);
        fflush(f);
        assert_int_equal(llmrun_session_restore(s, path, &err), LLMRUN_FORMAT);
        assert_int_equal(llmrun_session_position(s), N);
        fseek(f, at, SEEK_SET);
        fputc(byte, f);
        fflush(f);
    }
    fclose(f);
    assert_int_equal(llmrun_session_restore(s, path, &err), LLMRUN_OK);
    assert_int_equal(truncate(path, size - 1), 0);
    assert_int_equal(llmrun_session_restore(s, path, &err), LLMRUN_FORMAT);
    assert_int_equal(llmrun_session_restore(s, "/nonexistent/file", &err), LLMRUN_IO);
    assert_int_equal(llmrun_session_save(s, "/nonexistent/file", &err), LLMRUN_IO);
    unlink(path);
    llmrun_session_close(s);
}

static void foreign_file_is_refused(void **state) {
    (void)state;
    char path[] = "/tmp/llmrun-session-XXXXXX";
    close(mkstemp(path));
    llmrun_error err;
    llmrun_engine *a = open_engine(models[0], 1, "f16", 1), *b = open_engine(models[2], 1, "f16", 1),
                  *c = open_engine(models[0], 1, "f32", 1); /* another KV format */
    llmrun_session *s = open_session(a), *other = open_session(b), *wide = open_session(c);
    eval(s, (const int32_t[]){3, 4, 5}, 3, NULL);
    assert_int_equal(llmrun_session_save(s, path, &err), LLMRUN_OK);
    assert_int_equal(llmrun_session_restore(other, path, &err), LLMRUN_FORMAT);
    assert_non_null(strstr(err.message, "another model"));
    assert_int_equal(llmrun_session_restore(wide, path, &err), LLMRUN_FORMAT);
    assert_non_null(strstr(err.message, "KV format"));
    unlink(path);
    llmrun_session_close(s);
    llmrun_session_close(other);
    llmrun_session_close(wide);
    llmrun_engine_close(a);
    llmrun_engine_close(b);
    llmrun_engine_close(c);
}

/* ---- limits and misuse ---- */

static void arguments_are_checked(void **state) {
    (void)state;
    model m;
    open_model(&m, models[0], 1);
    llmrun_session *s = open_session(m.e);
    llmrun_error err;
    float logits[N_VOCAB];
    int32_t many[65];
    for (int i = 0; i < 65; i++) many[i] = 3;
    assert_int_equal(llmrun_session_room(s), 64);
    assert_int_equal(llmrun_session_eval(s, many, 65, logits, &err), LLMRUN_CONTEXT);
    assert_non_null(strstr(err.message, "65 tokens"));
    assert_int_equal(llmrun_session_sync(s, many, 65, logits, NULL, &err), LLMRUN_CONTEXT);
    many[1] = N_VOCAB;
    assert_int_equal(llmrun_session_eval(s, many, 2, logits, &err), LLMRUN_ARG);
    many[1] = -1;
    assert_int_equal(llmrun_session_eval(s, many, 2, logits, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_eval(s, many, 0, logits, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_eval(NULL, many, 1, logits, &err), LLMRUN_ARG);
    assert_int_equal(llmrun_session_position(s), 0);
    llmrun_session_close(s);
    llmrun_session_close(NULL);
    llmrun_engine_close(m.e);
    llmrun_engine_close(NULL);
}

static void full_context_ends(void **state) {
    (void)state;
    model m;
    open_model(&m, models[0], 1);
    llmrun_session *s = open_session(m.e);
    llmrun_error err;
    llmrun_generate_options g;
    llmrun_generate_options_default(&g);
    g.sampling.temperature = 0;
    g.ignore_end = true;
    llmrun_generate_result r = {.struct_size = sizeof r};
    assert_int_equal(llmrun_generate(s, m.tokens, N, &g, &r, &err), LLMRUN_OK);
    assert_int_equal(r.finish, LLMRUN_FINISH_CONTEXT);
    assert_int_equal(r.n_generated, 64 - N + 1);
    assert_int_equal(llmrun_session_room(s), 0);
    g.max_tokens = 3;
    assert_int_equal(llmrun_generate(s, m.tokens, N, &g, &r, &err), LLMRUN_OK);
    assert_int_equal(r.finish, LLMRUN_FINISH_LENGTH);
    assert_int_equal(r.n_reused, N - 1);
    llmrun_session_close(s);
    llmrun_engine_close(m.e);
}

/* Where the state may have been changed, the session begins anew.                                                    */
static void check_cancel(model *m) {
    llmrun_session *s = open_session(m->e);
    llmrun_error err;
    float logits[N_VOCAB];
    eval(s, m->tokens, 10, NULL);
    llmrun_session_cancel(s);
    assert_int_equal(llmrun_session_eval(s, m->tokens + 10, 5, logits, &err), LLMRUN_CANCELLED);
    int32_t at = llmrun_session_position(s);
    assert_int_equal(at, m->recurrent ? 0 : 10);
    eval(s, m->tokens + at, N - at, logits);
    same(logits, m->want);
    llmrun_session_close(s);
}

/* ---- threads ---- */

typedef struct worker {
    llmrun_session *s;
    const int32_t *tokens;
    float logits[N_VOCAB];
    llmrun_status status;
} worker;

static void *work(void *arg) {
    worker *w = arg;
    for (int i = 0; i < N && !w->status; i += 5) w->status = llmrun_session_eval(w->s, w->tokens + i, 5, w->logits, NULL);
    return NULL;
}

static void two_threads_share_an_engine(void **state) {
    (void)state;
    model m;
    open_model(&m, models[0], 2);
    worker w[2] = {{.s = open_session(m.e), .tokens = m.tokens}, {.s = open_session(m.e), .tokens = m.tokens}};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].status, LLMRUN_OK);
        same(w[i].logits, m.want);
        llmrun_session_close(w[i].s);
    }
    llmrun_engine_close(m.e);
}

static void thread_count_changes_no_bit(void **state) {
    (void)state;
    float first[N_VOCAB], logits[N_VOCAB];
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = 3 + i;
    for (int n = 1; n <= 4; n++) {
        llmrun_engine *e = open_engine(models[2], 1, "f16", n);
        llmrun_session *s = open_session(e);
        eval(s, tokens, N, n == 1 ? first : logits);
        if (n > 1) identical(logits, first);
        llmrun_session_close(s);
        llmrun_engine_close(e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        { "chunks_agree", every_model, NULL, NULL, &(on_models){ 1, check_chunks } },
        { "rewinds", every_model, NULL, NULL, &(on_models){ 1, check_rewind } },
        { "syncs", every_model, NULL, NULL, &(on_models){ 1, check_sync } },
        { "copies", every_model, NULL, NULL, &(on_models){ 2, check_copy } },
        { "batches", every_model, NULL, NULL, &(on_models){ 4, check_batch } },
        { "saves", every_model, NULL, NULL, &(on_models){ 1, check_save } },
        { "cancel_leaves_sessions_sound", every_model, NULL, NULL, &(on_models){ 1, check_cancel } },
        cmocka_unit_test(window_refuses_far_rewind),
        cmocka_unit_test(foreign_file_is_refused),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(full_context_ends),
        cmocka_unit_test(two_threads_share_an_engine),
        cmocka_unit_test(thread_count_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
