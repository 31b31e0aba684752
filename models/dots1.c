/* dots.llm1: attention of Qwen3, experts as in DeepSeek-V3.                                                           */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/qwen3_core.def"
#include "models/sigmoid_experts.def"
};

const lr_family lr_family_dots1 = {
    .name = "dots1",
    .model_types = { "dots1" },
    .architectures = { "Dots1ForCausalLM" },
    .gguf_architectures = { "dots1" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
    .experts = true,
    .sigmoid = true,
    .bias_chooses = true,
};
