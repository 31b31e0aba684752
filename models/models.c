/* The list of families, and what is common to their numbers.                                                          */
#include "models/model.h"

#include <math.h>
#include <string.h>

#define LR_FAMILY(name) extern const lr_family lr_family_##name;
#include "models/families.def"
#undef LR_FAMILY
#define LR_FAMILY(name) &lr_family_##name,
const lr_family *const lr_families[] = {
#include "models/families.def"
};
#undef LR_FAMILY
const size_t lr_n_families = LR_COUNT(lr_families);

/* Limits are far above any published model and low enough that products of two fit in 64 bits.                        */
#define AT(field) offsetof(lr_hparams, field)
const lr_hparam_row lr_hparam_rows[] = {
    { AT(n_layers), { "num_hidden_layers", "n_layer" }, "block_count", 1, LR_MAX_LAYERS, 0 },
    { AT(dim), { "hidden_size", "n_embd" }, "embedding_length", 1, 1 << 20, 0 },
    { AT(hidden_dim), { "intermediate_size", "n_inner" }, "feed_forward_length", 1, 1 << 24, LR_FOUR_DIMS },
    { AT(n_experts), { "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts" }, "expert_count", 0,
      LR_MAX_EXPERTS, 0 },
    { AT(n_experts_used), { "num_experts_per_tok", "moe_k" }, "expert_used_count", 0, LR_MAX_EXPERTS, 0 },
    { AT(expert_dim), { "moe_intermediate_size" }, "expert_feed_forward_length", 1, 1 << 24, LR_FROM_HIDDEN },
    { AT(n_shared), { "n_shared_experts", "moe_num_shared_experts" }, "expert_shared_count", 0, 1 << 10, 0 },
    { AT(shared_dim), { "shared_expert_intermediate_size" }, "expert_shared_feed_forward_length", 0, 1 << 24, 0 },
    { AT(n_expert_groups), { "n_group" }, "expert_group_count", 0, 64, 0 },
    { AT(n_expert_groups_used), { "topk_group" }, "expert_group_used_count", 0, 64, 0 },
    { AT(n_dense), { "first_k_dense_replace", "moe_layer_start_index" }, "leading_dense_block_count", 0, LR_MAX_LAYERS, 0 },
    { AT(expert_every), { "decoder_sparse_step", "moe_layer_interval" }, "moe_every_n_layers", 1, LR_MAX_LAYERS, 1 },
    { AT(n_heads), { "num_attention_heads", "n_head" }, "attention.head_count", 1, 1 << 14, 0 },
    { AT(n_kv_heads), { "num_key_value_heads" }, "attention.head_count_kv", 1, 1 << 14, LR_FROM_HEADS },
    { AT(head_dim), { "head_dim" }, "attention.key_length", 1, LR_MAX_ROT, LR_FROM_DIM },
    { AT(n_vocab), { "vocab_size" }, "vocab_size", 1, 1 << 24, 0 },
    { AT(q_rank), { "q_lora_rank" }, "attention.q_lora_rank", 0, 1 << 20, 0 },
    { AT(kv_rank), { "kv_lora_rank" }, "attention.kv_lora_rank", 0, LR_MAX_ROT, 0 },
    { AT(n_nope), { "qk_nope_head_dim" }, "attention.key_length_nope", 0, LR_MAX_ROT, 0 },
    { AT(v_dim), { "v_head_dim" }, "attention.value_length_mla", 0, LR_MAX_ROT, 0 },
    { AT(delta_k_heads), { "linear_num_key_heads" }, "ssm.group_count", 0, 1 << 14, 0 },
    { AT(delta_v_heads), { "linear_num_value_heads" }, "ssm.time_step_rank", 0, 1 << 14, 0 },
    { AT(delta_k_dim), { "linear_key_head_dim" }, "ssm.state_size", 0, LR_DELTA_MOST, 0 },
    { AT(delta_v_dim), { "linear_value_head_dim" }, "ssm.state_size", 0, LR_DELTA_MOST, 0 },
    { AT(delta_conv), { "linear_conv_kernel_dim" }, "ssm.conv_kernel", 0, LR_DELTA_TAPS, 0 },
    { AT(n_ctx_train), { "max_position_embeddings", "n_positions", "n_ctx" }, "context_length", 1, 1 << 30, 2048 },
};
const size_t lr_n_hparam_rows = LR_COUNT(lr_hparam_rows);

const lr_number_row lr_number_rows[] = {
    { AT(norm_eps), { "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon" },
      { "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon" }, NAN },
    { AT(embed_scale), { "embedding_multiplier", "scale_emb" }, { "embedding_scale" }, NAN },
    { AT(residual_scale), { "residual_multiplier" }, { "residual_scale" }, 1 },
    { AT(attn_scale), { "attention_multiplier" }, { "attention.scale" }, NAN },
    { AT(logit_scale), { "logits_scaling", "logit_scale" }, { "logit_scale" }, 1 },
    { AT(expert_scale), { "routed_scaling_factor" }, { "expert_weights_scale" }, 1 },
    { AT(attn_softcap), { "attn_logit_softcapping" }, { "attn_logit_softcapping" }, 0 },
    { AT(logit_softcap), { "final_logit_softcapping" }, { "final_logit_softcapping" }, 0 },
};
const size_t lr_n_number_rows = LR_COUNT(lr_number_rows);
#undef AT

static bool listed(const char *const *list, const char *name) {
    for (; name && *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

const lr_family *lr_family_find(const char *model_type, const char *architecture) {
    for (size_t i = 0; i < lr_n_families; i++)
        if (listed(lr_families[i]->model_types, model_type)) return lr_families[i];
    for (size_t i = 0; !model_type && i < lr_n_families; i++)
        if (listed(lr_families[i]->architectures, architecture)) return lr_families[i];
    return NULL;
}

const lr_family *lr_family_find_gguf(const char *architecture, bool experts) {
    const lr_family *found = NULL;
    for (size_t i = 0; i < lr_n_families; i++) {
        const lr_family *f = lr_families[i];
        if (listed(f->gguf_architectures, architecture) && (!found || (experts && f->experts))) found = f;
    }
    return found;
}

int64_t lr_dim_value(const lr_hparams *h, lr_dim d) {
    switch (d) {
        case LR_D_NONE: return 0;
        case LR_D_ONE: return 1;
        case LR_D_DIM: return h->dim;
        case LR_D_HIDDEN: return h->hidden_dim;
        case LR_D_Q: return (int64_t)h->n_heads * h->head_dim;
        case LR_D_KV: return (int64_t)h->n_kv_heads * h->head_dim;
        case LR_D_HEAD: return h->head_dim;
        case LR_D_HEADS: return h->n_heads;
        case LR_D_Q_OF_KV: return (int64_t)(h->n_heads / h->n_kv_heads) * h->head_dim;
        case LR_D_POS: return h->n_pos;
        case LR_D_Q_RANK: return h->q_rank;
        case LR_D_Q_DIRECT: return h->q_rank ? 0 : h->dim;
        case LR_D_Q_HEADS: return (int64_t)h->n_heads * (h->n_nope + h->n_rot);
        case LR_D_KV_RANK: return h->kv_rank;
        case LR_D_K_UP: return (int64_t)h->n_heads * h->kv_rank;
        case LR_D_NOPE: return h->n_nope;
        case LR_D_V_HEAD: return h->v_dim;
        case LR_D_V_UP: return (int64_t)h->n_heads * h->v_dim;
        case LR_D_VOCAB: return h->n_vocab;
        case LR_D_EXPERTS: return h->n_experts;
        case LR_D_EXPERT: return h->expert_dim;
        case LR_D_SHARED: return h->shared_dim;
        case LR_D_DELTA_K: return (int64_t)h->delta_k_heads * h->delta_k_dim;
        case LR_D_DELTA_V: return (int64_t)h->delta_v_heads * h->delta_v_dim;
        case LR_D_DELTA_HEADS: return h->delta_v_heads;
        case LR_D_DELTA_K_HEAD: return h->delta_k_dim;
        case LR_D_DELTA_V_HEAD: return h->delta_v_dim;
        case LR_D_DELTA_SHARE: return h->delta_v_heads / h->delta_k_heads;
        case LR_D_DELTA_SHARE_V: return (int64_t)(h->delta_v_heads / h->delta_k_heads) * h->delta_v_dim;
        case LR_D_DELTA_SHARE_VZ: return 2 * (int64_t)(h->delta_v_heads / h->delta_k_heads) * h->delta_v_dim;
        case LR_D_DELTA_QK_HEAD: return 2 * (int64_t)h->delta_k_dim;
        case LR_D_DELTA_TAPS: return lr_delta_channels(h) * h->delta_conv;
    }
    return 0;
}

int64_t lr_family_fallback(const lr_family *f, const lr_hparam_row *row, const lr_hparams *h) {
    for (size_t i = 0; i < LR_COUNT(f->defaults) && f->defaults[i].value; i++)
        if (f->defaults[i].offset == row->offset) return f->defaults[i].value;
    switch (row->fallback) {
        case LR_FROM_HEADS: return h->n_heads;
        case LR_FOUR_DIMS: return 4 * (int64_t)h->dim;
        case LR_FROM_DIM: return h->dim / h->n_heads;
        case LR_FROM_HIDDEN: return h->hidden_dim;
        default: return row->fallback;
    }
}

bool lr_layer_has(const lr_hparams *h, int32_t layer, lr_role role) {
    bool experts = layer >= 0 && lr_layer_has_experts(h, layer);
    bool delta = layer >= 0 && h->layer_flags[layer] & LR_LAYER_DELTA;
    switch (role) {
        case LR_W_GATE: case LR_W_UP: case LR_W_DOWN: case LR_B_GATE: case LR_B_UP: case LR_B_DOWN: return !experts;
        case LR_W_GATE_SHARED: case LR_W_UP_SHARED: case LR_W_DOWN_SHARED: case LR_SHARED_GATE:
            return experts && h->shared_dim > 0;
        case LR_ROUTER: case LR_B_ROUTER: return experts;
        case LR_WQ: case LR_WQ_GATE: case LR_WK: case LR_WV: case LR_WO: case LR_Q_NORM: case LR_K_NORM: return !delta;
        case LR_DELTA_Q: case LR_DELTA_K: case LR_DELTA_V: case LR_DELTA_Z: case LR_DELTA_B: case LR_DELTA_A:
        case LR_DELTA_OUT: case LR_DELTA_CONV: case LR_DELTA_DT: case LR_DELTA_RATE: case LR_DELTA_NORM: return delta;
        default: return experts || !lr_role_is_experts(role);
    }
}

int32_t lr_hidden_most(const lr_hparams *h) {
    bool dense = h->n_experts == 0;
    for (int32_t l = 0; l < h->n_layers && !dense; l++) dense = !lr_layer_has_experts(h, l);
    return (int32_t)lr_max(dense ? h->hidden_dim : 0, h->n_experts ? h->shared_dim : 0);
}

void lr_slice_shape(const lr_hparams *h, const lr_slice *s, int64_t rows, int64_t cols, int64_t shape[2]) {
    int64_t others = 0, run = s->run ? lr_dim_value(h, s->run) : rows;
    for (int i = 0; i < 2; i++) others += lr_dim_value(h, s->before[i]) + lr_dim_value(h, s->after[i]);
    shape[0] = s->transposed && !s->run ? cols : rows / run * (others + (s->transposed ? cols : run));
    shape[1] = !s->transposed ? cols : s->run ? run : s->turns ? run * s->turns : run + others;
}

static const char *check_rope(const lr_rope *r) {
    if (!(r->theta >= 1 && isfinite(r->theta))) return "rope_theta must be at least 1";
    if (r->scaling != LR_ROPE_NONE && !(r->factor > 0 && isfinite(r->factor)))
        return "rope_scaling.factor must be above 0";
    if (r->scaling == LR_ROPE_LLAMA3 && !(r->high_freq > r->low_freq && r->low_freq > 0))
        return "rope_scaling: high_freq_factor must be above low_freq_factor, both above 0";
    return NULL;
}

const char *lr_hparams_check(const lr_hparams *h) {
    if (h->n_heads % h->n_kv_heads != 0) return "num_attention_heads must be a multiple of num_key_value_heads";
    if (h->head_dim % 2 != 0) return "head_dim must be even";
    if (h->n_rot < 0 || h->n_rot > h->head_dim || h->n_rot % 2 != 0 || (h->n_rot == 0 && h->n_pos == 0))
        return "rotated dims must be even and within head_dim";
    if (h->n_experts > 0 && (h->n_experts_used < 1 || h->n_experts_used > h->n_experts))
        return "the experts of a token must be at least 1 and at most all";
    if (h->n_expert_groups > 0 && (h->n_experts % h->n_expert_groups != 0 || h->n_expert_groups_used < 1 ||
                                   h->n_expert_groups_used > h->n_expert_groups ||
                                   h->n_experts_used > h->n_experts / h->n_expert_groups * h->n_expert_groups_used ||
                                   h->best_of_group > h->n_experts / h->n_expert_groups))
        return "groups of experts must divide them, and those of a token hold its experts";
    bool delta = false;
    for (int32_t l = 0; l < h->n_layers; l++) delta |= lr_layer_cache(h, l) == LR_CACHE_STATE;
    if (delta && (h->delta_k_heads < 1 || h->delta_v_heads < 1 || h->delta_k_dim < 1 || h->delta_v_dim < 1 ||
                  h->delta_conv < 1 || h->delta_v_heads % h->delta_k_heads != 0))
        return "linear_num_value_heads must be a multiple of linear_num_key_heads, heads and taps at least 1";
    if (!(h->norm_eps > 0 && h->norm_eps < 1)) return "rms_norm_eps must be between 0 and 1";
    const char *wrong = NULL;
    for (int32_t i = 0; i < h->n_ropes && h->n_rot > 0 && !wrong; i++) wrong = check_rope(&h->rope[i]);
    return wrong;
}

/* Pair index at which a yarn rotation turns `turns` times within the original context.                                */
static double yarn_pair(const lr_rope *r, int32_t n_rot, double turns) {
    return n_rot * log(r->n_ctx_orig / (turns * 2 * M_PI)) / (2 * log((double)r->theta));
}

void lr_rope_frequencies(const lr_hparams *h, int32_t which, int32_t n_ctx, double *freq) {
    const lr_rope *r = &h->rope[which];
    double lo = 0, hi = 0;
    if (r->scaling == LR_ROPE_YARN) {
        lo = yarn_pair(r, h->n_rot, r->beta_fast);
        hi = yarn_pair(r, h->n_rot, r->beta_slow);
        lo = fmax(r->sharp ? lo : floor(lo), 0);
        hi = fmin(r->sharp ? hi : ceil(hi), h->n_rot - 1);
        if (hi <= lo) hi = lo + 0.001;
    }
    for (int32_t i = 0; i < h->n_rot / 2; i++) {
        double f = pow(r->theta, -2.0 * i / h->n_rot), length = 2 * M_PI / f;
        switch (r->scaling) {
            case LR_ROPE_NONE: break;
            case LR_ROPE_LINEAR: f /= r->factor; break;
            case LR_ROPE_LLAMA3: {
                double low = r->n_ctx_orig / r->low_freq, high = r->n_ctx_orig / r->high_freq;
                double t = (r->n_ctx_orig / length - r->low_freq) / (r->high_freq - r->low_freq);
                if (length > low)
                    f /= r->factor;
                else if (length > high)
                    f = (1 - t) * f / r->factor + t * f;
                break;
            }
            case LR_ROPE_YARN: {
                double ramp = fmin(fmax((i - lo) / (hi - lo), 0), 1);
                f = f / r->factor * ramp + f * (1 - ramp);
                break;
            }
            case LR_ROPE_LONG: f /= h->rope_divisors[n_ctx > r->n_ctx_orig][i]; break;
        }
        freq[i] = f;
    }
}
