/* ERNIE 4.5: Llama whose adjacent pairs rotate; with experts, which are chosen by their softmax and a bias.            */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_BO, "model.layers.%d.self_attn.o_proj.bias", "blk.%d.attn_output.bias", LR_D_DIM, LR_D_ONE, true),
};

const lr_family lr_family_ernie = {
    .name = "ernie4.5",
    .model_types = { "ernie4_5" },
    .architectures = { "Ernie4_5ForCausalLM" },
    .gguf_architectures = { "ernie4_5" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .adjacent = true,
    .gguf_adjacent = true,
    .tied = true,
    .theta = 500000,
    .defaults = { { offsetof(lr_hparams, head_dim), 128 } },
};

static const lr_tensor_row moe_tensors[] = {
#include "models/llama_core.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_BO, "model.layers.%d.self_attn.o_proj.bias", "blk.%d.attn_output.bias", LR_D_DIM, LR_D_ONE, true),
#include "models/experts.def"
#include "models/shared_experts.def"
    LR_ROW(LR_B_ROUTER, "model.layers.%d.mlp.moe_statics.e_score_correction_bias", "blk.%d.exp_probs_b.bias", LR_D_EXPERTS,
           LR_D_ONE, true),
};

const lr_family lr_family_ernie_moe = {
    .name = "ernie4.5-moe",
    .model_types = { "ernie4_5_moe" },
    .architectures = { "Ernie4_5_MoeForCausalLM" },
    .gguf_architectures = { "ernie4_5-moe" },
    .tensors = moe_tensors,
    .n_tensors = LR_COUNT(moe_tensors),
    .adjacent = true,
    .gguf_adjacent = true,
    .experts = true,
    .among_chosen = true,
    .bias_chooses = true,
    .tied = true,
    .theta = 500000,
};
