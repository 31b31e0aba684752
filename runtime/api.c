/* Public functions that describe: version, options, plan, info.  The others stand beside what they do.                */
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/engine.h"
#include "runtime/info.h"
#include "runtime/sensitivity.h"

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *llmrun_version(void) {
    return VERSION_TEXT(LLMRUN_VERSION_MAJOR, LLMRUN_VERSION_MINOR, LLMRUN_VERSION_PATCH);
}

void llmrun_options_default(llmrun_options *o) {
    if (!o) return;
    *o = (llmrun_options){
        .struct_size = sizeof *o, .quant = "auto", .kv = "auto", .prefer = "auto", .device = "auto", .n_sessions = 1,
        .cpu_isa = "auto", .use_mmap = true
    };
}

/* Hands the two documents over, or frees both.                                                                        */
static llmrun_status hand_over(lr_text *json, lr_text *text, char **json_out, char **text_out, llmrun_error *err) {
    if (json->failed || text->failed) {
        lr_free(json->text);
        lr_free(text->text);
        return lr_fail_nomem(err, "report", json->n + text->n);
    }
    if (json_out) *json_out = json->text;
    if (text_out) *text_out = text->text;
    return LLMRUN_OK;
}

static void plan_json(const llmrun_engine *e, lr_text *out) { lr_plan_json(&e->plan, &e->plan_input, out); }
static void plan_text(const llmrun_engine *e, lr_text *out) { lr_plan_text(&e->plan, &e->plan_input, out); }

/* Prepares a model, plans it where asked to, and describes it in up to two documents.                                 */
static llmrun_status describe(const llmrun_options *o, bool plan, void (*to_json)(const llmrun_engine *, lr_text *),
                              void (*to_text)(const llmrun_engine *, lr_text *), char **json, char **text,
                              llmrun_error *err) {
    if (json) *json = NULL;
    if (text) *text = NULL;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    if (!e) return lr_fail_nomem(err, "report", sizeof *e);
    lr_text j = { 0 }, t = { 0 };
    llmrun_status status = lr_engine_prepare(e, o, err);
    if (!status && plan) status = lr_engine_find_devices(e, o, err);
    if (!status && plan) status = lr_engine_plan(e, o, err);
    if (!status) {
        if (json) to_json(e, &j);
        if (text) to_text(e, &t);
        status = hand_over(&j, &t, json, text, err);
    }
    lr_engine_free(e);
    return status;
}

llmrun_status llmrun_plan(const llmrun_options *o, char **json, char **text, llmrun_error *err) {
    return describe(o, true, plan_json, plan_text, json, text, err);
}

llmrun_status llmrun_info(const llmrun_options *o, char **json, char **text, llmrun_error *err) {
    return describe(o, false, lr_info_json, lr_info_text, json, text, err);
}

llmrun_status llmrun_model_hash(const llmrun_options *o, uint64_t *hash, llmrun_error *err) {
    if (!hash) return lr_fail(err, LLMRUN_ARG, "model hash: expected a place for it");
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    if (!e) return lr_fail_nomem(err, "model hash", sizeof *e);
    llmrun_status status = lr_engine_prepare(e, o, err);
    if (!status) *hash = e->checkpoint.header_hash;
    lr_engine_free(e);
    return status;
}

/* With a text it is measured and kept, else read.                                                                     */
static llmrun_status find_sensitivity(lr_sensitivity *s, llmrun_engine *e, const llmrun_options *o, const char *text,
                                      llmrun_error *err) {
    char *dir = lr_engine_cache_dir(o);
    llmrun_status status = lr_engine_prepare(e, o, err);
    if (!status && text && (!dir || !*dir))
        status = lr_fail(err, LLMRUN_ARG, "sensitivity: there is no cache directory to keep it in");
    if (!status && text) status = lr_sensitivity_measure(s, o, text, err);
    if (!status && text && s->n != e->binding.n)
        status = lr_fail(err, LLMRUN_IO, "%s: changed while it was read", o->model);
    if (!status && text) status = lr_sensitivity_write(s, dir, e, err);
    if (!status && !text && dir && *dir && !lr_sensitivity_read(s, dir, e)) *s = (lr_sensitivity){ 0 };
    lr_free(dir);
    return status;
}

llmrun_status llmrun_sensitivity(const llmrun_options *o, const char *sample, char **json, char **text, llmrun_error *err) {
    lr_sensitivity s = { 0 };
    lr_text j = { 0 }, t = { 0 };
    if (json) *json = NULL;
    if (text) *text = NULL;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    if (!e) return lr_fail_nomem(err, "sensitivity", sizeof *e);
    llmrun_status status = find_sensitivity(&s, e, o, sample, err);
    if (!status && s.costs) {
        if (json) lr_sensitivity_json(&s, e, &j);
        if (text) lr_sensitivity_text(&s, e, &t);
        status = hand_over(&j, &t, json, text, err);
    }
    lr_sensitivity_close(&s);
    lr_engine_free(e);
    return status;
}

char *llmrun_cache_dir(const llmrun_options *o) {
    char *dir = o ? lr_engine_cache_dir(o) : NULL;
    int fd = dir && *dir ? lr_cache_open_dir(dir) : -1;
    if (fd >= 0) {
        close(fd);
        return dir;
    }
    lr_free(dir);
    return NULL;
}

const llmrun_tokenizer *llmrun_engine_tokenizer(const llmrun_engine *e) { return e ? e->tokenizer : NULL; }

llmrun_status llmrun_engine_info(const llmrun_engine *e, llmrun_model_info *info) {
    if (!e || !info || info->struct_size < sizeof *info) return LLMRUN_ARG;
    const lr_hparams *h = &e->binding.hparams;
    const lr_plan *p = &e->plan;
    *info = (llmrun_model_info){ .struct_size = sizeof *info,
                                 .family = e->binding.family->name,
                                 .quant = p->formats ? "mixed" : lr_formats[p->quant].name,
                                 .kv = lr_kv_name(p->kv),
                                 .n_layers = h->n_layers,
                                 .dim = h->dim,
                                 .n_heads = h->n_heads,
                                 .n_kv_heads = h->n_kv_heads,
                                 .head_dim = h->head_dim,
                                 .hidden_dim = h->hidden_dim,
                                 .n_vocab = h->n_vocab,
                                 .n_ctx = p->n_ctx,
                                 .n_ctx_train = h->n_ctx_train,
                                 .n_batch = p->n_batch,
                                 .n_threads = lr_threads_count(e->threads),
                                 .n_params = e->binding.n_params,
                                 .weight_bytes_per_token = p->weight_bytes_per_token,
                                 .mapped_bytes = p->mapped_bytes + p->mapped_rows_bytes,
                                 .planned_bytes = p->total_bytes,
                                 .ram_budget_bytes = e->plan_input.host.budget_bytes,
                                 .bos_id = h->bos,
                                 .eos_id = h->n_eos ? h->eos[0] : -1,
                                 .has_chat_template = e->has_chat_template,
                                 .cpu_isa = e->ops.isa,
                                 .n_gpus = p->n_gpus,
                                 .n_host_layers = p->n_host_layers };
    return LLMRUN_OK;
}

static uint64_t peak_rss(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

llmrun_status llmrun_engine_memory(const llmrun_engine *e, int32_t gpu, llmrun_memory *m) {
    if (!e || !m || m->struct_size < sizeof *m || gpu < -1 || gpu >= e->plan.n_gpus) return LLMRUN_ARG;
    const lr_plan *p = &e->plan;
    const lr_plan_device *d = gpu < 0 ? &e->plan_input.host : &e->plan_input.gpus[gpu];
    const lr_plan_gpu *g = gpu < 0 ? NULL : &p->gpus[gpu];
    *m = (llmrun_memory){ .struct_size = sizeof *m,
                          .budget_bytes = d->budget_bytes,
                          .planned_bytes = g ? g->total_bytes : p->total_bytes,
                          .arena_bytes = g ? g->arena_bytes : p->arena_bytes,
                          .overhead_bytes = g ? g->overhead_bytes : p->fixed_bytes,
                          .peak_bytes = g ? lr_gpus_peak(e, gpu) : peak_rss(),
                          .weights_bytes = g ? g->weights_bytes : p->weights_bytes,
                          .kv_bytes = g ? g->kv_bytes : p->kv_bytes,
                          .activation_bytes = g ? g->activation_bytes : p->activation_bytes,
                          .staging_bytes = g ? g->staging_bytes : p->pinned_bytes };
    memcpy(m->name, d->name, sizeof m->name);
    return LLMRUN_OK;
}

llmrun_status llmrun_engine_tensor(const llmrun_engine *e, size_t index, llmrun_tensor_info *tensor) {
    if (!e || !tensor || tensor->struct_size < sizeof *tensor || index >= e->plan.n_tensors) return LLMRUN_ARG;
    const lr_plan_placement *p = &e->plan.placements[index];
    const lr_plan_tensor *t = &e->plan_input.tensors[index];
    *tensor = (llmrun_tensor_info){ .struct_size = sizeof *tensor,
                                    .role = lr_plan_role_name(t->role),
                                    .layer = t->layer,
                                    .rows = t->rows,
                                    .cols = t->cols,
                                    .format = lr_formats[p->format].name,
                                    .bytes = p->bytes,
                                    .fell_back = p->fell_back };
    return LLMRUN_OK;
}
