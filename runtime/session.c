/* Sessions: opening, appending tokens, rewinding, copying.  Saving is in session_file.c.                              */
#include "runtime/session.h"

#include <string.h>

#include "runtime/forward.h"

lr_place *lr_session_place(const llmrun_session *s, int32_t layer) {
    return lr_engine_place(s->engine, s->engine->plan.place[(size_t)layer * LR_N_GROUPS + LR_GROUP_ATTN]);
}

lr_kv_layer lr_session_kv(const llmrun_session *s, int32_t layer) {
    const llmrun_engine *e = s->engine;
    const lr_hparams *h = &e->binding.hparams;
    const lr_plan *p = &e->plan;
    size_t at = (size_t)s->slot * (size_t)h->n_layers + (size_t)layer;
    return (lr_kv_layer){ .base = lr_session_place(s, layer)->arena + p->kv_offset[at],
                          .page_bytes = p->kv_page_bytes[layer],
                          .page_slots = p->kv_slots[layer],
                          .n_slots = p->kv_slots[layer],
                          .n_kv_heads = h->n_kv_heads,
                          .head_dim = h->head_dim,
                          .format = p->kv,
                          .v_in_k = h->kv_rank > 0 };
}

lr_kv_run lr_session_run(const llmrun_session *s, int32_t layer, int32_t head, int which, int32_t written) {
    lr_kv_layer kv = lr_session_kv(s, layer);
    if (lr_layer_cache(&s->engine->binding.hparams, layer) == LR_CACHE_STATE) /* all of it, once */
        return (lr_kv_run){ .quants = kv.base, .quants_bytes = written && !head && !which ? (size_t)kv.page_bytes : 0 };
    const lr_format_traits *t = &lr_formats[kv.format];
    size_t rows = kv.v_in_k && which ? 0 : (size_t)lr_min(written, kv.n_slots), blocks = (size_t)(kv.head_dim / t->block);
    lr_kv_run run = { .quants_bytes = rows * blocks * (size_t)t->quant_bytes,
                      .scales_bytes = rows * blocks * (size_t)t->scale_bytes };
    lr_kv_row(&kv, 0, head, which, &run.quants, &run.scales);
    return run;
}

llmrun_status llmrun_session_open(llmrun_session **out, llmrun_engine *e, llmrun_error *err) {
    if (!out) return lr_fail(err, LLMRUN_ARG, "session: out is NULL");
    *out = NULL;
    if (!e) return lr_fail(err, LLMRUN_ARG, "session: engine is NULL");
    int32_t slot = 0, n = e->plan.n_sessions;
    pthread_mutex_lock(&e->lock);
    while (slot < n && e->slot_taken[slot]) slot++;
    if (slot < n) e->slot_taken[slot] = true;
    pthread_mutex_unlock(&e->lock);
    if (slot == n) return lr_fail(err, LLMRUN_ARG, "session: all %d planned sessions are open; raise n_sessions", n);
    llmrun_session *s = lr_zalloc(1, sizeof *s);
    if (!s) {
        pthread_mutex_lock(&e->lock);
        e->slot_taken[slot] = false;
        pthread_mutex_unlock(&e->lock);
        return lr_fail_nomem(err, "session", sizeof *s);
    }
    s->engine = e;
    s->slot = slot;
    s->tokens = (int32_t *)(e->arena + e->plan.buffers.tokens) + (size_t)slot * (size_t)e->plan.n_ctx;
    atomic_init(&s->cancelled, false);
    *out = s;
    return LLMRUN_OK;
}

void llmrun_session_close(llmrun_session *s) {
    if (!s) return;
    pthread_mutex_lock(&s->engine->lock);
    s->engine->slot_taken[s->slot] = false;
    pthread_mutex_unlock(&s->engine->lock);
    lr_free(s->watched);
    lr_free(s);
}

llmrun_status llmrun_session_watch(llmrun_session *s, llmrun_watch watch, void *user, llmrun_error *err) {
    if (!s) return lr_fail(err, LLMRUN_ARG, "session: expected one to watch");
    size_t bytes = (size_t)s->engine->plan.n_batch * (size_t)s->engine->binding.hparams.dim * sizeof *s->watched;
    if (watch && s->engine->plan.n_gpus && !s->watched) s->watched = lr_alloc(bytes);
    if (watch && s->engine->plan.n_gpus && !s->watched) return lr_fail_nomem(err, "session", bytes);
    s->watch = watch;
    s->watch_user = user;
    return LLMRUN_OK;
}

int32_t llmrun_session_position(const llmrun_session *s) { return s ? s->position : 0; }
int32_t llmrun_session_room(const llmrun_session *s) { return s ? s->engine->plan.n_ctx - s->position : 0; }

void llmrun_session_cancel(llmrun_session *s) {
    if (s) atomic_store(&s->cancelled, true);
}

static llmrun_status check_ids(const llmrun_engine *e, const int32_t *tokens, int32_t n, llmrun_error *err) {
    int32_t n_vocab = e->binding.hparams.n_vocab;
    for (int32_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return lr_fail(err, LLMRUN_ARG, "eval: token %d of %d: expected an id in 0..%d, got %d", i, n, n_vocab - 1,
                           tokens[i]);
    return LLMRUN_OK;
}

static llmrun_status check_append(const llmrun_session *s, const int32_t *tokens, int32_t n, llmrun_error *err) {
    if (!s || !tokens || n < 1) return lr_fail(err, LLMRUN_ARG, "eval: expected a session and at least one token");
    if (n > llmrun_session_room(s))
        return lr_fail(err, LLMRUN_CONTEXT, "eval: %d tokens after %d do not fit the context of %d", n, s->position,
                       s->engine->plan.n_ctx);
    return check_ids(s->engine, tokens, n, err);
}

/* A model file that shrank while mapped would end the process with SIGBUS: look before each call.                     */
static llmrun_status check_files(const llmrun_engine *e, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < e->checkpoint.n_files && !status; i++) status = lr_map_check(&e->checkpoint.files[i], err);
    return status;
}

/* Are there layers whose state a pass changes for good?  A session whose pass failed then begins anew.               */
static bool has_state(const llmrun_engine *e) { return e->binding.hparams.delta_v_heads > 0; }

/* The pass wrote these tokens behind the position: make them part of the sequence.                                    */
static void advance(llmrun_session *s, const int32_t *tokens, int32_t n) {
    memcpy(s->tokens + s->position, tokens, (size_t)n * sizeof *tokens);
    s->position += n;
    s->written = (int32_t)lr_max(s->written, s->position);
}

llmrun_status lr_session_append(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits, bool all,
                                llmrun_error *err) {
    llmrun_status status = check_append(s, tokens, n, err);
    if (!status) status = check_files(s->engine, err);
    if (status) return status;
    llmrun_engine *e = s->engine;
    int32_t start = s->position;
    pthread_mutex_lock(&e->lock);
    for (int32_t done = 0; done < n && !status;) {
        int32_t chunk = (int32_t)lr_min(n - done, e->plan.n_batch);
        bool last = done + chunk == n;
        lr_pass pass = { .ids = tokens + done,
                         .n = chunk,
                         .sessions = &s,
                         .counts = &chunk,
                         .n_sessions = 1,
                         .logits_from = chunk,
                         .logits = logits };
        if (logits && all) {
            pass.logits_from = 0;
            pass.logits = logits + (size_t)done * (size_t)e->binding.hparams.n_vocab;
        } else if (logits && last) {
            pass.logits_from = chunk - 1;
        }
        status = lr_forward(e, &pass, err);
        if (!status) advance(s, tokens + done, chunk);
        done += chunk;
    }
    if (!status && !logits) status = lr_engine_settle(e, err);
    pthread_mutex_unlock(&e->lock);
    if (status) {
        s->position = has_state(e) ? 0 : start;
        atomic_store(&s->cancelled, false);
    }
    return status;
}

llmrun_status llmrun_session_eval(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits,
                                  llmrun_error *err) {
    return lr_session_append(s, tokens, n, logits, false, err);
}

llmrun_status llmrun_session_eval_all(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits,
                                      llmrun_error *err) {
    if (!logits) return lr_fail(err, LLMRUN_ARG, "eval: logits is NULL");
    return lr_session_append(s, tokens, n, logits, true, err);
}

llmrun_status llmrun_batch_eval(llmrun_session *const *s, const int32_t *tokens, int32_t n, float *logits,
                                llmrun_error *err) {
    if (!s || !tokens || n < 1 || !s[0]) return lr_fail(err, LLMRUN_ARG, "batch: expected at least one session");
    llmrun_engine *e = s[0]->engine;
    if (n > e->plan.n_sessions)
        return lr_fail(err, LLMRUN_ARG, "batch: %d sessions, planned for %d", n, e->plan.n_sessions);
    for (int32_t i = 0; i < n; i++) {
        llmrun_status status = check_append(s[i], tokens + i, 1, err);
        if (status) return status;
        if (s[i]->engine != e) return lr_fail(err, LLMRUN_ARG, "batch: sessions of different engines");
        for (int32_t j = 0; j < i; j++)
            if (s[j] == s[i]) return lr_fail(err, LLMRUN_ARG, "batch: session %d appears twice", j);
    }
    llmrun_status status = check_files(e, err);
    if (status) return status;
    int32_t done = 0;
    pthread_mutex_lock(&e->lock);
    while (done < n && !status) {
        int32_t k = (int32_t)lr_min(n - done, e->plan.n_batch);
        lr_pass pass = { .ids = tokens + done,
                         .n = k,
                         .sessions = s + done,
                         .counts = NULL,
                         .n_sessions = k,
                         .logits_from = logits ? 0 : k,
                         .logits = logits ? logits + (size_t)done * (size_t)e->binding.hparams.n_vocab : NULL };
        status = lr_forward(e, &pass, err);
        done += k;
    }
    if (!status && !logits) status = lr_engine_settle(e, err);
    for (int32_t i = 0; i < n && !status; i++) advance(s[i], tokens + i, 1);
    pthread_mutex_unlock(&e->lock);
    for (int32_t i = 0; i < n && status; i++) {
        if (has_state(e)) s[i]->position = 0;
        atomic_store(&s[i]->cancelled, false);
    }
    return status;
}

/* A ring still holds what position needs while nothing newer has overwritten it; a state is that of the last one.      */
static bool can_rewind(const llmrun_session *s, int32_t position) {
    const llmrun_engine *e = s->engine;
    if (position > 0 && position < s->position && has_state(e)) return false;
    for (int32_t l = 0; position > 0 && l < e->binding.hparams.n_layers; l++) {
        int32_t window = e->layers[l].window, slots = e->plan.kv_slots[l];
        if (window && s->written > slots && position - window < s->written - slots) return false;
    }
    return true;
}

llmrun_status llmrun_session_rewind(llmrun_session *s, int32_t position, llmrun_error *err) {
    if (!s || position < 0 || position > s->position)
        return lr_fail(err, LLMRUN_ARG, "rewind: expected a position in 0..%d, got %d", s ? s->position : 0, position);
    if (!can_rewind(s, position))
        return lr_fail(err, LLMRUN_ARG, "rewind: the %s no longer holds position %d; rewind to 0",
                       has_state(s->engine) ? "recurrent state" : "sliding window", position);
    s->position = position;
    if (position == 0) s->written = 0;
    return LLMRUN_OK;
}

llmrun_status llmrun_session_sync(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits, int32_t *n_reused,
                                  llmrun_error *err) {
    if (!s || !tokens || n < 1) return lr_fail(err, LLMRUN_ARG, "sync: expected a session and at least one token");
    if (n > s->engine->plan.n_ctx)
        return lr_fail(err, LLMRUN_CONTEXT, "prompt has %d tokens, the context holds %d", n, s->engine->plan.n_ctx);
    llmrun_status status = check_ids(s->engine, tokens, n, err);
    if (status) return status;
    int32_t same = 0, most = (int32_t)lr_min(s->position, n - 1);
    while (same < most && s->tokens[same] == tokens[same]) same++;
    if (!can_rewind(s, same)) same = 0;
    s->position = same;
    if (same == 0) s->written = 0;
    status = lr_session_append(s, tokens + same, n - same, logits, false, err);
    if (!status && n_reused) *n_reused = same;
    return status;
}

llmrun_status llmrun_session_copy(llmrun_session *dst, const llmrun_session *src, llmrun_error *err) {
    if (!dst || !src || dst->engine != src->engine || dst == src)
        return lr_fail(err, LLMRUN_ARG, "copy: expected two sessions of one engine");
    llmrun_engine *e = dst->engine;
    pthread_mutex_lock(&e->lock);
    const lr_hparams *h = &e->binding.hparams;
    llmrun_status status = LLMRUN_OK;
    for (int32_t l = 0; l < h->n_layers; l++)
        for (int32_t i = 0; i < 2 * h->n_kv_heads && !status; i++) {
            lr_place *p = lr_session_place(src, l);
            lr_kv_run to = lr_session_run(dst, l, i / 2, i % 2, src->written),
                      from = lr_session_run(src, l, i / 2, i % 2, src->written);
            status = lr_place_copy(p, to.quants, from.quants, from.quants_bytes, err);
            if (from.scales && !status) status = lr_place_copy(p, to.scales, from.scales, from.scales_bytes, err);
        }
    if (!status) status = lr_engine_settle(e, err);
    if (!status) {
        memcpy(dst->tokens, src->tokens, (size_t)src->position * sizeof *src->tokens);
        dst->position = src->position;
        dst->written = src->written;
    }
    pthread_mutex_unlock(&e->lock);
    return status;
}
