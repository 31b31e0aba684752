/* The operations that a forward pass is made of.
 *
 * Every op is one function `void op(const void *args, int64_t i0, int64_t i1, void *scratch)`: it computes items
 * [i0, i1) of the op and nothing else, so any split of the items over threads gives the same bits.  args points to the
 * struct named in ops.def; what an item is stands there.  scratch is LR_ALIGN-aligned memory of this thread alone, at
 * least lr_ops.scratch_bytes() large; its content is undefined before and after.
 * Kernels never allocate, lock, print or fail: shapes were checked when the plan was made.
 *
 * Rows of float activations are contiguous: x[row * cols + col].  n = tokens in this pass.                            */
#ifndef LR_KERNELS_H
#define LR_KERNELS_H

#include "quant/acts.h"
#include "quant/quant.h"

typedef void (*lr_kernel)(const void *args, int64_t i0, int64_t i1, void *scratch);

/* ---- activations as a matmul reads them: n rows of cols values ---- */

typedef enum lr_act_format {
    LR_ACT_F32,  /* values */
    LR_ACT_BF16, /* values */
    LR_ACT_F16,  /* x = d[row] * value; d is 1 but where a value of the row would leave the range of f16 */
    LR_ACT_Q8,   /* int8 in blocks of 32: x = d * q, |q| <= 127; cols must be a multiple of 32 */
    LR_N_ACT_FORMATS,
    LR_ACT_NONE = -1
} lr_act_format;

typedef struct lr_act {
    lr_act_format format;
    int64_t n, cols;
    const void *values; /* F32: float (n, cols).  BF16, F16: uint16_t (n, cols).  Q8: int8_t (n, cols) */
    const float *d;     /* Q8: (n, cols / 32) scales.  F16: (n) scales, powers of two */
    const float *s;     /* Q8: (n, cols / 32) d * sum of the block's q */
} lr_act;

/* Bytes that an activation of that format takes, all planes, each rounded up to LR_ALIGN.                            */
size_t lr_act_bytes(lr_act_format format, int64_t n, int64_t cols);
/* An activation laid over memory at base (lr_act_bytes large).                                                       */
lr_act lr_act_at(lr_act_format format, int64_t n, int64_t cols, void *base);
/* Row t alone.                                                                                                        */
lr_act lr_act_row(const lr_act *act, int64_t t);

/* ---- argument structs, in the order of ops.def ---- */

/* x[t] (+)= row ids[t] of table, decoded, times scale.                                item: token t                   */
typedef struct lr_embed_args {
    float *x;            /* (n, table.cols) */
    const int32_t *ids;  /* (n) tokens, or positions where they have a table of their own */
    lr_matrix table;     /* (n_vocab, dim) */
    float scale;
    bool accumulate;     /* adds to x */
} lr_embed_args;

/* RMSNorm: y (+)= x * rsqrt(mean(x^2) + eps) * w.  LayerNorm (center): the same of x - mean(x), then + b.
 * Statistics in f32.  y may be x.                                                     item: row                       */
typedef struct lr_norm_args {
    float *y;            /* rows of dim values, y_stride apart */
    const float *x;      /* rows of dim values, x_stride apart */
    const float *w;      /* (dim) */
    const float *b;      /* (dim) or NULL */
    int64_t dim, x_stride, y_stride;
    float eps;
    bool center;
    bool accumulate;     /* adds to y: norms behind a block.  y is not x then */
} lr_norm_args;

/* Packs float rows into the activation format of `out`.                               item: row                       */
typedef struct lr_pack_args {
    const float *x;      /* (n, cols) */
    lr_act out;          /* its planes are written */
    const int32_t *perm; /* (cols) or NULL: value i of a row is x[perm[i]]; not for lr_ops.pack */
} lr_pack_args;

/* y[t][r] = (accumulate ? y[t][r] : 0) + sum_c w[r][c] x[t][c] + (bias ? bias[r] : 0).
 * item: output row r of w.  i0 and i1 are multiples of lr_matmul_kernel.row_step, except i1 = w.rows.                */
typedef struct lr_matmul_args {
    float *y;            /* (x.n, y_stride) */
    int64_t y_stride;
    lr_matrix w;
    lr_act x;            /* in the format that the kernel asks for */
    const float *bias;   /* (w.rows) or NULL */
    bool accumulate;
} lr_matmul_args;

/* Rotary embedding, in place, of the first n_rot dims of each head.                   item: token t                   */
typedef struct lr_rope_args {
    float *x;            /* (n, x_stride): n_heads heads of head_dim, contiguous */
    int64_t x_stride;
    const float *cos_sin; /* (n, n_rot): cos of pair i at 2i, sin at 2i + 1, times the attention factor */
    int32_t n_heads, head_dim, n_rot;
    bool adjacent;       /* pairs (2i, 2i+1); false: (i, i + n_rot/2) */
} lr_rope_args;

/* ---- KV cache ----
 * One layer of one sequence.  Position p lives in slot p % n_slots (n_slots >= n_ctx unless the layer has a window), and
 * slot s in page pages[s / page_slots].  A page holds K then V; each is n_kv_heads x page_slots rows of head_dim values
 * in `format` (quants plane of all rows, then scales plane of all rows).  A contiguous cache is one page.             */
typedef struct lr_kv_layer {
    uint8_t *base;         /* page p starts at base + p * page_bytes */
    const int32_t *pages;  /* block table, or NULL: page i is i */
    uint64_t page_bytes;
    int32_t page_slots, n_slots;
    int32_t n_kv_heads, head_dim;
    lr_format format;      /* f32, f16, q8_0, LR_KV_ROTATED */
    bool v_in_k;           /* pages hold K alone, and V is K: latent attention */
} lr_kv_layer;

/* The 4-bit format of caches, "q4_rot" in words: iq4_nl of rows that kv_write has rotated (kernels/cpu/rotate.h), in
 * blocks of at most LR_KV_ROTATED_MOST values.  Attention rotates the queries instead of the rows, and its result back. */
#define LR_KV_ROTATED LR_IQ4_NL
enum { LR_KV_ROTATED_MOST = 512 };
/* Name of a cache's format; NULL: caches do not have it.                                                              */
const char *lr_kv_name(lr_format format);
/* LR_FORMAT_NONE: no format of a cache.                                                                               */
lr_format lr_kv_by_name(const char *name);

/* Bytes of one page; false on overflow or where head_dim does not divide by the format's block.                       */
LR_MUST_CHECK bool lr_kv_page_bytes(lr_format format, int32_t n_kv_heads, int32_t head_dim, int32_t page_slots,
                                    uint64_t *bytes);
/* Row of slot s, head h, K (which 0) or V (which 1): quants, and scales where the format has them.                    */
void lr_kv_row(const lr_kv_layer *kv, int32_t slot, int32_t head, int which, void **quants, void **scales);

/* A run of consecutive tokens of one sequence inside the pass.                                                       */
typedef struct lr_seq {
    int64_t row;           /* first row in the pass */
    int64_t n;             /* rows */
    int32_t position;      /* of the first row */
    lr_kv_layer kv;
} lr_seq;

/* Writes new K and V rows into the caches.                                            item: row of the pass           */
typedef struct lr_kv_write_args {
    const float *k, *v;    /* (rows, stride): n_kv_heads x head_dim */
    int64_t k_stride, v_stride;
    const lr_seq *seqs;    /* (n_seqs), rows ascending */
    int32_t n_seqs;
} lr_kv_write_args;

/* Causal attention with online softmax: memory constant in the context, no score matrix.
 * Row at position p sees positions max(0, p - window + 1) .. p (window 0: from 0).  Query head h uses KV head
 * h / (n_heads / n_kv_heads).  out may not alias q.
 * item: see lr_attention_items.  The split of long contexts is fixed by shape, so any thread count gives equal bits.
 * Where the context is split, items write partial results to `partial` and lr_ops.attention_merge (item: row x head)
 * joins them.                                                                                                        */
typedef struct lr_attention_args {
    float *out;            /* (rows, out_stride): n_heads x v_dim */
    const float *q;        /* (rows, q_stride): n_heads x head_dim */
    int64_t out_stride, q_stride;
    int32_t v_dim;         /* of caches whose V is K: the values of a row that are V.  0: head_dim */
    const lr_seq *seqs;
    int32_t n_seqs, n_heads, head_dim, window;
    float scale;           /* of the scores, head_dim^-0.5 */
    float softcap;         /* scores become softcap * tanh(score / softcap); 0: they stay */
    const float *sinks;    /* (n_heads) or NULL: one more score of each head, whose value is zero */
    int32_t n_kv_heads;    /* of every cache in seqs, and their format.  GPU backends choose kernels by these, for */
    lr_format kv_format;   /* there seqs lies in the device's memory; CPU kernels do not read them */
    float *partial;        /* lr_attention_partial_bytes, or NULL when that is 0 */
} lr_attention_args;

int64_t lr_attention_items(const lr_attention_args *a);
/* True where attention_merge must run after attention.                                                               */
bool lr_attention_is_split(const lr_attention_args *a);
/* Upper bound for any pass of at most n rows over contexts of at most n_ctx.                                          */
size_t lr_attention_partial_bytes(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads, int32_t v_dim);

/* Gated delta nets: a layer remembers a matrix for each head of values instead of keys and values of all positions.
 *   conv   each channel of q, k and v becomes silu of the sum of its last `taps` values, each times a weight; then q and k
 *          of a head are divided by their length, q by the root of k_dim too.                item: sequence x head
 *   rule   S *= exp(-exp(rate) softplus(a + dt)); S += k (sigmoid(b) (v - S^T k))^T; out = S^T q.
 *                                                                                     item: sequence x head of values
 * The state of a sequence, at the base of its cache: (taps - 1, channels) values of the tokens before, oldest first,
 * then (v_heads, k_dim, v_dim).  A sequence at position 0 begins with zeros, whatever is there.
 * Source: Yang et al., "Gated Delta Networks", arXiv:2412.06464.                                                      */
typedef struct lr_delta_args {
    float *q, *k, *v;      /* (rows, heads * dim), changed in place */
    const float *b, *a;    /* (rows, v_heads) */
    const float *conv;     /* (channels, taps) channels of q, then of k, then of v */
    const float *dt, *rate; /* (v_heads) */
    float *out;            /* (rows, v_heads * v_dim) */
    int32_t k_heads, v_heads, k_dim, v_dim; /* head h of values goes with head h / (v_heads / k_heads) of q and k */
    int32_t taps;          /* 1 .. LR_DELTA_TAPS; k_dim, v_dim at most LR_DELTA_MOST */
    const lr_seq *seqs;
    int32_t n_seqs;
} lr_delta_args;

/* y[i] = act(gate[i]) * up[i]; without up, act(gate[i]).  y may be gate or up.        item: row                       */
typedef struct lr_glu_args {
    float *y;
    const float *gate, *up; /* up may be NULL, but for LR_GLU_OAI */
    int64_t dim, y_stride, in_stride;
    lr_glu_act act;
} lr_glu_args;

/* x[i] = cap * tanh(x[i] / cap)                                                       item: row                       */
typedef struct lr_softcap_args {
    float *x;            /* (rows, dim) */
    int64_t dim;
    float cap;
} lr_softcap_args;

/* ---- mixture of experts ---- */

/* The k experts that a row goes to, and the weight of each.  An expert's score is the softmax of its logit over all
 * experts, or the sigmoid of it alone.  Those with the largest score + bias are chosen.  Ties: the lower index first;
 * NaN counts as -infinity.                                                            item: row                       */
typedef struct lr_route_args {
    int32_t *chosen;           /* (n, k) distinct, best first */
    float *weights;            /* (n, k) scale * score */
    bool among_chosen;         /* divided by the sum of the chosen ones' scores */
    bool sigmoid;
    float scale;
    const float *logits;       /* (n, n_experts) */
    const float *bias;         /* (n_experts) or NULL */
    int32_t n_experts, k;      /* at most LR_MAX_EXPERTS */
    /* The experts are in n_groups <= 64 groups of equal size; open are those of the k_groups whose best one or best two
     * (best_of_group) are best, taken together.  n_groups 0: all are open. */
    int32_t n_groups, k_groups, best_of_group;
} lr_route_args;

/* x[t] *= 1 / (1 + exp(-gate[t]))                                                     item: row                       */
typedef struct lr_gate_rows_args {
    float *x;                  /* (n, dim) */
    const float *gate;         /* (n) */
    int64_t dim;
} lr_gate_rows_args;

/* x[t] += sum over the chosen experts e of weight * (down_e (act(gate_e h[t]) * up_e h[t])), biases where there are.
 * Several steps for the CPU: see kernels/cpu/experts.h.  On a GPU each kind of matrix is one tensor, expert after expert,
 * and gate and up have one format; the arrays of matrices are the host's.                                            */
typedef struct lr_experts_args {
    float *x;                  /* (n, dim) */
    const float *h;            /* (n, dim) */
    int64_t n;
    const int32_t *chosen;     /* (n, k) of lr_route_args */
    const float *weights;      /* (n, k) */
    const lr_matrix *gate, *up, *down;   /* (n_experts): (hidden, dim), (hidden, dim), (dim, hidden) */
    const float *b_gate, *b_up, *b_down; /* (n_experts, rows) or NULL */
    int32_t n_experts, k;
    lr_glu_act act;
    void *work;                /* lr_experts_bytes, on a GPU lr_gpu_experts_bytes; aligned to LR_ALIGN */
    void *packed;              /* GPUs: lr_act_bytes of h as gate and up read it */
} lr_experts_args;

/* What lr_experts_args.work needs for passes of at most n tokens: grows with n + k, not with n * k.                   */
size_t lr_experts_bytes(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden);

/* ---- the table ---- */

typedef struct lr_matmul_kernel {
    const char *name;     /* "matmul_q8_0_avx512": file, symbol, test and bench line */
    lr_act_format act;    /* format it wants its activations in */
    int32_t row_step;     /* item ranges are multiples of this */
    lr_kernel run;
} lr_matmul_kernel;

typedef struct lr_ops {
    const char *isa;      /* "c", "avx2", "avx512" */
#define LR_OP(name, args, item) lr_kernel name; const char *name##_kernel; /* implementation's name, for tests and benches */
#include "kernels/ops.def"
#undef LR_OP
    /* few: up to few_tokens rows of activations (decode: limited by reading weights).  many: above (prefill). */
    lr_matmul_kernel matmul_few[LR_N_FORMATS];
    lr_matmul_kernel matmul_many[LR_N_FORMATS];
    int32_t few_tokens;
    /* Scratch that a thread needs for any op on matrices of at most max_cols columns and passes of at most n tokens. */
    size_t (*scratch_bytes)(int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim);
} lr_ops;

/* The kernel that lr_ops has for a matmul over n tokens of a matrix of that format.                                   */
static inline const lr_matmul_kernel *lr_ops_matmul(const lr_ops *ops, lr_format format, int64_t n) {
    return n <= ops->few_tokens ? &ops->matmul_few[format] : &ops->matmul_many[format];
}

/* Fills ops with portable C, then overwrites upward with what this CPU has, up to isa ("auto" "c" "avx2" "avx512").
 * False if isa is unknown or this CPU lacks it.                                                                       */
LR_MUST_CHECK bool lr_cpu_ops(lr_ops *ops, const char *isa);
/* Levels that this CPU can run, lowest first; returns their number (at most 3).                                       */
int lr_cpu_isa_list(const char *names[3]);

#endif
