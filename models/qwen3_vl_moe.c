/* The language model of Qwen3-VL with experts: Qwen3 with experts, all experts of a layer in one tensor, transposed, the
 * gate's columns before those of up.                                                                                   */
#include "models/model.h"

#define E "model.layers.%d.mlp.experts."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
#include "models/qwen3_core.def"
    LR_ROW(LR_ROUTER, "model.layers.%d.mlp.gate.weight", B "ffn_gate_inp.weight", LR_D_EXPERTS, LR_D_DIM, false),
    LR_ROW(LR_W_GATE_EXPERTS, E "gate_up_proj", B "ffn_gate_exps.weight", LR_D_EXPERT, LR_D_DIM, false,
           .in_hf = { .transposed = true, .after = { LR_D_EXPERT } }),
    LR_ROW(LR_W_UP_EXPERTS, E "gate_up_proj", B "ffn_up_exps.weight", LR_D_EXPERT, LR_D_DIM, false,
           .in_hf = { .transposed = true, .before = { LR_D_EXPERT } }),
    LR_ROW(LR_W_DOWN_EXPERTS, E "down_proj", B "ffn_down_exps.weight", LR_D_DIM, LR_D_EXPERT, false,
           .in_hf = { .transposed = true }),
};

const lr_family lr_family_qwen3_vl_moe = {
    .name = "qwen3-vl-moe",
    .model_types = { "qwen3_vl_moe", "qwen3_vl_moe_text" },
    .architectures = { "Qwen3VLMoeForConditionalGeneration" },
    .gguf_architectures = { "qwen3vlmoe" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
    .experts = true,
    .among_chosen = true,
};
