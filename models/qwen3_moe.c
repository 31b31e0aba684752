/* Qwen3 with experts (30B-A3B, 235B-A22B): Qwen3 whose feed-forward is many small experts.                             */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/experts.def"
#include "models/llama_core.def"
    LR_ROW(LR_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", "blk.%d.attn_q_norm.weight", LR_D_HEAD, LR_D_ONE, false),
    LR_ROW(LR_K_NORM, "model.layers.%d.self_attn.k_norm.weight", "blk.%d.attn_k_norm.weight", LR_D_HEAD, LR_D_ONE, false),
    LR_ROW(LR_BQ, "model.layers.%d.self_attn.q_proj.bias", "blk.%d.attn_q.bias", LR_D_Q, LR_D_ONE, true),
    LR_ROW(LR_BK, "model.layers.%d.self_attn.k_proj.bias", "blk.%d.attn_k.bias", LR_D_KV, LR_D_ONE, true),
    LR_ROW(LR_BV, "model.layers.%d.self_attn.v_proj.bias", "blk.%d.attn_v.bias", LR_D_KV, LR_D_ONE, true),
    LR_ROW(LR_BO, "model.layers.%d.self_attn.o_proj.bias", "blk.%d.attn_output.bias", LR_D_DIM, LR_D_ONE, true),
};

const lr_family lr_family_qwen3_moe = {
    .name = "qwen3-moe",
    .model_types = { "qwen3_moe" },
    .architectures = { "Qwen3MoeForCausalLM" },
    .gguf_architectures = { "qwen3moe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
    .experts = true,
    .among_chosen = true,
};
