/* What every attention kernel of the CPU shares: how a pass is cut into items, and how scratch is laid out.
 *
 * An item is a block of rows of one sequence x one KV head x one split of the positions.  All query heads of a KV head
 * are handled together, so each K and V row is read once per item: "queries" below counts rows x heads of the group. */
#ifndef LR_ATTENTION_H
#define LR_ATTENTION_H

#include <math.h>

#include "kernels/cpu/cpu.h"

enum {
    LR_ATT_QUERIES = 64,    /* rows are blocked so that rows x group stays within this (one row may exceed it) */
    LR_ATT_TILE = 64,       /* positions handled at once */
    LR_ATT_SPLIT = 512,     /* positions of a split, doubled and so on where a context has more than ... */
    LR_ATT_SPLIT_ONE = 128, /* the same where there is but one KV head */
    LR_ATT_MAX_SPLITS = 32, /* ... this many */
    LR_ATT_SPLIT_ROWS = 16  /* only passes of at most so many rows are split */
};

typedef struct lr_att_item {
    const lr_seq *seq;
    int64_t row;            /* first row in the pass */
    int32_t n_rows;
    int32_t position;       /* of the first row */
    int32_t kv_head, group; /* query heads kv_head * group .. + group */
    int32_t p0, p1;         /* positions to visit; some may be hidden from some rows */
    float *partial;         /* split: result of query (row r, head g) at partial + lr_att_partial_offset, else NULL */
    int64_t row_stride, head_stride; /* of partial, in floats */
} lr_att_item;

/* Values of a V row and of a head of out.                                                                            */
static inline int32_t lr_att_v_dim(const lr_attention_args *a) { return a->v_dim ? a->v_dim : a->head_dim; }

/* Describes one item.                                                                                                */
void lr_att_item_at(const lr_attention_args *a, int64_t item, lr_att_item *out);

/* Longest run of positions from p on, at most n, whose slots are neighbours in memory; where it starts.              */
typedef struct lr_att_run {
    int32_t n;
    const uint8_t *k, *v;             /* quants */
    const uint8_t *k_scales, *v_scales;
} lr_att_run;
void lr_att_run_at(const lr_kv_layer *kv, int32_t kv_head, int32_t p, int32_t n, lr_att_run *out);

/* First and one past last position that row r of the item sees, cut to [p0, p0 + n).                                 */
static inline void lr_att_seen(const lr_attention_args *a, const lr_att_item *it, int32_t r, int32_t p0, int32_t n,
                               int32_t *lo, int32_t *hi) {
    int32_t p = it->position + r;
    int64_t first = a->window > 0 && p >= a->window ? p - a->window + 1 : 0;
    *lo = (int32_t)lr_min(lr_max(first - p0, 0), n);
    *hi = (int32_t)lr_max(lr_min((int64_t)p + 1 - p0, n), *lo);
}

/* What a result is multiplied with in the end: 1 / (sum of weights), the sink of the head among them.  most: the
 * largest score, of which the sum is relative.  A context that is split meets the sink once, in the merge.           */
static inline float lr_att_factor(const lr_attention_args *a, int64_t head, float most, float sum) {
    if (a->sinks) sum += expf(a->sinks[head] - most);
    return 1.0f / sum;
}

#endif
