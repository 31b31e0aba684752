/* config.json -> numbers.  Keys and limits are tables in models/; what needs a decision (rope scaling, windows, end
 * tokens, features that are not supported) is here.                                                                  */
#include "runtime/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *lr_hparams_families(char *buf, size_t size) {
    size_t n = 0;
    buf[0] = 0;
    for (size_t i = 0; i < lr_n_families && n < size; i++)
        n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? ", " : "", lr_families[i]->name);
    return buf;
}

static llmrun_status find_family(const lr_family **family, const lr_config *c, llmrun_error *err) {
    const char *type = lr_config_string(c, "model_type"), *arch = lr_config_string(c, "architectures.0");
    char known[512], shown[80];
    const char *name = type ? type : arch;
    if (!name)
        return lr_fail(err, LLMRUN_FORMAT, "%s: expected \"model_type\", found none; is this a model's config.json?",
                       c->path);
    *family = lr_family_find(type, arch);
    if (*family) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: architecture \"%s\" is not supported; known: %s", c->path,
                   lr_printable(shown, sizeof shown, name, strlen(name)), lr_hparams_families(known, sizeof known));
}

static llmrun_status read_integers(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        const char *key = lr_config_first(c, row->keys, LR_COUNT(row->keys));
        int64_t value, fallback = lr_family_fallback(family, row, h);
        if (row->fallback == LR_FROM_DIM && !lr_config_has(c, key) && fallback == h->dim / h->n_heads &&
            h->dim % h->n_heads != 0)
            return lr_fail(err, LLMRUN_FORMAT, "%s: hidden_size %d is not a multiple of num_attention_heads %d", c->path,
                           h->dim, h->n_heads);
        llmrun_status status = lr_config_int(c, key, row->lo, row->hi, fallback, &value, err);
        if (status) return status;
        *(int32_t *)((char *)h + row->offset) = (int32_t)value;
    }
    return LLMRUN_OK;
}

static llmrun_status read_numbers(lr_hparams *h, const lr_config *c, llmrun_error *err) {
    for (size_t i = 0; i < lr_n_number_rows; i++) {
        const lr_number_row *row = &lr_number_rows[i];
        const char *key = lr_config_first(c, row->keys, LR_COUNT(row->keys));
        double value = row->fallback;
        llmrun_status status = LLMRUN_OK;
        if (lr_config_has(c, key)) status = lr_config_number(c, key, 1, &value, err);
        if (status) return status;
        *(float *)((char *)h + row->offset) = (float)value;
    }
    double scalar = 0, depth = 0, base = 0;
    llmrun_status status = lr_config_number(c, "query_pre_attn_scalar", 0, &scalar, err);
    if (!status) status = lr_config_number(c, "scale_depth", 0, &depth, err);
    if (!status) status = lr_config_number(c, "dim_model_base", 0, &base, err);
    if (scalar > 0) h->attn_scale = (float)(1 / sqrt(scalar));
    if (depth > 0) h->residual_scale = (float)(depth / sqrt(h->n_layers));
    if (base > 0) h->logit_scale = (float)(h->dim / base);
    return status;
}

/* The rotated part of a head takes the place of head_dim until rope is read: lr_hparams_settle makes it whole.        */
static llmrun_status read_latent(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    int64_t rotated;
    if (!family->latent) return LLMRUN_OK;
    llmrun_status status = lr_config_int(c, "qk_rope_head_dim", 2, LR_MAX_ROT / 2, 0, &rotated, err);
    if (status) return status;
    h->head_dim = (int32_t)rotated;
    if (h->kv_rank > 0 && h->n_nope > 0 && h->v_dim > 0) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_FORMAT, "%s: expected kv_lora_rank, qk_nope_head_dim and v_head_dim above 0", c->path);
}

/* Names of activations in config.json.                                                                                */
static llmrun_status read_act(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    static const struct { const char *name; lr_glu_act act; } acts[] = {
        { "silu", LR_GLU_SILU },           { "swish", LR_GLU_SILU },          { "gelu", LR_GLU_GELU },
        { "gelu_new", LR_GLU_GELU_TANH },  { "gelu_fast", LR_GLU_GELU_TANH }, { "gelu_pytorch_tanh", LR_GLU_GELU_TANH },
    };
    static const char *const keys[] = { "hidden_activation", "hidden_act", "activation_function" };
    const char *name = NULL;
    h->act = family->act;
    for (size_t i = 0; i < LR_COUNT(keys) && !name; i++) name = lr_config_string(c, keys[i]);
    if (!name || family->act_fixed) return LLMRUN_OK;
    for (size_t i = 0; i < LR_COUNT(acts); i++)
        if (strcmp(acts[i].name, name) == 0) {
            h->act = acts[i].act;
            return LLMRUN_OK;
        }
    char shown[40];
    return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: activation \"%s\" is not supported; expected silu or gelu", c->path,
                   lr_printable(shown, sizeof shown, name, strlen(name)));
}

/* Variants of the published families that no published model has.                                                     */
static llmrun_status refuse_variants(const lr_config *c, llmrun_error *err) {
    static const struct { const char *key; bool must; } flags[] = {
        { "scale_attn_weights", true },          { "scale_attn_by_inverse_layer_idx", false },
        { "use_bidirectional_attention", false }, { "add_cross_attention", false },
        { "rope_interleave", true },
    };
    for (size_t i = 0; i < LR_COUNT(flags); i++)
        if (lr_config_bool(c, flags[i].key, flags[i].must) != flags[i].must)
            return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s %s is not supported", c->path, flags[i].key,
                           flags[i].must ? "false" : "true");
    static const struct { const char *key; double must; } numbers[] = { { "swiglu_limit", 7 }, { "swiglu_alpha", 1.702 } };
    for (size_t i = 0; i < LR_COUNT(numbers); i++) {
        double v;
        llmrun_status status = lr_config_number(c, numbers[i].key, numbers[i].must, &v, err);
        if (status) return status;
        if (fabs(v - numbers[i].must) > 1e-6)
            return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s %g is not supported; expected %g", c->path, numbers[i].key, v,
                           numbers[i].must);
    }
    return LLMRUN_OK;
}

void lr_hparams_add_end(lr_hparams *h, double id) {
    if (!(id >= 0 && id < h->n_vocab) || h->n_eos == (int32_t)LR_COUNT(h->eos)) return;
    for (int32_t k = 0; k < h->n_eos; k++)
        if (h->eos[k] == (int32_t)id) return;
    h->eos[h->n_eos++] = (int32_t)id;
}

/* Ids of one key, a number or a list, appended without repeats.                                                       */
static void read_ends(lr_hparams *h, const lr_config *c, const char *key) {
    const lr_value *v = c->values ? lr_config_find(c, key) : NULL;
    int64_t n = !v ? 0 : v->type == LR_VALUE_ARRAY ? (int64_t)v->number : 1;
    for (int64_t i = 0; i < n && i < (int64_t)LR_COUNT(h->eos); i++) {
        char item[64];
        snprintf(item, sizeof item, "%s.%d", key, (int)i);
        const lr_value *id = v->type == LR_VALUE_ARRAY ? lr_config_find(c, item) : v;
        if (id && id->type == LR_VALUE_NUMBER) lr_hparams_add_end(h, id->number);
    }
}

void lr_hparams_settle(lr_hparams *h, const lr_family *family) {
    if (!family->latent) h->q_rank = h->kv_rank = 0; /* keys that mean nothing here */
    if (!family->delta) h->delta_k_heads = h->delta_v_heads = 0;
    if (isnan(h->norm_eps)) h->norm_eps = family->layer_norm ? 1e-5f : 1e-6f;
    if (isnan(h->embed_scale)) h->embed_scale = family->scaled_embedding ? sqrtf((float)h->dim) : 1;
    int32_t head_dim = h->kv_rank ? h->n_nope + h->n_rot : h->head_dim;
    if (isnan(h->attn_scale)) h->attn_scale = 1 / sqrtf((float)head_dim);
    if (h->kv_rank && h->rope[0].score_factor > 0) h->attn_scale *= h->rope[0].score_factor;
    if (h->kv_rank) { /* what attention sees of it */
        h->rope_adjacent = true;
        h->n_kv_heads = 1;
        h->head_dim = h->kv_rank + h->n_rot;
    }
    if (family->logits_times) h->logit_scale = 1 / h->logit_scale;
    h->layer_norm = family->layer_norm;
    h->post_norms = family->post_norms;
    h->norm_rows = family->norm_rows;
    h->norm_each = family->norm_each;
    h->bias_chooses = family->bias_chooses;
    if (family->no_rope) {
        h->n_rot = 0;
        h->n_pos = h->n_ctx_train;
    }
}

llmrun_status lr_hparams_read(lr_hparams *h, const lr_family **family, const lr_config *config,
                              const lr_config *generation, llmrun_error *err) {
    int64_t n_next = 0;
    *h = (lr_hparams){ .bos = -1 };
    llmrun_status status = find_family(family, config, err);
    if (!status) status = lr_config_int(config, "num_nextn_predict_layers", 0, LR_MAX_LAYERS, 0, &n_next, err);
    h->n_next = (int32_t)n_next;
    if (!status) status = read_integers(h, *family, config, err);
    if (!status) status = read_numbers(h, config, err);
    if (!status) status = read_latent(h, *family, config, err);
    if (!status) status = lr_hparams_read_rope(h, *family, config, err);
    if (!status) status = lr_hparams_read_layers(h, *family, config, err);
    if (!status) status = lr_hparams_read_experts(h, *family, config, err);
    if (!status) status = read_act(h, *family, config, err);
    if (!status) status = refuse_variants(config, err);
    if (status) return status;
    h->parallel = lr_config_bool(config, "use_parallel_residual", (*family)->parallel);
    h->rope_adjacent = (*family)->adjacent;
    lr_hparams_settle(h, *family);
    const char *wrong = lr_hparams_check(h);
    if (wrong) return lr_fail(err, LLMRUN_FORMAT, "%s: %s", config->path, wrong);
    int64_t bos;
    if (lr_config_int(config, "bos_token_id", 0, h->n_vocab - 1, -1, &bos, NULL) == LLMRUN_OK) h->bos = (int32_t)bos;
    read_ends(h, generation, "eos_token_id");
    read_ends(h, config, "eos_token_id");
    return LLMRUN_OK;
}
