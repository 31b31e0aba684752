/* Qwen3 dense: RMSNorm on each query and key head before rope, own head_dim, optional biases.                          */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/qwen3_core.def"
};

const lr_family lr_family_qwen3 = {
    .name = "qwen3",
    .model_types = { "qwen3" },
    .gguf_architectures = { "qwen3" },
    .architectures = { "Qwen3ForCausalLM" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
};
