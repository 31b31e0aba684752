/* config.json -> what sets layers apart (sliding windows, layers without rope) and how positions become angles.      */
#include "runtime/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- rope ---- */

static llmrun_status read_scaling(lr_rope *r, const lr_config *c, const char *group, llmrun_error *err) {
    static const struct {
        const char *name;
        lr_rope_scaling scaling;
    } types[] = { { "default", LR_ROPE_NONE }, { "linear", LR_ROPE_LINEAR }, { "llama3", LR_ROPE_LLAMA3 },
                  { "yarn", LR_ROPE_YARN },    { "longrope", LR_ROPE_LONG }, { "su", LR_ROPE_LONG },
                  { "dynamic", LR_ROPE_NONE }, /* scales beyond the trained context alone */
                  { "mrope", LR_ROPE_NONE } /* of pictures; where all is text, its three positions are one */ };
    char key[96];
    const char *type = NULL;
    for (int i = 0; i < 2 && !type; i++) {
        snprintf(key, sizeof key, "%s.%s", group, i ? "type" : "rope_type");
        type = lr_config_string(c, key);
    }
    r->scaling = LR_ROPE_NONE;
    for (size_t i = 0; type; i++) {
        char shown[40];
        if (i == LR_COUNT(types))
            return lr_fail(err, LLMRUN_UNSUPPORTED,
                           "%s: %s type \"%s\" is not supported; known: default, linear, llama3, yarn, longrope", c->path,
                           group, lr_printable(shown, sizeof shown, type, strlen(type)));
        r->scaling = types[i].scaling;
        if (strcmp(types[i].name, type) == 0) break;
    }
    snprintf(key, sizeof key, "%s.short_factor", group);
    if (r->scaling == LR_ROPE_YARN && lr_config_has(c, key)) r->scaling = LR_ROPE_LONG; /* early Phi-3 */
    snprintf(key, sizeof key, "%s.truncate", group);
    r->sharp = !lr_config_bool(c, key, true);
    const struct {
        const char *key;
        double fallback;
        float *out;
    } numbers[] = { { "factor", 1, &r->factor },
                    { "low_freq_factor", 1, &r->low_freq },
                    { "high_freq_factor", 4, &r->high_freq },
                    { "beta_fast", 32, &r->beta_fast },
                    { "beta_slow", 1, &r->beta_slow } };
    for (size_t i = 0; i < LR_COUNT(numbers); i++) {
        double v;
        snprintf(key, sizeof key, "%s.%s", group, numbers[i].key);
        llmrun_status status = lr_config_number(c, key, numbers[i].fallback, &v, err);
        if (status) return status;
        *numbers[i].out = (float)v;
    }
    return LLMRUN_OK;
}

/* The factor of cos and sin that belongs to a longer context under yarn.                                              */
static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

/* Factor of cos and sin, and the context that the model was trained on first.                                        */
static llmrun_status read_attention(lr_rope *r, const lr_hparams *h, const lr_config *c, const char *group,
                                    llmrun_error *err) {
    char key[96];
    int64_t original;
    snprintf(key, sizeof key, "%s.original_max_position_embeddings", group);
    if (!lr_config_has(c, key)) snprintf(key, sizeof key, "original_max_position_embeddings");
    llmrun_status status = lr_config_int(c, key, 1, 1 << 30, h->n_ctx_train, &original, err);
    if (status) return status;
    r->n_ctx_orig = (int32_t)original;
    r->attn_factor = 1;
    double longer = (double)h->n_ctx_train / (double)original;
    if (r->scaling == LR_ROPE_LONG && r->factor == 1) r->factor = (float)longer;
    double of_all = 0, of_rope = 0;
    snprintf(key, sizeof key, "%s.mscale_all_dim", group);
    status = lr_config_number(c, key, 0, &of_all, err);
    snprintf(key, sizeof key, "%s.mscale", group);
    if (!status) status = lr_config_number(c, key, 0, &of_rope, err);
    if (status) return status;
    if (r->scaling == LR_ROPE_YARN)
        r->attn_factor = (float)(of_all > 0 && of_rope > 0 ? yarn_scale(r->factor, of_rope) / yarn_scale(r->factor, of_all)
                                                           : yarn_scale(r->factor, 1));
    if (r->scaling == LR_ROPE_YARN && of_all > 0) r->score_factor = (float)pow(yarn_scale(r->factor, of_all), 2);
    if (r->scaling == LR_ROPE_LONG && r->factor > 1) r->attn_factor = sqrtf(1 + logf(r->factor) / logf((float)original));
    snprintf(key, sizeof key, "%s.attention_factor", group);
    if (lr_config_has(c, key)) {
        double v;
        status = lr_config_number(c, key, 1, &v, err);
        r->attn_factor = (float)v;
    }
    return status;
}

/* Queries behind the original context grow with their position (Llama 4, Ministral 3), which is not done here: that
 * context is all that counts as trained.                                                                              */
static llmrun_status read_growth(lr_hparams *h, const lr_rope *r, const lr_config *c, const char *group, llmrun_error *err) {
    char key[96];
    double beta;
    snprintf(key, sizeof key, "%s.llama_4_scaling_beta", group);
    llmrun_status status = lr_config_number(c, key, 0, &beta, err);
    if (!status && beta != 0) h->n_ctx_train = (int32_t)lr_min(h->n_ctx_train, r->n_ctx_orig);
    return status;
}

/* The two lists of LR_ROPE_LONG.                                                                                      */
static llmrun_status read_divisors(lr_hparams *h, const lr_config *c, const char *group, llmrun_error *err) {
    static const char *const names[] = { "short_factor", "long_factor" };
    for (int k = 0; k < 2; k++)
        for (int32_t i = 0; i < h->n_rot / 2; i++) {
            char key[96];
            double v;
            snprintf(key, sizeof key, "%s.%s.%d", group, names[k], i);
            llmrun_status status = lr_config_number(c, key, NAN, &v, err);
            if (status) return status;
            h->rope_divisors[k][i] = (float)v;
        }
    return LLMRUN_OK;
}

static llmrun_status read_one(lr_hparams *h, lr_rope *r, const lr_config *c, const char *group, const char *theta_key,
                              double theta, llmrun_error *err) {
    char key[96];
    snprintf(key, sizeof key, "%s.rope_theta", group);
    llmrun_status status = lr_config_number(c, lr_config_has(c, key) ? key : theta_key, theta, &theta, err);
    r->theta = (float)theta;
    if (!status) status = read_scaling(r, c, group, err);
    if (!status) status = read_attention(r, h, c, group, err);
    if (!status) status = read_growth(h, r, c, group, err);
    if (!status && r->scaling == LR_ROPE_LONG) status = read_divisors(h, c, group, err);
    return status;
}

/* rope_scaling {...} of older files, rope_parameters {...} of newer ones, which may have one for each kind of layer.  */
llmrun_status lr_hparams_read_rope(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    static const char *const partial_keys[] = { "rope_parameters.partial_rotary_factor", "partial_rotary_factor",
                                                "rotary_pct" };
    bool by_layer = lr_config_find(c, "rope_parameters.full_attention.rope_theta");
    bool newer = lr_config_find(c, "rope_parameters.rope_type") || lr_config_find(c, "rope_parameters.rope_theta");
    double partial = family->rotary > 0 ? (double)family->rotary : 1;
    llmrun_status status = LLMRUN_OK;
    const char *partial_key = lr_config_first(c, partial_keys, LR_COUNT(partial_keys));
    if (lr_config_has(c, partial_key)) status = lr_config_number(c, partial_key, 1, &partial, err);
    if (status) return status;
    int64_t rotated = partial <= 1 ? (int64_t)(h->head_dim * partial) : 0;
    status = lr_config_int(c, "rotary_dim", 0, LR_MAX_ROT, rotated, &rotated, err);
    if (status) return status;
    h->n_rot = (int32_t)rotated;
    h->n_ropes = by_layer || family->local_theta > 0 ? 2 : 1;
    status = read_one(h, &h->rope[0], c, by_layer ? "rope_parameters.full_attention" : newer ? "rope_parameters"
                      : "rope_scaling", lr_config_has(c, "rotary_emb_base") ? "rotary_emb_base" : "rope_theta",
                      family->theta > 0 ? (double)family->theta : 10000, err);
    if (status || h->n_ropes == 1) return status;
    return read_one(h, &h->rope[1], c, by_layer ? "rope_parameters.sliding_attention" : "", "rope_local_base_freq",
                    family->local_theta > 0 ? (double)family->local_theta : 10000, err);
}

/* ---- kinds of layers ---- */

static void set_every(lr_hparams *h, int64_t every, uint8_t flag) {
    for (int32_t l = 0; every > 0 && l < h->n_layers; l++)
        if ((l + 1) % every == 0) h->layer_flags[l] |= flag;
}

/* layer_types ["sliding_attention", "full_attention", ...]: full_attention gets one flag, the other kind another.    */
static llmrun_status read_types(lr_hparams *h, const lr_config *c, const char *other, uint8_t full_flag,
                                uint8_t other_flag, llmrun_error *err) {
    for (int32_t l = 0; l < h->n_layers; l++) {
        char key[40];
        snprintf(key, sizeof key, "layer_types.%d", l);
        const char *type = lr_config_string(c, key);
        bool is_other = type && strcmp(type, other) == 0;
        if (!is_other && !(type && strcmp(type, "full_attention") == 0))
            return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s: expected full_attention or %s", c->path, key, other);
        h->layer_flags[l] |= is_other ? other_flag : full_flag;
    }
    return LLMRUN_OK;
}

static bool has_types(const lr_config *c) {
    const lr_value *types = lr_config_find(c, "layer_types");
    return types && types->type == LR_VALUE_ARRAY;
}

/* Gated delta nets but for every fourth layer.                                                                       */
static llmrun_status read_delta(lr_hparams *h, const lr_config *c, llmrun_error *err) {
    int64_t every;
    if (has_types(c)) return read_types(h, c, "linear_attention", 0, LR_LAYER_DELTA, err);
    llmrun_status status = lr_config_int(c, "full_attention_interval", 1, 1 << 20, 4, &every, err);
    for (int32_t l = 0; l < h->n_layers && !status; l++)
        if ((l + 1) % every != 0) h->layer_flags[l] |= LR_LAYER_DELTA;
    return status;
}

/* no_rope_layers [1, 1, 1, 0, ...]: 0 has none.                                                                       */
static llmrun_status read_no_rope(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    if (!lr_config_find(c, "no_rope_layers.0")) {
        int64_t every = 0;
        llmrun_status status = lr_config_int(c, "no_rope_layer_interval", 1, 1 << 20, family->no_rope_every, &every, err);
        set_every(h, every, LR_LAYER_NO_ROPE);
        return status;
    }
    for (int32_t l = 0; l < h->n_layers; l++) {
        char key[40];
        int64_t uses;
        snprintf(key, sizeof key, "no_rope_layers.%d", l);
        llmrun_status status = lr_config_int(c, key, 0, 1, -1, &uses, err);
        if (status) return status;
        if (!uses) h->layer_flags[l] |= LR_LAYER_NO_ROPE;
    }
    return LLMRUN_OK;
}

llmrun_status lr_hparams_read_layers(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    int64_t window = 0, from = 0, every = family->full_every;
    llmrun_status status = lr_config_int(c, "sliding_window", 0, 1 << 30, 0, &window, err);
    if (!status) status = lr_config_int(c, "max_window_layers", 0, 1 << 20, 0, &from, err);
    if (!status && lr_config_has(c, "sliding_window_pattern"))
        status = lr_config_int(c, "sliding_window_pattern", 1, 1 << 20, every, &every, err);
    if (!status && family->no_rope_every) status = read_no_rope(h, family, c, err);
    if (status) return status;
    if (family->delta) return read_delta(h, c, err);
    if (family->window_needs_flag && !lr_config_bool(c, "use_sliding_window", false)) window = 0;
    h->window = (int32_t)window;
    if (!window) return LLMRUN_OK;
    if (has_types(c)) {
        status = read_types(h, c, "sliding_attention", LR_LAYER_FULL, 0, err);
    } else if (family->window_needs_flag) {
        for (int32_t l = 0; l < h->n_layers && l < from; l++) h->layer_flags[l] |= LR_LAYER_FULL;
    } else {
        set_every(h, every, LR_LAYER_FULL);
    }
    for (int32_t l = 0; l < h->n_layers && family->rope_in_window; l++)
        if (h->layer_flags[l] & LR_LAYER_FULL) h->layer_flags[l] |= LR_LAYER_NO_ROPE;
    bool any = false;
    for (int32_t l = 0; l < h->n_layers; l++) any |= lr_layer_windowed(h, l);
    if (!any) h->window = 0;
    return status;
}
