/* MiniMax-M2: norms over all heads of queries and of keys, half of a head rotates, sigmoid routers.                    */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define EXPERTS L "block_sparse_moe.experts.%d."

static const lr_tensor_row tensors[] = {
#include "models/llama_core.def"
    LR_ROW(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_Q, LR_D_ONE, false),
    LR_ROW(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_KV, LR_D_ONE, false),
    LR_ROW(LR_ROUTER, L "block_sparse_moe.gate.weight", B "ffn_gate_inp.weight", LR_D_EXPERTS, LR_D_DIM, false),
    LR_ROW(LR_B_ROUTER, L "block_sparse_moe.e_score_correction_bias", B "exp_probs_b.bias", LR_D_EXPERTS, LR_D_ONE, true),
    LR_ROW(LR_W_GATE_EXPERTS, EXPERTS "w1.weight", B "ffn_gate_exps.weight", LR_D_EXPERT, LR_D_DIM, false),
    LR_ROW(LR_W_UP_EXPERTS, EXPERTS "w3.weight", B "ffn_up_exps.weight", LR_D_EXPERT, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN_EXPERTS, EXPERTS "w2.weight", B "ffn_down_exps.weight", LR_D_DIM, LR_D_EXPERT, false),
};

const lr_family lr_family_minimax_m2 = {
    .name = "minimax-m2",
    .model_types = { "minimax_m2" },
    .architectures = { "MiniMaxM2ForCausalLM" },
    .gguf_architectures = { "minimax-m2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .norm_rows = true,
    .experts = true,
    .sigmoid = true,
    .bias_chooses = true,
    .among_chosen = true,
    .theta = 5000000,
};
