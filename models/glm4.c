/* GLM-4: Llama with adjacent pairs on half of a head, biases of queries, keys and values, gate and up in one tensor; the
 * 0414 models norm what a block adds to x.                                                                           */
#include "models/fused.h"
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_ATTN_POST_NORM, L "post_self_attn_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_W_GATE, L "mlp.gate_up_proj.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false, .in_hf = { LR_FUSED_GATE },
           .in_gguf = { LR_FUSED_GATE }),
    LR_ROW(LR_W_UP, L "mlp.gate_up_proj.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false, .in_hf = { LR_FUSED_UP },
           .in_gguf = { LR_FUSED_UP }),
    LR_ROW(LR_W_DOWN, L "mlp.down_proj.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false),
    LR_ROW(LR_FFN_POST_NORM, L "post_mlp_layernorm.weight", B "post_ffw_norm.weight", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_glm4 = {
    .name = "glm4",
    .model_types = { "glm", "glm4" },
    .architectures = { "GlmForCausalLM", "Glm4ForCausalLM" },
    .gguf_architectures = { "glm4" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .post_norms = true,
    .adjacent = true,
    .gguf_adjacent = true,
    .rotary = 0.5f,
};
