/* Qwen3 with experts (30B-A3B, 235B-A22B): Qwen3 whose feed-forward is many small experts.                             */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/experts.def"
#include "models/qwen3_core.def"
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
