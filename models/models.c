/* The list of families, and what is common to their numbers.                                                          */
#include "models/model.h"

#include <math.h>
#include <string.h>

extern const lr_family lr_family_llama, lr_family_mistral, lr_family_qwen2, lr_family_qwen3;

const lr_family *const lr_families[] = {
    &lr_family_llama,
    &lr_family_mistral,
    &lr_family_qwen2,
    &lr_family_qwen3,
};
const size_t lr_n_families = LR_COUNT(lr_families);

/* Limits are far above any published model and low enough that products of two fit in 64 bits.                        */
#define AT(field) offsetof(lr_hparams, field)
const lr_hparam_row lr_hparam_rows[] = {
    { AT(n_layers), { "num_hidden_layers" }, "block_count", 1, LR_MAX_LAYERS, 0 },
    { AT(dim), { "hidden_size" }, "embedding_length", 1, 1 << 20, 0 },
    { AT(hidden_dim), { "intermediate_size" }, "feed_forward_length", 1, 1 << 24, 0 },
    { AT(n_heads), { "num_attention_heads" }, "attention.head_count", 1, 1 << 14, 0 },
    { AT(n_kv_heads), { "num_key_value_heads" }, "attention.head_count_kv", 1, 1 << 14, LR_FROM_HEADS },
    { AT(head_dim), { "head_dim" }, "attention.key_length", 1, LR_MAX_ROT, LR_FROM_DIM },
    { AT(n_vocab), { "vocab_size" }, "vocab_size", 1, 1 << 24, 0 },
    { AT(n_ctx_train), { "max_position_embeddings" }, "context_length", 1, 1 << 30, 2048 },
};
const size_t lr_n_hparam_rows = LR_COUNT(lr_hparam_rows);
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

const lr_family *lr_family_find_gguf(const char *architecture) {
    for (size_t i = 0; i < lr_n_families; i++)
        if (listed(lr_families[i]->gguf_architectures, architecture)) return lr_families[i];
    return NULL;
}

int64_t lr_dim_value(const lr_hparams *h, lr_dim d) {
    switch (d) {
        case LR_D_ONE: return 1;
        case LR_D_DIM: return h->dim;
        case LR_D_HIDDEN: return h->hidden_dim;
        case LR_D_Q: return (int64_t)h->n_heads * h->head_dim;
        case LR_D_KV: return (int64_t)h->n_kv_heads * h->head_dim;
        case LR_D_HEAD: return h->head_dim;
        case LR_D_VOCAB: return h->n_vocab;
    }
    return 0;
}

const char *lr_hparams_check(const lr_hparams *h) {
    if (h->n_heads % h->n_kv_heads != 0) return "num_attention_heads must be a multiple of num_key_value_heads";
    if (h->head_dim % 2 != 0) return "head_dim must be even";
    if (h->n_rot < 2 || h->n_rot > h->head_dim || h->n_rot % 2 != 0)
        return "rotated dims must be even and within head_dim";
    if (!(h->norm_eps > 0 && h->norm_eps < 1)) return "rms_norm_eps must be between 0 and 1";
    if (!(h->rope_theta >= 1 && isfinite(h->rope_theta))) return "rope_theta must be at least 1";
    if (h->rope_scaling != LR_ROPE_NONE && !(h->rope_factor > 0 && isfinite(h->rope_factor)))
        return "rope_scaling.factor must be above 0";
    if (h->rope_scaling == LR_ROPE_LLAMA3 && !(h->rope_high_freq > h->rope_low_freq && h->rope_low_freq > 0))
        return "rope_scaling: high_freq_factor must be above low_freq_factor, both above 0";
    return NULL;
}

/* Pair index at which a yarn rotation turns `turns` times within the original context.                                */
static double yarn_pair(const lr_hparams *h, double turns) {
    return h->n_rot * log(h->rope_n_ctx_orig / (turns * 2 * M_PI)) / (2 * log(h->rope_theta));
}

void lr_rope_frequencies(const lr_hparams *h, double *freq) {
    double lo = 0, hi = 0;
    if (h->rope_scaling == LR_ROPE_YARN) {
        lo = fmax(floor(yarn_pair(h, h->rope_beta_fast)), 0);
        hi = fmin(ceil(yarn_pair(h, h->rope_beta_slow)), h->n_rot - 1);
        if (hi <= lo) hi = lo + 0.001;
    }
    for (int32_t i = 0; i < h->n_rot / 2; i++) {
        double f = pow(h->rope_theta, -2.0 * i / h->n_rot), length = 2 * M_PI / f;
        switch (h->rope_scaling) {
            case LR_ROPE_NONE: break;
            case LR_ROPE_LINEAR: f /= h->rope_factor; break;
            case LR_ROPE_LLAMA3: {
                double low = h->rope_n_ctx_orig / h->rope_low_freq, high = h->rope_n_ctx_orig / h->rope_high_freq;
                double t = (h->rope_n_ctx_orig / length - h->rope_low_freq) / (h->rope_high_freq - h->rope_low_freq);
                if (length > low)
                    f /= h->rope_factor;
                else if (length > high)
                    f = (1 - t) * f / h->rope_factor + t * f;
                break;
            }
            case LR_ROPE_YARN: {
                double ramp = fmin(fmax((i - lo) / (hi - lo), 0), 1);
                f = f / h->rope_factor * ramp + f * (1 - ramp);
                break;
            }
        }
        freq[i] = f;
    }
}
