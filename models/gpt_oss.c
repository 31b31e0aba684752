/* gpt-oss: Llama with biases, sinks, windows in every other layer, and experts whose activation is clamped.  Hugging Face
 * keeps all experts of a layer in one tensor, transposed, gate and up columns taking turns.                             */
#include "models/model.h"

#define L "model.layers.%d."
#define B "blk.%d."
#define E L "mlp.experts."

static const lr_tensor_row tensors[] = {
    LR_ROW(LR_EMBED, "model.embed_tokens.weight", "token_embd.weight", LR_D_VOCAB, LR_D_DIM, true),
    LR_ROW(LR_ATTN_NORM, L "input_layernorm.weight", B "attn_norm.weight", LR_D_DIM, LR_D_ONE, false),
#include "models/attention.def"
#include "models/qkv_biases.def"
    LR_ROW(LR_BO, L "self_attn.o_proj.bias", B "attn_output.bias", LR_D_DIM, LR_D_ONE, true),
    LR_ROW(LR_SINKS, L "self_attn.sinks", B "attn_sinks.weight", LR_D_HEADS, LR_D_ONE, false),
    LR_ROW(LR_FFN_NORM, L "post_attention_layernorm.weight", B "post_attention_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_ROUTER, L "mlp.router.weight", B "ffn_gate_inp.weight", LR_D_EXPERTS, LR_D_DIM, false),
    LR_ROW(LR_B_ROUTER, L "mlp.router.bias", B "ffn_gate_inp.bias", LR_D_EXPERTS, LR_D_ONE, false),
    LR_ROW(LR_W_GATE_EXPERTS, E "gate_up_proj", B "ffn_gate_exps.weight", LR_D_EXPERT, LR_D_DIM, false,
           .in_hf = { .transposed = true, .turn = 0, .turns = 2 }),
    LR_ROW(LR_W_UP_EXPERTS, E "gate_up_proj", B "ffn_up_exps.weight", LR_D_EXPERT, LR_D_DIM, false,
           .in_hf = { .transposed = true, .turn = 1, .turns = 2 }),
    LR_ROW(LR_W_DOWN_EXPERTS, E "down_proj", B "ffn_down_exps.weight", LR_D_DIM, LR_D_EXPERT, false,
           .in_hf = { .transposed = true }),
    LR_ROW(LR_B_GATE_EXPERTS, E "gate_up_proj_bias", B "ffn_gate_exps.bias", LR_D_EXPERT, LR_D_ONE, false,
           .in_hf = { .run = LR_D_ONE, .after = { LR_D_ONE } }),
    LR_ROW(LR_B_UP_EXPERTS, E "gate_up_proj_bias", B "ffn_up_exps.bias", LR_D_EXPERT, LR_D_ONE, false,
           .in_hf = { .run = LR_D_ONE, .before = { LR_D_ONE } }),
    LR_ROW(LR_B_DOWN_EXPERTS, E "down_proj_bias", B "ffn_down_exps.bias", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_OUT_NORM, "model.norm.weight", "output_norm.weight", LR_D_DIM, LR_D_ONE, false),
    LR_ROW(LR_HEAD, "lm_head.weight", "output.weight", LR_D_VOCAB, LR_D_DIM, true),
};

const lr_family lr_family_gpt_oss = {
    .name = "gpt-oss",
    .model_types = { "gpt_oss" },
    .architectures = { "GptOssForCausalLM" },
    .gguf_architectures = { "gpt-oss" },
    .tensors = tensors,
    .n_tensors = LR_COUNT(tensors),
    .full_every = 2,
    .experts = true,
    .among_chosen = true,
    .act = LR_GLU_OAI,
    .act_fixed = true,
    .sharp = true,
    .theta = 150000,
    .defaults = { { offsetof(lr_hparams, head_dim), 64 } },
};
