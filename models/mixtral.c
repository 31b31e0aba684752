/* Mixtral 8x7B and 8x22B: Mistral with eight experts for a feed-forward, of which a token takes two.                   */
#include "models/model.h"

#define MOE "model.layers.%d.block_sparse_moe."

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
    LR_ROW(LR_ROUTER, MOE "gate.weight", "blk.%d.ffn_gate_inp.weight", LR_D_EXPERTS, LR_D_DIM, false),
    LR_ROW(LR_W_GATE_EXPERTS, MOE "experts.%d.w1.weight", "blk.%d.ffn_gate_exps.weight", LR_D_EXPERT, LR_D_DIM, false),
    LR_ROW(LR_W_UP_EXPERTS, MOE "experts.%d.w3.weight", "blk.%d.ffn_up_exps.weight", LR_D_EXPERT, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN_EXPERTS, MOE "experts.%d.w2.weight", "blk.%d.ffn_down_exps.weight", LR_D_DIM, LR_D_EXPERT, false),
};

const lr_family lr_family_mixtral = {
    .name = "mixtral",
    .model_types = { "mixtral" },
    .architectures = { "MixtralForCausalLM" },
    .gguf_architectures = { "llama" },
    .gguf_adjacent = true,
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .experts = true,
    .among_chosen = true,
};
