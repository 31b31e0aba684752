/* Planner, replay: takes the choices of a plan's JSON and lays them out for the model and devices that are here now.
 * What comes out is that plan, to the byte, or a sentence that says what differs.                                    */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"
#include "runtime/plan_mix.h"

enum { MAX_VALUES = 1 << 21 };

static llmrun_status bad(llmrun_error *err, const char *key, const char *expected, const cJSON *got) {
    char shown[80];
    return lr_fail(err, LLMRUN_FORMAT, "--plan: \"%s\": expected %s, got %s; is this the output of llmrun plan --json?",
                   key, expected, got ? lr_json_describe(shown, sizeof shown, got) : "nothing");
}

static llmrun_status read_int(const cJSON *json, const char *key, int32_t lo, int32_t hi, int32_t *out,
                              llmrun_error *err) {
    const cJSON *item = lr_json_get(json, key);
    int64_t value;
    if (!lr_json_int(item, lo, hi, &value)) return bad(err, key, "a whole number in its range", item);
    *out = (int32_t)value;
    return LLMRUN_OK;
}

static llmrun_status read_bool(const cJSON *json, const char *key, bool *out, llmrun_error *err) {
    const cJSON *item = lr_json_get(json, key);
    if (!cJSON_IsBool(item)) return bad(err, key, "true or false", item);
    *out = cJSON_IsTrue(item);
    return LLMRUN_OK;
}

static llmrun_status read_format(const cJSON *json, const char *key, lr_format *out, llmrun_error *err) {
    const cJSON *item = lr_json_get(json, key);
    *out = cJSON_IsString(item) ? lr_format_by_name(item->valuestring) : LR_FORMAT_NONE;
    return *out == LR_FORMAT_NONE ? bad(err, key, "a format", item) : LLMRUN_OK;
}

/* "cpu", or "GPU i" of those that are there.                                                                         */
static llmrun_status read_place(const cJSON *json, const char *key, const lr_plan_input *in, int8_t *out,
                                llmrun_error *err) {
    const cJSON *item = lr_json_get(json, key);
    char name[16];
    for (int place = LR_PLACE_HOST; place < in->n_gpus && cJSON_IsString(item); place++)
        if (strcmp(item->valuestring, lr_plan_place_name(name, place)) == 0) {
            *out = (int8_t)place;
            return LLMRUN_OK;
        }
    return bad(err, key, in->n_gpus ? "the name of a GPU in use, or cpu" : "cpu, for no GPU is in use", item);
}

/* ---- choices ---- */

static llmrun_status read_choice(lr_plan_choice *c, bool mixed, const cJSON *json, llmrun_error *err) {
    bool kept = false;
    const cJSON *disk = lr_json_get(json, "disk_bytes"), *kv = lr_json_get(json, "kv");
    *c = (lr_plan_choice){ .stream = LR_PLACE_HOST };
    llmrun_status status = read_int(json, "n_ctx", 1, INT32_MAX, &c->n_ctx, err);
    if (!status) status = read_int(json, "n_batch", 1, INT32_MAX, &c->n_batch, err);
    if (!status) status = read_int(json, "stream_from", 0, INT32_MAX, &c->stream_from, err);
    if (!status) status = read_format(json, "quant", &c->quant, err);
    if (!status) status = read_bool(json, "quant_kept", &kept, err);
    if (status) return status;
    if (kept || mixed) c->quant = LR_FORMAT_NONE;
    else if (!lr_formats[c->quant].encode)
        return bad(err, "quant", "a format to convert to", lr_json_get(json, "quant"));
    c->kv = cJSON_IsString(kv) ? lr_kv_by_name(kv->valuestring) : LR_FORMAT_NONE;
    if (c->kv == LR_FORMAT_NONE) return bad(err, "kv", "f32, f16, q8_0 or q4_rot", kv);
    c->disk = cJSON_IsNumber(disk) && disk->valuedouble > 0;
    return LLMRUN_OK;
}

static llmrun_status read_places(lr_plan_places *p, const lr_plan_input *in, const lr_plan_weights *w, lr_format kv,
                                 const cJSON *json, llmrun_error *err) {
    static const char *const names[LR_N_GROUPS] = { "attn", "gate_up", "down" };
    const cJSON *layers = lr_json_get(json, "layers"), *layer;
    if (!cJSON_IsArray(layers) || cJSON_GetArraySize(layers) != in->model->n_layers)
        return lr_fail(err, LLMRUN_FORMAT, "--plan: layers: expected the %d of this model, got %d", in->model->n_layers,
                       cJSON_GetArraySize(layers));
    llmrun_status status = read_place(json, "embed_place", in, &p->embed, err);
    if (!status) status = read_place(json, "head_place", in, &p->head, err);
    size_t i = 0;
    cJSON_ArrayForEach(layer, layers) {
        const cJSON *groups = lr_json_get(layer, "groups"), *stream = lr_json_get(layer, "stream");
        for (int g = 0; g < LR_N_GROUPS && !status; g++, i++) {
            status = read_place(groups, names[g], in, &p->group[i], err);
            if (!status) status = read_place(stream, names[g], in, &p->stream[i], err);
            if (status) break;
            bool on_gpu = p->group[i] != LR_PLACE_HOST, streams = p->stream[i] != LR_PLACE_HOST;
            if (on_gpu && streams) return bad(err, names[g], "a group of the CPU where it is streamed", stream);
            if ((on_gpu && !lr_plan_gpu_takes(in, w, kv, i)) || (streams && !lr_plan_streams(in, w, kv, i)))
                return bad(err, names[g], "cpu, for no GPU kernel takes its formats", groups);
        }
        if (status) return status;
    }
    size_t head = lr_plan_part_index(in, -1, LR_GROUP_HEAD);
    if (!status && p->head != LR_PLACE_HOST && !lr_plan_gpu_takes(in, w, kv, head))
        return bad(err, "head_place", "cpu, for no GPU kernel takes its format", lr_json_get(json, "head_place"));
    if (!status && p->embed != (w->tied ? p->head : LR_PLACE_HOST))
        return bad(err, "embed_place", w->tied ? "the place of the head" : "cpu", lr_json_get(json, "embed_place"));
    return status;
}

/* Of a plan that mixes precisions: what each tensor was asked to run in.  n: of the model.                            */
static llmrun_status read_formats(lr_format *formats, size_t n, const cJSON *json, llmrun_error *err) {
    const cJSON *tensors = lr_json_get(json, "tensors"), *tensor;
    size_t i = 0;
    if (!cJSON_IsArray(tensors) || (size_t)cJSON_GetArraySize(tensors) != n)
        return lr_fail(err, LLMRUN_FORMAT, "--plan: tensors: expected the %zu of this model, got %d", n,
                       cJSON_GetArraySize(tensors));
    cJSON_ArrayForEach(tensor, tensors) {
        const cJSON *asked = lr_json_get(tensor, "asked");
        int rung = 0;
        while (rung < LR_N_RUNGS && !(cJSON_IsString(asked) &&
                                      strcmp(asked->valuestring, lr_plan_asked_name(lr_plan_rungs[rung])) == 0))
            rung++;
        if (rung == LR_N_RUNGS) return bad(err, "asked", "q4_k, Q6_K, q8_0 or file", asked);
        formats[i++] = lr_plan_rungs[rung];
    }
    return LLMRUN_OK;
}

/* ---- the result ---- */

/* The first thing in which the plan laid out now differs from the document.                                          */
static llmrun_status differs(const lr_plan *plan, const lr_plan_input *in, const cJSON *json, llmrun_error *err) {
    const cJSON *model = lr_json_get(json, "model");
    const struct { const cJSON *in; const char *key; uint64_t now; } rows[] = {
        { model, "params", plan->n_params },       { model, "layers", (uint64_t)in->model->n_layers },
        { model, "dim", (uint64_t)in->model->dim }, { model, "hidden_dim", (uint64_t)in->model->hidden_dim },
        { model, "vocab", (uint64_t)in->model->n_vocab }, { json, "n_sessions", (uint64_t)plan->n_sessions },
        { json, "n_threads", (uint64_t)plan->n_threads }, { json, "n_batch", (uint64_t)plan->n_batch },
        { json, "fixed_bytes", plan->fixed_bytes }, { json, "weight_bytes", plan->weight_bytes },
        { json, "mapped_bytes", plan->mapped_bytes }, { json, "scratch_stride", plan->buffers.scratch_stride },
        { json, "kv_bytes", plan->kv_bytes },       { json, "activation_bytes", plan->activation_bytes },
        { json, "arena_bytes", plan->arena_bytes }, { json, "pinned_bytes", plan->pinned_bytes },
    };
    for (size_t i = 0; i < LR_COUNT(rows); i++) {
        const cJSON *then = lr_json_get(rows[i].in, rows[i].key);
        char shown[80];
        if (cJSON_IsNumber(then) && then->valuedouble == (double)rows[i].now) continue;
        return lr_fail(err, LLMRUN_FORMAT, "--plan: %s: the plan was made with %s, here it is %llu; make a new plan",
                       rows[i].key, then ? lr_json_describe(shown, sizeof shown, then) : "nothing",
                       (unsigned long long)rows[i].now);
    }
    return lr_fail(err, LLMRUN_FORMAT,
                   "--plan: hash: the same choices give %016llx here, another layout; make a new plan",
                   (unsigned long long)plan->hash);
}

static llmrun_status check_budgets(const lr_plan *plan, const lr_plan_input *in, llmrun_error *err) {
    for (int gpu = 0; gpu < plan->n_gpus; gpu++) {
        const lr_plan_device *d = &in->gpus[gpu];
        char need[32], have[32];
        if (plan->gpus[gpu].total_bytes > d->budget_bytes)
            return lr_fail(err, LLMRUN_VRAM, "--plan: %s: needs %s (%llu bytes), available now %s; make a new plan",
                           d->name, lr_size_gib(need, plan->gpus[gpu].total_bytes),
                           (unsigned long long)plan->gpus[gpu].total_bytes, lr_size_gib(have, d->budget_bytes));
    }
    char need[32], have[32];
    if (plan->needed_bytes <= in->host.budget_bytes) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_NOMEM, "--plan: host memory: needs %s (%llu bytes), available now %s; make a new plan",
                   lr_size_gib(need, plan->needed_bytes), (unsigned long long)plan->needed_bytes,
                   lr_size_gib(have, in->host.budget_bytes));
}

/* A cache of converted weights that was filled since changes where the block lies, not what runs: then the hash may
 * differ.                                                                                                            */
static llmrun_status check_same(const lr_plan *plan, const lr_plan_input *in, const cJSON *json, llmrun_error *err) {
    const cJSON *hash = lr_json_get(json, "hash"), *cached = lr_json_get(json, "cached");
    char now[20];
    snprintf(now, sizeof now, "%016llx", (unsigned long long)plan->hash);
    if (in->cached && cJSON_IsFalse(cached)) return LLMRUN_OK;
    if (!cJSON_IsString(hash)) return bad(err, "hash", "a string", hash);
    return strcmp(hash->valuestring, now) == 0 ? LLMRUN_OK : differs(plan, in, json, err);
}

static llmrun_status lay_out(lr_plan *plan, lr_plan_scale *scale, const lr_plan_input *in, const cJSON *json,
                             llmrun_error *err) {
    lr_plan_choice c;
    lr_plan_sizes sizes;
    const cJSON *why = lr_json_get(json, "why"), *bits = lr_json_get(json, "mixed_bits"), *kl = lr_json_get(json, "kl");
    int n_gpus = cJSON_GetArraySize(lr_json_get(json, "devices")) - 1;
    if (n_gpus != in->n_gpus)
        return lr_fail(err, LLMRUN_FORMAT,
                       "--plan: devices: the plan is for the CPU and %d GPUs, here are %d; is this the "
                       "output of llmrun plan --json for these devices?",
                       n_gpus < 0 ? 0 : n_gpus, in->n_gpus);
    bool lowered = false;
    llmrun_status status = read_choice(&c, in->formats != NULL, json, err);
    if (!status) status = read_bool(json, "n_ctx_lowered", &lowered, err);
    if (status) return status;
    if (in->model->head_dim % lr_formats[c.kv].block || (c.kv == LR_KV_ROTATED && in->model->kv_rank))
        return bad(err, "kv", "f16 or f32 for these heads", lr_json_get(json, "kv"));
    const lr_plan_weights *w = lr_plan_weighed(scale, in, c.quant);
    if (!w && scale->no_memory) return lr_fail_nomem(err, "plan", (size_t)in->model->n_layers * sizeof(lr_plan_part));
    if (!w) return lr_fail(err, LLMRUN_ARG, "plan: sizes: expected a total below 2^60 bytes");
    if (in->n_gpus) status = read_places(&scale->places, in, w, c.kv, json, err);
    if (!status) status = lr_plan_lay_out(plan, in, w, &c, in->n_gpus ? &scale->places : NULL, &sizes, err);
    if (status) return status;
    status = lr_plan_keep_formats(plan, in, err);
    if (status) return status;
    if (cJSON_IsNumber(bits) && plan->formats) plan->mixed_bits = bits->valuedouble;
    if (cJSON_IsNumber(kl) && plan->formats) plan->kl = kl->valuedouble;
    plan->n_ctx_lowered = lowered;
    lr_plan_predict(plan, in, w, &c, &sizes);
    if (cJSON_IsString(why)) lr_plan_say(plan->why, sizeof plan->why, "%s", why->valuestring);
    plan->hash = lr_plan_hash(plan);
    status = check_same(plan, in, json, err);
    return status ? status : check_budgets(plan, in, err);
}

/* The input with the formats of a plan that mixes precisions, in memory that *formats gets.                           */
static llmrun_status open_formats(lr_plan_input *in, lr_format **formats, const cJSON *json, llmrun_error *err) {
    in->costs = NULL;
    in->mixed = false;
    if (!cJSON_IsTrue(lr_json_get(json, "mixed"))) return LLMRUN_OK;
    *formats = lr_alloc(in->n_tensors * sizeof **formats);
    if (!*formats) return lr_fail_nomem(err, "plan", in->n_tensors * sizeof **formats);
    in->formats = *formats;
    return read_formats(*formats, in->n_tensors, json, err);
}

llmrun_status lr_plan_replay(lr_plan *plan, const lr_plan_input *in, const char *text, llmrun_error *err) {
    cJSON *json = NULL;
    lr_plan_scale scale = { 0 };
    lr_plan_input as = *in;
    lr_format *formats = NULL;
    memset(plan, 0, sizeof *plan);
    llmrun_status status = lr_plan_check(in, err);
    if (!status) status = lr_json_parse(&json, text, strlen(text), MAX_VALUES, "--plan", err);
    if (!status) status = open_formats(&as, &formats, json, err);
    if (!status) status = lay_out(plan, &scale, &as, json, err);
    if (status) lr_plan_close(plan);
    lr_plan_scale_close(&scale);
    lr_free(formats);
    lr_json_close(json);
    return status;
}
