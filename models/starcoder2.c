/* StarCoder2: LayerNorms, biases everywhere, an ungated feed-forward.                                                */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_ATTN_NORM, L "input_layernorm.bias", B "attn_norm.bias", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_BO, L "self_attn.o_proj.bias", B "attn_output.bias", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_FFN_NORM, L "post_attention_layernorm.bias", B "ffn_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_W_UP, L "mlp.c_fc.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN, L "mlp.c_proj.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false),
    LR_ROW(LR_B_UP, L "mlp.c_fc.bias", B "ffn_up.bias", LR_D_HIDDEN, LR_D_ONE, true),
    LR_ROW(LR_B_DOWN, L "mlp.c_proj.bias", B "ffn_down.bias", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_OUT_NORM, "model.norm.bias", "output_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_starcoder2 = {
    .name = "starcoder2",
    .model_types = { "starcoder2" },
    .architectures = { "Starcoder2ForCausalLM" },
    .gguf_architectures = { "starcoder2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .layer_norm = true,
    .tied = true,
    .act = LR_GLU_GELU_TANH,
};
