/* Mistral 7B (v0.1 with a sliding window, later ones without), Nemo (own head_dim), Small, Ministral 3, also with a
 * vision part.                                                                                                        */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
};

const lr_family lr_family_mistral = {
    .name = "mistral",
    .model_types = { "mistral", "mistral3", "ministral3" },
    .architectures = { "MistralForCausalLM", "Mistral3ForConditionalGeneration", "Ministral3ForCausalLM" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
