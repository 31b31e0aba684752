/* Gemma 1, 2 and 3: the embedding times the root of its width, norms stored as w - 1, gelu.  2 and 3 norm what a block
 * adds to x, and windows alternate with full attention; 2 has softcaps, 3 norms of queries and keys and two ropes.     */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define NORM(role, hf, gguf, dim) \
    LR_ROW(role, hf, gguf, dim, LR_D_ONE, false, .in_hf = { .plus = 1 }) /* converters to GGUF add the 1 */

#define CORE \
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true), \
        NORM(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM), \
        LR_ROW(LR_WQ, L "self_attn.q_proj.weight", B "attn_q.weight", LR_D_Q, LR_D_DIM, false), \
        LR_ROW(LR_WK, L "self_attn.k_proj.weight", B "attn_k.weight", LR_D_KV, LR_D_DIM, false), \
        LR_ROW(LR_WV, L "self_attn.v_proj.weight", B "attn_v.weight", LR_D_KV, LR_D_DIM, false), \
        LR_ROW(LR_WO, L "self_attn.o_proj.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false), \
        LR_ROW(LR_W_GATE, L "mlp.gate_proj.weight", B "ffn_gate.weight", LR_D_HIDDEN, LR_D_DIM, false), \
        LR_ROW(LR_W_UP, L "mlp.up_proj.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false), \
        LR_ROW(LR_W_DOWN, L "mlp.down_proj.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false), \
        NORM(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM), \
        LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true)

#define POST_NORMS \
    NORM(LR_ATTN_POST_NORM, L "post_attention_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM), \
        NORM(LR_FFN_NORM, L "pre_feedforward_layernorm.weight", B "ffn_norm.weight", LR_D_DIM), \
        NORM(LR_FFN_POST_NORM, L "post_feedforward_layernorm.weight", B "post_ffw_norm.weight", LR_D_DIM)

static const lr_tensor_row tensors_1[] = {
    CORE,
    NORM(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM),
};
static const lr_tensor_row tensors_2[] = { CORE, POST_NORMS };
static const lr_tensor_row tensors_3[] = {
    CORE,
    POST_NORMS,
    NORM(LR_Q_NORM, L "self_attn.q_norm.weight", B "attn_q_norm.weight", LR_D_HEAD),
    NORM(LR_K_NORM, L "self_attn.k_norm.weight", B "attn_k_norm.weight", LR_D_HEAD),
};

#define AT(field) offsetof(lr_hparams, field)
#define HEAD_DIM { AT(head_dim), 256 }

const lr_family lr_family_gemma = {
    .name = "gemma",
    .model_types = { "gemma" },
    .architectures = { "GemmaForCausalLM" },
    .gguf_architectures = { "gemma" },
    .tensors = tensors_1,
    .n_tensors = LR_COUNT(tensors_1),
    .tied = true,
    .scaled_embedding = true,
    .act = LR_GLU_GELU_TANH,
    .act_fixed = true, /* early files say gelu and mean this */
    .defaults = { HEAD_DIM },
};

const lr_family lr_family_gemma2 = {
    .name = "gemma2",
    .model_types = { "gemma2" },
    .architectures = { "Gemma2ForCausalLM" },
    .gguf_architectures = { "gemma2" },
    .tensors = tensors_2,
    .n_tensors = LR_COUNT(tensors_2),
    .full_every = 2,
    .post_norms = true,
    .tied = true,
    .scaled_embedding = true,
    .act = LR_GLU_GELU_TANH,
    .act_fixed = true,
    .wide_scale_layers = 46, /* 27B */
    .defaults = { HEAD_DIM },
};

const lr_family lr_family_gemma3 = {
    .name = "gemma3",
    .model_types = { "gemma3", "gemma3_text" },
    .architectures = { "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration" },
    .gguf_architectures = { "gemma3" },
    .tensors = tensors_3,
    .n_tensors = LR_COUNT(tensors_3),
    .full_every = 6,
    .post_norms = true,
    .tied = true,
    .scaled_embedding = true,
    .act = LR_GLU_GELU_TANH,
    .act_fixed = true,
    .theta = 1e6f,
    .local_theta = 1e4f,
    .wide_scale_layers = 62, /* 27B */
    .defaults = { HEAD_DIM, /* the text_config of models with a vision part leaves these out */
                  { AT(n_heads), 8 },
                  { AT(n_kv_heads), 4 },
                  { AT(n_vocab), 262208 },
                  { AT(n_ctx_train), 131072 } },
};
