/* Describes a prepared model for people and for programs.                                                             */
#include "runtime/info.h"

#include <string.h>

typedef struct tally {
    size_t tensors;
    uint64_t bytes;
} tally;

/* Codes of a packed matrix.                                                                                           */
static uint64_t code_bytes(const lr_source *s, uint64_t n_values) {
    const lr_packed *p = s->parts ? s->parts->packed : s->packed;
    return p ? n_values * (uint64_t)p->bits / 8 : 0;
}

enum { OTHER = LR_N_FORMATS, N_TYPES }; /* packed in a way that no run format has */

/* Tensors by file type; a bare config.json counts what its weights would take.                                        */
static void count_types(const llmrun_engine *e, tally by_type[N_TYPES]) {
    memset(by_type, 0, N_TYPES * sizeof *by_type);
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *t = &e->binding.tensors[i];
        const lr_format_traits *f = t->file_format == LR_FORMAT_NONE ? NULL : &lr_formats[t->file_format];
        tally *type = &by_type[f ? (int)t->file_format : OTHER];
        uint64_t n = (uint64_t)t->rows * (uint64_t)t->cols;
        type->tensors++;
        type->bytes += f ? n / (uint64_t)f->block * (uint64_t)f->quant_bytes : code_bytes(&e->binding.sources[i], n);
    }
}

static const char *type_name(int type) { return type == OTHER ? "packed" : lr_formats[type].name; }

static const char *rope_name(lr_rope_scaling s) {
    static const char *const names[] = {
        [LR_ROPE_NONE] = "none", [LR_ROPE_LINEAR] = "linear", [LR_ROPE_LLAMA3] = "llama3", [LR_ROPE_YARN] = "yarn",
        [LR_ROPE_LONG] = "longrope"
    };
    return names[s];
}

static int32_t count_windowed(const lr_hparams *h) {
    int32_t n = 0;
    for (int32_t l = 0; l < h->n_layers; l++) n += lr_layer_windowed(h, l);
    return n;
}

static int32_t count_states(const lr_hparams *h) {
    int32_t n = 0;
    for (int32_t l = 0; l < h->n_layers; l++) n += lr_layer_cache(h, l) == LR_CACHE_STATE;
    return n;
}

static void rope_text(const lr_hparams *h, lr_text *out) {
    const lr_rope *r = &h->rope[0];
    if (!h->n_rot) {
        lr_text_add(out, "\npositions   a table of %d\n", h->n_pos);
        return;
    }
    lr_text_add(out, "\nrope        theta %g, scaling %s", (double)r->theta, rope_name(r->scaling));
    if (r->scaling != LR_ROPE_NONE) lr_text_add(out, " by %g", (double)r->factor);
    if (h->n_rot != h->head_dim) lr_text_add(out, ", %d of %d values of a head", h->n_rot, h->head_dim);
    if (h->n_ropes > 1) lr_text_add(out, "; theta %g in layers with the window", (double)h->rope[1].theta);
    lr_text_add(out, "\n");
}

void lr_info_text(const llmrun_engine *e, lr_text *out) {
    const lr_hparams *h = &e->binding.hparams;
    tally by_type[N_TYPES];
    char size[32];
    count_types(e, by_type);
    lr_text_add(out, "family      %s%s\n", e->binding.family->name,
                e->checkpoint.config_only ? " (config.json only, no weights)" : "");
    lr_text_add(out, "parameters  %llu\n", (unsigned long long)e->binding.n_params);
    lr_text_add(out, "shape       %d layers, dim %d, hidden %d, vocabulary %d\n", h->n_layers, h->dim, h->hidden_dim,
                h->n_vocab);
    if (h->n_experts) {
        int32_t n = 0;
        for (int32_t l = 0; l < h->n_layers; l++) n += lr_layer_has_experts(h, l);
        lr_text_add(out, "experts     %d of %d values in %d of %d layers, %d for a token", h->n_experts, h->expert_dim, n,
                    h->n_layers, h->n_experts_used);
        if (h->shared_dim) lr_text_add(out, "; a shared one of %d", h->shared_dim);
        lr_text_add(out, "\n");
    }
    lr_text_add(out, "attention   %d heads, %d KV heads, head_dim %d", h->n_heads, h->n_kv_heads, h->head_dim);
    if (h->window) lr_text_add(out, ", sliding window %d in %d of %d layers", h->window, count_windowed(h), h->n_layers);
    if (count_states(h))
        lr_text_add(out, "\ndelta nets  %d of %d layers: %d heads of %d values, %d keys of %d, states of %lld bytes",
                    count_states(h), h->n_layers, h->delta_v_heads, h->delta_v_dim, h->delta_k_heads, h->delta_k_dim,
                    (long long)lr_delta_state(h) * (long long)sizeof(float));
    rope_text(h, out);
    lr_text_add(out, "context     %d tokens\n", h->n_ctx_train);
    lr_text_add(out, "head        %s\n",
                lr_binding_find(&e->binding, LR_HEAD, -1) >= 0 && lr_binding_find(&e->binding, LR_EMBED, -1) >= 0
                    ? "own matrix"
                    : "tied to the embedding");
    for (int f = 0; f < N_TYPES; f++)
        if (by_type[f].tensors)
            lr_text_add(out, "weights     %zu tensors %s, %s\n", by_type[f].tensors, type_name(f),
                        lr_size_gb(size, by_type[f].bytes));
    lr_text_add(out, "tokenizer   ");
    if (e->tokenizer)
        lr_text_add(out, "%d entries%s\n", llmrun_token_count(e->tokenizer),
                    e->has_chat_template ? ", chat template" : ", no chat template");
    else
        lr_text_add(out, "none\n");
    lr_text_add(out, "supported   yes");
    if (e->binding.n_vision) lr_text_add(out, ", text only: %zu tensors for pictures are not used", e->binding.n_vision);
    if (e->binding.n_next) lr_text_add(out, ", %zu tensors that guess further tokens are not used", e->binding.n_next);
    lr_text_add(out, "\n");
}

void lr_info_json(const llmrun_engine *e, lr_text *out) {
    const lr_hparams *h = &e->binding.hparams;
    tally by_type[N_TYPES];
    count_types(e, by_type);
    lr_text_add(out, "{\"family\":\"%s\",\"supported\":true,\"config_only\":%s,\"n_params\":%llu",
                e->binding.family->name, e->checkpoint.config_only ? "true" : "false",
                (unsigned long long)e->binding.n_params);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = { { "n_layers", h->n_layers },     { "dim", h->dim },
                    { "hidden_dim", h->hidden_dim }, { "n_heads", h->n_heads },
                    { "n_kv_heads", h->n_kv_heads }, { "head_dim", h->head_dim },
                    { "n_vocab", h->n_vocab },       { "n_ctx_train", h->n_ctx_train },
                    { "window", h->window },         { "window_layers", count_windowed(h) },
                    { "delta_layers", count_states(h) },
                    { "n_rot", h->n_rot },           { "n_tensors", (int64_t)e->binding.n },
                    { "n_experts", h->n_experts },   { "n_experts_used", h->n_experts_used },
                    { "expert_dim", h->n_experts ? h->expert_dim : 0 }, { "shared_dim", h->shared_dim } };
    for (size_t i = 0; i < LR_COUNT(numbers); i++)
        lr_text_add(out, ",\"%s\":%lld", numbers[i].name, (long long)numbers[i].value);
    lr_text_add(out, ",\"norm_eps\":%.9g,\"rope_theta\":%.9g,\"rope_scaling\":\"%s\",\"rope_factor\":%.9g",
                (double)h->norm_eps, (double)h->rope[0].theta, rope_name(h->rope[0].scaling), (double)h->rope[0].factor);
    lr_text_add(out, ",\"weights\":{");
    for (int f = 0, n = 0; f < N_TYPES; f++)
        if (by_type[f].tensors)
            lr_text_add(out, "%s\"%s\":{\"tensors\":%zu,\"bytes\":%llu}", n++ ? "," : "", type_name(f),
                        by_type[f].tensors, (unsigned long long)by_type[f].bytes);
    lr_text_add(out, "},\"tokenizer\":");
    if (e->tokenizer)
        lr_text_add(out, "{\"entries\":%d,\"chat_template\":%s}", llmrun_token_count(e->tokenizer),
                    e->has_chat_template ? "true" : "false");
    else
        lr_text_add(out, "null");
    lr_text_add(out, "}\n");
}
