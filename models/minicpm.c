/* MiniCPM 1B and 2B, MiniCPM4: Llama with the factors of Granite, which config.json has by other names. */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
};

const lr_family lr_family_minicpm = {
    .name = "minicpm",
    .model_types = { "minicpm" },
    .architectures = { "MiniCPMForCausalLM" },
    .gguf_architectures = { "minicpm" },
    .gguf_adjacent = true,
    .tied = true,
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
