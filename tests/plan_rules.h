/* What must hold of every plan with GPUs, worked out from its places alone: check_plan.  Include it after cmocka.h.  */
#ifndef TEST_PLAN_RULES_H
#define TEST_PLAN_RULES_H

#include "tests/plan_models.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static const model tinystories = { "tinystories-656k", { SHAPE(2, 128, 8, 4, 16, 384, 2048, 512) }, 0, 0 };

static lr_plan_device gpus[LR_PLAN_MAX_GPUS];

/* n GPUs with granules of 256 bytes; 0 rates are unknown.                                                            */
static void give_gpus(lr_plan_input *in, int n, const uint64_t *bytes, double read, double flops, double link) {
    memset(gpus, 0, sizeof gpus);
    for (int i = 0; i < n; i++) {
        gpus[i] = (lr_plan_device){ .budget_bytes = bytes[i], .granule_bytes = 256, .read_bytes_per_s = read,
                                    .flops_per_s = flops, .link_bytes_per_s = link };
        snprintf(gpus[i].name, sizeof gpus[i].name, "GPU %d", i);
    }
    in->gpus = gpus;
    in->n_gpus = n;
}

static lr_plan_input with_gpus(const model *m, lr_format file, int n, const uint64_t *bytes) {
    lr_plan_input in = input_for(m, file);
    in.host.read_bytes_per_s = 40e9;
    in.host.flops_per_s = 0.6e12;
    give_gpus(&in, n, bytes, 900e9, 90e12, 25e9);
    return in;
}

static uint64_t up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* ---- the rules, one GPU at a time ---- */

/* What a GPU computes, from the plan's places.                                                                       */
typedef struct work {
    bool kind[LR_GROUP_HEAD + 1];
    uint64_t weights, kv, n_attn, act, act_hidden, slot[LR_N_GROUPS], kv_slot;
} work;

static int8_t at(const lr_plan *p, int32_t layer, lr_group g) { return p->place[layer * LR_N_GROUPS + (int32_t)g]; }

static int8_t at_long(const lr_plan *p, int32_t layer, lr_group g) {
    int8_t here = at(p, layer, g);
    return here == LR_PLACE_HOST ? p->stream[layer * LR_N_GROUPS + (int32_t)g] : here;
}

static uint64_t packed(lr_format f, uint64_t n, uint64_t cols) {
    uint64_t few = lr_act_bytes(lr_gpu_act(f, 1), (int64_t)(n < 8 ? n : 8), (int64_t)cols);
    return most(few, lr_act_bytes(lr_gpu_act(f, 9), (int64_t)n, (int64_t)cols));
}

static bool is_tied(const lr_plan_input *in) { return in->tensors[in->n_tensors - 1].role != LR_HEAD; }

static lr_group group_of(const lr_plan_input *in, const lr_plan_tensor *t) {
    lr_group g = lr_plan_group(in->model, t->role);
    return g == LR_GROUP_EMBED && is_tied(in) ? LR_GROUP_HEAD : g;
}

static int place_of(const lr_plan *p, const lr_plan_input *in, const lr_plan_tensor *t) {
    lr_group g = group_of(in, t);
    if (g == LR_GROUP_EMBED) return LR_PLACE_HOST;
    return g == LR_GROUP_HEAD ? p->head_place : at(p, t->layer, g);
}

/* Bytes of each group in a GPU's arena, of the plan that is checked; the last is the head's.                         */
static uint64_t parts[LR_MAX_LAYERS * LR_N_GROUPS + 1];

static void add_up_parts(const lr_plan *p, const lr_plan_input *in) {
    memset(parts, 0, sizeof *parts * (p->n_groups + 1));
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        lr_group g = group_of(in, t);
        if (g == LR_GROUP_EMBED) continue;
        parts[g == LR_GROUP_HEAD ? p->n_groups : (size_t)t->layer * LR_N_GROUPS + g] += up(p->placements[i].bytes);
    }
}

static uint64_t part_of(int32_t layer, int g) { return parts[layer * LR_N_GROUPS + g]; }

static uint64_t caches_of(const lr_plan *p, int32_t layer) {
    return up(p->kv_page_bytes[layer]) * (uint64_t)p->n_sessions;
}

static void add_inputs(work *w, const lr_plan *p, const lr_plan_input *in, int gpu) {
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        const lr_plan_placement *x = &p->placements[i];
        lr_group g = group_of(in, t);
        bool mine = place_of(p, in, t) == gpu, streamed = g < LR_N_GROUPS && at_long(p, t->layer, g) == gpu;
        if ((!mine && !streamed) || t->cols == 1) continue;
        uint64_t n = (uint64_t)p->n_batch, bytes = packed(x->format, n, (uint64_t)t->cols);
        if (x->converted && x->format == LR_F16) bytes = most(bytes, packed(LR_BF16, n, (uint64_t)t->cols));
        if (t->role != LR_W_DOWN) {
            w->act = most(w->act, bytes);
            continue;
        }
        bool up_short = at(p, t->layer, LR_GROUP_GATE_UP) == gpu,
             up_long = at_long(p, t->layer, LR_GROUP_GATE_UP) == gpu;
        if ((mine && !up_short) || !up_long) w->act = most(w->act, bytes);
        if ((mine && up_short) || up_long) w->act_hidden = most(w->act_hidden, bytes);
    }
}

static work work_of(const lr_plan *p, const lr_plan_input *in, int gpu) {
    work w = { .kind = { false } };
    for (int32_t l = 0; l < in->model->n_layers; l++)
        for (int g = 0; g < LR_N_GROUPS; g++) {
            bool mine = at(p, l, (lr_group)g) == gpu, streamed = !mine && at_long(p, l, (lr_group)g) == gpu;
            if (!mine && !streamed) continue;
            w.kind[g] = true;
            if (g == LR_GROUP_ATTN) w.n_attn++;
            if (mine) w.weights += part_of(l, g);
            if (mine && g == LR_GROUP_ATTN) w.kv += caches_of(p, l);
            if (streamed) w.slot[g] = most(w.slot[g], part_of(l, g));
            if (streamed && g == LR_GROUP_ATTN) w.kv_slot = most(w.kv_slot, up(p->kv_page_bytes[l]));
        }
    w.kind[LR_GROUP_HEAD] = p->head_place == gpu;
    w.kind[LR_GROUP_EMBED] = p->embed_place == gpu;
    if (p->head_place == gpu) w.weights += parts[p->n_groups];
    add_inputs(&w, p, in, gpu);
    return w;
}

/* Bytes that the region of that name must have; 0: it must not be there.                                             */
static uint64_t region_bytes(const char *name, const work *w, const lr_plan *p, const lr_plan_input *in, int gpu) {
    const lr_hparams *h = in->model;
    uint64_t n = 4 * (uint64_t)p->n_batch, q = n * (uint64_t)h->n_heads * (uint64_t)h->head_dim, sum = 0;
    uint64_t kv = n * (uint64_t)h->n_kv_heads * (uint64_t)h->head_dim, hidden = n * (uint64_t)h->hidden_dim;
    int32_t layer = -1, session;
    if (sscanf(name, "kv.%d", &layer) == 1 || sscanf(name, "sessions.%d.kv.%d", &session, &layer) == 2)
        return at(p, layer, LR_GROUP_ATTN) == gpu ? p->kv_page_bytes[layer] : 0;
    if (strstr(name, ".weights") && strncmp(name, "staging", 7) != 0) {
        if (sscanf(name, "layers.%d", &layer) == 1) {
            for (int g = 0; g < LR_N_GROUPS; g++) sum += at(p, layer, (lr_group)g) == gpu ? part_of(layer, g) : 0;
            return sum;
        }
        for (size_t i = 0; i < in->n_tensors; i++) {
            const lr_plan_tensor *t = &in->tensors[i];
            bool mine = t->layer < 0 && (t->role == LR_EMBED) == (*name == 'e');
            if (mine && p->placements[i].place == gpu) sum += up(p->placements[i].bytes);
        }
        return sum;
    }
    bool a = w->kind[LR_GROUP_ATTN], f = w->kind[LR_GROUP_GATE_UP], d = w->kind[LR_GROUP_DOWN],
         o = w->kind[LR_GROUP_HEAD];
    const struct { const char *name; uint64_t bytes;
    } rows[] = {
        { "activations.x", n * (uint64_t)h->dim },
        { "activations.y", a || f || o || (d && h->post_norms) ? n * (uint64_t)h->dim : 0 },
        { "activations.h", a && h->parallel ? n * (uint64_t)h->dim : 0 },
        { "activations.q", a ? q : 0 },
        { "activations.att", a ? q : 0 },
        { "activations.k", a ? kv : 0 },
        { "activations.v", a ? kv : 0 },
        { "activations.gate", f || d ? hidden : 0 },
        { "activations.up", f ? hidden : 0 },
        { "activations.act", w->act },
        { "activations.act_hidden", w->act_hidden },
        { "activations.cos_sin", a ? n * (uint64_t)h->n_rot * (h->n_ropes == 2 ? 2 : 1) : 0 },
        { "activations.partial",
          a ? lr_gpu_attention_partial_bytes(p->n_batch, p->n_ctx, h->n_heads, h->n_kv_heads, h->head_dim) : 0 },
        { "activations.seqs", w->n_attn * sizeof(lr_seq) * (uint64_t)in->n_sessions },
        { "activations.ids", w->kind[LR_GROUP_EMBED] ? n * (h->n_pos ? 2 : 1) : 0 },
        { "logits", o ? 4 * (uint64_t)in->n_sessions * (uint64_t)h->n_vocab : 0 },
        { "staging.weights.0", w->slot[0] },
        { "staging.weights.1", w->slot[1] },
        { "staging.weights.2", w->slot[2] },
        { "staging.kv.0", w->kv_slot },
        { "staging.kv.1", w->kv_slot },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++)
        if (strcmp(name, rows[i].name) == 0) return rows[i].bytes;
    fail_msg("unknown region %s", name);
    return 0;
}

static uint64_t region_offset(const lr_plan_gpu *g, const char *name) {
    for (size_t i = 0; i < g->n_regions; i++)
        if (strcmp(g->regions[i].name, name) == 0) return g->regions[i].offset;
    fail_msg("no region %s", name);
    return 0;
}

static void check_regions(const lr_plan *p, const lr_plan_input *in, int gpu, const work *w) {
    const lr_plan_gpu *g = &p->gpus[gpu];
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < g->n_regions; i++) {
        const lr_plan_region *r = &g->regions[i];
        assert_true(r->offset >= end && r->offset % LR_ALIGN == 0 && r->bytes > 0);
        end = r->offset + r->bytes;
        sum += up(r->bytes);
        uint64_t want = region_bytes(r->name, w, p, in, gpu);
        if (r->bytes != want)
            fail_msg("GPU %d: %s: expected %llu bytes, got %llu", gpu, r->name, (unsigned long long)want,
                     (unsigned long long)r->bytes);
    }
    assert_true(end <= g->arena_bytes && g->arena_bytes - sum < 256 && g->arena_bytes % 256 == 0);
    assert_int_equal(g->weights_bytes, w->weights);
    assert_int_equal(g->kv_bytes, w->kv);
    assert_int_equal(g->staging_bytes, w->slot[0] + w->slot[1] + w->slot[2] + 2 * w->kv_slot);
    assert_int_equal(sum, g->weights_bytes + g->kv_bytes + g->activation_bytes + g->staging_bytes);
    assert_int_equal(g->total_bytes, g->arena_bytes + g->overhead_bytes);
    assert_true(g->total_bytes <= in->gpus[gpu].budget_bytes);
    assert_int_equal(g->n_layers, w->n_attn);

    const lr_plan_buffers *b = &g->buffers;
    assert_int_equal(b->x, region_offset(g, "activations.x"));
    if (w->kind[LR_GROUP_HEAD]) assert_int_equal(b->logits, region_offset(g, "logits"));
    if (w->slot[1]) assert_int_equal(g->slot[1], region_offset(g, "staging.weights.1"));
    if (w->kv_slot) assert_int_equal(g->kv_slot[0], region_offset(g, "staging.kv.0"));
    assert_int_equal(g->header, w->n_attn ? b->seqs : b->ids); /* the header: seqs, ids, cos_sin */
    if (!w->n_attn) return;
    uint64_t seqs = up(w->n_attn * sizeof(lr_seq) * (uint64_t)in->n_sessions), ids = up(4 * (uint64_t)p->n_batch);
    assert_int_equal(b->cos_sin, b->seqs + seqs + (w->kind[LR_GROUP_EMBED] ? ids : 0));
    assert_int_equal(g->header + g->header_bytes,
                     b->cos_sin + up(4 * (uint64_t)p->n_batch * (uint64_t)in->model->n_rot));
    if (w->kind[LR_GROUP_EMBED]) assert_int_equal(b->ids, b->seqs + seqs);
}

/* Pinned blocks lie one behind the other and have the sizes of what goes through them.                               */
static void check_pinned(const lr_plan *p, const lr_plan_input *in, int gpu, const work *w) {
    const lr_plan_gpu *g = &p->gpus[gpu];
    uint64_t n = 4 * (uint64_t)p->n_batch, x = 0, hidden = 0;
    int before[2] = { p->embed_place, p->embed_place };
    for (int32_t l = 0; l < in->model->n_layers; l++)
        for (int i = 0; i < LR_N_GROUPS; i++)
            for (int pass = 0; pass < 2; pass++) {
                int here = pass ? at_long(p, l, (lr_group)i) : at(p, l, (lr_group)i), from = before[pass];
                bool host_to_it = (here == gpu && from == LR_PLACE_HOST) || (from == gpu && here == LR_PLACE_HOST);
                if (host_to_it) x = n * (uint64_t)in->model->dim;
                if (host_to_it && i == LR_GROUP_DOWN) hidden = n * (uint64_t)in->model->hidden_dim;
                before[pass] = here;
            }
    for (int pass = 0; pass < 2; pass++)
        if ((before[pass] == gpu) != (p->head_place == gpu) &&
            (before[pass] == LR_PLACE_HOST || p->head_place == LR_PLACE_HOST))
            x = n * (uint64_t)in->model->dim;
    uint64_t end = 0, logits = w->kind[LR_GROUP_HEAD] ? 4 * (uint64_t)in->n_sessions * (uint64_t)in->model->n_vocab : 0;
    const struct { uint64_t offset, bytes; } blocks[] = {
        { g->pinned_header[0], g->header_bytes }, { g->pinned_header[1], g->header_bytes }, { g->pinned_x, x },
        { g->pinned_hidden, hidden }, { g->pinned_logits, logits }, { g->pinned_slot[0], g->pinned_slot_bytes },
        { g->pinned_slot[1], g->pinned_slot_bytes }, { g->pinned_kv[0], w->kv_slot }, { g->pinned_kv[1], w->kv_slot },
    };
    for (size_t i = 0; i < LR_COUNT(blocks); i++) {
        assert_int_equal(blocks[i].offset, end);
        end += up(blocks[i].bytes);
    }
    assert_int_equal(g->pinned_bytes, end);
    assert_true(g->pinned_slot_bytes >= LR_PLAN_LOAD_SLOT && g->pinned_slot_bytes >= most(w->slot[0], most(w->slot[1], w->slot[2])));
}

/* ---- all devices together ---- */

/* Every tensor lies once, in the weights of its place; those of one place do not overlap.                            */
static void check_tensors(const lr_plan *p, const lr_plan_input *in) {
    uint64_t sum[1 + LR_PLAN_MAX_GPUS] = { 0 }, highest[1 + LR_PLAN_MAX_GPUS] = { 0 }, block = 0;
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_placement *x = &p->placements[i];
        assert_int_equal(x->place, place_of(p, in, &in->tensors[i]));
        uint64_t bytes = x->place != LR_PLACE_HOST ? up(x->bytes) : x->converted ? x->bytes : 0;
        if (x->converted) block += x->bytes;
        sum[x->place + 1] += bytes;
        highest[x->place + 1] = most(highest[x->place + 1], bytes ? x->offset + bytes : 0);
        if (x->place != LR_PLACE_HOST) assert_int_equal(x->tier, LR_TIER_RESIDENT);
        assert_true(x->place != LR_PLACE_HOST || x->tier != LR_TIER_RESIDENT || (x->converted && !in->cached));
    }
    assert_int_equal(block, p->block_bytes);
    assert_int_equal(sum[0], p->weights_bytes);
    for (int gpu = 0; gpu < p->n_gpus; gpu++) assert_int_equal(highest[gpu + 1], sum[gpu + 1]);
    if (!in->cached) assert_int_equal(highest[0], sum[0]);
}

static void check_caches(const lr_plan *p, const lr_plan_input *in) {
    for (int32_t s = 0; s < in->n_sessions; s++)
        for (int32_t l = 0; l < in->model->n_layers; l++) {
            int8_t place = at(p, l, LR_GROUP_ATTN);
            char name[48];
            if (in->n_sessions > 1) snprintf(name, sizeof name, "sessions.%d.kv.%d", s, l);
            else snprintf(name, sizeof name, "kv.%d", l);
            lr_plan_gpu host = { .regions = p->regions, .n_regions = p->n_regions };
            const lr_plan_gpu *g = place == LR_PLACE_HOST ? &host : &p->gpus[place];
            assert_int_equal(p->kv_offset[s * in->model->n_layers + l], region_offset(g, name));
        }
}

/* The room left in a GPU is too small for any group that the CPU computes.                                           */
static void check_full(const lr_plan *p, const lr_plan_input *in, int gpu) {
    const lr_plan_gpu *g = &p->gpus[gpu];
    uint64_t room = in->gpus[gpu].budget_bytes - g->total_bytes, n = (uint64_t)p->n_batch;
    const lr_hparams *h = in->model;
    for (int32_t l = 0; l < h->n_layers; l++)
        for (int i = 0; i < LR_N_GROUPS; i++) {
            if (at(p, l, (lr_group)i) != LR_PLACE_HOST || (h->parallel && i != LR_GROUP_ATTN)) continue;
            uint64_t needs = part_of(l, i);
            if (i == LR_GROUP_ATTN) needs += caches_of(p, l) + up(sizeof(lr_seq) * (uint64_t)in->n_sessions);
            if (i == LR_GROUP_DOWN || h->parallel) needs += 2 * (2 * n * (uint64_t)h->hidden_dim + 64); /* its input, packed */
            if (room >= needs)
                fail_msg("GPU %d has %llu bytes left, group %d of layer %d needs %llu", gpu, (unsigned long long)room,
                         i, l, (unsigned long long)needs);
        }
    if (p->head_place != LR_PLACE_HOST) return;
    uint64_t needs = parts[p->n_groups] + up(4 * n) + up(4 * n * (uint64_t)h->dim) +
                     up(4 * (uint64_t)in->n_sessions * (uint64_t)h->n_vocab);
    assert_true(room < needs);
}

static void check_places(const lr_plan *p, const lr_plan_input *in) {
    int last = LR_PLACE_HOST, n_host = 0;
    bool has_whole[LR_PLAN_MAX_GPUS] = { false };
    for (int32_t l = 0; l < in->model->n_layers; l++) {
        int8_t a = at(p, l, LR_GROUP_ATTN), f = at(p, l, LR_GROUP_GATE_UP), d = at(p, l, LR_GROUP_DOWN);
        bool host = a == LR_PLACE_HOST || f == LR_PLACE_HOST || d == LR_PLACE_HOST;
        n_host += host;
        if (host || a != f || f != d) continue;
        assert_true(a >= last); /* whole layers go through the GPUs in order */
        last = a;
        has_whole[a] = true;
    }
    assert_int_equal(p->n_host_layers, n_host);
    for (int gpu = 0; gpu < p->n_gpus; gpu++) assert_true(has_whole[gpu]);
    assert_int_equal(p->embed_place, is_tied(in) ? p->head_place : LR_PLACE_HOST);
    bool streams = false;
    for (size_t i = 0; i < p->n_groups; i++) {
        assert_true(p->stream[i] == LR_PLACE_HOST || p->place[i] == LR_PLACE_HOST);
        streams |= p->stream[i] != LR_PLACE_HOST;
    }
    assert_int_equal(streams, p->stream_from > 0);
    assert_true(p->stream_from <= p->n_batch);
}

static void check_plan(const lr_plan *p, const lr_plan_input *in) {
    uint64_t pinned = 0;
    add_up_parts(p, in);
    check_places(p, in);
    check_tensors(p, in);
    check_caches(p, in);
    for (int gpu = 0; gpu < p->n_gpus; gpu++) {
        work w = work_of(p, in, gpu);
        check_regions(p, in, gpu, &w);
        check_pinned(p, in, gpu, &w);
        check_full(p, in, gpu);
        pinned += p->gpus[gpu].pinned_bytes;
    }
    assert_int_equal(p->pinned_bytes, pinned);
    assert_int_equal(p->total_bytes, p->arena_bytes + pinned + p->fixed_bytes);
    assert_int_equal(p->needed_bytes, p->total_bytes + p->mapped_bytes - p->disk_bytes);
    assert_true(p->needed_bytes <= in->host.budget_bytes);
    if (in->n_ctx) assert_int_equal(p->n_ctx, in->n_ctx);
    assert_true(p->decode_tokens_per_s > 0 && p->prefill_tokens_per_s > 0);
}

static void check_replay(const lr_plan *p, const lr_plan_input *in) {
    lr_text json = { 0 };
    lr_plan again;
    llmrun_error err = { 0 };
    lr_plan_json(p, in, &json);
    assert_false(json.failed);
    if (lr_plan_replay(&again, in, json.text, &err) != LLMRUN_OK) fail_msg("%s", err.message);
    assert_int_equal(again.hash, p->hash);
    assert_string_equal(again.why, p->why);
    lr_plan_close(&again);
    lr_free(json.text);
}

#endif
