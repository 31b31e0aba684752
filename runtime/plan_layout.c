/* Planner, layout: what a choice of context, chunk and KV format takes, and the arena that holds it:
 * weights block (one region a layer), KV caches (one region a session and layer), buffers of a pass, scratch.         */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* ---- measuring ---- */

/* Product that remembers in *ok whether any was too large; then the result is 0 and harmless.                         */
static uint64_t product(bool *ok, uint64_t a, uint64_t b) {
    uint64_t r;
    if (lr_mul_u64(a, b, &r) && r <= LR_PLAN_MOST) return r;
    *ok = false;
    return 0;
}

static uint64_t sum(bool *ok, uint64_t a, uint64_t b) { /* both at most LR_PLAN_MOST */
    if (a + b <= LR_PLAN_MOST) return a + b;
    *ok = false;
    return 0;
}

static uint64_t aligned(uint64_t a) { return (a + LR_ALIGN - 1) & ~(uint64_t)(LR_ALIGN - 1); }

/* Widest packed input of any matmul: the formats that the kernels for these weights ask for, long and short passes. */
static uint64_t act_bytes(bool *ok, const lr_plan_input *in, const lr_plan_weights *w, int32_t n) {
    uint64_t most = 0;
    for (int f = 0; f < LR_N_FORMATS; f++) {
        int64_t cols = w->matmul_cols[f];
        if (!cols) continue;
        if (!product(ok, 8 * (uint64_t)n, (uint64_t)cols)) return 0; /* bounds what lr_act_bytes multiplies */
        if (!in->ops) {
            most = (uint64_t)lr_max((int64_t)most, (int64_t)lr_act_bytes(LR_ACT_F32, n, cols));
            continue;
        }
        int32_t few = (int32_t)lr_min(n, in->ops->few_tokens);
        size_t a = lr_act_bytes(in->ops->matmul_many[f].act, n, cols);
        size_t b = few > 0 ? lr_act_bytes(in->ops->matmul_few[f].act, few, cols) : 0;
        most = (uint64_t)lr_max((int64_t)most, lr_max((int64_t)a, (int64_t)b));
    }
    return most;
}

static void measure_kv(bool *ok, const lr_plan_input *in, const lr_plan_choice *c, lr_plan_sizes *s) {
    const lr_hparams *h = in->model;
    int64_t n_windowed = h->window > 0 ? lr_max(0, h->n_layers - lr_max(0, h->window_from)) : 0;
    int64_t n[2] = { h->n_layers - n_windowed, n_windowed };
    s->slots[0] = c->n_ctx;
    s->slots[1] = (int32_t)lr_min(c->n_ctx, (int64_t)h->window + s->n_batch);
    s->session = 0;
    for (int i = 0; i < 2; i++) {
        s->page[i] = 0;
        if (!n[i]) continue;
        if (!lr_kv_page_bytes(c->kv, h->n_kv_heads, h->head_dim, s->slots[i], &s->page[i]) ||
            s->page[i] > LR_PLAN_MOST) {
            *ok = false;
            return;
        }
        s->session = sum(ok, s->session, product(ok, aligned(s->page[i]), (uint64_t)n[i]));
    }
    s->kv = product(ok, s->session, (uint64_t)in->n_sessions);
}

static void measure_buffers(bool *ok, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                            lr_plan_sizes *s) {
    const lr_hparams *h = in->model;
    uint64_t n = (uint64_t)s->n_batch, row = 4 * n, n_sessions = (uint64_t)in->n_sessions;
    uint64_t q_dim = (uint64_t)h->n_heads * (uint64_t)h->head_dim;
    uint64_t kv_dim = (uint64_t)h->n_kv_heads * (uint64_t)h->head_dim;
    uint64_t *b = s->buffer;
    b[LR_BUFFER_x] = b[LR_BUFFER_y] = product(ok, row, (uint64_t)h->dim);
    b[LR_BUFFER_q] = b[LR_BUFFER_att] = product(ok, row, q_dim);
    b[LR_BUFFER_k] = b[LR_BUFFER_v] = product(ok, row, kv_dim);
    b[LR_BUFFER_gate] = b[LR_BUFFER_up] = product(ok, row, (uint64_t)h->hidden_dim);
    b[LR_BUFFER_act] = act_bytes(ok, in, w, s->n_batch);
    b[LR_BUFFER_cos_sin] = product(ok, row, (uint64_t)h->n_rot);
    b[LR_BUFFER_logits] = product(ok, product(ok, 4, n_sessions), (uint64_t)h->n_vocab);
    b[LR_BUFFER_seqs] = product(ok, sizeof(lr_seq), n_sessions);
    b[LR_BUFFER_tokens] = product(ok, product(ok, 4, n_sessions), (uint64_t)c->n_ctx);

    /* The callbacks multiply without checking: bound the products first.                                              */
    int64_t max_cols = lr_max(w->max_cols, lr_max((int64_t)q_dim, lr_max(h->dim, h->hidden_dim)));
    uint64_t attention = product(ok, product(ok, row, (uint64_t)c->n_ctx), q_dim + 16 * (uint64_t)h->n_heads);
    uint64_t widest = product(ok, row, (uint64_t)max_cols);
    b[LR_BUFFER_partial] = b[LR_BUFFER_scratch] = s->scratch_stride = 0;
    if (!attention || !widest) return;
    b[LR_BUFFER_partial] = product(ok, 1, in->partial_bytes(s->n_batch, c->n_ctx, h->n_heads, h->head_dim));
    size_t scratch = in->scratch_bytes(max_cols, s->n_batch, h->n_heads, h->head_dim);
    s->scratch_stride = aligned(product(ok, 1, scratch > in->scratch_least ? scratch : in->scratch_least));
    b[LR_BUFFER_scratch] = product(ok, s->scratch_stride, (uint64_t)in->n_threads);
}

bool lr_plan_measure(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c, lr_plan_sizes *out) {
    bool ok = true;
    lr_plan_sizes *s = out;
    s->n_batch = (int32_t)lr_max(lr_min(c->n_batch, c->n_ctx), in->n_sessions);
    measure_kv(&ok, in, c, s);
    measure_buffers(&ok, in, w, c, s);
    s->activations = 0;
    for (int i = 0; i < LR_N_BUFFERS && ok; i++) s->activations = sum(&ok, s->activations, aligned(s->buffer[i]));
    if (!ok) return false;

    uint64_t granule = in->host.granule_bytes > LR_ALIGN ? in->host.granule_bytes : LR_ALIGN;
    s->arena = sum(&ok, sum(&ok, s->kv, s->activations), in->cached ? 0 : w->block);
    uint64_t rest = s->arena % granule;
    if (rest) s->arena = sum(&ok, s->arena, granule - rest);
    s->needed = sum(&ok, s->arena, sum(&ok, w->mapped, in->cached ? w->block : 0));
    s->needed = sum(&ok, s->needed, sum(&ok, in->host_fixed_bytes, in->host.overhead_bytes));
    return ok;
}

/* ---- laying out ---- */

static void add_region(lr_plan *plan, uint64_t offset, uint64_t bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void add_region(lr_plan *plan, uint64_t offset, uint64_t bytes, const char *format, ...) {
    if (!bytes) return;
    lr_plan_region *r = &plan->regions[plan->n_regions++];
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->name, sizeof r->name, format, ap);
    va_end(ap);
    r->offset = offset;
    r->bytes = bytes;
}

/* Groups of the weights block: what stands before the layers, the layers, what comes after.                           */
static int32_t group_of(const lr_plan_input *in, const lr_plan_tensor *t) {
    return t->role == LR_EMBED ? 0 : t->layer < 0 ? in->model->n_layers + 1 : t->layer + 1;
}

/* Tensors in the order of their group, then of the input.  ends (n_layers + 2) is room for the groups' cursors.       */
static llmrun_status place_weights(lr_plan *plan, const lr_plan_input *in, lr_format quant, uint64_t *ends,
                                   llmrun_error *err) {
    int32_t n_groups = in->model->n_layers + 2;
    bool tied = lr_plan_tied(in);
    for (size_t i = 0; i < in->n_tensors; i++) {
        lr_plan_placement *p = &plan->placements[i];
        if (!lr_plan_place(in, tied, quant, &in->tensors[i], p))
            return lr_fail(err, LLMRUN_INTERNAL, "plan: tensor %zu: measured before, now too large", i);
        if (p->converted) ends[group_of(in, &in->tensors[i])] += p->bytes;
    }
    uint64_t at = 0;
    for (int32_t g = 0; g < n_groups; g++) {
        uint64_t bytes = ends[g];
        ends[g] = at; /* from here on the group's cursor */
        if (!in->cached) {
            if (g == 0 || g == n_groups - 1)
                add_region(plan, at, bytes, "%s.weights", g ? "output" : "embedding");
            else
                add_region(plan, at, bytes, "layers.%d.weights", g - 1);
        }
        at += bytes;
    }
    for (size_t i = 0; i < in->n_tensors; i++) {
        lr_plan_placement *p = &plan->placements[i];
        if (!p->converted) continue;
        uint64_t *cursor = &ends[group_of(in, &in->tensors[i])];
        p->offset = p->block_offset = *cursor;
        *cursor += p->bytes;
    }
    plan->weights_bytes = plan->block_bytes = at;
    return LLMRUN_OK;
}

/* Returns the first byte after the caches.                                                                            */
static uint64_t place_kv(lr_plan *plan, const lr_plan_input *in, const lr_plan_sizes *s, uint64_t at) {
    int32_t n_layers = in->model->n_layers;
    for (int32_t layer = 0; layer < n_layers; layer++) {
        bool windowed = lr_plan_windowed(in->model, layer);
        plan->kv_slots[layer] = s->slots[windowed];
        plan->kv_page_bytes[layer] = s->page[windowed];
    }
    for (int32_t session = 0; session < in->n_sessions; session++)
        for (int32_t layer = 0; layer < n_layers; layer++) {
            uint64_t bytes = plan->kv_page_bytes[layer];
            plan->kv_offset[(size_t)session * (size_t)n_layers + (size_t)layer] = at;
            if (in->n_sessions == 1)
                add_region(plan, at, bytes, "kv.%d", layer);
            else
                add_region(plan, at, bytes, "sessions.%d.kv.%d", session, layer);
            at += aligned(bytes);
        }
    return at;
}

static uint64_t place_buffers(lr_plan *plan, const lr_plan_sizes *s, uint64_t at) {
    static const char *const names[LR_N_BUFFERS] = {
#define LR_X(name) [LR_BUFFER_##name] = #name,
        LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    };
    uint64_t *const offsets[LR_N_BUFFERS] = {
#define LR_X(name) [LR_BUFFER_##name] = &plan->buffers.name,
        LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    };
    for (int i = 0; i < LR_N_BUFFERS; i++) {
        bool own_class = i == LR_BUFFER_logits || i == LR_BUFFER_scratch;
        *offsets[i] = at;
        add_region(plan, at, s->buffer[i], "%s%s", own_class ? "" : "activations.", names[i]);
        at += aligned(s->buffer[i]);
    }
    plan->buffers.scratch_stride = s->scratch_stride;
    return at;
}

static void fill_totals(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                        const lr_plan_sizes *s) {
    plan->n_ctx = c->n_ctx;
    plan->n_batch = s->n_batch;
    plan->n_sessions = plan->logit_rows = in->n_sessions;
    plan->n_threads = in->n_threads;
    plan->quant = c->quant;
    plan->quant_kept = c->quant == LR_FORMAT_NONE;
    if (plan->quant_kept) {
        plan->quant = LR_F16;
        for (int f = 0; f < LR_N_FORMATS; f++)
            if (w->matrix_by_format[f] > w->matrix_by_format[plan->quant]) plan->quant = (lr_format)f;
    }
    plan->kv = c->kv;
    plan->arena_bytes = s->arena;
    plan->mapped_bytes = w->mapped + (in->cached ? w->block : 0);
    plan->mapped_rows_bytes = w->mapped_rows;
    plan->fixed_bytes = in->host_fixed_bytes + in->host.overhead_bytes;
    plan->total_bytes = plan->arena_bytes + plan->fixed_bytes;
    plan->needed_bytes = s->needed;
    plan->weight_bytes = w->total;
    plan->weight_bytes_per_token = w->per_token;
    memcpy(plan->format_bytes, w->by_format, sizeof plan->format_bytes);
    plan->n_params = w->n_params;
    const lr_format_traits *kv = &lr_formats[c->kv];
    uint64_t row = (uint64_t)(in->model->head_dim / kv->block) * (uint64_t)(kv->quant_bytes + kv->scale_bytes);
    plan->kv_bytes_per_token = 2 * row * (uint64_t)in->model->n_kv_heads * (uint64_t)in->model->n_layers;
    plan->kv_slot_bytes = s->session;
    plan->kv_bytes = s->kv;
    plan->activation_bytes = s->activations;
}

llmrun_status lr_plan_lay_out(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w,
                              const lr_plan_choice *c, const lr_plan_sizes *s, llmrun_error *err) {
    size_t n_layers = (size_t)in->model->n_layers, n_caches = n_layers * (size_t)in->n_sessions;
    size_t n_regions = n_layers + 2 + n_caches + LR_N_BUFFERS;
    uint64_t *ends = lr_zalloc(n_layers + 2, sizeof *ends);
    plan->placements = lr_zalloc(in->n_tensors, sizeof *plan->placements);
    plan->regions = lr_zalloc(n_regions, sizeof *plan->regions);
    plan->kv_offset = lr_zalloc(n_caches, sizeof *plan->kv_offset);
    plan->kv_page_bytes = lr_zalloc(n_layers, sizeof *plan->kv_page_bytes);
    plan->kv_slots = lr_zalloc(n_layers, sizeof *plan->kv_slots);
    llmrun_status status = LLMRUN_OK;
    if (!ends || !plan->placements || !plan->regions || !plan->kv_offset || !plan->kv_page_bytes || !plan->kv_slots) {
        status = lr_fail_nomem(err, "plan", n_regions * sizeof *plan->regions);
        goto done;
    }
    plan->n_tensors = in->n_tensors;
    fill_totals(plan, in, w, c, s);
    status = place_weights(plan, in, c->quant, ends, err);
    if (status != LLMRUN_OK) goto done;
    place_buffers(plan, s, place_kv(plan, in, s, in->cached ? 0 : plan->weights_bytes));
done:
    lr_free(ends);
    return status;
}
