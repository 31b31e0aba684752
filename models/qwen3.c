/* Qwen3 dense, also the language model of Qwen3-VL: RMSNorm on each query and key head before rope, own head_dim,
 * optional biases.                                                                                                    */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/qwen3_core.def"
};

const lr_family lr_family_qwen3 = {
    .name = "qwen3",
    .model_types = { "qwen3", "qwen3_vl", "qwen3_vl_text" },
    .gguf_architectures = { "qwen3", "qwen3vl" },
    .architectures = { "Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
};
