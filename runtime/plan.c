/* The planner's front: check, choose, lay out, predict, explain.  See plan.h and plan_layout.h.                      */
#include "runtime/plan.h"

#include <stdio.h>
#include <string.h>

#include "runtime/plan_mix.h"

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
            return lr_fail(err, LLMRUN_FORMAT,
                           "plan: tensor %zu: expected sizes above 0 in layers below %d, got %lld x "
                           "%lld in layer %d",
                           i, h->n_layers, (long long)t->rows, (long long)t->cols, t->layer);
    }
    return LLMRUN_OK;
}

static llmrun_status check_device(const lr_plan_device *d, llmrun_error *err) {
    if (d->overhead_bytes <= LR_PLAN_MOST && d->granule_bytes <= LR_PLAN_MOST) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_ARG, "plan: %s: expected overhead and granule below 2^60 bytes, got %llu and %llu",
                   d->name, (unsigned long long)d->overhead_bytes, (unsigned long long)d->granule_bytes);
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
        { "GPUs", in->n_gpus, 0, LR_PLAN_MAX_GPUS },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++)
        if (rows[i].value < rows[i].lo || rows[i].value > rows[i].hi)
            return lr_fail(err, LLMRUN_ARG, "plan: %s: expected %lld to %lld, got %lld", rows[i].name,
                           (long long)rows[i].lo, (long long)rows[i].hi, (long long)rows[i].value);
    llmrun_status status = check_device(&in->host, err);
    for (int i = 0; i < in->n_gpus && !status; i++) status = check_device(&in->gpus[i], err);
    if (status) return status;
    if (in->n_gpus > in->model->n_layers)
        return lr_fail(err, LLMRUN_ARG, "plan: GPUs: expected at most one a layer, %d, got %d; use fewer GPUs",
                       in->model->n_layers, in->n_gpus);
    if (in->quant_bits && in->quant_bits != 8 && in->quant_bits != 4)
        return lr_fail(err, LLMRUN_ARG, "plan: quant: expected 8bit or 4bit, got %dbit", in->quant_bits);
    if (in->mixed && !in->costs)
        return lr_fail(err, LLMRUN_ARG, "plan: quant: expected measured costs of each tensor for mixed precisions, got none");
    if (in->kv != LR_FORMAT_NONE && !lr_kv_name(in->kv))
        return lr_fail(err, LLMRUN_ARG, "plan: kv: expected f32, f16, q8_0 or q4_rot, got %s",
                       in->kv > 0 && in->kv < LR_N_FORMATS ? lr_formats[in->kv].name : "an unknown format");
    if (in->kv != LR_FORMAT_NONE && in->model->head_dim % lr_formats[in->kv].block)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "plan: kv: expected heads of a multiple of %d values for %s, got %d; "
                       "use --kv f16", lr_formats[in->kv].block, lr_kv_name(in->kv), in->model->head_dim);
    if (in->kv == LR_KV_ROTATED && in->model->kv_rank)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "plan: kv: expected f32, f16 or q8_0 for latent attention, whose rows "
                       "are short already, got %s; use --kv q8_0", lr_kv_name(in->kv));
    return LLMRUN_OK;
}

static llmrun_status check_costs(const lr_plan_input *in, llmrun_error *err) {
    for (size_t i = 0; i < in->n_tensors && in->costs; i++)
        for (int r = 0; r < LR_RUNG_FILE; r++)
            if (!(in->costs[i].kl[r] >= 0 && in->costs[i].kl[r] < 1e9))
                return lr_fail(err, LLMRUN_ARG, "plan: tensor %zu: expected costs of 0 to 1e9, got %g", i, in->costs[i].kl[r]);
    return LLMRUN_OK;
}

llmrun_status lr_plan_check(const lr_plan_input *in, llmrun_error *err) {
    llmrun_status status = check_model(in, err);
    if (!status) status = check_wishes(in, err);
    return status ? status : check_costs(in, err);
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

/* "weights mixed, 5.9 bits each, KL 0.004 by measured costs: 14 q8_0, 35 q4_k".                                       */
static void explain_mix(lr_plan *plan, const lr_plan_input *in) {
    int counts[LR_N_FORMATS] = { 0 };
    for (size_t i = 0; i < in->n_tensors; i++)
        if (in->tensors[i].cols > 1) counts[plan->placements[i].format]++;
    SAY("weights mixed, %.2f bits each", 8 * (double)plan->weight_bytes / (double)plan->n_params);
    if (plan->kl > 0) SAY(", KL %.2g by measured costs", plan->kl);
    const char *next = ": ";
    for (int bits = 32; bits > 0; bits--) /* widest first */
        for (int f = 0; f < LR_N_FORMATS; f++) {
            if (!counts[f] || lr_formats[f].bits != bits) continue;
            SAY("%s%d %s", next, counts[f], lr_formats[f].name);
            next = ", ";
        }
}

static void explain_quant(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found) {
    char need[32];
    if (plan->formats) explain_mix(plan, in);
    else SAY("weights %s", lr_formats[plan->quant].name);
    if (in->mixed || in->quant != LR_FORMAT_NONE || in->quant_bits) {
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
    } else if (plan->n_ctx_lowered && plan->n_gpus && plan->n_host_layers) {
        SAY("; context %d of %d, for a longer one would push more layers to the CPU", plan->n_ctx, found->n_ctx_full);
    } else if (plan->n_ctx_lowered) {
        SAY("; context lowered to %d, the most that fits", plan->n_ctx);
        if (found->full_needs) SAY(", because %d needs %s", found->n_ctx_full, lr_size_gib(need, found->full_needs));
    } else {
        SAY("; full context of %d", plan->n_ctx);
    }
}

/* Where the layers are.  With GPUs the chunk is not lowered to fit alone, but to be fast.                            */
static void explain_places(lr_plan *plan, const lr_plan_input *in) {
    int32_t n = in->model->n_layers, off = plan->n_host_layers;
    const char *also = plan->head_place == LR_PLACE_HOST ? ", the head too" : "";
    if (off) SAY("; %d of %d layers on the CPU, at least in part%s", off, n, also);
    else if (plan->n_gpus == 1) SAY("; all %d layers on %s", n, in->gpus[0].name);
    else SAY("; all %d layers on %d GPUs", n, plan->n_gpus);
    if (!off && *also) SAY(", the head on the CPU");
    if (plan->stream_from) SAY("; prompts stream them to a GPU from %d tokens on", plan->stream_from);
    SAY("; prefill chunks of %d tokens", plan->n_batch);
}

void lr_plan_explain(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found) {
    explain_quant(plan, in, found);
    explain_context(plan, in, found);
    SAY("; KV %s%s", lr_kv_name(plan->kv), in->kv == LR_FORMAT_NONE ? "" : " as asked");
    if (in->n_gpus) explain_places(plan, in);
    else if (in->n_batch == 0 && plan->n_batch < lr_min(plan->n_ctx_lowered ? 128 : 512, plan->n_ctx))
        SAY("; prefill chunk lowered to %d tokens to fit", plan->n_batch);
    if (plan->disk_bytes) {
        char gb[32];
        SAY("; %s of weights read from disk for every token (--disk)", lr_size_gb(gb, plan->disk_bytes));
    }
}

/* ---- hashing ---- */

static uint64_t mix(uint64_t h, uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    return lr_hash(h, bytes, sizeof bytes);
}

static uint64_t mix_regions(uint64_t h, const lr_plan_region *r, size_t n) {
    for (size_t i = 0; i < n; i++) h = mix(mix(lr_hash(h, r[i].name, strlen(r[i].name)), r[i].offset), r[i].bytes);
    return h;
}

static uint64_t mix_gpu(uint64_t h, const lr_plan_gpu *g) {
    const uint64_t values[] = {
        g->arena_bytes, (uint64_t)g->n_layers, g->header, g->header_bytes, g->slot[0], g->slot[1],
        g->slot[2], g->slot_bytes[0], g->slot_bytes[1], g->slot_bytes[2], g->kv_slot[0], g->kv_slot[1], g->kv_slot_bytes, g->pinned_bytes, g->pinned_header[0],
        g->pinned_header[1], g->pinned_x, g->pinned_hidden, g->pinned_logits, g->pinned_slot[0], g->pinned_slot[1],
        g->pinned_slot_bytes, g->pinned_kv[0], g->pinned_kv[1],
    };
    for (size_t i = 0; i < LR_COUNT(values); i++) h = mix(h, values[i]);
    return mix_regions(h, g->regions, g->n_regions);
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
        if (plan->n_gpus) h = mix(mix(h, p->block_offset), (uint64_t)(p->place + 1));
    }
    h = mix_regions(h, plan->regions, plan->n_regions);
    if (!plan->n_gpus) return h;
    h = mix(mix(mix(h, (uint64_t)plan->stream_from), (uint64_t)(plan->embed_place + 1)),
            (uint64_t)(plan->head_place + 1));
    h = mix(lr_hash(h, plan->place, plan->n_groups), (uint64_t)plan->n_gpus);
    h = lr_hash(h, plan->stream, plan->n_groups);
    for (int i = 0; i < plan->n_gpus; i++) h = mix_gpu(h, &plan->gpus[i]);
    return h;
}

/* ---- making ---- */

llmrun_status lr_plan_keep_formats(lr_plan *plan, const lr_plan_input *in, llmrun_error *err) {
    if (!in->formats) return LLMRUN_OK;
    plan->formats = lr_alloc(in->n_tensors * sizeof *plan->formats);
    if (!plan->formats) return lr_fail_nomem(err, "plan", in->n_tensors * sizeof *plan->formats);
    memcpy(plan->formats, in->formats, in->n_tensors * sizeof *plan->formats);
    plan->quant_kept = false;
    return LLMRUN_OK;
}

/* Chooses: formats for a number of bits before all else; or what fits, then bits for the room that is left.  *use is the
 * input and *scale what the choice was made with.                                                                    */
static llmrun_status choose(lr_plan_mix *mix, lr_plan_scale *scale, const lr_plan_input *in, const lr_plan_input **use,
                            lr_plan_scale **used, lr_plan_found *found, llmrun_error *err) {
    bool open = in->costs && !in->formats;
    bool mixes = open && (in->mixed || (in->quant == LR_FORMAT_NONE && !in->quant_bits && in->prefer != LR_PREFER_SPEED));
    llmrun_status status = mixes ? lr_plan_mix_open(mix, in, err) : LLMRUN_OK;
    *use = in;
    *used = scale;
    if (status) return status;
    bool pinned = mixes && in->mixed && in->mixed_bits > 0;
    if (pinned && !lr_plan_mix_fill(mix, in->mixed_bits))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "plan: quant: expected at least %.3f bits a weight for this model, got %g",
                       8 * (double)mix->bytes / (double)mix->n_params + 0.0005, in->mixed_bits);
    if (pinned) {
        *use = &mix->in;
        *used = &mix->scale;
    }
    lr_plan_choose(*used, *use, found);
    if (mixes && !pinned && found->fits && found->choice.quant != LR_FORMAT_NONE && lr_plan_mix_raise(mix, found)) {
        *use = &mix->in;
        *used = &mix->scale;
    }
    if (scale->no_memory || mix->scale.no_memory)
        return lr_fail_nomem(err, "plan", (size_t)in->model->n_layers * LR_N_GROUPS * sizeof(lr_plan_part));
    return LLMRUN_OK;
}

llmrun_status lr_plan_make(lr_plan *plan, const lr_plan_input *in, llmrun_error *err) {
    memset(plan, 0, sizeof *plan);
    llmrun_status status = lr_plan_check(in, err);
    if (status != LLMRUN_OK) return status;

    lr_plan_scale own = { 0 }, *scale;
    lr_plan_mix mix = { 0 };
    lr_plan_found found;
    const lr_plan_input *use;
    status = choose(&mix, &own, in, &use, &scale, &found, err);
    if (status != LLMRUN_OK) goto done;
    if (found.overflows) {
        status = lr_fail(err, LLMRUN_ARG,
                         "plan: sizes: expected a total below 2^60 bytes, got more for %d layers and a "
                         "context of %d tokens; check config.json and -c",
                         in->model->n_layers, found.n_ctx_full);
        goto done;
    }
    if (!found.fits) {
        status = lr_plan_refuse(scale, use, &found, err);
        goto done;
    }

    const lr_plan_weights *w = lr_plan_weighed(scale, use, found.choice.quant);
    lr_plan_sizes sizes;
    status = w ? lr_plan_lay_out(plan, use, w, &found.choice, NULL, &sizes, err)
               : lr_fail_nomem(err, "plan", sizeof(lr_plan_part));
    if (!status) status = lr_plan_keep_formats(plan, use, err);
    if (status != LLMRUN_OK) {
        lr_plan_close(plan);
        goto done;
    }
    plan->mixed_bits = use == &mix.in ? mix.bits : 0;
    plan->kl = use == &mix.in ? mix.kl : 0;
    plan->n_ctx_lowered = in->n_ctx == 0 && plan->n_ctx < found.n_ctx_full;
    lr_plan_predict(plan, use, w, &found.choice, &sizes);
    lr_plan_explain(plan, in, &found);
    plan->hash = lr_plan_hash(plan);
done:
    lr_plan_mix_close(&mix);
    lr_plan_scale_close(&own);
    return status;
}

void lr_plan_close(lr_plan *plan) {
    if (!plan) return;
    lr_free(plan->formats);
    lr_free(plan->placements);
    lr_free(plan->regions);
    lr_free(plan->kv_offset);
    lr_free(plan->kv_page_bytes);
    lr_free(plan->kv_slots);
    lr_free(plan->place);
    lr_free(plan->stream);
    for (int i = 0; plan->gpus && i < plan->n_gpus; i++) lr_free(plan->gpus[i].regions);
    lr_free(plan->gpus);
    memset(plan, 0, sizeof *plan);
}
