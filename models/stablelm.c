/* StableLM: Llama with LayerNorms and rope on a quarter of a head; some have attention and feed-forward side by side
 * behind one norm, and norms of queries and keys with weights for each head.                                           */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_ATTN_NORM, L "input_layernorm.bias", B "attn_norm.bias", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_Q_NORM, L "self_attn.q_layernorm.norms.%d.weight", B "attn_q_norm.weight", LR_D_Q, LR_D_ONE, true),
    LR_ROW(LR_K_NORM, L "self_attn.k_layernorm.norms.%d.weight", B "attn_k_norm.weight", LR_D_KV, LR_D_ONE, true),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_B_FFN_NORM, L "post_attention_layernorm.bias", B "ffn_norm.bias", LR_D_DIM, LR_D_ONE, true),
#include "models/mlp.def"
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_OUT_NORM, "model.norm.bias", "output_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_stablelm = {
    .name = "stablelm",
    .model_types = { "stablelm", "stablelm_epoch" },
    .architectures = { "StableLmForCausalLM", "StableLMEpochForCausalLM" },
    .gguf_architectures = { "stablelm" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .layer_norm = true,
    .norm_each = true,
    .rotary = 0.25f,
};
