/* OLMoE: Llama with norms of queries and keys over all heads, and experts of which a token takes eight.              */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
    LR_ROW(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_Q, LR_D_ONE, false),
    LR_ROW(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_KV, LR_D_ONE, false),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/experts.def"
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_olmoe = {
    .name = "olmoe",
    .model_types = { "olmoe" },
    .architectures = { "OlmoeForCausalLM" },
    .gguf_architectures = { "olmoe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .norm_rows = true,
    .experts = true,
};
