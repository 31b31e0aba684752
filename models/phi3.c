/* Phi-3, 3.5 and 4: Llama with query, key and value in one tensor, gate and up in another; longrope in long versions.  */
#include "models/fused.h"
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define QKV(role, rows, ...) \
    LR_ROW(role, L "self_attn.qkv_proj.weight", B "attn_qkv.weight", rows, LR_D_DIM, false, .in_hf = { __VA_ARGS__ }, \
           .in_gguf = { __VA_ARGS__ })
#define GATE_UP(role, ...) \
    LR_ROW(role, L "mlp.gate_up_proj.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false, \
           .in_hf = { __VA_ARGS__ }, .in_gguf = { __VA_ARGS__ })

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    QKV(LR_WQ, LR_D_Q, LR_FUSED_Q),
    QKV(LR_WK, LR_D_KV, LR_FUSED_K),
    QKV(LR_WV, LR_D_KV, LR_FUSED_V),
    LR_ROW(LR_WO, L "self_attn.o_proj.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    GATE_UP(LR_W_GATE, LR_FUSED_GATE),
    GATE_UP(LR_W_UP, LR_FUSED_UP),
    LR_ROW(LR_W_DOWN, L "mlp.down_proj.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_phi3 = {
    .name = "phi3",
    .model_types = { "phi3" },
    .architectures = { "Phi3ForCausalLM" },
    .gguf_architectures = { "phi3" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
