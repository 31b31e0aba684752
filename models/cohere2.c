/* Command R7B and Command A: Command R with windows in three of four layers, the fourth without rope.                */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/cohere_core.def"
};

const lr_family lr_family_cohere2 = {
    .name = "cohere2",
    .model_types = { "cohere2" },
    .architectures = { "Cohere2ForCausalLM" },
    .gguf_architectures = { "cohere2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .full_every = 4,
    .rope_in_window = true,
    .layer_norm = true,
    .parallel = true,
    .adjacent = true,
    .gguf_adjacent = true,
    .tied = true,
    .logits_times = true,
};
