/* Qwen2, Qwen2.5, the R1 distillations of them, the language models of Qwen2-VL and Qwen2.5-VL: biases on q, k and v. */
#include "models/model.h"

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
    LR_ROW(LR_BQ, "model.layers.%d.self_attn.q_proj.bias", "blk.%d.attn_q.bias", LR_D_Q, LR_D_ONE, false),
    LR_ROW(LR_BK, "model.layers.%d.self_attn.k_proj.bias", "blk.%d.attn_k.bias", LR_D_KV, LR_D_ONE, false),
    LR_ROW(LR_BV, "model.layers.%d.self_attn.v_proj.bias", "blk.%d.attn_v.bias", LR_D_KV, LR_D_ONE, false),
};

const lr_family lr_family_qwen2 = {
    .name = "qwen2",
    .model_types = { "qwen2", "qwen2_vl", "qwen2_5_vl" },
    .gguf_architectures = { "qwen2", "qwen2vl" },
    .architectures = { "Qwen2ForCausalLM", "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .window_needs_flag = true,
};
