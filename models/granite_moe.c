/* Granite 3 with experts: all experts of a layer in one tensor, gate rows above up rows.                             */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_ROUTER, L "block_sparse_moe.router.layer.weight", B "ffn_gate_inp.weight", LR_D_EXPERTS, LR_D_DIM, false),
    LR_ROW(LR_W_GATE_EXPERTS, L "block_sparse_moe.input_linear.weight", B "ffn_gate_exps.weight", LR_D_EXPERT, LR_D_DIM, false, .in_hf = { .after = { LR_D_EXPERT } }),
    LR_ROW(LR_W_UP_EXPERTS, L "block_sparse_moe.input_linear.weight", B "ffn_up_exps.weight", LR_D_EXPERT, LR_D_DIM, false, .in_hf = { .before = { LR_D_EXPERT } }),
    LR_ROW(LR_W_DOWN_EXPERTS, L "block_sparse_moe.output_linear.weight", B "ffn_down_exps.weight", LR_D_DIM, LR_D_EXPERT, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_granite_moe = {
    .name = "granitemoe",
    .model_types = { "granitemoe" },
    .architectures = { "GraniteMoeForCausalLM" },
    .gguf_architectures = { "granitemoe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .gguf_adjacent = true,
    .experts = true,
    .among_chosen = true,
};
