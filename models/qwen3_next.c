/* Qwen3-Next and Qwen3.5, dense and with experts: three of four layers are gated delta nets, the attention of the
 * others gates what it gives.  Norms are stored as w - 1 but for the one behind a delta net.                                */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define A L "linear_attn."
#define MLP L "mlp."
#define SE MLP "shared_expert."
#define NORM(role, hf, gguf, dim) \
    LR_ROW(role, hf, gguf, dim, LR_D_ONE, false, .in_hf = { .plus = 1 }) /* converters to GGUF add the 1 */

/* Each head's queries, then its gate.                                                                                */
#define CORE \
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true), \
        NORM(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM), \
        LR_ROW(LR_WQ, L "self_attn.q_proj.weight", B "attn_q.weight", LR_D_Q, LR_D_DIM, false, \
               .in_hf = { .run = LR_D_HEAD, .after = { LR_D_HEAD } }, \
               .in_gguf = { .run = LR_D_HEAD, .after = { LR_D_HEAD } }), \
        LR_ROW(LR_WQ_GATE, L "self_attn.q_proj.weight", B "attn_q.weight", LR_D_Q, LR_D_DIM, false, \
               .in_hf = { .run = LR_D_HEAD, .before = { LR_D_HEAD } }, \
               .in_gguf = { .run = LR_D_HEAD, .before = { LR_D_HEAD } }), \
        LR_ROW(LR_WK, L "self_attn.k_proj.weight", B "attn_k.weight", LR_D_KV, LR_D_DIM, false), \
        LR_ROW(LR_WV, L "self_attn.v_proj.weight", B "attn_v.weight", LR_D_KV, LR_D_DIM, false), \
        LR_ROW(LR_WO, L "self_attn.o_proj.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false), \
        NORM(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_HEAD), \
        NORM(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_HEAD), \
        LR_ROW(LR_DELTA_CONV, A "conv1d.weight", NULL, LR_D_DELTA_TAPS, LR_D_ONE, false), \
        LR_ROW(LR_DELTA_DT, A "dt_bias", NULL, LR_D_DELTA_HEADS, LR_D_ONE, false), \
        LR_ROW(LR_DELTA_RATE, A "A_log", NULL, LR_D_DELTA_HEADS, LR_D_ONE, false), \
        LR_ROW(LR_DELTA_NORM, A "norm.weight", NULL, LR_D_DELTA_V_HEAD, LR_D_ONE, false), \
        LR_ROW(LR_DELTA_OUT, A "out_proj.weight", NULL, LR_D_DIM, LR_D_DELTA_V, false), \
        NORM(LR_FFN_NORM, L "post_attention_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM), \
        NORM(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM), \
        LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true)

#define SHARED \
    LR_ROW(LR_W_GATE_SHARED, SE "gate_proj.weight", B "ffn_gate_shexp.weight", LR_D_SHARED, LR_D_DIM, false), \
        LR_ROW(LR_W_UP_SHARED, SE "up_proj.weight", B "ffn_up_shexp.weight", LR_D_SHARED, LR_D_DIM, false), \
        LR_ROW(LR_W_DOWN_SHARED, SE "down_proj.weight", B "ffn_down_shexp.weight", LR_D_DIM, LR_D_SHARED, false), \
        LR_ROW(LR_SHARED_GATE, MLP "shared_expert_gate.weight", B "ffn_gate_inp_shexp.weight", LR_D_ONE, LR_D_DIM, \
               false)

/* Qwen3.5: queries, keys and values in one tensor, the rest in one each.                                             */
#define DELTA_APART \
    LR_ROW(LR_DELTA_Q, A "in_proj_qkv.weight", NULL, LR_D_DELTA_K, LR_D_DIM, false, \
           .in_hf = { .after = { LR_D_DELTA_K, LR_D_DELTA_V } }), \
        LR_ROW(LR_DELTA_K, A "in_proj_qkv.weight", NULL, LR_D_DELTA_K, LR_D_DIM, false, \
               .in_hf = { .before = { LR_D_DELTA_K }, .after = { LR_D_DELTA_V } }), \
        LR_ROW(LR_DELTA_V, A "in_proj_qkv.weight", NULL, LR_D_DELTA_V, LR_D_DIM, false, \
               .in_hf = { .before = { LR_D_DELTA_K, LR_D_DELTA_K } }), \
        LR_ROW(LR_DELTA_Z, A "in_proj_z.weight", NULL, LR_D_DELTA_V, LR_D_DIM, false), \
        LR_ROW(LR_DELTA_B, A "in_proj_b.weight", NULL, LR_D_DELTA_HEADS, LR_D_DIM, false), \
        LR_ROW(LR_DELTA_A, A "in_proj_a.weight", NULL, LR_D_DELTA_HEADS, LR_D_DIM, false)

/* Qwen3-Next: of each key head its query, its key, the values that it serves, and what gates them.                   */
static const lr_tensor_row tensors_next[] = {
    CORE,
    LR_ROW(LR_DELTA_Q, A "in_proj_qkvz.weight", NULL, LR_D_DELTA_K, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_K_HEAD, .after = { LR_D_DELTA_K_HEAD, LR_D_DELTA_SHARE_VZ } }),
    LR_ROW(LR_DELTA_K, A "in_proj_qkvz.weight", NULL, LR_D_DELTA_K, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_K_HEAD, .before = { LR_D_DELTA_K_HEAD }, .after = { LR_D_DELTA_SHARE_VZ } }),
    LR_ROW(LR_DELTA_V, A "in_proj_qkvz.weight", NULL, LR_D_DELTA_V, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_SHARE_V, .before = { LR_D_DELTA_QK_HEAD }, .after = { LR_D_DELTA_SHARE_V } }),
    LR_ROW(LR_DELTA_Z, A "in_proj_qkvz.weight", NULL, LR_D_DELTA_V, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_SHARE_V, .before = { LR_D_DELTA_QK_HEAD, LR_D_DELTA_SHARE_V } }),
    LR_ROW(LR_DELTA_B, A "in_proj_ba.weight", NULL, LR_D_DELTA_HEADS, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_SHARE, .after = { LR_D_DELTA_SHARE } }),
    LR_ROW(LR_DELTA_A, A "in_proj_ba.weight", NULL, LR_D_DELTA_HEADS, LR_D_DIM, false,
           .in_hf = { .run = LR_D_DELTA_SHARE, .before = { LR_D_DELTA_SHARE } }),
#include "models/mlp.def"
#include "models/experts.def"
    SHARED,
};
static const lr_tensor_row tensors_dense[] = {
    CORE,
    DELTA_APART,
#include "models/mlp.def"
};
/* All experts of a layer in one tensor, the gate's rows before those of up; or each matrix a tensor.                 */
static const lr_tensor_row tensors_experts[] = {
    CORE,
    DELTA_APART,
    LR_ROW(LR_W_GATE_EXPERTS, MLP "experts.gate_up_proj", NULL, LR_D_EXPERT, LR_D_DIM, true,
           .in_hf = { .after = { LR_D_EXPERT } }),
    LR_ROW(LR_W_UP_EXPERTS, MLP "experts.gate_up_proj", NULL, LR_D_EXPERT, LR_D_DIM, true,
           .in_hf = { .before = { LR_D_EXPERT } }),
    LR_ROW(LR_W_DOWN_EXPERTS, MLP "experts.down_proj", NULL, LR_D_DIM, LR_D_EXPERT, true),
#include "models/experts.def"
    SHARED,
};

#define AT(field) offsetof(lr_hparams, field)
#define DEFAULTS \
    { { AT(delta_k_heads), 16 }, { AT(delta_v_heads), 32 }, { AT(delta_k_dim), 128 }, { AT(delta_v_dim), 128 }, \
      { AT(delta_conv), 4 }, { AT(head_dim), 256 } }

const lr_family lr_family_qwen3_next = {
    .name = "qwen3-next",
    .model_types = { "qwen3_next" },
    .architectures = { "Qwen3NextForCausalLM" },
    .tensors = tensors_next,
    .n_tensors = LR_COUNT(tensors_next),
    .delta = true,
    .experts = true,
    .among_chosen = true,
    .rotary = 0.25f,
    .defaults = DEFAULTS,
};
const lr_family lr_family_qwen3_5 = {
    .name = "qwen3.5",
    .model_types = { "qwen3_5", "qwen3_5_text" },
    .architectures = { "Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM" },
    .tensors = tensors_dense,
    .n_tensors = LR_COUNT(tensors_dense),
    .delta = true,
    .rotary = 0.25f,
    .defaults = DEFAULTS,
};
const lr_family lr_family_qwen3_5_moe = {
    .name = "qwen3.5-moe",
    .model_types = { "qwen3_5_moe", "qwen3_5_moe_text" },
    .architectures = { "Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM" },
    .tensors = tensors_experts,
    .n_tensors = LR_COUNT(tensors_experts),
    .delta = true,
    .experts = true,
    .among_chosen = true,
    .rotary = 0.25f,
    .defaults = DEFAULTS,
};
