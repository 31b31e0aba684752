/* The forward pass: embed, layers, norm, head.  One pass serves every family, format, batch and device; what differs is
 * data.  It walks the plan's groups in order, brings the activations to the place of each, and queues ops there; every
 * buffer is a region of the plan.                                                                                     */
#include "runtime/forward.h"

#include <math.h>
#include <string.h>

#include "runtime/stream.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        llmrun_status try_status = (call);                                                                             \
        if (try_status) return try_status;                                                                             \
    } while (0)

typedef struct work {
    llmrun_engine *e;
    const lr_pass *p;
    lr_pass_shape shape;
    bool streams;  /* this pass is long enough to send host groups to GPUs */
    int x_at;      /* place that holds x */
    llmrun_error *err;
} work;

static lr_place *place(const work *w, int index) {
    return index == LR_PLACE_HOST ? &w->e->host : &w->e->gpus[index];
}

static float *floats(const lr_place *p, uint64_t offset) { return lr_place_at(p, offset); }

static int32_t count_of(const lr_pass *p, int32_t session) { return p->counts ? p->counts[session] : 1; }

/* ---- the header of a pass: what ops read beside activations and weights ---- */

/* Angles in double: positions beyond 2^16 keep their accuracy.                                                        */
static void fill_cos_sin(const work *w, float *out) {
    const lr_hparams *h = &w->e->binding.hparams;
    for (int32_t i = 0; i < w->p->n_sessions; i++)
        for (int32_t t = 0; t < count_of(w->p, i); t++)
            for (int32_t j = 0; j < h->n_rot / 2; j++) {
                double angle = (double)(w->p->sessions[i]->position + t) * w->e->rope_freq[j];
                *out++ = (float)cos(angle) * h->rope_attn_factor;
                *out++ = (float)sin(angle) * h->rope_attn_factor;
            }
}

/* Where a pass computes a group.                                                                                       */
static int group_place(const work *w, int32_t layer, lr_group g) {
    const lr_plan *plan = &w->e->plan;
    size_t i = (size_t)layer * LR_N_GROUPS + (size_t)g;
    if (plan->place[i] != LR_PLACE_HOST) return plan->place[i];
    return w->streams ? plan->stream[i] : LR_PLACE_HOST;
}

/* Which of the two slots a streamed layer's cache goes through.                                                        */
static int kv_turn(const work *w, int32_t layer) { return w->e->seq_list[layer] & 1; }

static void fill_seqs(const work *w, int32_t layer, lr_seq *out) {
    const lr_plan *plan = &w->e->plan;
    int at = group_place(w, layer, LR_GROUP_ATTN);
    bool streamed = at != LR_PLACE_HOST && plan->place[layer * LR_N_GROUPS + LR_GROUP_ATTN] == LR_PLACE_HOST;
    int64_t row = 0;
    for (int32_t i = 0; i < w->p->n_sessions; i++) {
        const llmrun_session *s = w->p->sessions[i];
        out[i] = (lr_seq){ .row = row, .n = count_of(w->p, i), .position = s->position, .kv = lr_session_kv(s, layer) };
        if (streamed) out[i].kv.base = lr_place_at(place(w, at), plan->gpus[at].kv_slot[kv_turn(w, layer)]);
        row += count_of(w->p, i);
    }
}

/* seqs of its layers, ids, angles: one copy.                                                                           */
static llmrun_status send_header(const work *w, int gpu) {
    lr_place *p = place(w, gpu);
    const lr_plan_gpu *plan = p->plan;
    const lr_hparams *h = &w->e->binding.hparams;
    if (!plan->header_bytes) return LLMRUN_OK;
    int t = p->header_turn ^= 1;
    uint8_t *header = p->pinned + plan->pinned_header[t];
    TRY(p->backend->event_sync(p->device, p->header_sent[t], w->err));
    for (int32_t layer = 0; layer < h->n_layers; layer++)
        if (group_place(w, layer, LR_GROUP_ATTN) == gpu)
            fill_seqs(w, layer, (lr_seq *)(header + p->buffers->seqs - plan->header) +
                                    (size_t)w->e->seq_list[layer] * (size_t)w->e->plan.n_sessions);
    if (w->e->plan.embed_place == gpu)
        memcpy(header + p->buffers->ids - plan->header, w->p->ids, (size_t)w->p->n * sizeof *w->p->ids);
    fill_cos_sin(w, (float *)(header + p->buffers->cos_sin - plan->header));
    size_t bytes = p->buffers->cos_sin - plan->header + (size_t)w->p->n * (size_t)h->n_rot * sizeof(float);
    TRY(p->backend->copy_in(p->device, LR_QUEUE_COMPUTE, lr_place_at(p, plan->header), 0, header, 0, bytes, 1, w->err));
    return p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->header_sent[t], w->err);
}

/* ---- bringing activations from place to place ---- */

/* What crosses: the residual stream, or the hidden values between w_up and w_down.                                     */
typedef enum channel { X, HIDDEN } channel;

static llmrun_status move(const work *w, channel c, int from, int to, int64_t row) {
    if (from == to) return LLMRUN_OK;
    const lr_hparams *h = &w->e->binding.hparams;
    lr_place *a = place(w, from), *b = place(w, to);
    size_t cols = (size_t)(c == X ? h->dim : h->hidden_dim);
    size_t skip = (size_t)row * cols, bytes = (size_t)(w->p->n - row) * cols * sizeof(float);
    float *src = floats(a, c == X ? a->buffers->x : a->buffers->gate) + skip;
    float *dst = floats(b, c == X ? b->buffers->x : b->buffers->gate) + skip;
    if (a->backend && b->backend) {
        TRY(a->backend->event_record(a->device, LR_QUEUE_COMPUTE, a->ready, w->err));
        TRY(b->backend->event_wait(b->device, LR_QUEUE_COMPUTE, a->ready, w->err));
        TRY(b->backend->copy_peer(b->device, LR_QUEUE_COMPUTE, dst, a->device, src, bytes, w->err));
        TRY(b->backend->event_record(b->device, LR_QUEUE_COMPUTE, b->taken, w->err));
        return a->backend->event_wait(a->device, LR_QUEUE_COMPUTE, b->taken, w->err);
    }
    lr_place *p = a->backend ? a : b;
    uint8_t *pinned = p->pinned + (c == X ? p->plan->pinned_x : p->plan->pinned_hidden);
    lr_event *sent = c == X ? p->x_sent : p->hidden_sent;
    if (p == b) {
        TRY(p->backend->event_sync(p->device, sent, w->err));
        memcpy(pinned, src, bytes);
        TRY(p->backend->copy_in(p->device, LR_QUEUE_COMPUTE, dst, 0, pinned, 0, bytes, 1, w->err));
        return p->backend->event_record(p->device, LR_QUEUE_COMPUTE, sent, w->err);
    }
    TRY(p->backend->copy_out(p->device, LR_QUEUE_COMPUTE, pinned, 0, src, 0, bytes, 1, w->err));
    TRY(p->backend->event_record(p->device, LR_QUEUE_COMPUTE, sent, w->err));
    TRY(p->backend->event_sync(p->device, sent, w->err));
    memcpy(dst, pinned, bytes);
    return LLMRUN_OK;
}

/* ---- matmuls ---- */

/* Float rows that matmuls read: x itself, or its norm, which y has room for; or rows that are packed already.          */
typedef struct input {
    const float *x, *norm; /* norm: weight, or NULL */
    float *y;
    const lr_act *packed;
    int64_t n, cols;
} input;

/* The format that all of these want their input in; LR_ACT_NONE if they differ.                                       */
static lr_act_format common_format(const lr_place *p, const lr_matrix *const *m, int count, int64_t n) {
    lr_act_format format = p->ops->act(p->device, m[0]->format, n);
    for (int i = 1; i < count; i++)
        if (p->ops->act(p->device, m[i]->format, n) != format) return LR_ACT_NONE;
    return format;
}

/* Runs the norm, into `out` alone where the place can.                                                                 */
static llmrun_status norm(const work *w, lr_place *p, const input *in, const lr_act *out) {
    lr_norm_args a = { .y = p->backend && out ? NULL : in->y, .x = in->x, .w = in->norm, .dim = in->cols,
                          .x_stride = in->cols, .y_stride = in->cols, .eps = w->e->binding.hparams.norm_eps };
    return p->ops->norm(p->device, &a, in->n, out, w->err);
}

static lr_act act_at(const lr_place *p, const input *in, lr_act_format format) {
    return lr_act_at(format, in->n, in->cols, lr_place_at(p, p->buffers->act));
}

/* y[i] (+)= m[i] in + bias[i]; the norm is done in the same step as the packing where all want one format.             */
static llmrun_status products(const work *w, lr_place *p, const input *in, const lr_matrix *const *m, float *const *y,
                              const float *const *bias, int count, bool accumulate) {
    lr_act_format all = common_format(p, m, count, in->n);
    bool pack_with_norm = in->norm && all != LR_ACT_NONE && all != LR_ACT_F32, done[3] = { false };
    lr_act act = act_at(p, in, all == LR_ACT_NONE ? LR_ACT_F32 : all);
    if (in->norm) TRY(norm(w, p, in, pack_with_norm ? &act : NULL));
    const float *rows = in->norm ? in->y : in->x;
    for (int first = 0; first < count; first++) {
        if (done[first]) continue;
        lr_act_format format = p->ops->act(p->device, m[first]->format, in->n);
        if (in->packed && in->packed->format == format) {
            act = *in->packed;
        } else if (format == LR_ACT_F32) {
            act = (lr_act){ .format = format, .n = in->n, .cols = in->cols, .values = rows };
        } else if (!pack_with_norm) {
            act = act_at(p, in, format);
            TRY(p->ops->pack(p->device, &(lr_pack_args){ .x = rows, .out = act }, w->err));
        }
        lr_matmul_args args[3];
        int n = 0;
        for (int i = first; i < count; i++) {
            if (done[i] || p->ops->act(p->device, m[i]->format, in->n) != format) continue;
            done[i] = true;
            args[n++] = (lr_matmul_args){ .y = y[i], .y_stride = m[i]->rows, .w = *m[i], .x = act,
                                          .bias = bias ? bias[i] : NULL, .accumulate = accumulate };
        }
        TRY(p->ops->matmul(p->device, args, n, w->err));
    }
    return LLMRUN_OK;
}

/* ---- the groups of a layer ---- */

static llmrun_status attention(const work *w, lr_place *p, int32_t layer, const lr_layer *l) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, q_dim = (int64_t)h->n_heads * h->head_dim;
    lr_seq *seqs = lr_place_at(p, b->seqs);
    if (p->backend) seqs += (size_t)w->e->seq_list[layer] * (size_t)w->e->plan.n_sessions;
    else fill_seqs(w, layer, seqs);

    input in = { .x = floats(p, b->x), .norm = l->attn_norm, .y = floats(p, b->y), .n = n, .cols = h->dim };
    TRY(products(w, p, &in, (const lr_matrix *const[]){ &l->wq, &l->wk, &l->wv },
                 (float *const[]){ floats(p, b->q), floats(p, b->k), floats(p, b->v) },
                 (const float *const[]){ l->bq, l->bk, l->bv }, 3, false));
    lr_qkv_args qkv = { .q = floats(p, b->q), .k = floats(p, b->k), .v = floats(p, b->v), .q_norm = l->q_norm,
                        .k_norm = l->k_norm, .norm_eps = h->norm_eps, .cos_sin = floats(p, b->cos_sin),
                        .n_heads = h->n_heads, .n_kv_heads = h->n_kv_heads, .head_dim = h->head_dim,
                        .n_rot = h->n_rot, .rope_adjacent = h->rope_adjacent, .seqs = seqs };
    TRY(p->ops->qkv(p->device, &qkv, &w->shape, w->err));

    const lr_matrix *wo = &l->wo;
    lr_act_format format = p->ops->act(p->device, wo->format, n);
    lr_act packed = lr_act_at(format, n, q_dim, lr_place_at(p, b->act));
    bool floats_only = format == LR_ACT_F32, device = p->backend != NULL;
    lr_attention_args a = { .out = device && !floats_only ? NULL : floats(p, b->att), .q = qkv.q, .out_stride = q_dim,
                            .q_stride = q_dim, .seqs = seqs, .n_seqs = w->p->n_sessions, .n_heads = h->n_heads,
                            .head_dim = h->head_dim, .window = l->window, .scale = 1 / sqrtf((float)h->head_dim),
                            .n_kv_heads = h->n_kv_heads, .kv_format = w->e->plan.kv,
                            .partial = floats(p, b->partial) };
    TRY(p->ops->attention(p->device, &a, &w->shape, floats_only ? NULL : &packed, w->err));
    input att = { .x = floats(p, b->att), .packed = floats_only ? NULL : &packed, .n = n, .cols = q_dim };
    return products(w, p, &att, &wo, &(float *){ floats(p, b->x) }, &l->bo, 1, true);
}

/* Leaves the hidden values packed as w_down wants them where that is at the same place, else as floats in `gate`.      */
static llmrun_status gate_up(const work *w, lr_place *p, const lr_layer *l, lr_act_format format) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n;
    float *gate = floats(p, b->gate), *up = floats(p, b->up);
    lr_act out = lr_act_at(format, n, h->hidden_dim, lr_place_at(p, p->plan ? b->act_hidden : b->act));
    if (format == LR_ACT_F32) out.values = gate;
    input in = { .x = floats(p, b->x), .norm = l->ffn_norm, .y = floats(p, b->y), .n = n, .cols = h->dim };
    const lr_matrix *const m[] = { &l->w_gate, &l->w_up };
    lr_act_format all = common_format(p, m, 2, n);
    if (all == LR_ACT_NONE) {
        TRY(products(w, p, &in, m, (float *const[]){ gate, up }, (const float *const[]){ l->b_gate, l->b_up }, 2, false));
        lr_glu_args glu = { .y = gate, .gate = gate, .up = up, .dim = h->hidden_dim, .y_stride = h->hidden_dim,
                               .in_stride = h->hidden_dim };
        return p->ops->glu(p->device, &glu, n, &out, w->err);
    }
    lr_act act = act_at(p, &in, all);
    if (all == LR_ACT_F32) act.values = in.y;
    TRY(norm(w, p, &in, all == LR_ACT_F32 ? NULL : &act));
    lr_matmul_args args[2] = {
        { .y = gate, .y_stride = h->hidden_dim, .w = l->w_gate, .x = act, .bias = l->b_gate },
        { .y = up, .y_stride = h->hidden_dim, .w = l->w_up, .x = act, .bias = l->b_up },
    };
    return p->ops->matmul_glu(p->device, args, LR_GLU_SILU, &out, w->err);
}

static llmrun_status down(const work *w, lr_place *p, const lr_layer *l, lr_act_format format, bool packed_there) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    lr_act act = lr_act_at(format, w->p->n, h->hidden_dim, lr_place_at(p, p->plan ? b->act_hidden : b->act));
    input in = { .x = floats(p, b->gate), .packed = packed_there && format != LR_ACT_F32 ? &act : NULL, .n = w->p->n,
                 .cols = h->hidden_dim };
    const lr_matrix *m = &l->w_down;
    return products(w, p, &in, &m, &(float *){ floats(p, b->x) }, &l->b_down, 1, true);
}

/* Format of w_down's input at a place; needs no weights, so it also serves a group that is still to be streamed.       */
static lr_act_format down_format(const work *w, int at, int32_t layer) {
    const lr_place *p = place(w, at);
    return p->ops->act(p->device, w->e->layers[layer].w_down.format, w->p->n);
}

static llmrun_status run_group(work *w, int32_t layer, lr_group g) {
    int at = group_place(w, layer, g);
    lr_place *p = place(w, at);
    lr_layer l = w->e->layers[layer];
    bool streamed = at != LR_PLACE_HOST && w->e->plan.place[layer * LR_N_GROUPS + g] == LR_PLACE_HOST;
    bool caches = streamed && g == LR_GROUP_ATTN;
    lr_stream_kv kv = { 0 };
    if (caches)
        kv = (lr_stream_kv){ .layer = lr_session_kv(w->p->sessions[0], layer), .turn = kv_turn(w, layer),
                             .position = w->p->sessions[0]->position };
    int before = w->x_at, up_at = group_place(w, layer, LR_GROUP_GATE_UP), down_at = group_place(w, layer, LR_GROUP_DOWN);
    TRY(move(w, X, before, at, 0));
    w->x_at = at;
    if (streamed) TRY(lr_stream_fetch(w->e, p, layer, g, &l, caches ? &kv : NULL, w->err));
    switch (g) {
    case LR_GROUP_ATTN:
        TRY(attention(w, p, layer, &l));
        if (caches) TRY(lr_stream_return_kv(p, &kv, w->p->n, w->err));
        break;
    case LR_GROUP_GATE_UP:
        TRY(gate_up(w, p, &l, at == down_at ? down_format(w, at, layer) : LR_ACT_F32));
        break;
    default:
        TRY(move(w, HIDDEN, up_at, at, 0));
        TRY(down(w, p, &l, down_format(w, at, layer), up_at == at));
    }
    return streamed ? lr_stream_release(p, g, w->err) : LLMRUN_OK;
}

/* ---- the ends ---- */

static llmrun_status embed(work *w) {
    int at = w->e->plan.embed_place;
    lr_place *p = place(w, at);
    lr_embed_args a = { .x = floats(p, p->buffers->x),
                        .ids = at == LR_PLACE_HOST ? w->p->ids : lr_place_at(p, p->buffers->ids),
                        .table = w->e->embed,
                        .scale = 1 };
    w->x_at = at;
    return p->ops->embed(p->device, &a, w->p->n, w->err);
}

/* Norm and head of rows [row, row + n).                                                                                */
static llmrun_status head_rows(const work *w, lr_place *p, int64_t row, int64_t n, float *logits) {
    const lr_hparams *h = &w->e->binding.hparams;
    input in = { .x = floats(p, p->buffers->x) + row * h->dim, .norm = w->e->out_norm, .y = floats(p, p->buffers->y),
                 .n = n, .cols = h->dim };
    const lr_matrix *m = &w->e->head;
    return products(w, p, &in, &m, &logits, NULL, 1, false);
}

static llmrun_status head(work *w, bool recorded) {
    const lr_plan *plan = &w->e->plan;
    int at = plan->head_place;
    lr_place *p = place(w, at);
    int64_t row = w->p->logits_from, n = w->p->n, step = p->backend ? plan->logit_rows : n;
    size_t row_bytes = (size_t)w->e->binding.hparams.n_vocab * sizeof(float);
    TRY(move(w, X, w->x_at, at, row));
    for (float *to = w->p->logits; row < n; row += step) {
        int64_t rows = lr_min(step, n - row);
        float *logits = p->backend ? floats(p, p->buffers->logits) : to;
        if (!recorded) TRY(head_rows(w, p, row, rows, logits));
        if (p->backend) {
            uint8_t *pinned = p->pinned + p->plan->pinned_logits;
            TRY(p->backend->copy_out(p->device, LR_QUEUE_COMPUTE, pinned, 0, logits, 0, (size_t)rows * row_bytes, 1,
                                     w->err));
            TRY(p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->x_sent, w->err));
            TRY(p->backend->event_sync(p->device, p->x_sent, w->err));
            memcpy(to, pinned, (size_t)rows * row_bytes);
        }
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

static int step_place(const work *w, int32_t step) {
    if (step == head_step(w->e)) return w->e->plan.head_place;
    return group_place(w, step / LR_N_GROUPS, (lr_group)(step % LR_N_GROUPS));
}

static work work_of(llmrun_engine *e, const lr_pass *p, llmrun_error *err) {
    work w = { .e = e, .p = p, .err = err };
    w.shape = (lr_pass_shape){ .n = p->n, .n_seqs = p->n_sessions, .n_ctx = e->plan.n_ctx };
    for (int32_t i = 0; i < p->n_sessions; i++) {
        w.shape.most_rows = lr_max(w.shape.most_rows, count_of(p, i));
        w.shape.context = (int32_t)lr_max(w.shape.context, p->sessions[i]->position + count_of(p, i));
    }
    w.streams = e->plan.stream_from > 0 && p->n >= e->plan.stream_from && p->n_sessions == 1;
    return w;
}

/* The recording that starts at this step of this pass, or NULL.                                                        */
static const lr_recording *recording_at(const work *w, int32_t step) {
    if (w->p->n != 1) return NULL;
    for (int32_t i = 0; i < w->e->n_recordings; i++)
        if (w->e->recordings[i].first == step) return &w->e->recordings[i];
    return NULL;
}

static llmrun_status record(work *w, lr_place *p, lr_recording *r) {
    TRY(p->backend->graph_begin(p->device, w->err));
    llmrun_status status = LLMRUN_OK;
    for (int32_t s = r->first; s <= r->last && !status; s++)
        status = s == head_step(w->e) ? head_rows(w, p, 0, 1, floats(p, p->buffers->logits))
                                      : run_group(w, s / LR_N_GROUPS, (lr_group)(s % LR_N_GROUPS));
    llmrun_status ended = p->backend->graph_end(p->device, &r->graph, status ? NULL : w->err);
    return status ? status : ended;
}

llmrun_status lr_forward_record(llmrun_engine *e, llmrun_error *err) {
    int32_t ids[1] = { 0 }, last = head_step(e);
    llmrun_session session = { .engine = e };
    lr_pass pass = { .ids = ids, .n = 1, .sessions = (llmrun_session *const[]){ &session }, .n_sessions = 1 };
    work w = work_of(e, &pass, err);
    for (int32_t first = 0, step; first <= last; first = step) {
        int at = step_place(&w, first);
        for (step = first + 1; step <= last && step_place(&w, step) == at; step++) {}
        if (at == LR_PLACE_HOST || !place(&w, at)->backend->graph_begin || e->n_recordings == LR_MAX_RECORDINGS) continue;
        lr_recording *r = &e->recordings[e->n_recordings++];
        *r = (lr_recording){ .first = first, .last = step - 1, .place = at };
        w.x_at = at;
        TRY(record(&w, place(&w, at), r));
    }
    return LLMRUN_OK;
}

/* ---- the pass ---- */

static llmrun_status run_pass(work *w) {
    llmrun_engine *e = w->e;
    int32_t n_steps = head_step(e);
    bool wants_logits = w->p->logits_from < w->p->n, head_done = false;
    if (e->plan.n_host_layers > 0) fill_cos_sin(w, floats(&e->host, e->host.buffers->cos_sin));
    for (int gpu = 0; gpu < e->plan.n_gpus; gpu++) TRY(send_header(w, gpu));
    TRY(embed(w));
    for (int32_t step = 0; step < n_steps; step++) {
        if (cancelled(w->p)) return lr_fail(w->err, LLMRUN_CANCELLED, "eval: cancelled");
        if (e->plan.disk_bytes > 0 && step % LR_N_GROUPS == 0) lr_stream_read_ahead(e, step / LR_N_GROUPS + 1);
        const lr_recording *r = recording_at(w, step);
        if (!r) {
            TRY(run_group(w, step / LR_N_GROUPS, (lr_group)(step % LR_N_GROUPS)));
            continue;
        }
        lr_place *p = place(w, r->place);
        TRY(move(w, X, w->x_at, r->place, 0));
        w->x_at = r->place;
        TRY(p->backend->graph_launch(p->device, r->graph, w->err));
        head_done = r->last == n_steps;
        step = r->last;
    }
    if (wants_logits) TRY(head(w, head_done));
    /* The head's GPU has waited for the others, but only they know whether what they sent was right. */
    if (wants_logits && e->plan.n_gpus > 1) TRY(lr_engine_settle(e, w->err));
    for (int gpu = 0; gpu < e->plan.n_gpus && w->streams; gpu++) TRY(lr_stream_drain(&e->gpus[gpu], w->err));
    return LLMRUN_OK;
}

/* After a failure nothing may be on its way to memory that the next pass writes.                                       */
static void settle(llmrun_engine *e) {
    for (int gpu = 0; gpu < e->plan.n_gpus; gpu++) {
        lr_place_sync(&e->gpus[gpu], NULL);
        for (int t = 0; t < 2; t++) e->gpus[gpu].pending[t].kv.base = NULL;
    }
}

llmrun_status lr_forward(llmrun_engine *e, const lr_pass *p, llmrun_error *err) {
    work w = work_of(e, p, err);
    llmrun_status status = run_pass(&w);
    if (status) settle(e);
    return status;
}
