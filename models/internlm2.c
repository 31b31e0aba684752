/* InternLM 2 and 2.5: Llama with one tensor for queries, keys and values: of each KV head its queries, its key, its value.  */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define WQKV L "attention.wqkv.weight"

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.tok_embeddings.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "attention_norm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_WQ, WQKV, B "attn_q.weight", LR_D_Q, LR_D_DIM, false,
           .in_hf = { .run = LR_D_Q_OF_KV, .after = { LR_D_HEAD, LR_D_HEAD } }),
    LR_ROW(LR_WK, WQKV, B "attn_k.weight", LR_D_KV, LR_D_DIM, false,
           .in_hf = { .run = LR_D_HEAD, .before = { LR_D_Q_OF_KV }, .after = { LR_D_HEAD } }),
    LR_ROW(LR_WV, WQKV, B "attn_v.weight", LR_D_KV, LR_D_DIM, false,
           .in_hf = { .run = LR_D_HEAD, .before = { LR_D_Q_OF_KV, LR_D_HEAD } }),
    LR_ROW(LR_WO, L "attention.wo.weight", B "attn_output.weight", LR_D_DIM, LR_D_Q, false),
    LR_ROW(LR_FFN_NORM, L "ffn_norm.weight", B "ffn_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_W_GATE, L "feed_forward.w1.weight", B "ffn_gate.weight", LR_D_HIDDEN, LR_D_DIM, false),
    LR_ROW(LR_W_UP, L "feed_forward.w3.weight", B "ffn_up.weight", LR_D_HIDDEN, LR_D_DIM, false),
    LR_ROW(LR_W_DOWN, L "feed_forward.w2.weight", B "ffn_down.weight", LR_D_DIM, LR_D_HIDDEN, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "output.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_internlm2 = {
    .name = "internlm2",
    .model_types = { "internlm2" },
    .architectures = { "InternLM2ForCausalLM" },
    .gguf_architectures = { "internlm2" },
    .gguf_adjacent = true,
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
};
