/* The forward pass: embed, layers, norm, head.  One pass serves every family, format, batch and device; what differs is
 * data.  It walks the plan's groups in order, brings the activations to the place of each, and queues ops there; every
 * buffer is a region of the plan.                                                                                     */
#include "runtime/forward.h"

#include <math.h>
#include <string.h>

#include "runtime/forward_layer.h"
#include "runtime/stream.h"

static lr_place *place(const lr_work *w, int index) {
    return index == LR_PLACE_HOST ? &w->e->host : &w->e->gpus[index];
}

static int32_t count_of(const lr_pass *p, int32_t session) { return p->counts ? p->counts[session] : 1; }

/* ---- the header of a pass: what ops read beside activations and weights ---- */

/* Angles in double: positions beyond 2^16 keep their accuracy.  One table after the other.                           */
static void fill_cos_sin(lr_work *w, float *out) {
    const lr_hparams *h = &w->e->binding.hparams;
    size_t half = (size_t)h->n_rot / 2, n = (size_t)w->p->n * (size_t)h->n_rot * (size_t)h->n_ropes;
    if (w->angles) {
        memcpy(out, w->angles, n * sizeof *out);
        return;
    }
    w->angles = out;
    for (int32_t r = 0; r < h->n_ropes; r++)
        for (int32_t i = 0; i < w->p->n_sessions; i++)
            for (int32_t t = 0; t < count_of(w->p, i); t++)
                for (size_t j = 0; j < half; j++) {
                    double angle = (double)(w->p->sessions[i]->position + t) * w->e->rope_freq[(size_t)r * half + j];
                    *out++ = (float)cos(angle) * h->rope[r].attn_factor;
                    *out++ = (float)sin(angle) * h->rope[r].attn_factor;
                }
}

static void fill_positions(const lr_work *w, int32_t *out) {
    for (int32_t i = 0; i < w->p->n_sessions; i++)
        for (int32_t t = 0; t < count_of(w->p, i); t++) *out++ = w->p->sessions[i]->position + t;
}

/* Where a pass computes a group.                                                                                       */
static int group_place(const lr_work *w, int32_t layer, lr_group g) {
    const lr_plan *plan = &w->e->plan;
    size_t i = (size_t)layer * LR_N_GROUPS + (size_t)g;
    if (plan->place[i] != LR_PLACE_HOST) return plan->place[i];
    return w->streams ? plan->stream[i] : LR_PLACE_HOST;
}

static void fill_seqs(const lr_work *w, int32_t layer, lr_seq *out) {
    const lr_plan *plan = &w->e->plan;
    int at = group_place(w, layer, LR_GROUP_ATTN);
    bool streamed = at != LR_PLACE_HOST && plan->place[layer * LR_N_GROUPS + LR_GROUP_ATTN] == LR_PLACE_HOST;
    int turn = (place(w, at)->kv_turn + w->e->seq_list[layer]) & 1; /* streamed caches take the slots in turn */
    int64_t row = 0;
    for (int32_t i = 0; i < w->p->n_sessions; i++) {
        const llmrun_session *s = w->p->sessions[i];
        out[i] = (lr_seq){ .row = row, .n = count_of(w->p, i), .position = s->position, .kv = lr_session_kv(s, layer) };
        if (streamed) out[i].kv.base = lr_place_at(place(w, at), plan->gpus[at].kv_slot[turn]);
        row += count_of(w->p, i);
    }
}

/* The layer's sequences where its attention is computed: of a GPU the header had them, of the CPU they are written now. */
static const lr_seq *seqs_of(const lr_work *w, const lr_place *p, int32_t layer) {
    lr_seq *seqs = lr_place_at(p, p->buffers->seqs);
    if (p->backend) return seqs + (size_t)w->e->seq_list[layer] * (size_t)w->e->plan.n_sessions;
    fill_seqs(w, layer, seqs);
    return seqs;
}

/* seqs of its layers, ids, angles: one copy.                                                                           */
static llmrun_status send_header(lr_work *w, int gpu) {
    lr_place *p = place(w, gpu);
    const lr_plan_gpu *plan = p->plan;
    const lr_hparams *h = &w->e->binding.hparams;
    if (!plan->header_bytes) return LLMRUN_OK;
    int t = p->header_turn ^= 1;
    uint8_t *header = p->pinned + plan->pinned_header[t];
    LR_TRY(p->backend->event_sync(p->device, p->header_sent[t], w->err));
    for (int32_t layer = 0; layer < h->n_layers; layer++)
        if (group_place(w, layer, LR_GROUP_ATTN) == gpu)
            fill_seqs(w, layer, (lr_seq *)(header + p->buffers->seqs - plan->header) +
                                    (size_t)w->e->seq_list[layer] * (size_t)w->e->plan.n_sessions);
    if (w->e->plan.embed_place == gpu) {
        int32_t *ids = (int32_t *)(header + p->buffers->ids - plan->header);
        memcpy(ids, w->p->ids, (size_t)w->p->n * sizeof *ids);
        if (h->n_pos) fill_positions(w, ids + w->e->plan.n_batch);
    }
    size_t bytes = plan->header_bytes;
    if (h->n_rot) { /* the last of it, and as long as the pass */
        fill_cos_sin(w, (float *)(header + p->buffers->cos_sin - plan->header));
        bytes = p->buffers->cos_sin - plan->header + (size_t)w->p->n * (size_t)h->n_rot * (size_t)h->n_ropes * sizeof(float);
    }
    LR_TRY(p->backend->copy_in(p->device, LR_QUEUE_COMPUTE, lr_place_at(p, plan->header), 0, header, 0, bytes, 1, w->err));
    return p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->header_sent[t], w->err);
}

/* ---- bringing activations from place to place ---- */

/* What crosses: the residual stream, or what a layer's DOWN group reads besides: the hidden values between w_up and
 * w_down, or the normed rows that experts read.                                                                       */
typedef enum channel { X, HIDDEN, NORMED } channel;

static float *channel_rows(const lr_place *p, channel c) {
    return lr_layer_floats(p, c == X ? p->buffers->x : c == HIDDEN ? p->buffers->gate : p->buffers->y);
}

static llmrun_status move(const lr_work *w, channel c, int from, int to, int64_t row) {
    if (from == to) return LLMRUN_OK;
    const lr_hparams *h = &w->e->binding.hparams;
    lr_place *a = place(w, from), *b = place(w, to);
    size_t cols = (size_t)(c == HIDDEN ? h->hidden_dim : h->dim);
    size_t skip = (size_t)row * cols, bytes = (size_t)(w->p->n - row) * cols * sizeof(float);
    float *src = channel_rows(a, c) + skip, *dst = channel_rows(b, c) + skip;
    if (a->backend && b->backend) {
        LR_TRY(a->backend->event_record(a->device, LR_QUEUE_COMPUTE, a->ready, w->err));
        LR_TRY(b->backend->event_wait(b->device, LR_QUEUE_COMPUTE, a->ready, w->err));
        LR_TRY(b->backend->copy_peer(b->device, LR_QUEUE_COMPUTE, dst, a->device, src, bytes, w->err));
        LR_TRY(b->backend->event_record(b->device, LR_QUEUE_COMPUTE, b->taken, w->err));
        return a->backend->event_wait(a->device, LR_QUEUE_COMPUTE, b->taken, w->err);
    }
    lr_place *p = a->backend ? a : b;
    uint8_t *pinned = p->pinned + (c == X ? p->plan->pinned_x : p->plan->pinned_hidden);
    lr_event *sent = c == X ? p->x_sent : p->hidden_sent;
    if (p == b) {
        LR_TRY(p->backend->event_sync(p->device, sent, w->err));
        memcpy(pinned, src, bytes);
        LR_TRY(p->backend->copy_in(p->device, LR_QUEUE_COMPUTE, dst, 0, pinned, 0, bytes, 1, w->err));
        return p->backend->event_record(p->device, LR_QUEUE_COMPUTE, sent, w->err);
    }
    LR_TRY(p->backend->copy_out(p->device, LR_QUEUE_COMPUTE, pinned, 0, src, 0, bytes, 1, w->err));
    LR_TRY(p->backend->event_record(p->device, LR_QUEUE_COMPUTE, sent, w->err));
    LR_TRY(p->backend->event_sync(p->device, sent, w->err));
    memcpy(dst, pinned, bytes);
    return LLMRUN_OK;
}

/* ---- the groups of a layer ---- */

/* Format of w_down's input at a place; needs no weights, so it also serves a group that is still to be streamed.       */
static lr_act_format down_format(const lr_work *w, int at, int32_t layer) {
    const lr_place *p = place(w, at);
    return lr_layer_input_format(p, &w->e->layers[layer].w_down, w->p->n);
}

static llmrun_status run_group(lr_work *w, int32_t layer, lr_group g) {
    bool parallel = w->e->binding.hparams.parallel;
    if (parallel && g != LR_GROUP_ATTN) return LLMRUN_OK; /* done with attention */
    int at = group_place(w, layer, g);
    lr_place *p = place(w, at);
    lr_layer l = w->e->layers[layer];
    bool streamed = at != LR_PLACE_HOST && w->e->plan.place[layer * LR_N_GROUPS + g] == LR_PLACE_HOST;
    bool caches = streamed && g == LR_GROUP_ATTN;
    lr_stream_kv kv = { 0 };
    if (caches)
        kv = (lr_stream_kv){ .layer = lr_session_kv(w->p->sessions[0], layer), .turn = p->kv_turn,
                             .position = w->p->sessions[0]->position };
    int before = w->x_at, up_at = group_place(w, layer, LR_GROUP_GATE_UP), down_at = group_place(w, layer, LR_GROUP_DOWN);
    LR_TRY(move(w, X, before, at, 0));
    w->x_at = at;
    if (streamed && g == LR_GROUP_GATE_UP && !l.experts.gate)
        return lr_layer_streamed_gate_up(w, p, layer, &l, at == down_at ? down_format(w, at, layer) : LR_ACT_F32);
    if (streamed) LR_TRY(lr_stream_fetch(w->e, p, layer, (lr_stream_part)g, &l, caches ? &kv : NULL, w->err));
    switch (g) {
    case LR_GROUP_ATTN:
        LR_TRY(lr_layer_attention(w, p, layer, &l, seqs_of(w, p, layer)));
        if (parallel) LR_TRY(lr_layer_gate_up(w, p, &l, down_format(w, at, layer)));
        if (parallel) LR_TRY(lr_layer_down(w, p, &l, down_format(w, at, layer), true));
        break;
    case LR_GROUP_GATE_UP:
        if (l.experts.gate) LR_TRY(lr_layer_shared(w, p, &l));
        else LR_TRY(lr_layer_gate_up(w, p, &l, at == down_at ? down_format(w, at, layer) : LR_ACT_F32));
        break;
    default:
        LR_TRY(move(w, l.experts.gate ? NORMED : HIDDEN, up_at, at, 0));
        if (l.experts.gate) LR_TRY(lr_layer_experts_run(w, p, &l));
        else LR_TRY(lr_layer_down(w, p, &l, down_format(w, at, layer), up_at == at));
    }
    if (streamed) LR_TRY(lr_stream_release(p, (lr_stream_part)g, w->err));
    return caches ? lr_stream_return_kv(p, &kv, w->p->n, w->err) : LLMRUN_OK;
}

/* ---- the ends ---- */

static llmrun_status embed(lr_work *w) {
    const lr_hparams *h = &w->e->binding.hparams;
    int at = w->e->plan.embed_place;
    lr_place *p = place(w, at);
    bool host = at == LR_PLACE_HOST;
    int32_t *ids = h->n_pos || !host ? lr_place_at(p, p->buffers->ids) : NULL; /* host: positions alone */
    lr_embed_args a = { .x = lr_layer_floats(p, p->buffers->x), .ids = host ? w->p->ids : ids, .table = w->e->embed,
                        .scale = h->embed_scale / h->residual_scale };
    w->x_at = at;
    LR_TRY(p->ops->embed(p->device, &a, w->p->n, w->err));
    if (!h->n_pos) return LLMRUN_OK;
    if (host) fill_positions(w, ids);
    a.ids = host ? ids : ids + w->e->plan.n_batch;
    a.table = w->e->positions;
    a.accumulate = true;
    return p->ops->embed(p->device, &a, w->p->n, w->err);
}

/* Norm and head of rows [row, row + n).                                                                                */
static llmrun_status head_rows(const lr_work *w, lr_place *p, int64_t row, int64_t n, float *logits) {
    const lr_hparams *h = &w->e->binding.hparams;
    lr_input in = { .x = lr_layer_floats(p, p->buffers->x) + row * h->dim, .norm = w->e->out_norm,
                 .bias = w->e->b_out_norm, .y = lr_layer_floats(p, p->buffers->y), .n = n, .cols = h->dim };
    const lr_matrix *m = &w->e->head;
    return lr_layer_products(w, p, &in, &m, &logits, &w->e->b_head, 1, false);
}

static void cap(const lr_work *w, float *logits, int64_t rows) {
    const lr_hparams *h = &w->e->binding.hparams;
    lr_softcap_args a = { .x = logits, .dim = h->n_vocab, .cap = h->logit_softcap };
    if (h->logit_softcap > 0) lr_threads_run(w->e->threads, w->e->ops.softcap, &a, rows, 1);
}

static llmrun_status head(lr_work *w, bool recorded) {
    const lr_plan *plan = &w->e->plan;
    int at = plan->head_place;
    lr_place *p = place(w, at);
    int64_t row = w->p->logits_from, n = w->p->n, step = p->backend ? plan->logit_rows : n;
    size_t row_bytes = (size_t)w->e->binding.hparams.n_vocab * sizeof(float);
    LR_TRY(move(w, X, w->x_at, at, row));
    for (float *to = w->p->logits; row < n; row += step) {
        int64_t rows = lr_min(step, n - row);
        float *logits = p->backend ? lr_layer_floats(p, p->buffers->logits) : to;
        if (!recorded) LR_TRY(head_rows(w, p, row, rows, logits));
        if (p->backend) {
            uint8_t *pinned = p->pinned + p->plan->pinned_logits;
            LR_TRY(p->backend->copy_out(p->device, LR_QUEUE_COMPUTE, pinned, 0, logits, 0, (size_t)rows * row_bytes, 1,
                                     w->err));
            LR_TRY(p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->x_sent, w->err));
            LR_TRY(p->backend->event_sync(p->device, p->x_sent, w->err));
            memcpy(to, pinned, (size_t)rows * row_bytes);
        }
        cap(w, to, rows);
        to += (size_t)rows * (size_t)w->e->binding.hparams.n_vocab;
    }
    return LLMRUN_OK;
}

static bool cancelled(const lr_pass *p) {
    for (int32_t i = 0; i < p->n_sessions; i++)
        if (atomic_load_explicit(&p->sessions[i]->cancelled, memory_order_relaxed)) return true;
    return false;
}

/* ---- recorded steps: step s is group s % LR_N_GROUPS of layer s / LR_N_GROUPS; the last is the head ---- */

static int32_t head_step(const llmrun_engine *e) { return e->binding.hparams.n_layers * LR_N_GROUPS; }

static int step_place(const lr_work *w, int32_t step) {
    if (step == head_step(w->e)) return w->e->plan.head_place;
    return group_place(w, step / LR_N_GROUPS, (lr_group)(step % LR_N_GROUPS));
}

static lr_work work_of(llmrun_engine *e, const lr_pass *p, llmrun_error *err) {
    lr_work w = { .e = e, .p = p, .err = err };
    w.shape = (lr_pass_shape){ .n = p->n, .n_seqs = p->n_sessions, .n_ctx = e->plan.n_ctx };
    for (int32_t i = 0; i < p->n_sessions; i++) {
        w.shape.most_rows = lr_max(w.shape.most_rows, count_of(p, i));
        w.shape.context = (int32_t)lr_max(w.shape.context, p->sessions[i]->position + count_of(p, i));
    }
    w.streams = e->plan.stream_from > 0 && p->n >= e->plan.stream_from && p->n_sessions == 1;
    return w;
}

/* The recording that starts at this step of this pass, or NULL.                                                        */
static const lr_recording *recording_at(const lr_work *w, int32_t step) {
    if (w->p->n != 1 || w->p->sessions[0]->watch) return NULL;
    for (int32_t i = 0; i < w->e->n_recordings; i++)
        if (w->e->recordings[i].first == step) return &w->e->recordings[i];
    return NULL;
}

static llmrun_status record(lr_work *w, lr_place *p, lr_recording *r) {
    LR_TRY(p->backend->graph_begin(p->device, w->err));
    llmrun_status status = LLMRUN_OK;
    for (int32_t s = r->first; s <= r->last && !status; s++)
        status = s == head_step(w->e) ? head_rows(w, p, 0, 1, lr_layer_floats(p, p->buffers->logits))
                                      : run_group(w, s / LR_N_GROUPS, (lr_group)(s % LR_N_GROUPS));
    llmrun_status ended = p->backend->graph_end(p->device, &r->graph, status ? NULL : w->err);
    return status ? status : ended;
}

llmrun_status lr_forward_record(llmrun_engine *e, llmrun_error *err) {
    int32_t ids[1] = { 0 }, last = head_step(e);
    llmrun_session session = { .engine = e };
    lr_pass pass = { .ids = ids, .n = 1, .sessions = (llmrun_session *const[]){ &session }, .n_sessions = 1 };
    lr_work w = work_of(e, &pass, err);
    if (w.streams) return LLMRUN_OK; /* a recording would keep what the host had sent then */
    for (int32_t first = 0, step; first <= last; first = step) {
        int at = step_place(&w, first);
        for (step = first + 1; step <= last && step_place(&w, step) == at; step++) {}
        if (at == LR_PLACE_HOST || !place(&w, at)->backend->graph_begin || e->n_recordings == LR_MAX_RECORDINGS) continue;
        lr_recording *r = &e->recordings[e->n_recordings++];
        *r = (lr_recording){ .first = first, .last = step - 1, .place = at };
        w.x_at = at;
        LR_TRY(record(&w, place(&w, at), r));
    }
    return LLMRUN_OK;
}

/* ---- the pass ---- */

/* Shows x to whoever watches the session (llmrun_session_watch), and goes on with what they leave there.               */
static llmrun_status watch(const lr_work *w, int32_t layer) {
    const llmrun_session *s = w->p->sessions[0];
    lr_place *p = place(w, w->x_at);
    float *x = lr_place_at(p, p->buffers->x), *seen = p->backend ? s->watched : x;
    int32_t dim = w->e->binding.hparams.dim;
    size_t bytes = (size_t)w->p->n * (size_t)dim * sizeof *x;
    if (!s->watch || !w->p->counts) return LLMRUN_OK;
    if (p->backend) LR_TRY(lr_place_read(p, seen, x, bytes, w->err));
    s->watch(s->watch_user, layer, seen, w->p->n, dim);
    return p->backend ? lr_place_write(p, x, seen, bytes, w->err) : LLMRUN_OK;
}

static llmrun_status run_pass(lr_work *w) {
    llmrun_engine *e = w->e;
    int32_t n_steps = head_step(e);
    bool wants_logits = w->p->logits_from < w->p->n, head_done = false;
    for (int gpu = 0; gpu < e->plan.n_gpus && !w->streams; gpu++) LR_TRY(lr_stream_drain(&e->gpus[gpu], w->err));
    /* Without attention on the host there is no such buffer, whose offset is 0 then. */
    if (e->host.buffers->cos_sin > 0) fill_cos_sin(w, lr_layer_floats(&e->host, e->host.buffers->cos_sin));
    for (int gpu = 0; gpu < e->plan.n_gpus; gpu++) LR_TRY(send_header(w, gpu));
    LR_TRY(embed(w));
    LR_TRY(watch(w, -1));
    for (int32_t step = 0; step < n_steps; step++) {
        if (cancelled(w->p)) return lr_fail(w->err, LLMRUN_CANCELLED, "eval: cancelled");
        if (e->plan.disk_bytes > 0 && step % LR_N_GROUPS == 0) lr_stream_read_ahead(e, step / LR_N_GROUPS + 1);
        const lr_recording *r = recording_at(w, step);
        if (!r) {
            LR_TRY(run_group(w, step / LR_N_GROUPS, (lr_group)(step % LR_N_GROUPS)));
            if (step % LR_N_GROUPS == LR_N_GROUPS - 1) LR_TRY(watch(w, step / LR_N_GROUPS));
            continue;
        }
        lr_place *p = place(w, r->place);
        LR_TRY(move(w, X, w->x_at, r->place, 0));
        w->x_at = r->place;
        LR_TRY(p->backend->graph_launch(p->device, r->graph, w->err));
        head_done = r->last == n_steps;
        step = r->last;
    }
    if (wants_logits) LR_TRY(head(w, head_done));
    /* The head's GPU has waited for the others, but only they know whether what they sent was right. */
    bool settles = wants_logits && (e->plan.n_gpus > 1 || w->streams);
    return settles ? lr_engine_settle(e, w->err) : LLMRUN_OK;
}

/* After a failure nothing may be on its way to memory that the next pass writes; what earlier passes sent counts.      */
static void settle(llmrun_engine *e) {
    for (int gpu = 0; gpu < e->plan.n_gpus; gpu++) {
        lr_place_sync(&e->gpus[gpu], NULL);
        lr_stream_drain(&e->gpus[gpu], NULL);
    }
}

llmrun_status lr_forward(llmrun_engine *e, const lr_pass *p, llmrun_error *err) {
    lr_work w = work_of(e, p, err);
    llmrun_status status = run_pass(&w);
    if (status) settle(e);
    return status;
}
