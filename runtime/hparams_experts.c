/* Mixtures of experts: what needs a decision beside the tables of models/: how a token's experts are chosen, and which
 * layers have experts.                                                                                                */
#include "runtime/bind.h"

#include <stdio.h>
#include <string.h>

/* What follows from the integers, for both containers.                                                                */
static llmrun_status settle(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    if (!family->experts) h->n_experts = 0;
    else if (!h->n_experts)
        return lr_fail(err, LLMRUN_FORMAT, "%s: %s needs the number of experts", c->path, family->name);
    if (!h->shared_dim) h->shared_dim = h->n_shared * h->expert_dim;
    if (h->n_expert_groups == 1) h->n_expert_groups = 0;
    for (int32_t l = h->n_dense; l < h->n_layers && h->n_experts; l++)
        if ((l + 1) % h->expert_every == 0) h->layer_flags[l] |= LR_LAYER_EXPERTS;
    return LLMRUN_OK;
}

/* Where no layer has experts there are none.                                                                          */
static void count_layers(lr_hparams *h) {
    int32_t n = 0;
    for (int32_t l = 0; l < h->n_layers; l++) n += lr_layer_has_experts(h, l);
    if (!n) h->n_experts = 0;
}

/* Layers that have none, by their numbers (mlp_only_layers [0, 3, ...]), by words (mlp_layer_types ["dense", "sparse",
 * ...]), or behind the last that has (moe_layer_end_index, -1: there are no such).                                   */
static llmrun_status read_dense(lr_hparams *h, const lr_config *c, llmrun_error *err) {
    int64_t end;
    llmrun_status bad = lr_config_int(c, "moe_layer_end_index", -1, LR_MAX_LAYERS, -1, &end, err);
    if (bad) return bad;
    for (int32_t l = 0; l < h->n_layers; l++) {
        char key[48];
        snprintf(key, sizeof key, "mlp_layer_types.%d", l);
        const char *type = lr_config_string(c, key);
        if ((type && strcmp(type, "dense") == 0) || (end >= 0 && l > end)) h->layer_flags[l] &= (uint8_t)~LR_LAYER_EXPERTS;
    }
    const lr_value *list = lr_config_find(c, "mlp_only_layers");
    int64_t n = list && list->type == LR_VALUE_ARRAY ? (int64_t)list->number : 0;
    for (int64_t i = 0; i < n; i++) {
        char key[48];
        int64_t layer;
        snprintf(key, sizeof key, "mlp_only_layers.%lld", (long long)i);
        llmrun_status status = lr_config_int(c, key, 0, h->n_layers - 1, -1, &layer, err);
        if (status) return status;
        h->layer_flags[layer] &= (uint8_t)~LR_LAYER_EXPERTS;
    }
    return LLMRUN_OK;
}

/* Which of the words that we know a key has; absent: *out stays.                                                      */
static llmrun_status read_word(const lr_config *c, const char *key, const char *const *known, size_t n, int *out,
                               llmrun_error *err) {
    const char *value = lr_config_string(c, key);
    char shown[40], list[80] = "";
    for (size_t i = 0, at = 0; i < n; i++) {
        if (value && strcmp(value, known[i]) == 0) *out = (int)i;
        if (!value || strcmp(value, known[i]) == 0) return LLMRUN_OK;
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", known[i]);
    }
    return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s \"%s\" is not supported; known: %s", c->path, key,
                   lr_printable(shown, sizeof shown, value, strlen(value)), list);
}

llmrun_status lr_hparams_read_experts(lr_hparams *h, const lr_family *family, const lr_config *c, llmrun_error *err) {
    static const char *const methods[] = { "greedy", "group_limited_greedy", "noaux_tc" }; /* a group's best: 0, 1, 2 */
    static const char *const scores[] = { "softmax", "sigmoid" };
    int method = family->sigmoid ? 2 : 0, score = family->sigmoid;
    llmrun_status status = settle(h, family, c, err);
    if (status || !h->n_experts) return status;
    status = read_word(c, "topk_method", methods, LR_COUNT(methods), &method, err);
    if (!status) status = read_word(c, "scoring_func", scores, LR_COUNT(scores), &score, err);
    if (!status) status = read_dense(h, c, err);
    if (!method) h->n_expert_groups = 0;
    h->best_of_group = method;
    h->sigmoid = score;
    h->among_chosen = lr_config_bool(c, "norm_topk_prob", family->among_chosen);
    count_layers(h);
    return status;
}

llmrun_status lr_hparams_read_experts_gguf(lr_hparams *h, const lr_family *family, const char *arch, const lr_config *c,
                                           llmrun_error *err) {
    enum { SOFTMAX = 1, SIGMOID, AMONG_CHOSEN };
    char key[128];
    int64_t gating;
    llmrun_status status = settle(h, family, c, err);
    if (status || !h->n_experts) return status;
    count_layers(h);
    snprintf(key, sizeof key, "%s.expert_weights_norm", arch);
    h->among_chosen = lr_config_bool(c, key, family->among_chosen);
    snprintf(key, sizeof key, "%s.expert_gating_func", arch);
    status = lr_config_int(c, key, 0, 100, family->sigmoid ? SIGMOID : SOFTMAX, &gating, err);
    if (status) return status;
    if (gating == AMONG_CHOSEN) h->among_chosen = true;
    h->sigmoid = gating == SIGMOID;
    h->best_of_group = h->sigmoid ? 2 : 1;
    if (gating <= AMONG_CHOSEN) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s %lld is not supported; expected 1 (softmax), 2 (sigmoid) or 3", c->path,
                   key, (long long)gating);
}
