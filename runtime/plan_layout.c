/* Planner, layout: every tensor, cache and buffer of a choice gets its offset.  An arena holds weights (one region a
 * layer), KV caches (one region a session and layer), buffers of a pass; a GPU's also the slots for streaming.       */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* An arena while it is laid out: the host's or a GPU's.                                                              */
typedef struct arena {
    lr_plan_region *regions;
    size_t n;
    uint64_t at; /* first free byte */
} arena;

static uint64_t add_region(arena *a, uint64_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
static uint64_t add_region(arena *a, uint64_t bytes, const char *format, ...) {
    uint64_t offset = a->at;
    if (!bytes) return 0;
    lr_plan_region *r = &a->regions[a->n++];
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->name, sizeof r->name, format, ap);
    va_end(ap);
    r->offset = offset;
    r->bytes = bytes;
    a->at += lr_aligned(bytes);
    return offset;
}

/* ---- weights ---- */

/* Groups of a weights block: what stands before the layers, the layers, what comes after.                            */
static int32_t group_of(const lr_plan_input *in, const lr_plan_tensor *t) {
    return t->role == LR_EMBED || t->role == LR_POSITIONS ? 0 : t->layer < 0 ? in->model->n_layers + 1 : t->layer + 1;
}

enum { BLOCK = LR_PLACE_HOST - 1 }; /* stands for all converted tensors, wherever they are used */

static uint64_t bytes_in(const lr_plan_placement *p, int place) {
    if (place == BLOCK) return p->converted ? p->bytes : 0;
    if (p->place != place) return 0;
    return place != LR_PLACE_HOST ? lr_plan_gpu_bytes(p) : p->converted ? p->bytes : 0;
}

/* Offsets of the tensors of one place, in the order of their group, then of the input.  ends (n_layers + 2): room for
 * the groups' cursors.  Returns their bytes.                                                                         */
static uint64_t place_weights(lr_plan *plan, const lr_plan_input *in, int place, uint64_t *ends, arena *a) {
    int32_t n_groups = in->model->n_layers + 2;
    memset(ends, 0, (size_t)n_groups * sizeof *ends);
    for (size_t i = 0; i < in->n_tensors; i++)
        ends[group_of(in, &in->tensors[i])] += bytes_in(&plan->placements[i], place);
    uint64_t at = 0;
    for (int32_t g = 0; g < n_groups; g++) {
        uint64_t bytes = ends[g];
        ends[g] = at; /* from here on the group's cursor */
        if (a && (g == 0 || g == n_groups - 1)) add_region(a, bytes, "%s.weights", g ? "output" : "embedding");
        else if (a) add_region(a, bytes, "layers.%d.weights", g - 1);
        at += bytes;
    }
    for (size_t i = 0; i < in->n_tensors; i++) {
        lr_plan_placement *p = &plan->placements[i];
        uint64_t bytes = bytes_in(p, place), *cursor = &ends[group_of(in, &in->tensors[i])];
        if (!bytes) continue;
        *(place == BLOCK ? &p->block_offset : &p->offset) = *cursor;
        *cursor += bytes;
    }
    return at;
}

/* Weights that every token reads from disk: those of the last groups of the host, as many as RAM has no room for.    */
static void mark_disk(lr_plan *plan, const lr_plan_input *in, bool tied, uint64_t disk) {
    for (size_t i = in->n_tensors; i-- > 0 && disk;) {
        lr_plan_placement *p = &plan->placements[i];
        bool rows_only = in->tensors[i].role == LR_EMBED && !tied;
        if (p->place != LR_PLACE_HOST || rows_only || (p->converted && !in->cached)) continue;
        p->tier = LR_TIER_DISK;
        disk -= p->bytes < disk ? p->bytes : disk;
    }
}

static llmrun_status place_tensors(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, lr_format quant,
                                   llmrun_error *err) {
    size_t n_grouped = (size_t)in->model->n_layers * LR_N_GROUPS, head = lr_plan_part_index(in, -1, LR_GROUP_HEAD);
    uint64_t matrix_bytes[LR_N_FORMATS] = { 0 };
    for (size_t i = 0; i < in->n_tensors; i++) {
        lr_plan_placement *p = &plan->placements[i];
        const lr_plan_tensor *t = &in->tensors[i];
        size_t part = lr_plan_part_of(in, w->tied, t);
        int8_t place = part < n_grouped ? plan->place[part] : part == head ? plan->head_place : LR_PLACE_HOST;
        if (!lr_plan_place(in, w->tied, quant, t, place != LR_PLACE_HOST, p))
            return lr_fail(err, LLMRUN_INTERNAL, "plan: tensor %zu: measured before, now too large", i);
        p->place = place;
        plan->weight_bytes += p->bytes;
        plan->format_bytes[p->format] += p->bytes;
        plan->weight_bytes_per_token += lr_plan_token_share(in, w->tied, t, p->bytes);
        if (t->cols > 1) matrix_bytes[p->format] += p->bytes;
        if (p->place != LR_PLACE_HOST) p->tier = LR_TIER_RESIDENT;
        else if (part < n_grouped && plan->stream[part] != LR_PLACE_HOST) p->tier = LR_TIER_STREAMED;
    }
    plan->quant_kept = quant == LR_FORMAT_NONE;
    plan->quant = plan->quant_kept ? LR_F16 : quant;
    for (int f = 0; f < LR_N_FORMATS && plan->quant_kept; f++)
        if (matrix_bytes[f] > matrix_bytes[plan->quant]) plan->quant = (lr_format)f;
    mark_disk(plan, in, w->tied, plan->disk_bytes);
    return LLMRUN_OK;
}

/* ---- caches and buffers ---- */

/* Caches of the layers whose attention is at that place.                                                             */
static void place_kv(lr_plan *plan, const lr_plan_input *in, int place, arena *a) {
    size_t n_layers = (size_t)in->model->n_layers;
    for (size_t session = 0; session < (size_t)in->n_sessions; session++)
        for (size_t layer = 0; layer < n_layers; layer++) {
            uint64_t bytes = plan->kv_page_bytes[layer], *offset = &plan->kv_offset[session * n_layers + layer];
            if (plan->place[layer * LR_N_GROUPS + LR_GROUP_ATTN] != place) continue;
            if (in->n_sessions == 1) *offset = add_region(a, bytes, "kv.%zu", layer);
            else *offset = add_region(a, bytes, "sessions.%zu.kv.%zu", session, layer);
        }
}

static void place_buffer(lr_plan_buffers *buffers, int i, const uint64_t *bytes, arena *a) {
    static const char *const names[LR_N_BUFFERS] = {
#define LR_X(name) [LR_BUFFER_##name] = #name,
        LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    };
    uint64_t *const offsets[LR_N_BUFFERS] = {
#define LR_X(name) [LR_BUFFER_##name] = &buffers->name,
        LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    };
    bool own_class = i == LR_BUFFER_logits || i == LR_BUFFER_scratch;
    *offsets[i] = add_region(a, bytes[i], "%s%s", own_class ? "" : "activations.", names[i]);
}

static void place_pinned(lr_plan_gpu *g, const lr_plan_input *in, const lr_plan_gpu_sizes *s, int32_t n_batch) {
    uint64_t at = 0, row = 4 * (uint64_t)n_batch;
    const struct { uint64_t *offset, bytes; } blocks[] = {
        { &g->pinned_header[0], s->header },
        { &g->pinned_header[1], s->header },
        { &g->pinned_x, lr_plan_crosses(s, false) ? row * (uint64_t)in->model->dim : 0 },
        { &g->pinned_hidden, lr_plan_crosses(s, true) ? row * lr_plan_cut_width(in->model) : 0 },
        { &g->pinned_logits, s->buffer[LR_BUFFER_logits] },
        { &g->pinned_slot[0], s->pinned_slot },
        { &g->pinned_slot[1], s->pinned_slot },
        { &g->pinned_kv[0], s->kv_slot },
        { &g->pinned_kv[1], s->kv_slot },
    };
    for (size_t i = 0; i < LR_COUNT(blocks); i++) {
        *blocks[i].offset = at;
        at += lr_aligned(blocks[i].bytes);
    }
    g->pinned_slot_bytes = s->pinned_slot;
    g->pinned_bytes = at;
}

static void place_gpu(lr_plan *plan, const lr_plan_input *in, const lr_plan_gpu_sizes *s, int gpu, uint64_t *ends) {
    static const int order[] = { /* the header of a pass first */
        LR_BUFFER_seqs, LR_BUFFER_ids, LR_BUFFER_cos_sin, LR_BUFFER_x, LR_BUFFER_y, LR_BUFFER_h, LR_BUFFER_inner,
        LR_BUFFER_q, LR_BUFFER_k, LR_BUFFER_v, LR_BUFFER_att, LR_BUFFER_gate, LR_BUFFER_up, LR_BUFFER_act,
        LR_BUFFER_act_hidden, LR_BUFFER_partial, LR_BUFFER_route, LR_BUFFER_experts, LR_BUFFER_logits,
    };
    lr_plan_gpu *g = &plan->gpus[gpu];
    arena a = { .regions = g->regions };
    g->weights_bytes = place_weights(plan, in, gpu, ends, &a);
    place_kv(plan, in, gpu, &a);
    g->kv_bytes = a.at - g->weights_bytes;
    g->header = a.at;
    g->header_bytes = s->header;
    for (size_t i = 0; i < LR_COUNT(order); i++) place_buffer(&g->buffers, order[i], s->buffer, &a);
    g->activation_bytes = s->activations;
    for (int i = 0; i < LR_N_GROUPS; i++) g->slot[i] = add_region(&a, s->slot[i], "staging.weights.%d", i);
    for (int i = 0; i < 2; i++) g->kv_slot[i] = add_region(&a, s->kv_slot, "staging.kv.%d", i);
    if (s->library) a.at = (a.at + LR_PLAN_LIBRARY_ALIGN - 1) & ~(uint64_t)(LR_PLAN_LIBRARY_ALIGN - 1);
    g->library = add_region(&a, s->library, "library");
    g->library_bytes = s->library;
    memcpy(g->slot_bytes, s->slot, sizeof g->slot_bytes);
    g->kv_slot_bytes = s->kv_slot;
    g->staging_bytes = s->staging;
    g->n_regions = a.n;
    g->n_layers = lr_plan_load_layers(&s->own) + lr_plan_load_layers(&s->streamed);
    g->arena_bytes = s->arena;
    g->overhead_bytes = s->overhead;
    g->total_bytes = g->arena_bytes + g->overhead_bytes;
    g->weight_bytes_per_token = s->own.read + s->own.head_read;
    place_pinned(g, in, s, plan->n_batch);
}

static void fill_totals(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                        const lr_plan_sizes *s) {
    plan->n_ctx = c->n_ctx;
    plan->n_batch = s->n_batch;
    plan->n_sessions = plan->logit_rows = in->n_sessions;
    plan->n_threads = in->n_threads;
    plan->kv = c->kv;
    plan->arena_bytes = s->arena;
    plan->mapped_bytes = s->host.mapped + (in->cached ? s->host.weights : 0);
    plan->disk_bytes = s->disk;
    plan->mapped_rows_bytes = w->mapped_rows;
    plan->fixed_bytes = in->host_fixed_bytes + in->host.overhead_bytes;
    plan->pinned_bytes = s->pinned;
    plan->total_bytes = plan->arena_bytes + plan->pinned_bytes + plan->fixed_bytes;
    plan->needed_bytes = s->needed;
    plan->n_params = w->n_params;
    const lr_format_traits *kv = &lr_formats[c->kv];
    uint64_t row = (uint64_t)(in->model->head_dim / kv->block) * (uint64_t)(kv->quant_bytes + kv->scale_bytes);
    uint64_t slots = 0;
    for (int32_t l = 0; l < in->model->n_layers; l++) slots += (uint64_t)s->slots[lr_layer_cache(in->model, l)];
    plan->kv_bytes_per_token = (in->model->kv_rank ? 1 : 2) * row * (uint64_t)in->model->n_kv_heads * slots / (uint64_t)c->n_ctx;
    plan->kv_slot_bytes = s->session;
    plan->kv_bytes = s->host.kv;
    plan->activation_bytes = s->activations;
    plan->buffers.scratch_stride = s->scratch_stride;
    plan->n_gpus = in->n_gpus;
    plan->n_host_layers = s->n_host_layers;
    plan->stream_from = s->stream_from;
    plan->embed_place = s->embed_place;
    plan->head_place = s->head_place;
    for (int32_t layer = 0; layer < in->model->n_layers; layer++) {
        lr_cache_kind cache = lr_layer_cache(in->model, layer);
        plan->kv_slots[layer] = s->slots[cache];
        plan->kv_page_bytes[layer] = s->page[cache];
    }
}

/* ---- all of it ---- */

/* Arrays whose sizes the model and the choice give.                                                                  */
static bool allocate(lr_plan *plan, const lr_plan_input *in) {
    size_t n_layers = (size_t)in->model->n_layers, n_caches = n_layers * (size_t)in->n_sessions;
    size_t n_groups = n_layers * LR_N_GROUPS, n_regions = n_layers + 2 + n_caches + LR_N_BUFFERS;
    plan->placements = lr_zalloc(in->n_tensors, sizeof *plan->placements);
    plan->regions = lr_zalloc(n_regions, sizeof *plan->regions);
    plan->kv_offset = lr_zalloc(n_caches, sizeof *plan->kv_offset);
    plan->kv_page_bytes = lr_zalloc(n_layers, sizeof *plan->kv_page_bytes);
    plan->kv_slots = lr_zalloc(n_layers, sizeof *plan->kv_slots);
    plan->place = lr_alloc(n_groups);
    plan->stream = lr_alloc(n_groups);
    if (!plan->placements || !plan->regions || !plan->kv_offset || !plan->kv_page_bytes || !plan->kv_slots ||
        !plan->place || !plan->stream)
        return false;
    memset(plan->place, LR_PLACE_HOST, n_groups);
    memset(plan->stream, LR_PLACE_HOST, n_groups);
    if (!in->n_gpus) return true;
    plan->gpus = lr_zalloc((size_t)in->n_gpus, sizeof *plan->gpus);
    if (!plan->gpus) return false;
    plan->n_gpus = in->n_gpus; /* for closing */
    for (int gpu = 0; gpu < in->n_gpus; gpu++) {
        plan->gpus[gpu].regions = lr_zalloc(n_regions + 6, sizeof *plan->regions);
        if (!plan->gpus[gpu].regions) return false;
    }
    return true;
}

llmrun_status lr_plan_lay_out(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                              const lr_plan_places *places, lr_plan_sizes *s, llmrun_error *err) {
    size_t n_layers = (size_t)in->model->n_layers;
    uint64_t *ends = lr_zalloc(n_layers + 2, sizeof *ends);
    llmrun_status status = LLMRUN_OK;
    if (!ends || !allocate(plan, in)) {
        status = lr_fail_nomem(err, "plan", in->n_tensors * sizeof *plan->placements);
        goto done;
    }
    lr_plan_places mine = {
        .group = plan->place, .stream = plan->stream, .embed = LR_PLACE_HOST, .head = LR_PLACE_HOST
    };
    if (places) {
        memcpy(plan->place, places->group, n_layers * LR_N_GROUPS);
        memcpy(plan->stream, places->stream, n_layers * LR_N_GROUPS);
        mine.embed = places->embed;
        mine.head = places->head;
    }
    if (!(places ? lr_plan_measure_placed(in, w, c, &mine, s) : lr_plan_measure(in, w, c, &mine, s))) {
        status = lr_fail(err, LLMRUN_INTERNAL, "plan: measured before, now too large");
        goto done;
    }
    plan->n_tensors = in->n_tensors;
    plan->n_groups = n_layers * LR_N_GROUPS;
    fill_totals(plan, in, w, c, s);
    status = place_tensors(plan, in, w, c->quant, err);
    if (status != LLMRUN_OK) goto done;

    arena host = { .regions = plan->regions };
    plan->block_bytes = place_weights(plan, in, BLOCK, ends, NULL);
    plan->weights_bytes = place_weights(plan, in, LR_PLACE_HOST, ends, in->cached ? NULL : &host);
    for (size_t i = 0; i < in->n_tensors && in->cached; i++)
        if (plan->placements[i].place == LR_PLACE_HOST) plan->placements[i].offset = plan->placements[i].block_offset;
    place_kv(plan, in, LR_PLACE_HOST, &host);
    for (int i = 0; i < LR_N_BUFFERS; i++) place_buffer(&plan->buffers, i, s->buffer, &host);
    plan->n_regions = host.n;
    for (int gpu = 0; gpu < in->n_gpus; gpu++) place_gpu(plan, in, &s->gpu[gpu], gpu, ends);
done:
    lr_free(ends);
    return status;
}
