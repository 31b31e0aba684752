/* DeepSeek-V2: latent attention, dense layers first, then mixtures of experts.                                         */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_WQ_A, L "self_attn.q_a_proj.weight", B "attn_q_a.weight", LR_D_Q_RANK, LR_D_DIM, false),
    LR_ROW(LR_Q_A_NORM, L "self_attn.q_a_layernorm.weight", B "attn_q_a_norm.weight", LR_D_Q_RANK, LR_D_ONE, false),
    LR_ROW(LR_WQ, L "self_attn.q_b_proj.weight", B "attn_q_b.weight", LR_D_Q_HEADS, LR_D_Q_RANK, false),
    LR_ROW(LR_WQ, L "self_attn.q_proj.weight", B "attn_q.weight", LR_D_Q_HEADS, LR_D_Q_DIRECT, false),
    LR_ROW(LR_WKV_A, L "self_attn.kv_a_proj_with_mqa.weight", B "attn_kv_a_mqa.weight", LR_D_HEAD, LR_D_DIM, false),
    LR_ROW(LR_KV_A_NORM, L "self_attn.kv_a_layernorm.weight", B "attn_kv_a_norm.weight", LR_D_KV_RANK, LR_D_ONE, false),
    LR_ROW(LR_WK_B, NULL, B "attn_k_b.weight", LR_D_K_UP, LR_D_NOPE, true), /* newer files; older ones have them as one */
    LR_ROW(LR_WV_B, NULL, B "attn_v_b.weight", LR_D_V_UP, LR_D_KV_RANK, true),
    LR_ROW(LR_WK_B, L "self_attn.kv_b_proj.weight", B "attn_kv_b.weight", LR_D_K_UP, LR_D_NOPE, false,
           .in_hf = { .run = LR_D_KV_RANK, .after = { LR_D_V_HEAD }, .transposed = true },
           .in_gguf = { .run = LR_D_KV_RANK, .after = { LR_D_V_HEAD }, .transposed = true }),
    LR_ROW(LR_WV_B, L "self_attn.kv_b_proj.weight", B "attn_kv_b.weight", LR_D_V_UP, LR_D_KV_RANK, false,
           .in_hf = { .run = LR_D_V_HEAD, .before = { LR_D_NOPE } }, .in_gguf = { .run = LR_D_V_HEAD, .before = { LR_D_NOPE } }),
    LR_ROW(LR_WO, L "self_attn.o_proj.weight", B "attn_output.weight", LR_D_DIM, LR_D_V_UP, false),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/mlp.def"
#include "models/experts.def"
    LR_ROW(LR_W_GATE_SHARED, L "mlp.shared_experts.gate_proj.weight", B "ffn_gate_shexp.weight", LR_D_SHARED, LR_D_DIM, false),
    LR_ROW(LR_W_UP_SHARED, L "mlp.shared_experts.up_proj.weight", B "ffn_up_shexp.weight", LR_D_SHARED, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN_SHARED, L "mlp.shared_experts.down_proj.weight", B "ffn_down_shexp.weight", LR_D_DIM, LR_D_SHARED, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
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
};
