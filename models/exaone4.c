/* EXAONE 4: norms of heads, and of what a block adds to x, none in front of the blocks; the larger models have windows in
 * three of four layers, the fourth without rope.                                                                     */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
#include "models/attention.def"
    LR_ROW(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_HEAD, LR_D_ONE, false),
    LR_ROW(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_HEAD, LR_D_ONE, false),
    LR_ROW(LR_ATTN_POST_NORM, L "post_attention_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/mlp.def"
    LR_ROW(LR_FFN_POST_NORM, L "post_feedforward_layernorm.weight", B "post_ffw_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_exaone4 = {
    .name = "exaone4",
    .model_types = { "exaone4" },
    .architectures = { "Exaone4ForCausalLM" },
    .gguf_architectures = { "exaone4" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .full_every = 4,
    .rope_in_window = true,
    .post_norms = true,
};
