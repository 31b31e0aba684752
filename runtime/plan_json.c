/* Planner, JSON: the whole plan as one document, which plan_read.c replays.  Sizes are bytes; the hash is a string, for
 * it needs all 64 bits.  Places are "cpu", "GPU 0", "GPU 1", ...                                                     */
#include <stdio.h>

#include "runtime/plan_mix.h"

static const char *tier_name(lr_tier tier) {
    static const char *const names[] = { "resident", "mapped", "streamed", "disk" };
    return names[tier];
}

const char *lr_plan_role_name(lr_role role) {
    static const char *const names[LR_N_ROLES] = {
        [LR_EMBED] = "embed", [LR_ATTN_NORM] = "attn_norm", [LR_WQ] = "wq", [LR_WK] = "wk", [LR_WV] = "wv",
        [LR_WO] = "wo", [LR_BQ] = "bq", [LR_BK] = "bk", [LR_BV] = "bv", [LR_BO] = "bo", [LR_Q_NORM] = "q_norm",
        [LR_K_NORM] = "k_norm", [LR_FFN_NORM] = "ffn_norm", [LR_W_GATE] = "w_gate", [LR_W_UP] = "w_up",
        [LR_W_DOWN] = "w_down", [LR_B_GATE] = "b_gate", [LR_B_UP] = "b_up", [LR_B_DOWN] = "b_down",
        [LR_OUT_NORM] = "out_norm", [LR_HEAD] = "head", [LR_SINKS] = "sinks", [LR_ATTN_POST_NORM] = "attn_post_norm",
        [LR_FFN_POST_NORM] = "ffn_post_norm", [LR_B_ATTN_NORM] = "b_attn_norm", [LR_B_FFN_NORM] = "b_ffn_norm",
        [LR_B_OUT_NORM] = "b_out_norm", [LR_B_HEAD] = "b_head", [LR_POSITIONS] = "positions", [LR_ROUTER] = "router",
        [LR_B_ROUTER] = "b_router", [LR_W_GATE_EXPERTS] = "w_gate_experts", [LR_W_UP_EXPERTS] = "w_up_experts",
        [LR_W_DOWN_EXPERTS] = "w_down_experts", [LR_B_GATE_EXPERTS] = "b_gate_experts",
        [LR_B_UP_EXPERTS] = "b_up_experts", [LR_B_DOWN_EXPERTS] = "b_down_experts",
        [LR_W_GATE_SHARED] = "w_gate_shared", [LR_W_UP_SHARED] = "w_up_shared", [LR_W_DOWN_SHARED] = "w_down_shared",
        [LR_SHARED_GATE] = "shared_gate", [LR_WQ_A] = "wq_a", [LR_Q_A_NORM] = "q_a_norm", [LR_WKV_A] = "wkv_a",
        [LR_KV_A_NORM] = "kv_a_norm", [LR_WK_B] = "wk_b", [LR_WV_B] = "wv_b", [LR_WQ_GATE] = "wq_gate",
        [LR_DELTA_Q] = "delta_q", [LR_DELTA_K] = "delta_k", [LR_DELTA_V] = "delta_v", [LR_DELTA_Z] = "delta_z",
        [LR_DELTA_B] = "delta_b", [LR_DELTA_A] = "delta_a", [LR_DELTA_OUT] = "delta_out", [LR_DELTA_CONV] = "delta_conv",
        [LR_DELTA_DT] = "delta_dt", [LR_DELTA_RATE] = "delta_rate", [LR_DELTA_NORM] = "delta_norm",
    };
    return role >= 0 && role < LR_N_ROLES ? names[role] : "unknown";
}

const char *lr_plan_place_name(char buf[16], int place) {
    if (place == LR_PLACE_HOST) return "cpu";
    snprintf(buf, 16, "GPU %d", place);
    return buf;
}

static void number(lr_text *out, const char *name, uint64_t value) {
    lr_text_add(out, "  \"%s\": %llu,\n", name, (unsigned long long)value);
}

static void string(lr_text *out, const char *name, const char *value) {
    lr_text_add(out, "  \"%s\": ", name);
    lr_text_add_json(out, value);
    lr_text_add(out, ",\n");
}

const char *lr_plan_asked_name(lr_format f) { return f == LR_FORMAT_NONE ? "file" : lr_formats[f].name; }

/* A rate that is unknown is null.                                                                                    */
static void rate(lr_text *out, const char *name, double value) {
    if (value > 0)
        lr_text_add(out, "  \"%s\": %.6g,\n", name, value);
    else
        lr_text_add(out, "  \"%s\": null,\n", name);
}

static void add_model(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    const lr_hparams *h = in->model;
    lr_text_add(out, "  \"model\": {\"path\": ");
    lr_text_add_json(out, in->model_path);
    lr_text_add(out, ", \"params\": %llu, \"layers\": %d, \"dim\": %d, \"heads\": %d, \"kv_heads\": %d, "
                "\"head_dim\": %d, \"hidden_dim\": %d, \"vocab\": %d, \"trained_ctx\": %d, \"window\": %d, "
                "\"experts\": %d, \"experts_used\": %d},\n",
                (unsigned long long)plan->n_params, h->n_layers, h->dim, h->n_heads, h->n_kv_heads, h->head_dim,
                h->hidden_dim, h->n_vocab, h->n_ctx_train, h->window, h->n_experts, h->n_experts_used);
}

static void add_choices(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    string(out, "quant", lr_formats[plan->quant].name);
    lr_text_add(out, "  \"quant_kept\": %s,\n", plan->quant_kept ? "true" : "false");
    lr_text_add(out, "  \"mixed\": %s,\n", plan->formats ? "true" : "false");
    rate(out, "mixed_bits", plan->mixed_bits);
    rate(out, "kl", plan->kl);
    string(out, "kv", lr_kv_name(plan->kv));
    number(out, "n_ctx", (uint64_t)plan->n_ctx);
    lr_text_add(out, "  \"n_ctx_lowered\": %s,\n", plan->n_ctx_lowered ? "true" : "false");
    number(out, "n_batch", (uint64_t)plan->n_batch);
    number(out, "n_sessions", (uint64_t)plan->n_sessions);
    number(out, "n_threads", (uint64_t)plan->n_threads);
    number(out, "logit_rows", (uint64_t)plan->logit_rows);
    char place[16];
    string(out, "embed_place", lr_plan_place_name(place, plan->embed_place));
    string(out, "head_place", lr_plan_place_name(place, plan->head_place));
    number(out, "host_layers", (uint64_t)plan->n_host_layers);
    number(out, "stream_from", (uint64_t)plan->stream_from);
    lr_text_add(out, "  \"mmap\": %s,\n  \"cached\": %s,\n", in->use_mmap ? "true" : "false",
                in->cached ? "true" : "false");
}

static void add_totals(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    number(out, "budget_bytes", in->host.budget_bytes);
    number(out, "needed_bytes", plan->needed_bytes);
    number(out, "total_bytes", plan->total_bytes);
    number(out, "arena_bytes", plan->arena_bytes);
    number(out, "pinned_bytes", plan->pinned_bytes);
    number(out, "disk_bytes", plan->disk_bytes);
    number(out, "block_bytes", plan->block_bytes);
    number(out, "fixed_bytes", plan->fixed_bytes);
    number(out, "mapped_bytes", plan->mapped_bytes);
    number(out, "mapped_rows_bytes", plan->mapped_rows_bytes);
    number(out, "weights_bytes", plan->weights_bytes);
    number(out, "weight_bytes", plan->weight_bytes);
    number(out, "weight_bytes_per_token", plan->weight_bytes_per_token);
    lr_text_add(out, "  \"weight_bytes_by_format\": {");
    const char *comma = "";
    for (int f = 0; f < LR_N_FORMATS; f++) {
        if (!plan->format_bytes[f]) continue;
        lr_text_add(out, "%s\"%s\": %llu", comma, lr_formats[f].name, (unsigned long long)plan->format_bytes[f]);
        comma = ", ";
    }
    lr_text_add(out, "},\n");
    number(out, "kv_bytes", plan->kv_bytes);
    number(out, "kv_bytes_per_token", plan->kv_bytes_per_token);
    number(out, "kv_slot_bytes", plan->kv_slot_bytes);
    number(out, "activation_bytes", plan->activation_bytes);
    number(out, "scratch_stride", plan->buffers.scratch_stride);
    rate(out, "decode_tokens_per_s", plan->decode_tokens_per_s);
    rate(out, "prefill_tokens_per_s", plan->prefill_tokens_per_s);
    rate(out, "load_seconds", plan->load_seconds);
}

/* ---- lists ---- */

static void add_regions(lr_text *out, const lr_plan_region *r, size_t n, const char *indent) {
    lr_text_add(out, "\"regions\": [\n");
    for (size_t i = 0; i < n; i++)
        lr_text_add(out, "%s  {\"name\": \"%s\", \"offset\": %llu, \"bytes\": %llu}%s\n", indent, r[i].name,
                    (unsigned long long)r[i].offset, (unsigned long long)r[i].bytes, i + 1 < n ? "," : "");
    lr_text_add(out, "%s]", indent);
}

/* One member of a device's object.                                                                                   */
static void member(lr_text *out, const char *name, uint64_t value) {
    lr_text_add(out, "\"%s\": %llu, ", name, (unsigned long long)value);
}

static void add_device(lr_text *out, const lr_plan_device *d, int place, uint64_t total, uint64_t arena,
                       const uint64_t classes[4]) {
    static const char *const names[4] = { "weights_bytes", "kv_bytes", "activation_bytes", "staging_bytes" };
    const struct { const char *name; double value; } rates[] = {
        { "read_bytes_per_s", d->read_bytes_per_s }, { "flops_per_s", d->flops_per_s },
        { "link_bytes_per_s", d->link_bytes_per_s },
    };
    char buf[16];
    lr_text_add(out, "    {\"place\": \"%s\", \"name\": ", lr_plan_place_name(buf, place));
    lr_text_add_json(out, d->name);
    lr_text_add(out, ", ");
    member(out, "budget_bytes", d->budget_bytes);
    member(out, "total_bytes", total);
    member(out, "arena_bytes", arena);
    member(out, "overhead_bytes", d->overhead_bytes);
    for (int i = 0; i < 4; i++) member(out, names[i], classes[i]);
    for (size_t i = 0; i < LR_COUNT(rates); i++) {
        if (rates[i].value > 0) lr_text_add(out, "\"%s\": %.6g, ", rates[i].name, rates[i].value);
        else lr_text_add(out, "\"%s\": null, ", rates[i].name);
    }
    lr_text_add(out, "\"rates_stated\": %s,\n     ", d->rates_stated ? "true" : "false");
}

static void add_gpu(lr_text *out, const lr_plan *plan, const lr_plan_input *in, int gpu) {
    const lr_plan_gpu *g = &plan->gpus[gpu];
    add_device(out, &in->gpus[gpu], gpu, g->total_bytes, g->arena_bytes,
               (const uint64_t[]){ g->weights_bytes, g->kv_bytes, g->activation_bytes, g->staging_bytes });
    member(out, "weight_bytes_per_token", g->weight_bytes_per_token);
    member(out, "header_offset", g->header);
    member(out, "header_bytes", g->header_bytes);
    member(out, "slot_bytes", g->slot_bytes[0] + g->slot_bytes[1] + g->slot_bytes[2]);
    member(out, "kv_slot_bytes", g->kv_slot_bytes);
    member(out, "pinned_bytes", g->pinned_bytes);
    member(out, "pinned_slot_bytes", g->pinned_slot_bytes);
    member(out, "library_bytes", g->library_bytes);
    lr_text_add(out, "\n     ");
    add_regions(out, g->regions, g->n_regions, "     ");
    lr_text_add(out, "}");
}

static void add_devices(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    lr_text_add(out, "  \"devices\": [\n");
    uint64_t converted = in->cached ? 0 : plan->weights_bytes;
    add_device(out, &in->host, LR_PLACE_HOST, plan->total_bytes, plan->arena_bytes,
               (const uint64_t[]){ converted, plan->kv_bytes, plan->activation_bytes, 0 });
    add_regions(out, plan->regions, plan->n_regions, "     ");
    lr_text_add(out, "}");
    for (int gpu = 0; gpu < plan->n_gpus; gpu++) {
        lr_text_add(out, ",\n");
        add_gpu(out, plan, in, gpu);
    }
    lr_text_add(out, "\n  ],\n");
}

/* The places of a layer's groups; "device" is where all of it is, or "cpu" where the CPU computes a part.            */
static void add_layers(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    static const char *const names[LR_N_GROUPS] = { "attn", "gate_up", "down" };
    char buf[16];
    lr_text_add(out, "  \"layers\": [\n");
    for (int32_t l = 0; l < in->model->n_layers; l++) {
        const int8_t *place = &plan->place[l * LR_N_GROUPS], *stream = &plan->stream[l * LR_N_GROUPS];
        int device = place[0];
        for (int g = 1; g < LR_N_GROUPS; g++) device = (int)lr_min(device, place[g]);
        lr_text_add(out, "    {\"layer\": %d, \"device\": \"%s\", \"groups\": {", l, lr_plan_place_name(buf, device));
        for (int g = 0; g < LR_N_GROUPS; g++)
            lr_text_add(out, "%s\"%s\": \"%s\"", g ? ", " : "", names[g], lr_plan_place_name(buf, place[g]));
        lr_text_add(out, "}, \"stream\": {");
        for (int g = 0; g < LR_N_GROUPS; g++)
            lr_text_add(out, "%s\"%s\": \"%s\"", g ? ", " : "", names[g], lr_plan_place_name(buf, stream[g]));
        lr_text_add(out, "}, \"kv_slots\": %d, \"kv_bytes\": %llu}%s\n", plan->kv_slots[l],
                    (unsigned long long)plan->kv_page_bytes[l], l + 1 < in->model->n_layers ? "," : "");
    }
    lr_text_add(out, "  ],\n");
}

static void add_tensors(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    char buf[16];
    lr_text_add(out, "  \"tensors\": [\n");
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lr_plan_placement *p = &plan->placements[i];
        const lr_plan_tensor *t = &in->tensors[i];
        lr_text_add(out, "    {\"role\": \"%s\", \"layer\": %d, \"rows\": %lld, \"cols\": %lld, \"format\": \"%s\", "
                    "\"place\": \"%s\", \"tier\": \"%s\", \"converted\": %s, \"fell_back\": %s, \"offset\": %llu, "
                    "\"bytes\": %llu", lr_plan_role_name(t->role), t->layer, (long long)t->rows, (long long)t->cols,
                    lr_formats[p->format].name, lr_plan_place_name(buf, p->place), tier_name(p->tier),
                    p->converted ? "true" : "false", p->fell_back ? "true" : "false", (unsigned long long)p->offset,
                    (unsigned long long)p->bytes);
        if (plan->formats) lr_text_add(out, ", \"asked\": \"%s\"", lr_plan_asked_name(plan->formats[i]));
        lr_text_add(out, "}%s\n", i + 1 < plan->n_tensors ? "," : "");
    }
    lr_text_add(out, "  ],\n");
}

void lr_plan_json(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    lr_text command = { 0 };
    lr_plan_command(plan, in, &command);
    lr_text_add(out, "{\n");
    add_model(out, plan, in);
    add_choices(out, plan, in);
    add_totals(out, plan, in);
    rate(out, "decode_tokens_per_s_per_vram_gib", lr_plan_marginal(plan, in));
    string(out, "why", plan->why);
    string(out, "command", command.text);
    add_devices(out, plan, in);
    add_layers(out, plan, in);
    add_tensors(out, plan, in);
    lr_text_add(out, "  \"hash\": \"%016llx\"\n}\n", (unsigned long long)plan->hash);
    if (command.failed) out->failed = true;
    lr_free(command.text);
}
