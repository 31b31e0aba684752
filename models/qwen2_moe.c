/* Qwen1.5 and Qwen2 with experts: Qwen2 whose feed-forward is many small experts and a gated one for every token.      */
#include "models/model.h"

#define SHARED "model.layers.%d.mlp.shared_expert."

static const lr_tensor_row tensors[] = {
#include "models/experts.def"
#include "models/llama_core.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_W_GATE_SHARED, SHARED "gate_proj.weight", "blk.%d.ffn_gate_shexp.weight", LR_D_SHARED, LR_D_DIM, false),
    LR_ROW(LR_W_UP_SHARED, SHARED "up_proj.weight", "blk.%d.ffn_up_shexp.weight", LR_D_SHARED, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN_SHARED, SHARED "down_proj.weight", "blk.%d.ffn_down_shexp.weight", LR_D_DIM, LR_D_SHARED, false),
    LR_ROW(LR_SHARED_GATE, "model.layers.%d.mlp.shared_expert_gate.weight", "blk.%d.ffn_gate_inp_shexp.weight", LR_D_ONE,
           LR_D_DIM, false),
};

const lr_family lr_family_qwen2_moe = {
    .name = "qwen2-moe",
    .model_types = { "qwen2_moe" },
    .architectures = { "Qwen2MoeForCausalLM" },
    .gguf_architectures = { "qwen2moe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
    .experts = true,
};
