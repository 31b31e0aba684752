/* Opening and closing an engine: read the headers, bind, plan, allocate the one arena, load.                          */
#include "runtime/engine.h"

#include <stdlib.h>
#include <string.h>

#include "loaders/gguf.h"
#include "runtime/debug.h"
#include "runtime/forward_layer.h"
#include "runtime/host.h"
#include "runtime/rates.h"
#include "runtime/sensitivity.h"
#include "runtime/upload.h"

/* ---- options to plan input ---- */

/* "mixed", or "mixed:5.5".  False: neither.                                                                            */
static bool parse_mixed(lr_plan_input *in, const char *text) {
    size_t n = strlen("mixed");
    char *end;
    if (strncmp(text, "mixed", n) != 0 || (text[n] && text[n] != ':')) return false;
    in->mixed = true;
    if (!text[n]) return true;
    in->mixed_bits = strtod(text + n + 1, &end);
    return end > text + n + 1 && !*end && in->mixed_bits >= 1 && in->mixed_bits <= 64;
}

/* "auto", a width, a mix, or a format's name.                                                                         */
static llmrun_status parse_quant(lr_plan_input *in, const char *text, llmrun_error *err) {
    in->quant = LR_FORMAT_NONE;
    in->quant_bits = 0;
    if (!text || strcmp(text, "auto") == 0 || parse_mixed(in, text)) return LLMRUN_OK;
    if (strcmp(text, "8bit") == 0 || strcmp(text, "4bit") == 0) {
        in->quant_bits = text[0] - '0';
        return LLMRUN_OK;
    }
    in->quant = lr_format_by_name(text);
    if (in->quant != LR_FORMAT_NONE && lr_formats[in->quant].encode) return LLMRUN_OK;
    lr_text names = { 0 };
    for (int i = 0; i < LR_N_FORMATS; i++)
        if (lr_formats[i].encode) lr_text_add(&names, ", %s", lr_formats[i].name);
    char shown[40];
    lr_fail(err, LLMRUN_ARG, "--quant \"%s\"%s: expected auto, 8bit, 4bit, mixed, mixed:BITS%s",
            lr_printable(shown, sizeof shown, text, strlen(text)),
            in->quant != LR_FORMAT_NONE ? " is only read from files" : "", names.text ? names.text : "");
    lr_free(names.text);
    return LLMRUN_ARG;
}

static llmrun_status parse_kv(lr_plan_input *in, const char *text, llmrun_error *err) {
    bool is_auto = !text || strcmp(text, "auto") == 0;
    in->kv = is_auto ? LR_FORMAT_NONE : lr_kv_by_name(text);
    char shown[40];
    if (is_auto || in->kv != LR_FORMAT_NONE) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_ARG, "--kv \"%s\": expected auto, f32, f16, q8_0, q4_rot",
                   lr_printable(shown, sizeof shown, text, strlen(text)));
}

static llmrun_status parse_prefer(lr_plan_input *in, const char *text, llmrun_error *err) {
    static const char *const names[] = { [LR_PREFER_AUTO] = "auto", [LR_PREFER_QUALITY] = "quality",
                                         [LR_PREFER_SPEED] = "speed" };
    char shown[40];
    for (size_t i = 0; i < LR_COUNT(names); i++)
        if (!text || strcmp(text, names[i]) == 0) {
            in->prefer = (lr_prefer)i;
            return LLMRUN_OK;
        }
    return lr_fail(err, LLMRUN_ARG, "--prefer \"%s\": expected auto, quality or speed",
                   lr_printable(shown, sizeof shown, text, strlen(text)));
}

static llmrun_status check_options(const llmrun_options *o, llmrun_error *err) {
    if (!o || o->struct_size < sizeof *o)
        return lr_fail(err, LLMRUN_ARG, "options were not filled by llmrun_options_default");
    if (!o->model || !*o->model) return lr_fail(err, LLMRUN_ARG, "options.model is not set");
    if (o->n_ctx < 0 || o->n_batch < 0 || o->n_sessions < 1 || o->n_threads < 0 || o->n_threads > 1024)
        return lr_fail(err, LLMRUN_ARG,
                       "options: expected n_ctx and n_batch >= 0, n_sessions >= 1, n_threads in 0..1024");
    return LLMRUN_OK;
}

/* What is free now, less a margin for everybody else.                                                                 */
static uint64_t default_budget(void) {
    uint64_t available = lr_host_memory_available();
    uint64_t margin = (uint64_t)lr_max(256 << 20, (int64_t)(available / 100 * 3));
    return available > margin ? available - margin : available;
}

/* Heap that is there whatever the plan says: tokenizer, directory, threads' bookkeeping.                              */
static uint64_t fixed_bytes(const llmrun_engine *e) {
    const lr_checkpoint *c = &e->checkpoint;
    uint64_t bytes = c->n_tensors * (sizeof(lr_tensor) + 64) + e->binding.n * (sizeof(lr_plan_tensor) + sizeof(void *));
    bytes += c->config.n_values * (sizeof(lr_value) + 48) + (uint64_t)e->binding.hparams.n_layers * sizeof(lr_layer);
    return bytes + (e->tokenizer ? lr_tokenizer_bytes(e->tokenizer) : 0);
}

static llmrun_status fill_plan_input(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    lr_plan_input *in = &e->plan_input;
    in->model = &e->binding.hparams;
    in->tensors = e->binding.tensors;
    in->n_tensors = e->binding.n;
    in->n_ctx = o->n_ctx;
    in->n_ctx_most = e->binding.hparams.n_pos;
    in->n_batch = o->n_batch;
    in->n_sessions = o->n_sessions;
    in->n_threads = o->n_threads ? o->n_threads : lr_threads_default();
    in->use_mmap = o->use_mmap && !o->random_weights;
    in->ops = &e->ops;
    in->model_path = o->model;
    in->host_fixed_bytes = fixed_bytes(e);
    in->scratch_bytes = e->ops.scratch_bytes;
    in->scratch_least = LR_UPLOAD_SCRATCH_BYTES;
    if (in->model->kv_rank)
        in->scratch_least = lr_cpu_heads_scratch_bytes(&e->ops, lr_max(in->model->n_nope, in->model->kv_rank));
    in->partial_bytes = lr_attention_partial_bytes;
    in->host = (lr_plan_device){ .name = "cpu",
                                 .budget_bytes = o->ram_bytes ? o->ram_bytes : default_budget(),
                                 .granule_bytes = LR_ALIGN };
    in->disk = o->disk;
    if (in->n_ctx_most && o->n_ctx > in->n_ctx_most)
        return lr_fail(err, LLMRUN_ARG, "-c %d: this model has a table of %d positions, no more", o->n_ctx, in->n_ctx_most);
    llmrun_status status = parse_quant(in, o->quant, err);
    if (!status) status = parse_kv(in, o->kv, err);
    return status ? status : parse_prefer(in, o->prefer, err);
}

/* ---- preparing ---- */

static llmrun_status open_checkpoint(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    char *dirs[LR_HUB_DIRS + 1] = { 0 };
    llmrun_status status = LLMRUN_OK;
    if (!lr_debug_hub_dirs(dirs)) status = lr_fail_nomem(err, "cache directories", 0);
    if (!status) status = lr_checkpoint_open(&e->checkpoint, o->model, (const char *const *)dirs, err);
    for (char **d = dirs; *d; d++) lr_free(*d);
    return status;
}

static llmrun_status open_tokenizer(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    const lr_checkpoint *c = &e->checkpoint;
    const lr_hparams *h = &e->binding.hparams;
    size_t n_template;
    if (o->chat_template && !(e->chat_template = lr_strdup(o->chat_template)))
        return lr_fail_nomem(err, "chat template", strlen(o->chat_template));
    e->has_chat_template = lr_chat_template(e, &n_template) != NULL;
    if (lr_gguf_find(&c->gguf, "tokenizer.ggml.model"))
        return lr_tokenizer_open_gguf(&e->tokenizer, &c->gguf, c->files[0].path, h->eos, h->n_eos, err);
    if (!c->tokenizer_path || c->config_only) return LLMRUN_OK;
    return lr_tokenizer_open(&e->tokenizer, c->tokenizer_path, &c->tokenizer_config, h->eos, h->n_eos, err);
}

llmrun_status lr_engine_prepare(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    llmrun_status status = check_options(o, err);
    if (status) return status;
    e->report = (lr_report){ o->log, o->progress, o->user };
    const char *isa = o->cpu_isa ? o->cpu_isa : "auto";
    if (!lr_cpu_ops(&e->ops, isa)) {
        const char *names[3] = { 0 };
        int n = lr_cpu_isa_list(names);
        char shown[40];
        return lr_fail(err, LLMRUN_ARG, "--cpu-isa \"%s\": expected auto%s%s%s%s%s%s",
                       lr_printable(shown, sizeof shown, isa, strlen(isa)), ", ", names[0], n > 1 ? ", " : "",
                       n > 1 ? names[1] : "", n > 2 ? ", " : "", n > 2 ? names[2] : "");
    }
    status = open_checkpoint(e, o, err);
    if (!status) status = lr_bind(&e->binding, &e->checkpoint, err);
    if (!status) status = open_tokenizer(e, o, err);
    if (!status) status = fill_plan_input(e, o, err);
    return status;
}

/* What fewer bits cost each tensor, where precisions may be mixed and that was measured once.                          */
static llmrun_status find_costs(llmrun_engine *e, const char *dir, llmrun_error *err) {
    lr_plan_input *in = &e->plan_input;
    lr_sensitivity s = { 0 };
    char shown[160];
    const char *model = in->model_path;
    if (in->quant != LR_FORMAT_NONE || in->quant_bits) return LLMRUN_OK;
    if (!e->checkpoint.config_only && dir && *dir && lr_sensitivity_read(&s, dir, e)) in->costs = e->costs = s.costs;
    if (in->costs || !in->mixed) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_UNSUPPORTED, "--quant mixed: what fewer bits cost each tensor of this model was not measured; "
                   "do that once: llmrun compare --sensitivity --model %s",
                   lr_printable(shown, sizeof shown, model, strlen(model)));
}

llmrun_status lr_engine_find_devices(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    char *dir = lr_engine_cache_dir(o);
    lr_rates rates = lr_rates_cpu(&e->ops, e->plan_input.n_threads, dir, &e->report);
    e->plan_input.host.read_bytes_per_s = rates.read_bytes_per_s;
    e->plan_input.host.flops_per_s = rates.flops_per_s;
    llmrun_status status = lr_gpus_find(e, o, dir, err);
    if (!status) status = find_costs(e, dir, err);
    lr_free(dir);
    return status;
}

char *lr_engine_cache_dir(const llmrun_options *o) {
    return o->cache_dir ? lr_strdup(o->cache_dir) : lr_debug_cache_dir();
}

/* ---- opening ---- */

llmrun_status llmrun_engine_open(llmrun_engine **out, const llmrun_options *o, llmrun_error *err) {
    if (!out) return lr_fail(err, LLMRUN_ARG, "engine: out is NULL");
    *out = NULL;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    if (!e) return lr_fail_nomem(err, "engine", sizeof *e);
    llmrun_status status = lr_engine_prepare(e, o, err);
    if (!status) status = lr_engine_find_devices(e, o, err);
    if (!status && e->checkpoint.config_only && !o->random_weights)
        status = lr_fail(err, LLMRUN_UNSUPPORTED,
                         "%s: a bare config.json has no weights; it can be planned and benchmarked only", o->model);
    if (!status) status = lr_engine_load(e, o, err);
    if (status)
        lr_engine_free(e);
    else
        *out = e;
    return status;
}

void lr_engine_free(llmrun_engine *e) {
    if (!e) return;
    lr_gpus_close(e);
    lr_threads_close(e->threads);
    if (e->has_lock) pthread_mutex_destroy(&e->lock);
    lr_free(e->slot_taken);
    lr_free(e->rope_freq);
    lr_free(e->layers);
    lr_free(e->experts);
    lr_free(e->seq_list);
    lr_free_aligned(e->arena);
    lr_cache_close(&e->cache);
    lr_plan_close(&e->plan);
    lr_free(e->costs);
    llmrun_tokenizer_close(e->tokenizer);
    lr_free(e->chat_template);
    lr_binding_close(&e->binding);
    lr_checkpoint_close(&e->checkpoint);
    lr_free(e);
}

void llmrun_engine_close(llmrun_engine *e) { lr_engine_free(e); }
