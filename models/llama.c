/* Llama 2, 3, 3.1, 3.2 and the many that share their form: TinyLlama, SmolLM, CodeLlama, Yi, Seed-OSS,
 * InternLM 3.  Optional biases.                                                                                        */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_BO, "model.layers.%d.self_attn.o_proj.bias", "blk.%d.attn_output.bias", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_B_GATE, "model.layers.%d.mlp.gate_proj.bias", "blk.%d.ffn_gate.bias", LR_D_HIDDEN, LR_D_ONE, true),
    LR_ROW(LR_B_UP, "model.layers.%d.mlp.up_proj.bias", "blk.%d.ffn_up.bias", LR_D_HIDDEN, LR_D_ONE, true),
    LR_ROW(LR_B_DOWN, "model.layers.%d.mlp.down_proj.bias", "blk.%d.ffn_down.bias", LR_D_DIM, LR_D_ONE, true),
};

const lr_family lr_family_llama = {
    .name = "llama",
    .model_types = { "llama", "seed_oss", "internlm3" },
    .gguf_architectures = { "llama", "mistral3" }, /* Mistral's files too */
    .gguf_adjacent = true,
    .architectures = { "LlamaForCausalLM", "LLaMAForCausalLM", "SeedOssForCausalLM", "InternLM3ForCausalLM" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
