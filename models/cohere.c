/* Command R: one LayerNorm without biases in front of attention and feed-forward side by side, adjacent pairs.       */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/cohere_core.def"
};

const lr_family lr_family_cohere = {
    .name = "cohere",
    .model_types = { "cohere" },
    .architectures = { "CohereForCausalLM" },
    .gguf_architectures = { "command-r" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .layer_norm = true,
    .norm_each = true,
    .parallel = true,
    .adjacent = true,
    .gguf_adjacent = true,
    .tied = true,
    .logits_times = true,
};
