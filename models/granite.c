/* Granite 3: Llama with factors for the embedding, the scores, what blocks add to x, and the logits.                   */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
};

const lr_family lr_family_granite = {
    .name = "granite",
    .model_types = { "granite" },
    .architectures = { "GraniteForCausalLM" },
    .gguf_architectures = { "granite" },
    .gguf_adjacent = true,
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
