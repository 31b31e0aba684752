/* Attention of few queries (decode): lanes are dimensions.  K and V are read straight from the cache, converted in
 * registers, once per block of queries; W dot products (queries x positions) form their sums together.               */
#ifndef LR_ATTENTION_FEW_H
#define LR_ATTENTION_FEW_H

#include "kernels/cpu/attention_load.h"

typedef struct few {
    int32_t n, dim, v_dim, width; /* queries; head_dim; of V; head_dim rounded up to 16 */
    float *q, *out;          /* (n, width), zero beyond dim */
    float *score;            /* (TILE, queries of a block) */
    float *most, *sum, *shrink; /* (n) */
} few;

static few few_start(const lr_attention_args *a, const lr_att_item *it, float *scratch) {
    few f = {.n = it->n_rows * it->group, .dim = a->head_dim, .v_dim = lr_att_v_dim(a), .q = scratch};
    f.width = (f.dim + 15) & ~15;
    f.out = f.q + f.n * f.width;
    f.score = f.out + f.n * f.width;
    f.most = f.score + TILE * W / 2;
    f.sum = f.most + f.n;
    f.shrink = f.sum + f.n;
    for (int32_t i = 0; i < f.n; i++) {
        int32_t r = i / it->group, h = it->kv_head * it->group + i % it->group;
        const float *q = a->q + (it->row + r) * a->q_stride + (int64_t)h * f.dim;
        for (int32_t d = 0; d < f.width; d++) {
            f.q[i * f.width + d] = d < f.dim ? q[d] * a->scale : 0;
            f.out[i * f.width + d] = 0;
        }
        if (it->seq->kv.format == LR_KV_ROTATED) lr_rotate(f.q + i * f.width, f.dim);
        f.most[i] = -INFINITY;
        f.sum[i] = 0;
    }
    return f;
}

/* Scores of `queries` queries from i on against the run: score[t * queries + r].  W / queries positions at a time;
 * those beyond the run repeat its last one.                                                                          */
INLINE void few_dots(lr_format format, int queries, few *f, int32_t i, const lr_att_run *run) {
    const lr_format_traits *traits = &lr_formats[format];
    int keys = W / queries, row_bytes = f->dim / traits->block * traits->quant_bytes;
    int scale_bytes = f->dim / traits->block * traits->scale_bytes;
    const float *q = f->q + i * f->width;
    for (int32_t t = 0; t < run->n; t += keys) {
        const uint8_t *k[W], *s[W];
        vf sum[W];
#pragma GCC unroll 16
        for (int j = 0; j < keys; j++) {
            int32_t at = (int32_t)lr_min(t + j, run->n - 1);
            k[j] = run->k + at * row_bytes;
            s[j] = scale_bytes ? run->k_scales + at * scale_bytes : NULL;
        }
#pragma GCC unroll 16
        for (int j = 0; j < W; j++) sum[j] = v_zero();
        for (int d = 0; d < f->dim; d += W) {
            int n = (int)lr_min(W, f->dim - d);
            vf x[W];
#pragma GCC unroll 8
            for (int r = 0; r < queries; r++) {
                x[r] = v_load(q + r * f->width + d);
                v_keep(&x[r]);
            }
#pragma GCC unroll 16
            for (int j = 0; j < keys; j++) {
                vf key = load_kv(format, k[j], s[j], d, n);
#pragma GCC unroll 8
                for (int r = 0; r < queries; r++) sum[j * queries + r] = v_fma(x[r], key, sum[j * queries + r]);
            }
        }
        v_store(f->score + t * queries, v_sum_each(sum));
    }
}

/* Lane l of a vector of scores belongs to query l % queries, queries being W / 2, W / 4 or 1.                        */
INLINE vf few_load(int queries, const float *x) {
    return queries == 1 ? v_all(*x) : queries == W / 2 ? v_half_twice(x) : v_quarter_4_times(x);
}
INLINE vf few_most(int queries, vf v) {
    if (queries == 1) return v_all(v_most(v));
    v = v_max(v, v_swap_halves(v));
    return queries == W / 2 ? v : v_max(v, v_swap_quarters(v));
}
INLINE vf few_sum(int queries, vf v) {
    if (queries == 1) return v_all(v_sum(v));
    v += v_swap_halves(v);
    if (queries < W / 2) v += v_swap_quarters(v);
    return v;
}

/* Scores to weights.                                                                                                 */
INLINE void few_soften(int queries, const lr_attention_args *a, const lr_att_item *it, few *f, int32_t i, int32_t p,
                       int32_t n) {
    int32_t keys = W / queries, end = (n + keys - 1) / keys * keys, lo, hi;
    cap_scores(a, f->score, end * queries);
    for (int r = 0; r < queries; r++) {
        lr_att_seen(a, it, (i + r) / it->group, p, n, &lo, &hi);
        for (int32_t t = 0; t < lo; t++) f->score[t * queries + r] = -INFINITY;
        for (int32_t t = hi; t < end; t++) f->score[t * queries + r] = -INFINITY;
    }
    vf before = few_load(queries, f->most + i), most = before, sum = v_zero();
    for (int32_t t = 0; t < end; t += keys) most = v_max(v_load(f->score + t * queries), most);
    most = few_most(queries, most);
    vf base = v_max(most, v_all(-0x1p100f)); /* nothing seen yet: exp(-inf), not exp(NaN) */
    for (int32_t t = 0; t < end; t += keys) {
        vf weight = v_exp(v_load(f->score + t * queries) - base);
        v_store(f->score + t * queries, weight);
        sum += weight;
    }
    vf shrink = v_exp(before - base);
    sum = v_fma(few_load(queries, f->sum + i), shrink, few_sum(queries, sum));
    v_store_n(f->shrink + i, shrink, queries);
    v_store_n(f->sum + i, sum, queries);
    v_store_n(f->most + i, most, queries);
}

/* Adds the weighted V rows of a run to `queries` queries, `vecs` vectors of dimensions from d on.                    */
INLINE void few_gather(lr_format format, int queries, int vecs, few *f, int32_t i, const lr_att_run *run, int d) {
    const lr_format_traits *traits = &lr_formats[format];
    int row_bytes = f->dim / traits->block * traits->quant_bytes,
        scale_bytes = f->dim / traits->block * traits->scale_bytes;
    int last = (int)lr_min(W, f->v_dim - d - (vecs - 1) * W); /* values in the last vector */
    float *out = f->out + i * f->width + d;
    const float *weight = f->score;
    const uint8_t *v = run->v, *s = run->v_scales;
    vf sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[r][j] = v_load(out + r * f->width + j * W) * v_all(f->shrink[i + r]);
    for (int32_t t = 0; t < run->n; t++, v += row_bytes) {
        vf x[4];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) x[j] = load_kv(format, v, s, d + j * W, j + 1 < vecs ? W : last);
        if (traits->scale_bytes) s += scale_bytes;
#pragma GCC unroll 8
        for (int r = 0; r < queries; r++) {
            vf w = v_all(weight[t * queries + r]);
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++) sum[r][j] = v_fma(w, x[j], sum[r][j]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) v_store(out + r * f->width + j * W, sum[r][j]);
}

/* All steps for the queries [i, i + queries); vecs x queries sums fit the registers.                                 */
INLINE void few_block(lr_format format, int queries, int vecs, const lr_attention_args *a, const lr_att_item *it,
                      few *f, int32_t i, int32_t p, const lr_att_run *run) {
    int d = 0;
    few_dots(format, queries, f, i, run);
    few_soften(queries, a, it, f, i, p, run->n);
    for (; d + vecs * W <= f->v_dim; d += vecs * W) few_gather(format, queries, vecs, f, i, run, d);
    for (; d < f->v_dim; d += W) few_gather(format, queries, 1, f, i, run, d);
}

INLINE void few_visit_format(lr_format format, const lr_attention_args *a, const lr_att_item *it, few *f, int32_t p,
                             const lr_att_run *run) {
    int32_t i = 0;
    for (; i + W / 2 <= f->n; i += W / 2) few_block(format, W / 2, 2, a, it, f, i, p, run);
    for (; i + W / 4 <= f->n; i += W / 4) few_block(format, W / 4, 4, a, it, f, i, p, run);
    for (; i < f->n; i++) few_block(format, 1, 4, a, it, f, i, p, run);
}

static void few_visit(const lr_attention_args *a, const lr_att_item *it, few *f, int32_t p, const lr_att_run *run) {
    switch (it->seq->kv.format) {
    case LR_F32: few_visit_format(LR_F32, a, it, f, p, run); break;
    case LR_F16: few_visit_format(LR_F16, a, it, f, p, run); break;
    case LR_Q8_0: few_visit_format(LR_Q8_0, a, it, f, p, run); break;
    default: few_visit_format(LR_KV_ROTATED, a, it, f, p, run);
    }
}

static void few_finish(const lr_attention_args *a, const lr_att_item *it, const few *f) {
    for (int32_t i = 0; i < f->n; i++) {
        float factor, *out = result(a, it, i, f->most[i], f->sum[i], &factor);
        for (int32_t d = 0; d < f->v_dim; d++) out[d] = f->out[i * f->width + d] * factor;
        if (it->seq->kv.format == LR_KV_ROTATED && !it->partial) lr_rotate(out, f->v_dim);
    }
}

#endif
