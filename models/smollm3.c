/* SmolLM3: Llama where every fourth layer has no rope.                                                                 */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
};

const lr_family lr_family_smollm3 = {
    .name = "smollm3",
    .model_types = { "smollm3" },
    .architectures = { "SmolLM3ForCausalLM" },
    .gguf_architectures = { "smollm3" },
    .gguf_adjacent = true,
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
    .no_rope_every = 4,
    .tied = true,
    .theta = 2e6f,
};
