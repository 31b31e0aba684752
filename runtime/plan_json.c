/* Planner, JSON: the whole plan as one document.  Sizes are bytes; the hash is a string, for it needs all 64 bits.    */
#include "runtime/plan_layout.h"

static const char *tier_name(lr_tier tier) {
    static const char *const names[] = { "resident", "mapped", "streamed", "disk" };
    return names[tier];
}

static const char *role_name(lr_role role) {
    static const char *const names[LR_N_ROLES] = {
        [LR_EMBED] = "embed", [LR_ATTN_NORM] = "attn_norm", [LR_WQ] = "wq", [LR_WK] = "wk", [LR_WV] = "wv",
        [LR_WO] = "wo", [LR_BQ] = "bq", [LR_BK] = "bk", [LR_BV] = "bv", [LR_BO] = "bo", [LR_Q_NORM] = "q_norm",
        [LR_K_NORM] = "k_norm", [LR_FFN_NORM] = "ffn_norm", [LR_W_GATE] = "w_gate", [LR_W_UP] = "w_up",
        [LR_W_DOWN] = "w_down", [LR_B_GATE] = "b_gate", [LR_B_UP] = "b_up", [LR_B_DOWN] = "b_down",
        [LR_OUT_NORM] = "out_norm", [LR_HEAD] = "head",
    };
    return role >= 0 && role < LR_N_ROLES ? names[role] : "unknown";
}

static void number(lr_text *out, const char *name, uint64_t value) {
    lr_text_add(out, "  \"%s\": %llu,\n", name, (unsigned long long)value);
}

static void string(lr_text *out, const char *name, const char *value) {
    lr_text_add(out, "  \"%s\": ", name);
    lr_text_add_json(out, value);
    lr_text_add(out, ",\n");
}

/* A rate that is unknown is null.                                                                                     */
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
                "\"head_dim\": %d, \"hidden_dim\": %d, \"vocab\": %d, \"trained_ctx\": %d, \"window\": %d},\n",
                (unsigned long long)plan->n_params, h->n_layers, h->dim, h->n_heads, h->n_kv_heads, h->head_dim,
                h->hidden_dim, h->n_vocab, h->n_ctx_train, h->window);
}

static void add_choices(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    string(out, "quant", lr_formats[plan->quant].name);
    lr_text_add(out, "  \"quant_kept\": %s,\n", plan->quant_kept ? "true" : "false");
    string(out, "kv", lr_formats[plan->kv].name);
    number(out, "n_ctx", (uint64_t)plan->n_ctx);
    lr_text_add(out, "  \"n_ctx_lowered\": %s,\n", plan->n_ctx_lowered ? "true" : "false");
    number(out, "n_batch", (uint64_t)plan->n_batch);
    number(out, "n_sessions", (uint64_t)plan->n_sessions);
    number(out, "n_threads", (uint64_t)plan->n_threads);
    number(out, "logit_rows", (uint64_t)plan->logit_rows);
    lr_text_add(out, "  \"mmap\": %s,\n  \"cached\": %s,\n", in->use_mmap ? "true" : "false",
                in->cached ? "true" : "false");
}

static void add_totals(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    number(out, "budget_bytes", in->host.budget_bytes);
    number(out, "needed_bytes", plan->needed_bytes);
    number(out, "total_bytes", plan->total_bytes);
    number(out, "arena_bytes", plan->arena_bytes);
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

static void add_lists(lr_text *out, const lr_plan *plan, const lr_plan_input *in) {
    lr_text_add(out, "  \"kv_layers\": [");
    for (int32_t i = 0; i < in->model->n_layers; i++)
        lr_text_add(out, "%s{\"slots\": %d, \"bytes\": %llu}", i ? ", " : "", plan->kv_slots[i],
                    (unsigned long long)plan->kv_page_bytes[i]);
    lr_text_add(out, "],\n  \"regions\": [\n");
    for (size_t i = 0; i < plan->n_regions; i++) {
        const lr_plan_region *r = &plan->regions[i];
        lr_text_add(out, "    {\"name\": \"%s\", \"offset\": %llu, \"bytes\": %llu}%s\n", r->name,
                    (unsigned long long)r->offset, (unsigned long long)r->bytes, i + 1 < plan->n_regions ? "," : "");
    }
    lr_text_add(out, "  ],\n  \"tensors\": [\n");
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lr_plan_placement *p = &plan->placements[i];
        const lr_plan_tensor *t = &in->tensors[i];
        lr_text_add(out, "    {\"role\": \"%s\", \"layer\": %d, \"rows\": %lld, \"cols\": %lld, \"format\": \"%s\", "
                    "\"tier\": \"%s\", \"converted\": %s, \"fell_back\": %s, \"offset\": %llu, \"bytes\": %llu}%s\n",
                    role_name(t->role), t->layer, (long long)t->rows, (long long)t->cols, lr_formats[p->format].name,
                    tier_name(p->tier), p->converted ? "true" : "false", p->fell_back ? "true" : "false",
                    (unsigned long long)p->offset, (unsigned long long)p->bytes, i + 1 < plan->n_tensors ? "," : "");
    }
    lr_text_add(out, "  ],\n");
}

void lr_plan_json(const lr_plan *plan, const lr_plan_input *in, lr_text *out) {
    lr_text command = { 0 };
    lr_plan_command(plan, in, &command);
    lr_text_add(out, "{\n");
    add_model(out, plan, in);
    string(out, "device", in->host.name);
    add_choices(out, plan, in);
    add_totals(out, plan, in);
    string(out, "why", plan->why);
    string(out, "command", command.text);
    add_lists(out, plan, in);
    lr_text_add(out, "  \"hash\": \"%016llx\"\n}\n", (unsigned long long)plan->hash);
    if (command.failed) out->failed = true;
    lr_free(command.text);
}
