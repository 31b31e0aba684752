/* GLM-4.5 and 4.6: biases of queries, keys and values, half of a head rotates, experts as in DeepSeek-V3.             */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_HEAD, LR_D_ONE, true),
    LR_ROW(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_HEAD, LR_D_ONE, true),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/mlp.def"
#include "models/sigmoid_experts.def"
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_glm4_moe = {
    .name = "glm4-moe",
    .model_types = { "glm4_moe" },
    .architectures = { "Glm4MoeForCausalLM" },
    .gguf_architectures = { "glm4moe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .experts = true,
    .sigmoid = true,
    .bias_chooses = true,
    .among_chosen = true,
    .rotary = 0.5f,
};
