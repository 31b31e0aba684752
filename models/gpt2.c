/* GPT-2: a table of positions in place of rope, LayerNorms, an ungated feed-forward, biases everywhere.  Hugging Face's
 * matrices are transposed, and query, key and value are one.                                                           */
#include "models/fused.h"
#include "models/model.h"

#define L "h.%d."
#define B "blk.%d."
#define QKV(weight, bias, rows, ...) \
    LR_ROW(weight, L "attn.c_attn.weight", B "attn_qkv.weight", rows, LR_D_DIM, false, \
           .in_hf = { __VA_ARGS__, .transposed = true }, .in_gguf = { __VA_ARGS__ }), \
    LR_ROW(bias, L "attn.c_attn.bias", B "attn_qkv.bias", rows, LR_D_ONE, false, .in_hf = { __VA_ARGS__ }, \
           .in_gguf = { __VA_ARGS__ })

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "wte.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_POSITIONS, "wpe.weight", "position_embd.weight", LR_D_POS, LR_D_DIM, false),
    LR_ROW(LR_ATTN_NORM, L "ln_1.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_ATTN_NORM, L "ln_1.bias", B "attn_norm.bias", LR_D_DIM, LR_D_ONE, false),
    QKV(LR_WQ, LR_BQ, LR_D_Q, LR_FUSED_Q),
    QKV(LR_WK, LR_BK, LR_D_KV, LR_FUSED_K),
    QKV(LR_WV, LR_BV, LR_D_KV, LR_FUSED_V),
    LR_ROW(LR_WO, L "attn.c_proj.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false, .in_hf = { .transposed = true }),
    LR_ROW(LR_BO, L "attn.c_proj.bias", B "attn_output.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_FFN_NORM, L "ln_2.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_FFN_NORM, L "ln_2.bias", B "ffn_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_W_UP, L "mlp.c_fc.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false, .in_hf = { .transposed = true }),
    LR_ROW(LR_B_UP, L "mlp.c_fc.bias", B "ffn_up.bias", LR_D_HIDDEN, LR_D_ONE, false),
    LR_ROW(LR_W_DOWN, L "mlp.c_proj.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false, .in_hf = { .transposed = true }),
    LR_ROW(LR_B_DOWN, L "mlp.c_proj.bias", B "ffn_down.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_OUT_NORM, "ln_f.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_B_OUT_NORM, "ln_f.bias", "output_norm.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_gpt2 = {
    .name = "gpt2",
    .model_types = { "gpt2" },
    .architectures = { "GPT2LMHeadModel" },
    .gguf_architectures = { "gpt2" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .layer_norm = true,
    .tied = true,
    .no_rope = true,
    .act = LR_GLU_GELU_TANH,
};
