/* DeepSeek-V3, Kimi K2, Moonlight and GLM-4.7-Flash: as DeepSeek-V2, but experts are chosen by sigmoids and a bias.    */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/latent_core.def"
};

const lr_family lr_family_deepseek3 = {
    .name = "deepseek3",
    .model_types = { "deepseek_v3", "kimi_k2", "kimi_k25", "glm4_moe_lite" },
    .architectures = { "DeepseekV3ForCausalLM", "Glm4MoeLiteForCausalLM" },
    .gguf_architectures = { "deepseek2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .latent = true,
    .experts = true,
    .sigmoid = true,
    .bias_chooses = true,
    .among_chosen = true,
};
