/* GPT-NeoX and Pythia: attention and feed-forward side by side, each with its LayerNorm; query, key and value rows of
 * each head one after another in one tensor.                                                                           */
#include "models/fused.h"
#include "models/model.h"

#define L "gpt_neox.layers.%d."
#define B "blk.%d."
#define RUN_Q .after = { LR_D_HEAD, LR_D_HEAD }
#define RUN_K .before = { LR_D_HEAD }, .after = { LR_D_HEAD }
#define RUN_V .before = { LR_D_HEAD, LR_D_HEAD }
#define QKV(weight, bias, rows, name) \
    LR_ROW(weight, L "attention.query_key_value.weight", B "attn_qkv.weight", rows, LR_D_DIM, false, \
           .in_hf = { .run = LR_D_HEAD, RUN_##name }, .in_gguf = { LR_FUSED_##name }), \
    LR_ROW(bias, L "attention.query_key_value.bias", B "attn_qkv.bias", rows, LR_D_ONE, true, \
           .in_hf = { .run = LR_D_HEAD, RUN_##name }, .in_gguf = { LR_FUSED_##name })

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "gpt_neox.embed_in.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_ATTN_NORM, L "input_layernorm.bias", B "attn_norm.bias", LR_D_DIM, LR_D_ONE, false),
    QKV(LR_WQ, LR_BQ, LR_D_Q, Q),
    QKV(LR_WK, LR_BK, LR_D_KV, K),
    QKV(LR_WV, LR_BV, LR_D_KV, V),
    LR_ROW(LR_WO, L "attention.dense.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false),
    LR_ROW(LR_BO, L "attention.dense.bias", B "attn_output.bias", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_FFN_NORM, L "post_attention_layernorm.bias", B "ffn_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_W_UP, L "mlp.dense_h_to_4h.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false),
    LR_ROW(LR_B_UP, L "mlp.dense_h_to_4h.bias", B "ffn_up.bias", LR_D_HIDDEN, LR_D_ONE, false),
    LR_ROW(LR_W_DOWN, L "mlp.dense_4h_to_h.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false),
    LR_ROW(LR_B_DOWN, L "mlp.dense_4h_to_h.bias", B "ffn_down.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_OUT_NORM, "gpt_neox.final_layer_norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_OUT_NORM, "gpt_neox.final_layer_norm.bias", "output_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "embed_out.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_neox = {
    .name = "gpt_neox",
    .model_types = { "gpt_neox" },
    .architectures = { "GPTNeoXForCausalLM" },
    .gguf_architectures = { "gptneox" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .layer_norm = true,
    .parallel = true,
    .act = LR_GLU_GELU,
    .rotary = 0.25f,
};
