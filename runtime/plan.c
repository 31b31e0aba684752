/* The planner's front: check, choose, lay out, predict, explain.  See plan.h and plan_layout.h.                       */
#include "runtime/plan.h"

#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

/* ---- checking ---- */

static llmrun_status check_model(const lr_plan_input *in, llmrun_error *err) {
    const lr_hparams *h = in->model;
    const struct { const char *name; int32_t value, lo, hi; } rows[] = {
        { "layers", h->n_layers, 1, LR_MAX_LAYERS },    { "dim", h->dim, 1, INT32_MAX },
        { "heads", h->n_heads, 1, INT32_MAX },          { "kv heads", h->n_kv_heads, 1, INT32_MAX },
        { "head dim", h->head_dim, 1, 1 << 16 },      { "hidden dim", h->hidden_dim, 1, INT32_MAX },
        { "vocabulary", h->n_vocab, 1, INT32_MAX },     { "trained context", h->n_ctx_train, 1, INT32_MAX },
        { "window", h->window, 0, INT32_MAX },          { "rotated dims", h->n_rot, 0, h->head_dim },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++)
        if (rows[i].value < rows[i].lo || rows[i].value > rows[i].hi)
            return lr_fail(err, LLMRUN_FORMAT, "plan: %s: expected %d to %d, got %d", rows[i].name, rows[i].lo,
                           rows[i].hi, rows[i].value);
    for (size_t i = 0; i < in->n_tensors; i++) {
        const lr_plan_tensor *t = &in->tensors[i];
        if (t->rows < 1 || t->cols < 1 || t->rows > INT32_MAX || t->cols > INT32_MAX || t->layer < -1 ||
            t->layer >= h->n_layers || t->file_format < LR_FORMAT_NONE || t->file_format >= LR_N_FORMATS)
            return lr_fail(err, LLMRUN_FORMAT, "plan: tensor %zu: expected sizes above 0 in layers below %d, got %lld x "
                           "%lld in layer %d", i, h->n_layers, (long long)t->rows, (long long)t->cols, t->layer);
    }
    return LLMRUN_OK;
}

static llmrun_status check_wishes(const lr_plan_input *in, llmrun_error *err) {
    const struct { const char *name; int64_t value, lo, hi; } rows[] = {
        { "quant", in->quant, LR_FORMAT_NONE, LR_N_FORMATS - 1 },
        { "context", in->n_ctx, 0, INT32_MAX },
        { "largest context", in->n_ctx_most, 0, INT32_MAX },
        { "chunk", in->n_batch, 0, INT32_MAX },
        { "sessions", in->n_sessions, 1, 1 << 16 },
        { "threads", in->n_threads, 1, 1 << 16 },
        { "fixed bytes", (int64_t)in->host_fixed_bytes, 0, LR_PLAN_MOST },
        { "overhead", (int64_t)in->host.overhead_bytes, 0, LR_PLAN_MOST },
        { "granule", (int64_t)in->host.granule_bytes, 0, LR_PLAN_MOST },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++)
        if (rows[i].value < rows[i].lo || rows[i].value > rows[i].hi)
            return lr_fail(err, LLMRUN_ARG, "plan: %s: expected %lld to %lld, got %lld", rows[i].name,
                           (long long)rows[i].lo, (long long)rows[i].hi, (long long)rows[i].value);
    if (in->quant_bits && in->quant_bits != 8 && in->quant_bits != 4)
        return lr_fail(err, LLMRUN_ARG, "plan: quant: expected 8bit or 4bit, got %dbit", in->quant_bits);
    if (in->kv != LR_FORMAT_NONE && in->kv != LR_F32 && in->kv != LR_F16 && in->kv != LR_Q8_0)
        return lr_fail(err, LLMRUN_ARG, "plan: kv: expected f32, f16 or q8_0, got %s",
                       in->kv > 0 && in->kv < LR_N_FORMATS ? lr_formats[in->kv].name : "an unknown format");
    if (in->kv == LR_Q8_0 && in->model->head_dim % lr_formats[LR_Q8_0].block)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "plan: kv: expected heads of a multiple of %d values for q8_0, got %d; "
                       "use --kv f16", lr_formats[LR_Q8_0].block, in->model->head_dim);
    return LLMRUN_OK;
}

llmrun_status lr_plan_check(const lr_plan_input *in, llmrun_error *err) {
    llmrun_status status = check_model(in, err);
    return status == LLMRUN_OK ? check_wishes(in, err) : status;
}

/* ---- predicting ---- */

/* KV bytes that a token reads when the context is half full.                                                          */
static double kv_read_bytes(const lr_plan *plan, const lr_plan_input *in) {
    double layer = (double)plan->kv_bytes_per_token / in->model->n_layers, sum = 0;
    for (int32_t i = 0; i < in->model->n_layers; i++) {
        int64_t seen = lr_max(1, plan->n_ctx / 2);
        if (lr_plan_windowed(in->model, i)) seen = lr_min(seen, in->model->window);
        sum += layer * (double)seen;
    }
    return sum;
}

/* Decode is limited by reading weights and cache, prefill by two operations a weight, loading by conversion.          */
void lr_plan_predict(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w) {
    double bytes = (double)plan->weight_bytes_per_token + kv_read_bytes(plan, in);
    if (in->host.read_bytes_per_s > 0) plan->decode_tokens_per_s = in->host.read_bytes_per_s / bytes;
    if (in->host.flops_per_s > 0 && w->n_matmul_params)
        plan->prefill_tokens_per_s = in->host.flops_per_s / (2 * (double)w->n_matmul_params);
    if (in->convert_bytes_per_s > 0 && !in->cached) plan->load_seconds = (double)w->source / in->convert_bytes_per_s;
}

/* ---- explaining ---- */

void lr_plan_say(char *text, size_t size, const char *format, ...) {
    size_t at = strlen(text);
    va_list ap;
    va_start(ap, format);
    vsnprintf(text + at, size - at, format, ap);
    va_end(ap);
}

static const char *file_name(lr_format f) { return f == LR_FORMAT_NONE ? "another type" : lr_formats[f].name; }

#define SAY(...) lr_plan_say(plan->why, sizeof plan->why, __VA_ARGS__)

static void explain_quant(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found) {
    char need[32];
    SAY("weights %s", lr_formats[plan->quant].name);
    if (in->quant != LR_FORMAT_NONE || in->quant_bits) {
        SAY(" as asked");
    } else if (plan->quant_kept) {
        const lr_plan_tensor *t = in->tensors, *end = t + in->n_tensors;
        while (t < end && (t->cols == 1 || plan->placements[t - in->tensors].format != plan->quant)) t++;
        if (t < end && t->file_format != plan->quant) SAY(" for a file in %s", file_name(t->file_format));
        else SAY(", the file's precision");
    } else if (in->prefer == LR_PREFER_SPEED) {
        SAY(" for speed");
    } else {
        for (int i = 0; i < found->n_tried && found->tried[i] != plan->quant; i++)
            SAY("%s%s needs %s", i ? ", " : " because ",
                found->tried[i] == LR_FORMAT_NONE ? "the file's precision" : lr_formats[found->tried[i]].name,
                lr_size_gib(need, found->tried_needs[i]));
    }
}

static void explain_context(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found) {
    char need[32];
    if (in->n_ctx > 0) {
        SAY("; context %d as asked", plan->n_ctx);
        if (plan->n_ctx > in->model->n_ctx_train) SAY(", longer than the %d of training", in->model->n_ctx_train);
    } else if (plan->n_ctx_lowered) {
        SAY("; context lowered to %d, the most that fits", plan->n_ctx);
        if (found->full_needs) SAY(", because %d needs %s", found->n_ctx_full, lr_size_gib(need, found->full_needs));
    } else {
        SAY("; full context of %d", plan->n_ctx);
    }
}

void lr_plan_explain(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found) {
    explain_quant(plan, in, found);
    explain_context(plan, in, found);
    SAY("; KV %s%s", lr_formats[plan->kv].name, in->kv == LR_FORMAT_NONE ? "" : " as asked");
    if (in->n_batch == 0 && plan->n_batch < lr_min(plan->n_ctx_lowered ? 128 : 512, plan->n_ctx))
        SAY("; prefill chunk lowered to %d tokens to fit", plan->n_batch);
}

/* ---- hashing ---- */

static uint64_t mix(uint64_t h, uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    return lr_hash(h, bytes, sizeof bytes);
}

uint64_t lr_plan_hash(const lr_plan *plan) {
    const uint64_t head[] = {
        (uint64_t)plan->n_ctx, (uint64_t)plan->n_batch, (uint64_t)plan->n_sessions, (uint64_t)plan->n_threads,
        (uint64_t)plan->logit_rows, (uint64_t)plan->quant, (uint64_t)plan->kv, plan->arena_bytes, plan->weights_bytes,
        plan->mapped_bytes, plan->mapped_rows_bytes, plan->fixed_bytes, plan->weight_bytes,
        plan->weight_bytes_per_token, plan->kv_bytes_per_token, plan->n_params, plan->buffers.scratch_stride,
    };
    uint64_t h = LR_HASH_START;
    for (size_t i = 0; i < LR_COUNT(head); i++) h = mix(h, head[i]);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lr_plan_placement *p = &plan->placements[i];
        h = mix(h, (uint64_t)p->format << 32 | (uint64_t)p->tier << 2 | (uint64_t)p->converted << 1 | p->fell_back);
        h = mix(mix(h, p->offset), p->bytes);
    }
    for (size_t i = 0; i < plan->n_regions; i++) {
        const lr_plan_region *r = &plan->regions[i];
        h = mix(mix(lr_hash(h, r->name, strlen(r->name)), r->offset), r->bytes);
    }
    return h;
}

/* ---- making ---- */

llmrun_status lr_plan_make(lr_plan *plan, const lr_plan_input *in, llmrun_error *err) {
    memset(plan, 0, sizeof *plan);
    llmrun_status status = lr_plan_check(in, err);
    if (status != LLMRUN_OK) return status;

    lr_plan_scale scale = { 0 };
    lr_plan_found found;
    lr_plan_choose(&scale, in, &found);
    if (found.overflows)
        return lr_fail(err, LLMRUN_ARG, "plan: sizes: expected a total below 2^60 bytes, got more for %d layers and a "
                       "context of %d tokens; check config.json and -c", in->model->n_layers, found.n_ctx_full);
    if (!found.fits) return lr_plan_refuse(&scale, in, &found, err);

    const lr_plan_weights *w = lr_plan_weighed(&scale, in, found.choice.quant);
    status = lr_plan_lay_out(plan, in, w, &found.choice, &found.sizes, err);
    if (status != LLMRUN_OK) {
        lr_plan_close(plan);
        return status;
    }
    plan->n_ctx_lowered = in->n_ctx == 0 && plan->n_ctx < found.n_ctx_full;
    lr_plan_predict(plan, in, w);
    lr_plan_explain(plan, in, &found);
    plan->hash = lr_plan_hash(plan);
    return LLMRUN_OK;
}

void lr_plan_close(lr_plan *plan) {
    if (!plan) return;
    lr_free(plan->placements);
    lr_free(plan->regions);
    lr_free(plan->kv_offset);
    lr_free(plan->kv_page_bytes);
    lr_free(plan->kv_slots);
    memset(plan, 0, sizeof *plan);
}
