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
    char known[256], shown[80];
    const char *name = type ? type : arch;
    if (!name)
        return lr_fail(err, LLMRUN_FORMAT, "%s: expected \"model_type\", found none; is this a model's config.json?",
                       c->path);
    *family = lr_family_find(type, arch);
    if (*family) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: architecture \"%s\" is not supported; known: %s", c->path,
                   lr_printable(shown, sizeof shown, name, strlen(name)), lr_hparams_families(known, sizeof known));
}

static llmrun_status read_integers(lr_hparams *h, const lr_config *c, llmrun_error *err) {
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        const char *key = row->keys[0];
        for (int k = 0; k < 3 && row->keys[k]; k++) {
            const lr_value *v = lr_config_find(c, row->keys[k]);
            if (v && v->type != LR_VALUE_NULL) {
                key = row->keys[k];
                break;
            }
        }
        int64_t fallback = row->fallback;
        if (fallback == LR_FROM_HEADS) fallback = h->n_heads;
        if (fallback == LR_FROM_DIM) {
            const lr_value *v = lr_config_find(c, key);
            bool absent = !v || v->type == LR_VALUE_NULL;
            if (absent && h->dim % h->n_heads != 0)
                return lr_fail(err, LLMRUN_FORMAT, "%s: hidden_size %d is not a multiple of num_attention_heads %d",
                               c->path, h->dim, h->n_heads);
            fallback = h->dim / h->n_heads;
        }
        int64_t value;
        llmrun_status status = lr_config_int(c, key, row->lo, row->hi, fallback, &value, err);
        if (status) return status;
        *(int32_t *)((char *)h + row->offset) = (int32_t)value;
    }
    return LLMRUN_OK;
}

/* rope_scaling {...} of older files, rope_parameters {...} of newer ones.                                             */
static llmrun_status read_rope(lr_hparams *h, const lr_config *c, llmrun_error *err) {
    static const struct {
        const char *name;
        lr_rope_scaling scaling;
    } types[] = { { "default", LR_ROPE_NONE },
                  { "linear", LR_ROPE_LINEAR },
                  { "llama3", LR_ROPE_LLAMA3 },
                  { "yarn", LR_ROPE_YARN } };
    bool newer = lr_config_find(c, "rope_parameters.rope_type") || lr_config_find(c, "rope_parameters.rope_theta");
    const char *group = newer ? "rope_parameters" : "rope_scaling";
    char key[64];
    const char *type = NULL;
    for (int i = 0; i < 2 && !type; i++) {
        snprintf(key, sizeof key, "%s.%s", group, i ? "type" : "rope_type");
        type = lr_config_string(c, key);
    }
    h->rope_scaling = LR_ROPE_NONE;
    if (type) {
        size_t i = 0;
        while (i < LR_COUNT(types) && strcmp(types[i].name, type) != 0) i++;
        char shown[40];
        if (i == LR_COUNT(types))
            return lr_fail(err, LLMRUN_UNSUPPORTED,
                           "%s: %s type \"%s\" is not supported; known: default, linear, llama3, yarn", c->path, group,
                           lr_printable(shown, sizeof shown, type, strlen(type)));
        h->rope_scaling = types[i].scaling;
    }
    double theta, attention = NAN;
    llmrun_status status = lr_config_number(c, newer ? "rope_parameters.rope_theta" : "rope_theta", 10000, &theta, err);
    if (status) return status;
    h->rope_theta = (float)theta;
    double partial;
    status = lr_config_number(c, "partial_rotary_factor", 1, &partial, err);
    if (status) return status;
    h->n_rot = partial <= 1 ? (int32_t)(h->head_dim * partial) : 0;
    struct {
        const char *key;
        double fallback;
        float *out;
    } numbers[] = { { "factor", 1, &h->rope_factor },
                    { "low_freq_factor", 1, &h->rope_low_freq },
                    { "high_freq_factor", 4, &h->rope_high_freq },
                    { "beta_fast", 32, &h->rope_beta_fast },
                    { "beta_slow", 1, &h->rope_beta_slow } };
    for (size_t i = 0; i < LR_COUNT(numbers); i++) {
        double v;
        snprintf(key, sizeof key, "%s.%s", group, numbers[i].key);
        status = lr_config_number(c, key, numbers[i].fallback, &v, err);
        if (status) return status;
        *numbers[i].out = (float)v;
    }
    int64_t original;
    snprintf(key, sizeof key, "%s.original_max_position_embeddings", group);
    status = lr_config_int(c, key, 1, 1 << 30, h->n_ctx_train, &original, err);
    if (status) return status;
    h->rope_n_ctx_orig = (int32_t)original;
    h->rope_attn_factor = 1;
    if (h->rope_scaling == LR_ROPE_YARN) {
        snprintf(key, sizeof key, "%s.attention_factor", group);
        const lr_value *v = lr_config_find(c, key);
        if (v && v->type == LR_VALUE_NUMBER) attention = v->number;
        h->rope_attn_factor = (float)(isnan(attention) ? 0.1 * log(h->rope_factor) + 1 : attention);
    }
    return LLMRUN_OK;
}

/* Sliding windows: one size, on all layers or on those from one layer on.                                             */
static llmrun_status read_window(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    int64_t window, from;
    llmrun_status status = lr_config_int(c, "sliding_window", 0, 1 << 30, 0, &window, err);
    if (!status) status = lr_config_int(c, "max_window_layers", 0, 1 << 20, 0, &from, err);
    if (status) return status;
    if (family->window_needs_flag && !lr_config_bool(c, "use_sliding_window", false)) window = 0;
    const lr_value *types = lr_config_find(c, "layer_types");
    if (types && types->type == LR_VALUE_ARRAY) {
        from = h->n_layers;
        for (int32_t l = 0; l < h->n_layers; l++) {
            char key[40];
            snprintf(key, sizeof key, "layer_types.%d", l);
            const char *type = lr_config_string(c, key);
            bool sliding = type && strcmp(type, "sliding_attention") == 0;
            if (!sliding && !(type && strcmp(type, "full_attention") == 0))
                return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s: expected full_attention or sliding_attention", c->path,
                               key);
            if (sliding && from > l) from = l;
            if (!sliding && from <= l)
                return lr_fail(err, LLMRUN_UNSUPPORTED,
                               "%s: %s: full attention after sliding attention is not supported for %s", c->path, key,
                               family->name);
        }
    } else if (!family->window_needs_flag) {
        from = 0;
    }
    h->window = from < h->n_layers ? (int32_t)window : 0;
    h->window_from = h->window ? (int32_t)from : 0;
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

llmrun_status lr_hparams_read(lr_hparams *h, const lr_family **family, const lr_config *config,
                              const lr_config *generation, llmrun_error *err) {
    *h = (lr_hparams){ .bos = -1 };
    llmrun_status status = find_family(family, config, err);
    if (!status) status = read_integers(h, config, err);
    if (!status) status = read_rope(h, config, err);
    if (!status) status = read_window(h, *family, config, err);
    double eps = 0;
    if (!status) status = lr_config_number(config, "rms_norm_eps", 1e-6, &eps, err);
    if (status) return status;
    h->norm_eps = (float)eps;
    const char *act = lr_config_string(config, "hidden_act");
    char shown[40];
    if (act && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: hidden_act \"%s\" is not supported for %s; expected silu",
                       config->path, lr_printable(shown, sizeof shown, act, strlen(act)), (*family)->name);
    const char *method = lr_config_string(config, "quantization_config.quant_method");
    if (method)
        return lr_fail(err, LLMRUN_UNSUPPORTED,
                       "%s: weights quantized with \"%s\" are not supported; use the unquantized model", config->path,
                       lr_printable(shown, sizeof shown, method, strlen(method)));
    const char *wrong = lr_hparams_check(h);
    if (wrong) return lr_fail(err, LLMRUN_FORMAT, "%s: %s", config->path, wrong);
    int64_t bos;
    if (lr_config_int(config, "bos_token_id", 0, h->n_vocab - 1, -1, &bos, NULL) == LLMRUN_OK) h->bos = (int32_t)bos;
    read_ends(h, generation, "eos_token_id");
    read_ends(h, config, "eos_token_id");
    return LLMRUN_OK;
}
