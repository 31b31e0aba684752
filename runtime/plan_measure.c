/* Planner, measuring: what a choice of context, chunk, KV format and places takes of the host and of each GPU.       */
#include <string.h>

#include "runtime/plan_layout.h"

/* Product that remembers in *ok whether any was too large; then the result is 0 and harmless.                        */
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

static uint64_t granule_of(const lr_plan_device *d) {
    return d->granule_bytes > LR_ALIGN ? d->granule_bytes : LR_ALIGN;
}

uint64_t lr_plan_in_granules(uint64_t bytes, const lr_plan_device *d) {
    uint64_t granule = granule_of(d), rest = bytes % granule;
    return rest ? bytes + (granule - rest) : bytes;
}

uint64_t lr_plan_capacity(const lr_plan_device *d) {
    uint64_t most = d->budget_bytes < LR_PLAN_MOST ? d->budget_bytes : LR_PLAN_MOST;
    if (most <= d->overhead_bytes) return 0;
    return (most - d->overhead_bytes) / granule_of(d) * granule_of(d);
}

/* ---- KV caches ---- */

bool lr_plan_measure_kv(const lr_plan_input *in, const lr_plan_choice *c, lr_plan_sizes *s) {
    const lr_hparams *h = in->model;
    int64_t n[LR_N_CACHE_KINDS] = { 0 };
    for (int32_t l = 0; l < h->n_layers; l++) n[lr_layer_cache(h, l)]++;
    bool ok = true;
    s->n_batch = (int32_t)lr_max(lr_min(c->n_batch, c->n_ctx), in->n_sessions);
    s->slots[LR_CACHE_FULL] = c->n_ctx;
    s->slots[LR_CACHE_STATE] = 0;
    s->slots[LR_CACHE_WINDOW] = (int32_t)lr_min(c->n_ctx, (int64_t)h->window + s->n_batch);
    s->session = 0;
    for (int i = 0; i < LR_N_CACHE_KINDS; i++) {
        s->page[i] = s->page_room[i] = 0;
        if (!n[i]) continue;
        if (i == LR_CACHE_STATE) s->page[i] = product(&ok, sizeof(float), (uint64_t)lr_delta_state(h));
        else if (!lr_kv_page_bytes(c->kv, h->n_kv_heads, h->head_dim, s->slots[i], &s->page[i])) return false;
        if (!ok || s->page[i] > LR_PLAN_MOST) return false;
        if (h->kv_rank) s->page[i] /= 2; /* V is K */
        s->page_room[i] = product(&ok, lr_aligned(s->page[i]), (uint64_t)in->n_sessions);
        s->session = sum(&ok, s->session, product(&ok, lr_aligned(s->page[i]), (uint64_t)n[i]));
    }
    product(&ok, s->session, (uint64_t)in->n_sessions);
    return ok;
}

/* ---- buffers ---- */

static bool has(unsigned kinds, unsigned wanted) { return (kinds & wanted) != 0; }

enum {
    ATTN = 1 << LR_GROUP_ATTN, GATE_UP = 1 << LR_GROUP_GATE_UP, DOWN = 1 << LR_GROUP_DOWN,
    EMBED = 1 << LR_GROUP_EMBED, HEAD = 1 << LR_GROUP_HEAD, ALL = ATTN | GATE_UP | DOWN | EMBED | HEAD
};

static size_t act_size(lr_act_format format, int64_t n, int64_t cols) {
    return format == LR_ACT_NONE ? 0 : lr_act_bytes(format, n, cols);
}

/* Widest packed input of a set: in the formats that the kernels ask for, long and short passes.                      */
static uint64_t act_bytes(bool *ok, const lr_plan_input *in, const lr_plan_weights *w, lr_plan_widths widths, bool gpu,
                          int32_t n) {
    size_t most = 0;
    for (; widths; widths &= widths - 1) {
        int i = lr_plan_first_width(widths);
        lr_format f = (lr_format)(i / LR_PLAN_WIDTHS);
        int64_t cols = w->cols[i];
        lr_act_format few = LR_ACT_F32, many = LR_ACT_F32;
        int32_t n_few = gpu ? LR_GPU_FEW : in->ops ? in->ops->few_tokens : 0;
        if (!product(ok, 8 * (uint64_t)n, (uint64_t)cols)) return 0; /* bounds what lr_act_bytes multiplies */
        if (gpu) {
            few = lr_gpu_act(f, 1);
            many = lr_gpu_act(f, LR_GPU_FEW + 1);
        } else if (in->ops) {
            few = in->ops->matmul_few[f].act;
            many = in->ops->matmul_many[f].act;
        }
        n_few = (int32_t)lr_min(n, n_few);
        size_t a = act_size(many, n, cols), b = n_few > 0 ? act_size(few, n_few, cols) : 0;
        most = (size_t)lr_max((int64_t)most, lr_max((int64_t)a, (int64_t)b));
    }
    return most;
}

/* What CPU and GPUs have alike: float rows, packed inputs, angles, logits.  `kinds` of groups are computed there.    */
static void measure_buffers(bool *ok, const lr_plan_input *in, unsigned kinds, int32_t n_batch, uint64_t *b) {
    const lr_hparams *h = in->model;
    uint64_t row = 4 * (uint64_t)n_batch, dim = (uint64_t)h->dim, hidden = (uint64_t)lr_hidden_most(h);
    uint64_t q_dim = (uint64_t)h->n_heads * (uint64_t)h->head_dim;
    uint64_t kv_dim = (uint64_t)h->n_kv_heads * (uint64_t)h->head_dim;
    for (int i = 0; i < LR_N_BUFFERS; i++) b[i] = 0;
    if (kinds) b[LR_BUFFER_x] = product(ok, row, dim);
    bool down_needs_y = h->post_norms || h->n_experts;
    if (has(kinds, ATTN | GATE_UP | HEAD) || (down_needs_y && has(kinds, DOWN))) b[LR_BUFFER_y] = product(ok, row, dim);
    if (h->parallel && has(kinds, ATTN)) b[LR_BUFFER_h] = product(ok, row, dim);
    if (has(kinds, ATTN)) {
        b[LR_BUFFER_q] = product(ok, row, q_dim);
        int64_t values = lr_max((int64_t)h->n_heads * lr_v_dim(h), (int64_t)h->delta_v_heads * h->delta_v_dim);
        b[LR_BUFFER_att] = product(ok, row, (uint64_t)values);
        b[LR_BUFFER_k] = product(ok, row, kv_dim);
        b[LR_BUFFER_v] = h->kv_rank ? 0 : b[LR_BUFFER_k];
        b[LR_BUFFER_inner] = product(ok, row, lr_inner_width(h));
        b[LR_BUFFER_cos_sin] = product(ok, row, (uint64_t)h->n_rot * (uint64_t)lr_max(1, h->n_ropes));
    }
    if (has(kinds, GATE_UP | DOWN)) b[LR_BUFFER_gate] = product(ok, row, hidden);
    if (has(kinds, GATE_UP)) b[LR_BUFFER_up] = product(ok, row, hidden);
    if (has(kinds, HEAD))
        b[LR_BUFFER_logits] = product(ok, product(ok, 4, (uint64_t)in->n_sessions), (uint64_t)h->n_vocab);
}

static uint64_t seqs_bytes(bool *ok, const lr_plan_input *in, int64_t n_layers) {
    return product(ok, product(ok, sizeof(lr_seq), (uint64_t)in->n_sessions), (uint64_t)n_layers);
}

static uint64_t total(bool *ok, const uint64_t *b) {
    uint64_t all = 0;
    for (int i = 0; i < LR_N_BUFFERS && *ok; i++) all = sum(ok, all, lr_aligned(b[i]));
    return all;
}

/* Logits of the router, chosen experts and their weights; what their products work in, on GPUs for each of the formats
 * of their down, and of gate and up where columns are in another order.  out 0: the host's.                           */
static void measure_experts(bool *ok, const lr_plan_input *in, int32_t n, uint64_t out, uint64_t ordered, uint64_t *b) {
    const lr_hparams *h = in->model;
    uint64_t row = 4 * (uint64_t)n, k = (uint64_t)h->n_experts_used;
    int32_t dim = h->dim, hidden = h->expert_dim;
    b[LR_BUFFER_route] = product(ok, row, (uint64_t)h->n_experts + 2 * k);
    /* These multiply without checking: bound the products first. */
    if (!product(ok, product(ok, row, k), 2 * (uint64_t)dim + 3 * (uint64_t)hidden + 256)) return;
    size_t bytes = out ? 0 : lr_experts_bytes(n, h->n_experts_used, h->n_experts, dim, hidden);
    for (int f = 0; f < LR_N_FORMATS; f++)
        for (int from = LR_FORMAT_NONE; from < LR_N_FORMATS && out >> f & 1; from++) {
            if (from != LR_FORMAT_NONE && !(ordered >> from & 1)) continue;
            size_t needed = lr_gpu_experts_bytes(n, h->n_experts_used, h->n_experts, dim, hidden, (lr_format)from,
                                                 (lr_format)f);
            bytes = needed > bytes ? needed : bytes;
        }
    b[LR_BUFFER_experts] = product(ok, 1, bytes);
}

bool lr_plan_gpu_buffers(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c, int32_t n_batch,
                         const lr_plan_load *own, const lr_plan_load *streamed, uint64_t *b, uint64_t *bytes) {
    const lr_hparams *h = in->model;
    unsigned kinds = own->kinds | streamed->kinds;
    bool ok = true;
    measure_buffers(&ok, in, kinds, n_batch, b);
    int64_t heads_row = lr_max(own->heads_row, streamed->heads_row);
    b[LR_BUFFER_act] = act_bytes(&ok, in, w, own->widths | streamed->widths, true, n_batch);
    if (heads_row && product(&ok, 8 * (uint64_t)n_batch, (uint64_t)heads_row)) {
        size_t heads = lr_act_bytes(LR_ACT_Q8, n_batch, heads_row);
        b[LR_BUFFER_act] = heads > b[LR_BUFFER_act] ? heads : b[LR_BUFFER_act];
    }
    b[LR_BUFFER_act_hidden] = act_bytes(&ok, in, w, own->hidden_widths | streamed->hidden_widths, true, n_batch);
    if (has(kinds, ATTN)) {
        b[LR_BUFFER_seqs] = seqs_bytes(&ok, in, (int64_t)lr_plan_load_layers(own) + lr_plan_load_layers(streamed));
        b[LR_BUFFER_partial] =
            lr_gpu_attention_partial_bytes(n_batch, c->n_ctx, h->n_heads, h->n_kv_heads, lr_v_dim(h));
    }
    if (own->experts_out) measure_experts(&ok, in, n_batch, own->experts_out, own->experts_ordered, b);
    if (has(kinds, EMBED)) b[LR_BUFFER_ids] = 4 * (uint64_t)n_batch * (h->n_pos ? 2 : 1);
    *bytes = total(&ok, b);
    return ok;
}

/* The host's: tokens and threads' scratch besides, sequences of one layer at a time.                                 */
static void measure_host_buffers(bool *ok, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                 lr_plan_sizes *s) {
    const lr_hparams *h = in->model;
    uint64_t row = 4 * (uint64_t)s->n_batch, *b = s->buffer;
    uint64_t q_dim = (uint64_t)h->n_heads * (uint64_t)h->head_dim;
    unsigned kinds = s->host.kinds;
    measure_buffers(ok, in, kinds, s->n_batch, b);
    b[LR_BUFFER_act] = act_bytes(ok, in, w, s->host.widths, false, s->n_batch);
    if (has(kinds, ATTN)) b[LR_BUFFER_seqs] = seqs_bytes(ok, in, 1);
    if (h->n_experts && has(kinds, DOWN)) measure_experts(ok, in, s->n_batch, 0, 0, b);
    if (has(kinds, EMBED) && h->n_pos) b[LR_BUFFER_ids] = row;
    b[LR_BUFFER_tokens] = product(ok, product(ok, 4, (uint64_t)in->n_sessions), (uint64_t)c->n_ctx);
    /* Sampling reads logits here, wherever the head is. */
    b[LR_BUFFER_logits] = product(ok, product(ok, 4, (uint64_t)in->n_sessions), (uint64_t)in->model->n_vocab);

    /* The callbacks multiply without checking: bound the products first.                                             */
    int64_t widest_row = lr_max((int64_t)q_dim, lr_max(h->dim, lr_hidden_most(h)));
    int64_t max_cols = has(kinds, ALL & ~EMBED) ? lr_max(w->max_cols, widest_row) : h->dim;
    uint64_t attention = product(ok, product(ok, row, (uint64_t)c->n_ctx), q_dim + 16 * (uint64_t)h->n_heads);
    uint64_t widest = product(ok, row, (uint64_t)max_cols);
    s->scratch_stride = 0;
    if (!attention || !widest) return;
    if (has(kinds, ATTN))
        b[LR_BUFFER_partial] =
            product(ok, 1, in->partial_bytes(s->n_batch, c->n_ctx, h->n_heads, h->n_kv_heads, lr_v_dim(h)));
    size_t scratch = kinds ? in->scratch_bytes(max_cols, s->n_batch, h->n_heads, h->head_dim) : 0;
    s->scratch_stride = lr_aligned(product(ok, 1, scratch > in->scratch_least ? scratch : in->scratch_least));
    b[LR_BUFFER_scratch] = product(ok, s->scratch_stride, (uint64_t)in->n_threads);
}

/* ---- loads: what each place computes ---- */

void lr_plan_load_add(lr_plan_load *l, const lr_plan_part *p, lr_group group, lr_cache_kind cache, bool shared,
                      const lr_plan_sizes *s) {
    l->kinds |= p->is_layer ? ATTN | GATE_UP | DOWN : 1u << group;
    l->hidden_widths |= p->gpu_hidden;
    l->widths |= p->gpu_apart;
    *(shared && !p->is_experts ? &l->hidden_widths : &l->widths) |= p->gpu_widths;
    l->experts_out |= p->experts_out;
    if (p->experts_ordered) l->experts_ordered |= (uint64_t)1 << p->experts_in;
    l->weights += p->gpu;
    if (group == LR_GROUP_HEAD) {
        l->head_read += p->gpu_read;
    } else {
        l->read += p->gpu_read;
        l->experts_read += p->experts_read;
        l->params += p->params;
    }
    l->longest_row = lr_max(l->longest_row, p->longest_row);
    l->heads_row = lr_max(l->heads_row, p->heads_row);
    if (group < LR_N_GROUPS) {
        l->n_groups[group]++;
        l->largest[group] = (uint64_t)lr_max((int64_t)l->largest[group], (int64_t)p->gpu);
    }
    l->n_experts += p->is_experts;
    if (group != LR_GROUP_ATTN) return;
    l->n_layers[cache]++;
    l->kv += s->page_room[cache];
    l->largest_page = (uint64_t)lr_max((int64_t)l->largest_page, (int64_t)lr_aligned(s->page[cache]));
}

/* Where a long pass computes a group of a layer (p: the layer's three).                                              */
static int8_t long_place(const lr_plan_places *p, size_t i) {
    return p->group[i] == LR_PLACE_HOST ? p->stream[i] : p->group[i];
}

void lr_plan_gpu_loads(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *p,
                       const lr_plan_sizes *s, int gpu, lr_plan_load *own, lr_plan_load *streamed) {
    *own = *streamed = (lr_plan_load){ 0 };
    for (int32_t l = 0; l < in->model->n_layers; l++) {
        lr_cache_kind cache = lr_layer_cache(in->model, l);
        size_t first = (size_t)l * LR_N_GROUPS;
        for (int g = 0; g < LR_N_GROUPS; g++) {
            size_t i = first + (size_t)g, up = first + LR_GROUP_GATE_UP;
            if (p->group[i] != gpu && p->stream[i] != gpu) continue;
            lr_plan_load *to = p->group[i] == gpu ? own : streamed;
            /* Its input may come from another place in short passes or in long ones: then room in `act` as well.     */
            bool down = g == LR_GROUP_DOWN, in_short = p->group[up] == gpu, in_long = long_place(p, up) == gpu;
            bool always = to == own ? in_short && in_long : in_long;
            lr_plan_load_add(to, &w->parts[i], (lr_group)g, cache, down && always, s);
            if (down && !always && !w->parts[i].is_experts && (in_short || in_long))
                to->hidden_widths |= w->parts[i].gpu_widths;
        }
    }
    if (p->head == gpu)
        lr_plan_load_add(own, &w->parts[lr_plan_part_index(in, -1, LR_GROUP_HEAD)], LR_GROUP_HEAD, LR_CACHE_FULL, false,
                         s);
    if (p->embed == gpu) own->kinds |= EMBED;
}

/* The host computes and holds what the GPUs do not.                                                                  */
static void load_host(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_places *p, lr_plan_sizes *s) {
    lr_plan_load *host = &s->host;
    *host = (lr_plan_load){ .kinds = ALL, .widths = w->widths, .weights = w->block, .mapped = w->mapped,
                            .kv = s->session * (uint64_t)in->n_sessions, .read = w->per_token,
                            .experts_read = w->experts_read, .params = w->n_matmul_params };
    s->n_host_layers = in->model->n_layers;
    if (!in->n_gpus) return;
    host->kinds = p->embed == LR_PLACE_HOST ? EMBED : 0;
    host->widths = 0;
    s->n_host_layers = s->n_left_out = 0;
    size_t head = lr_plan_part_index(in, -1, LR_GROUP_HEAD), n = (size_t)in->model->n_layers * LR_N_GROUPS;
    for (size_t i = 0, counted = SIZE_MAX; i < n; i++) {
        const lr_plan_part *part = &w->parts[i];
        size_t layer = i / LR_N_GROUPS;
        lr_group g = (lr_group)(i % LR_N_GROUPS);
        if (p->group[i] == LR_PLACE_HOST) {
            host->kinds |= 1u << g;
            host->widths |= part->widths;
            s->n_left_out++;
            s->n_host_layers += counted != layer;
            counted = layer;
            host->n_layers[lr_layer_cache(in->model, (int32_t)layer)] += g == LR_GROUP_ATTN;
            continue;
        }
        host->weights -= part->block;
        host->mapped -= part->mapped;
        host->read -= part->read;
        host->experts_read -= part->experts_read;
        host->params -= part->params;
        if (g == LR_GROUP_ATTN) host->kv -= s->page_room[lr_layer_cache(in->model, (int32_t)layer)];
    }
    if (p->head == LR_PLACE_HOST) {
        host->kinds |= HEAD;
        host->widths |= w->parts[head].widths;
        s->n_left_out++;
    } else {
        host->weights -= w->parts[head].block;
        host->mapped -= w->parts[head].mapped;
    }
    uint64_t head_read = w->parts[head].read;
    host->head_read = p->head == LR_PLACE_HOST ? head_read : 0;
    host->read -= head_read;
    host->params -= w->parts[head].params;
}

/* ---- boundaries, pinned memory ---- */

static void cross(lr_plan_sizes *s, int from, int to, bool hidden, int is_long) {
    if (from == to) return;
    bool peers = from != LR_PLACE_HOST && to != LR_PLACE_HOST;
    lr_plan_crossings *c = &s->gpu[to == LR_PLACE_HOST ? from : to].crossings[is_long];
    ++*(peers ? hidden ? &c->hidden_peer : &c->x_peer : hidden ? &c->hidden_host : &c->x_host);
}

/* Follows a short and a long pass from place to place.                                                               */
static void find_crossings(const lr_plan_input *in, const lr_plan_places *p, lr_plan_sizes *s) {
    size_t n = (size_t)in->model->n_layers * LR_N_GROUPS;
    for (int i = 0; i < in->n_gpus; i++) {
        s->gpu[i].crossings[0] = s->gpu[i].crossings[1] = (lr_plan_crossings){ 0 };
        s->gpu[i].back_to_host = false;
    }
    for (int is_long = 0; is_long < 2; is_long++) {
        int at = p->embed;
        for (size_t i = 0; i < n; i++) {
            int to = is_long ? long_place(p, i) : p->group[i];
            if (to == at) continue;
            cross(s, at, to, false, is_long);
            if (i % LR_N_GROUPS == LR_GROUP_DOWN) cross(s, at, to, true, is_long);
            if (to == LR_PLACE_HOST) s->gpu[at].back_to_host = true;
            at = to;
        }
        cross(s, at, p->head, false, is_long);
    }
}

/* Finds out how own and streamed groups of a GPU alternate in long passes.                                           */
static void find_stretches(const lr_plan_input *in, const lr_plan_places *p, int gpu, lr_plan_gpu_sizes *g) {
    size_t n = (size_t)in->model->n_layers * LR_N_GROUPS;
    g->stretches = g->last_stretch = p->group[n - 1] == gpu && p->stream[0] == gpu;
    for (size_t i = 1; i < n; i++) g->stretches += p->group[i - 1] == gpu && p->stream[i] == gpu;
}

static void measure_pinned(bool *ok, const lr_plan_input *in, lr_plan_gpu_sizes *g, int32_t n_batch) {
    uint64_t row = 4 * (uint64_t)n_batch;
    uint64_t longest = lr_aligned(4 * (uint64_t)lr_max(g->own.longest_row, g->streamed.longest_row));
    g->pinned_slot = (uint64_t)lr_max((int64_t)longest, (int64_t)LR_PLAN_LOAD_SLOT);
    for (int i = 0; i < LR_N_GROUPS; i++)
        g->pinned_slot = (uint64_t)lr_max((int64_t)g->pinned_slot, (int64_t)g->slot[i]);
    uint64_t sum_of = 2 * lr_aligned(g->header);
    if (lr_plan_crosses(g, false))
        sum_of = sum(ok, sum_of, lr_aligned(product(ok, row, (uint64_t)in->model->dim)));
    if (lr_plan_crosses(g, true))
        sum_of = sum(ok, sum_of, lr_aligned(product(ok, row, lr_plan_cut_width(in->model))));
    sum_of = sum(ok, sum_of, lr_aligned(g->buffer[LR_BUFFER_logits]));
    sum_of = sum(ok, sum_of, 2 * g->pinned_slot);
    g->pinned = sum(ok, sum_of, 2 * g->kv_slot);
}

static void measure_gpu(bool *ok, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                        const lr_plan_places *p, lr_plan_sizes *s, int gpu) {
    lr_plan_gpu_sizes *g = &s->gpu[gpu];
    lr_plan_gpu_loads(in, w, p, s, gpu, &g->own, &g->streamed);
    if (!lr_plan_gpu_buffers(in, w, c, s->n_batch, &g->own, &g->streamed, g->buffer, &g->activations)) *ok = false;
    find_stretches(in, p, gpu, g);
    memcpy(g->slot, g->streamed.largest, sizeof g->slot);
    g->kv_slot = g->streamed.largest_page;
    g->staging = lr_plan_staging(&g->streamed);
    const uint64_t *b = g->buffer;
    g->header =
        lr_aligned(b[LR_BUFFER_seqs]) + lr_aligned(b[LR_BUFFER_ids]) + lr_aligned(b[LR_BUFFER_cos_sin]);
    g->arena = sum(ok, sum(ok, g->own.weights, g->own.kv), sum(ok, g->activations, g->staging));
    lr_plan_add_library(in, w, p, s->n_batch, gpu, g);
    g->arena = sum(ok, 0, lr_plan_in_granules(g->arena, &in->gpus[gpu]));
    measure_pinned(ok, in, g, s->n_batch);
    s->pinned = sum(ok, s->pinned, g->pinned);
}

/* ---- all of it ---- */

bool lr_plan_measure_placed(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                            const lr_plan_places *p, lr_plan_sizes *s) {
    bool ok = lr_plan_measure_kv(in, c, s);
    if (!ok) return false;
    s->pinned = s->disk = 0;
    s->short_gpu = -1;
    s->stream_from = c->stream_from;
    s->seconds = 0;
    s->embed_place = in->n_gpus ? p->embed : LR_PLACE_HOST;
    s->head_place = in->n_gpus ? p->head : LR_PLACE_HOST;
    load_host(in, w, p, s);
    if (in->n_gpus) find_crossings(in, p, s);
    for (int i = 0; i < in->n_gpus; i++) measure_gpu(&ok, in, w, c, p, s, i);
    measure_host_buffers(&ok, in, w, c, s);
    s->activations = total(&ok, s->buffer);

    uint64_t arena = sum(&ok, sum(&ok, s->host.kv, s->activations), in->cached ? 0 : s->host.weights);
    uint64_t mapped = s->host.mapped + (in->cached ? s->host.weights : 0);
    s->arena = sum(&ok, 0, lr_plan_in_granules(arena, &in->host));
    s->needed = sum(&ok, sum(&ok, s->arena, s->pinned), sum(&ok, in->host_fixed_bytes, in->host.overhead_bytes));
    if (c->disk && s->needed + mapped > in->host.budget_bytes) {
        uint64_t room = in->host.budget_bytes > s->needed ? in->host.budget_bytes - s->needed : 0;
        s->disk = mapped - (room < mapped ? room : mapped);
        mapped -= s->disk;
    }
    uint64_t all = s->host.weights + s->host.mapped, read = s->host.read + s->host.head_read;
    s->disk_read = read < all ? (uint64_t)((double)s->disk * ((double)read / (double)all)) : s->disk;
    s->needed = sum(&ok, s->needed, mapped);
    if (ok && in->n_gpus) lr_plan_estimate(in, c, s);
    return ok;
}

bool lr_plan_measure(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c, lr_plan_places *places,
                     lr_plan_sizes *s) {
    if (in->n_gpus) {
        if (!lr_plan_measure_kv(in, c, s)) return false;
        s->short_gpu = -1;
        if (!lr_plan_place_groups(in, w, c, places, s)) {
            s->needed = UINT64_MAX;
            return s->short_gpu >= 0;
        }
    }
    return lr_plan_measure_placed(in, w, c, places, s);
}
