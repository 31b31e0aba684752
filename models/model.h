/* Model families as data.  A family is one file with tables: which keys hold the hyperparameters, which tensors exist,
 * what shape each has.  No math; adding a family is one file and one line in families.def.                            */
#ifndef LR_MODEL_H
#define LR_MODEL_H

#include "quant/acts.h"
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
    LR_Q_NORM,    /* (head_dim), on each head before rope; or (n_heads * head_dim): see norm_rows, norm_each */
    LR_K_NORM,    /* the same of KV heads */
    LR_SINKS,     /* (n_heads) a logit of each head that has no value */
    LR_ATTN_POST_NORM, /* (dim) on what attention adds to x */
    LR_FFN_NORM,  /* (dim) */
    LR_W_GATE,    /* (hidden_dim, dim); absent: the feed-forward is not gated */
    LR_W_UP,      /* (hidden_dim, dim) */
    LR_W_DOWN,    /* (dim, hidden_dim) */
    LR_B_GATE, LR_B_UP, LR_B_DOWN,
    LR_FFN_POST_NORM, /* (dim) on what the feed-forward adds to x */
    LR_ROUTER,    /* (n_experts, dim) in layers with experts, which have these instead of w_gate, w_up, w_down */
    LR_B_ROUTER,  /* (n_experts) of the logits; or of the scores, for the choice alone: see bias_chooses */
    LR_W_GATE_EXPERTS, /* of all experts, one after another: (n_experts * expert_dim, dim) */
    LR_W_UP_EXPERTS,   /* the same */
    LR_W_DOWN_EXPERTS, /* (n_experts * dim, expert_dim) */
    LR_B_GATE_EXPERTS, LR_B_UP_EXPERTS, LR_B_DOWN_EXPERTS,
    LR_W_GATE_SHARED,  /* (shared_dim, dim), a feed-forward of every token beside the experts */
    LR_W_UP_SHARED, LR_W_DOWN_SHARED,
    LR_SHARED_GATE,    /* (1, dim): its output is multiplied by the sigmoid of this */
    LR_B_ATTN_NORM, LR_B_FFN_NORM, LR_B_OUT_NORM, /* biases of LayerNorms */
    LR_POSITIONS, /* (n_pos, dim) added to the embedding */
    LR_OUT_NORM,  /* (dim) */
    LR_HEAD,      /* (n_vocab, dim); absent: the embedding is used */
    LR_B_HEAD,
    /* Latent attention: queries by way of q_rank values, keys and values of all heads from kv_rank values, which with
     * n_rot rotated ones are all that the cache keeps. */
    LR_WQ_A,      /* (q_rank, dim); absent: LR_WQ takes x itself */
    LR_Q_A_NORM,  /* (q_rank) */
    LR_WKV_A,     /* (kv_rank + n_rot, dim) */
    LR_KV_A_NORM, /* (kv_rank) */
    LR_WK_B,      /* (n_heads * kv_rank, n_nope): of each head, transposed, so that queries go to where keys are */
    LR_WV_B,      /* (n_heads * v_dim, kv_rank) */
    LR_WQ_GATE,   /* (n_heads * head_dim, dim): what attention gives is multiplied by the sigmoid of this */
    /* Gated delta nets, instead of all the above of attention but its norm. */
    LR_DELTA_Q, LR_DELTA_K, /* (delta_k_heads * delta_k_dim, dim) */
    LR_DELTA_V, LR_DELTA_Z, /* (delta_v_heads * delta_v_dim, dim) values, and what gates the result */
    LR_DELTA_B, LR_DELTA_A, /* (delta_v_heads, dim) how much a token replaces; how fast a head forgets */
    LR_DELTA_OUT, /* (dim, delta_v_heads * delta_v_dim) */
    LR_DELTA_CONV, /* (channels of q, k and v, delta_conv) as a vector */
    LR_DELTA_DT, LR_DELTA_RATE, /* (delta_v_heads) added to A's; logarithm of what that is multiplied by */
    LR_DELTA_NORM, /* (delta_v_dim) on each head of the result */
    LR_N_ROLES
} lr_role;

/* Names of dimensions in tensor tables.                                                                               */
typedef enum lr_dim {
    LR_D_NONE, LR_D_ONE, LR_D_DIM, LR_D_HIDDEN, LR_D_Q, LR_D_KV, LR_D_HEAD, LR_D_HEADS, LR_D_VOCAB, LR_D_POS,
    LR_D_Q_OF_KV, /* heads of queries that share one of keys */
    /* Latent attention: q_rank; dim where that is 0, else 0; heads of n_nope + n_rot; kv_rank; heads of kv_rank; n_nope; v_dim; heads
     * of v_dim. */
    LR_D_Q_RANK, LR_D_Q_DIRECT, LR_D_Q_HEADS, LR_D_KV_RANK, LR_D_K_UP, LR_D_NOPE, LR_D_V_HEAD, LR_D_V_UP,
    LR_D_EXPERTS, LR_D_EXPERT, LR_D_SHARED,
    /* Gated delta nets: all heads of keys, of values; heads of values; a head of each; a key head's share of those of
     * values, in heads and in rows, the rows twice; a key head twice; taps of all channels. */
    LR_D_DELTA_K, LR_D_DELTA_V, LR_D_DELTA_HEADS, LR_D_DELTA_K_HEAD, LR_D_DELTA_V_HEAD, LR_D_DELTA_SHARE,
    LR_D_DELTA_SHARE_V, LR_D_DELTA_SHARE_VZ, LR_D_DELTA_QK_HEAD, LR_D_DELTA_TAPS
} lr_dim;

typedef enum lr_rope_scaling {
    LR_ROPE_NONE, LR_ROPE_LINEAR, LR_ROPE_LLAMA3, LR_ROPE_YARN,
    LR_ROPE_LONG /* a divisor for each pair, one list for short contexts and one for long ones (Phi-3) */
} lr_rope_scaling;

#define LR_MAX_LAYERS 1024
#define LR_MAX_ROT 1024 /* rotated dims of a head */

/* How positions become angles.                                                                                        */
typedef struct lr_rope {
    float theta;
    lr_rope_scaling scaling;
    float factor, low_freq, high_freq, beta_fast, beta_slow;
    float attn_factor;     /* multiplies cos and sin */
    float score_factor;    /* multiplies scores; 0: none (yarn's mscale_all_dim) */
    bool sharp;            /* yarn: the ends of the ramp are not rounded to whole pairs */
    int32_t n_ctx_orig;
} lr_rope;

/* What sets a layer apart from the others.                                                                            */
enum {
    LR_LAYER_FULL = 1,     /* no sliding window, where the model has one */
    LR_LAYER_NO_ROPE = 2,
    LR_LAYER_EXPERTS = 4,  /* a mixture of experts for a feed-forward */
    LR_LAYER_DELTA = 8,    /* a gated delta net for attention */
};

typedef struct lr_hparams {
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, hidden_dim, n_vocab;
    int32_t n_ctx_train;
    int32_t n_next;        /* layers behind the last one, which guess further tokens: they are not used */
    /* Latent attention, where kv_rank is not 0: attention sees one KV head of head_dim = kv_rank + n_rot values. */
    int32_t q_rank, kv_rank, n_nope, v_dim; /* n_nope, v_dim: of a head, keys' values that do not rotate; values */
    /* Gated delta nets; 0 heads: there are none.  delta_conv: taps of the convolution.                               */
    int32_t delta_k_heads, delta_v_heads, delta_k_dim, delta_v_dim, delta_conv;
    int32_t n_pos;         /* rows of a table of positions, 0: there is none */
    int32_t window;        /* sliding window in tokens, 0: full attention in all layers */
    float norm_eps;
    bool layer_norm;       /* LayerNorm; else RMSNorm */
    bool post_norms;       /* what a block adds to x is normed first */
    bool norm_rows;        /* q_norm and k_norm take all heads of a row as one */
    bool norm_each;        /* they are LayerNorms, with weights for each head */
    bool parallel;         /* attention and feed-forward read the same x; a layer's tensors are one group then */
    lr_glu_act act;
    int32_t n_experts, n_experts_used; /* of them for each token; 0: there are none */
    int32_t expert_dim;    /* hidden values of an expert */
    int32_t n_shared, shared_dim; /* shared experts, which are one feed-forward of so many hidden values; 0: none */
    int32_t n_expert_groups, n_expert_groups_used; /* see lr_route_args; 0: all are one group */
    int32_t n_dense, expert_every; /* the first n_dense layers have no experts, then each whose number + 1 divides by it */
    bool among_chosen;     /* the weights of a token's experts sum to 1 */
    bool sigmoid;          /* an expert's score is the sigmoid of its logit; else the softmax over all */
    bool bias_chooses;     /* see LR_B_ROUTER */
    int32_t best_of_group; /* what a group of experts is worth: the sum of its best so many */
    float expert_scale;    /* of the weights */
    float embed_scale;     /* multiplies the embedding */
    float residual_scale;  /* multiplies what a block adds to x */
    float attn_scale;      /* of scores */
    float logit_scale;     /* divides logits */
    float attn_softcap, logit_softcap; /* 0: none */
    int32_t n_rot;         /* rotated dims of a head; 0: none */
    bool rope_adjacent;
    int32_t n_ropes;       /* 1; 2: layers with the window have one of their own */
    lr_rope rope[2];
    float rope_divisors[2][LR_MAX_ROT / 2]; /* LR_ROPE_LONG: for short and for long contexts */
    uint8_t layer_flags[LR_MAX_LAYERS];
    int32_t eos[8], n_eos; /* end-of-text ids of config.json and generation_config.json */
    int32_t bos;           /* -1: none */
} lr_hparams;

static inline bool lr_layer_windowed(const lr_hparams *h, int32_t layer) {
    return h->window > 0 && !(h->layer_flags[layer] & LR_LAYER_FULL);
}
/* What a layer remembers of the tokens before.                                                                        */
typedef enum lr_cache_kind {
    LR_CACHE_FULL,   /* keys and values of all positions */
    LR_CACHE_WINDOW, /* of the last ones */
    LR_CACHE_STATE,  /* a gated delta net's state: as many bytes whatever the position */
    LR_N_CACHE_KINDS
} lr_cache_kind;
static inline lr_cache_kind lr_layer_cache(const lr_hparams *h, int32_t layer) {
    if (h->layer_flags[layer] & LR_LAYER_DELTA) return LR_CACHE_STATE;
    return lr_layer_windowed(h, layer) ? LR_CACHE_WINDOW : LR_CACHE_FULL;
}
/* Values that the convolution of a gated delta net sees of a token: queries, keys and values of all heads.            */
static inline int64_t lr_delta_channels(const lr_hparams *h) {
    return 2 * (int64_t)h->delta_k_heads * h->delta_k_dim + (int64_t)h->delta_v_heads * h->delta_v_dim;
}
/* Floats of a layer's state: the channels of the last tokens, which the next ones are convolved with, then a matrix
 * (delta_k_dim, delta_v_dim) for each head of values.                                                                 */
static inline int64_t lr_delta_state(const lr_hparams *h) {
    return (h->delta_conv - 1) * lr_delta_channels(h) + (int64_t)h->delta_v_heads * h->delta_k_dim * h->delta_v_dim;
}
/* Floats of a row between matrices, beside q, k and v.  Latent attention: the queries' way in, then heads of queries
 * before they meet the cache, or of values after.  Gated delta nets: what the convolution sees, z, b and a; in the other
 * layers the gate of what attention gives.                                                                            */
static inline uint64_t lr_inner_width(const lr_hparams *h) {
    int64_t head = h->n_nope + h->n_rot > h->v_dim ? h->n_nope + h->n_rot : h->v_dim;
    int64_t delta = lr_delta_channels(h) + (int64_t)h->delta_v_heads * (h->delta_v_dim + 2);
    int64_t gate = h->delta_v_heads ? (int64_t)h->n_heads * h->head_dim : 0;
    if (h->kv_rank) return (uint64_t)(h->q_rank + h->n_heads * head);
    return (uint64_t)(delta > gate ? delta : gate);
}
/* Values of a head of V, and of what attention makes of it.                                                           */
static inline int32_t lr_v_dim(const lr_hparams *h) { return h->kv_rank ? h->kv_rank : h->head_dim; }
static inline bool lr_layer_has_experts(const lr_hparams *h, int32_t layer) {
    return h->layer_flags[layer] & LR_LAYER_EXPERTS;
}
/* Index in rope of the layer's angles.                                                                                */
static inline int32_t lr_layer_rope(const lr_hparams *h, int32_t layer) {
    return h->n_ropes == 2 && lr_layer_windowed(h, layer);
}

/* Rows of a file's tensor that are not a matrix of their own.  Zeroed: the whole tensor.                              */
typedef struct lr_slice {
    lr_dim before[2], after[2]; /* rows of other matrices in front and behind */
    lr_dim run;                 /* rows come in runs of so many, each with others before and after it; none: one run */
    bool transposed;            /* the file has columns where the matrix has rows: all of them, or (run) those of a run */
    int8_t turn, turns;         /* transposed, no run: columns of `turns` matrices take turns, from this one's at `turn` on */
    float plus;                 /* added to each value (norms stored as w - 1) */
} lr_slice;

/* One tensor of a family; %d in the name is the layer, a second %d the expert.  The shape is that of one expert; where
 * the name has no place for its number, the tensor has one more dimension in front.                                   */
typedef struct lr_tensor_row {
    lr_role role;
    const char *hf;       /* safetensors name */
    const char *gguf;     /* GGUF name; NULL: that container never has it */
    lr_dim rows, cols;    /* cols LR_D_ONE: a vector of rows values.  0 of either: this model has no such tensor */
    bool optional;        /* may be absent (bias, head) */
    lr_slice in_hf, in_gguf;
} lr_tensor_row;
/* The first six members, then slices by name where there are any.                                                    */
#define LR_ROW(role_, hf_, gguf_, rows_, cols_, optional_, ...)                                                        \
    { .role = role_, .hf = hf_, .gguf = gguf_, .rows = rows_, .cols = cols_, .optional = optional_, __VA_ARGS__ }

/* Fallbacks of an absent head_dim (dim / n_heads), n_kv_heads (n_heads), hidden_dim (4 dim)
 * and expert_dim (hidden_dim).                                                                                        */
enum { LR_FROM_DIM = -1, LR_FROM_HEADS = -2, LR_FOUR_DIMS = -3, LR_FROM_HIDDEN = -4 };

/* Where an integer hyperparameter comes from: the keys are tried in order.                                            */
typedef struct lr_hparam_row {
    size_t offset;            /* of an int32_t in lr_hparams */
    const char *keys[5];      /* NULL-terminated */
    const char *gguf;         /* key behind "ARCHITECTURE." */
    int64_t lo, hi, fallback; /* fallback 0: required; or LR_FROM_... */
} lr_hparam_row;

/* The same for numbers.                                                                                               */
typedef struct lr_number_row {
    size_t offset;            /* of a float in lr_hparams */
    const char *keys[5];
    const char *gguf[3];
    double fallback;          /* NaN: the family's or the shape's, see lr_hparams_settle */
} lr_number_row;

typedef struct lr_family {
    const char *name;             /* "llama" */
    const char *model_types[5];   /* config.json model_type values, NULL-terminated */
    const char *architectures[4]; /* config.json architectures values */
    const char *gguf_architectures[4]; /* general.architecture values */
    bool adjacent;                /* safetensors: pairs (2i, 2i + 1) rotate */
    bool gguf_adjacent;           /* GGUF: rows of q and k are permuted so that adjacent pairs rotate (rope_adjacent) */
    const lr_tensor_row *tensors;
    size_t n_tensors;
    bool window_needs_flag;       /* sliding_window counts only with use_sliding_window true, from max_window_layers on */
    bool no_window;               /* a GGUF file with a sliding window is of another model (OLMo 3 calls itself olmo2) */
    int32_t full_every;           /* where the file does not say: layers n - 1, 2n - 1 ... have no window; 0: all have it */
    int32_t no_rope_every;        /* the same of layers without rope; 0: none */
    bool rope_in_window;          /* where some layers have a window, the others have no rope */
    bool experts;                 /* GGUF: of two families of one architecture this is the one with experts */
    bool among_chosen, sigmoid;   /* where the file has no norm_topk_prob, scoring_func */
    bool bias_chooses;            /* see lr_hparams */
    bool layer_norm, post_norms, norm_rows, norm_each; /* see lr_hparams */
    bool parallel;                /* where the file has no use_parallel_residual */
    bool tied;                    /* where the file has no tie_word_embeddings */
    bool logits_times;            /* logit_scale multiplies logits */
    bool latent;                  /* latent attention; pairs (2i, 2i + 1) rotate then */
    bool delta;                   /* layers are gated delta nets but for every fourth, or as the file says; what the attention of
                                   * those gives is gated */
    bool no_rope;                 /* positions have a table */
    bool scaled_embedding;        /* by the root of dim */
    lr_glu_act act;               /* where the file does not name one */
    bool act_fixed;               /* the file's name of it does not count */
    float rotary;                 /* rotated part of a head where the file does not say; 0: all */
    bool sharp;                   /* GGUF: yarn's ramp is not rounded (see lr_rope) */
    float theta;                  /* rope_theta where the file does not say; 0: 10000 */
    float local_theta;            /* rope of layers with the window where the file does not say; 0: that of the others */
    int32_t wide_scale_layers;    /* GGUF has no scale of scores: (dim / n_heads)^-0.5 for a model of so many layers */
    struct {
        size_t offset;            /* of an int32_t in lr_hparams */
        int32_t value;
    } defaults[8];                /* integers that the file may leave out; ends with value 0 */
} lr_family;

extern const lr_family *const lr_families[];
extern const size_t lr_n_families;

/* Hyperparameters, the same for every family here.                                                                    */
extern const lr_hparam_row lr_hparam_rows[];
extern const size_t lr_n_hparam_rows;
extern const lr_number_row lr_number_rows[];
extern const size_t lr_n_number_rows;

/* The family that claims this model_type, else this architecture (either may be NULL); NULL if none does.             */
const lr_family *lr_family_find(const char *model_type, const char *architecture);
const lr_family *lr_family_find_gguf(const char *architecture, bool experts); /* by general.architecture */
int64_t lr_dim_value(const lr_hparams *h, lr_dim d);
/* What an absent integer is: the family's or the row's fallback, shapes put in; 0: it may not be absent.              */
int64_t lr_family_fallback(const lr_family *f, const lr_hparam_row *row, const lr_hparams *h);
/* Does that layer have such a tensor?  Layers with experts have no other feed-forward but the shared one.             */
bool lr_layer_has(const lr_hparams *h, int32_t layer, lr_role role);
static inline bool lr_role_is_experts(lr_role role) { return role >= LR_W_GATE_EXPERTS && role <= LR_B_DOWN_EXPERTS; }
/* Hidden values of the widest feed-forward that is no routed expert.                                                  */
int32_t lr_hidden_most(const lr_hparams *h);
/* NULL if the numbers agree with each other, else the sentence that says what does not.                               */
const char *lr_hparams_check(const lr_hparams *h);
/* Inverse frequency of each rotated pair of h->rope[which], scaling applied: freq (n_rot / 2).  n_ctx: of the run; beyond
 * the original context the long divisors of LR_ROPE_LONG count.  Source: the Hugging Face rope utilities.             */
void lr_rope_frequencies(const lr_hparams *h, int32_t which, int32_t n_ctx, double *freq);
/* Shape of the file's tensor that holds a slice of rows x cols.                                                       */
void lr_slice_shape(const lr_hparams *h, const lr_slice *s, int64_t rows, int64_t cols, int64_t shape[2]);

#endif
