/* Gated delta nets on the CPU: what the kernels of all instruction sets share.  See lr_delta_args.                   */
#ifndef LR_DELTA_H
#define LR_DELTA_H

#include <math.h>

#include "kernels/cpu/elementwise.h"

/* One head of q, k or v in the rows of a sequence.                                                                   */
typedef struct lr_delta_head {
    float *x;            /* of the first row */
    int64_t stride, n;   /* from row to row; rows */
    int32_t dim;
    const float *taps;   /* (dim, taps) */
    float *before;       /* of the state: (taps - 1) rows, before_stride apart */
    int64_t before_stride;
    bool fresh;          /* nothing was before */
    bool is_unit;        /* q, k: divided by its length ... */
    float length;        /* ... and multiplied by that */
} lr_delta_head;

static inline int64_t lr_delta_conv_items(const lr_delta_args *a) {
    return (int64_t)a->n_seqs * (2 * a->k_heads + a->v_heads);
}
static inline int64_t lr_delta_rule_items(const lr_delta_args *a) { return (int64_t)a->n_seqs * a->v_heads; }

static inline lr_delta_head lr_delta_head_at(const lr_delta_args *a, int64_t item) {
    int32_t n_heads = 2 * a->k_heads + a->v_heads, head = (int32_t)(item % n_heads), which = head / a->k_heads;
    const lr_seq *seq = &a->seqs[item / n_heads];
    if (which > 2) which = 2;
    float *const rows[] = { a->q, a->k, a->v };
    int64_t k_width = (int64_t)a->k_heads * a->k_dim, v_width = (int64_t)a->v_heads * a->v_dim;
    int32_t dim = which == 2 ? a->v_dim : a->k_dim;
    int64_t stride = which == 2 ? v_width : k_width, in_row = (int64_t)(head - which * a->k_heads) * dim;
    int64_t channel = which * k_width + in_row;
    return (lr_delta_head){ .x = rows[which] + seq->row * stride + in_row, .stride = stride, .n = seq->n, .dim = dim,
                            .taps = a->conv + channel * a->taps, .before = (float *)(void *)seq->kv.base + channel,
                            .before_stride = 2 * k_width + v_width, .fresh = seq->position == 0, .is_unit = which < 2,
                            .length = which == 0 ? 1 / sqrtf((float)a->k_dim) : 1 };
}

/* The matrix of a head of values.                                                                                    */
static inline float *lr_delta_matrix(const lr_delta_args *a, const lr_seq *seq, int32_t head) {
    int64_t channels = 2 * (int64_t)a->k_heads * a->k_dim + (int64_t)a->v_heads * a->v_dim;
    return (float *)(void *)seq->kv.base + (a->taps - 1) * channels + (int64_t)head * a->k_dim * a->v_dim;
}

/* What is left of the matrix, and how much of the difference goes in, at row r of the pass.                          */
static inline float lr_delta_kept(const lr_delta_args *a, int64_t r, int32_t head) {
    float x = a->a[r * a->v_heads + head] + a->dt[head], softplus = x > 20 ? x : log1pf(expf(x));
    return expf(-expf(a->rate[head]) * softplus);
}
static inline float lr_delta_share(const lr_delta_args *a, int64_t r, int32_t head) {
    return 1 / (1 + expf(-a->b[r * a->v_heads + head]));
}

#endif
