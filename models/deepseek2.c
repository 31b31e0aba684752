/* DeepSeek-V2: latent attention, dense layers first, then mixtures of experts.  As GGUF V3 has this architecture too:
 * its metadata says how experts are chosen.                                                                          */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/latent_core.def"
};

const lr_family lr_family_deepseek2 = {
    .name = "deepseek2",
    .model_types = { "deepseek_v2" },
    .architectures = { "DeepseekV2ForCausalLM" },
    .gguf_architectures = { "deepseek2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .latent = true,
    .experts = true,
    .bias_chooses = true,
};
