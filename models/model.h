/* Model families as data.  A family is one file with tables: which keys hold the hyperparameters, which tensors exist,
 * what shape each has.  No math; adding a family is one file and one line in models.c.                                */
#ifndef LR_MODEL_H
#define LR_MODEL_H

#include "quant/quant.h"

/* What a tensor is to the forward pass.                                                                               */
typedef enum lr_role {
    LR_EMBED,     /* (n_vocab, dim) */
    LR_ATTN_NORM, /* (dim) */
    LR_WQ,        /* (n_heads * head_dim, dim) */
    LR_WK,        /* (n_kv_heads * head_dim, dim) */
    LR_WV,        /* (n_kv_heads * head_dim, dim) */
    LR_WO,        /* (dim, n_heads * head_dim) */
    LR_BQ, LR_BK, LR_BV, LR_BO, /* biases of the above */
    LR_Q_NORM,    /* (head_dim), on each head before rope */
    LR_K_NORM,    /* (head_dim) */
    LR_FFN_NORM,  /* (dim) */
    LR_W_GATE,    /* (hidden_dim, dim) */
    LR_W_UP,      /* (hidden_dim, dim) */
    LR_W_DOWN,    /* (dim, hidden_dim) */
    LR_B_GATE, LR_B_UP, LR_B_DOWN,
    LR_OUT_NORM,  /* (dim) */
    LR_HEAD,      /* (n_vocab, dim); absent: the embedding is used */
    LR_N_ROLES
} lr_role;

/* Names of dimensions in tensor tables.                                                                               */
typedef enum lr_dim { LR_D_ONE, LR_D_DIM, LR_D_HIDDEN, LR_D_Q, LR_D_KV, LR_D_HEAD, LR_D_VOCAB } lr_dim;

typedef enum lr_rope_scaling { LR_ROPE_NONE, LR_ROPE_LINEAR, LR_ROPE_LLAMA3, LR_ROPE_YARN } lr_rope_scaling;

#define LR_MAX_LAYERS 1024
#define LR_MAX_ROT 1024 /* rotated dims of a head */

typedef struct lr_hparams {
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, hidden_dim, n_vocab;
    int32_t n_ctx_train;
    int32_t window;        /* sliding window in tokens, 0: full attention */
    int32_t window_from;   /* first layer that has the window (qwen2 max_window_layers); 0: all */
    float norm_eps;
    float rope_theta;
    int32_t n_rot;         /* rotated dims of a head */
    bool rope_adjacent;
    lr_rope_scaling rope_scaling;
    float rope_factor, rope_low_freq, rope_high_freq, rope_beta_fast, rope_beta_slow;
    float rope_attn_factor; /* multiplies cos and sin */
    int32_t rope_n_ctx_orig;
    int32_t eos[8], n_eos; /* end-of-text ids of config.json and generation_config.json */
    int32_t bos;           /* -1: none */
} lr_hparams;

/* One tensor of a family; %d in the name is the layer.                                                                */
typedef struct lr_tensor_row {
    lr_role role;
    const char *hf;       /* safetensors name */
    const char *gguf;     /* GGUF name; NULL: that container never has it */
    lr_dim rows, cols;    /* cols LR_D_ONE: a vector of rows values */
    bool optional;        /* may be absent (bias, head) */
} lr_tensor_row;

/* Fallbacks of an absent head_dim (dim / n_heads) and an absent n_kv_heads (n_heads).                                 */
enum { LR_FROM_DIM = -1, LR_FROM_HEADS = -2 };

/* Where an integer hyperparameter comes from: the keys are tried in order.                                            */
typedef struct lr_hparam_row {
    size_t offset;            /* of an int32_t in lr_hparams */
    const char *keys[3];      /* NULL-terminated */
    const char *gguf;         /* key behind "ARCHITECTURE." */
    int64_t lo, hi, fallback; /* fallback 0: required; or LR_FROM_... */
} lr_hparam_row;

typedef struct lr_family {
    const char *name;             /* "llama" */
    const char *model_types[4];   /* config.json model_type values, NULL-terminated */
    const char *architectures[4]; /* config.json architectures values */
    const char *gguf_architectures[4]; /* general.architecture values */
    bool gguf_adjacent;           /* GGUF: rows of q and k are permuted so that adjacent pairs rotate (rope_adjacent) */
    const lr_tensor_row *tensors;
    size_t n_tensors;
    bool window_needs_flag;       /* sliding_window counts only with use_sliding_window true, from max_window_layers on */
} lr_family;

extern const lr_family *const lr_families[];
extern const size_t lr_n_families;

/* Integer hyperparameters, the same for every family here.                                                            */
extern const lr_hparam_row lr_hparam_rows[];
extern const size_t lr_n_hparam_rows;

/* The family that claims this model_type, else this architecture (either may be NULL); NULL if none does.             */
const lr_family *lr_family_find(const char *model_type, const char *architecture);
const lr_family *lr_family_find_gguf(const char *architecture); /* by general.architecture */
int64_t lr_dim_value(const lr_hparams *h, lr_dim d);
/* NULL if the numbers agree with each other, else the sentence that says what does not.                               */
const char *lr_hparams_check(const lr_hparams *h);
/* Inverse frequency of each rotated pair, scaling applied: freq (n_rot / 2).  Source: the Hugging Face rope utilities. */
void lr_rope_frequencies(const lr_hparams *h, double *freq);

#endif
