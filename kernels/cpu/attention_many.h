/* Attention of many queries (prefill): lanes are queries.  Scores, maxima and results are kept transposed, so softmax
 * and rescaling need no horizontal step, and both products are register tiles: a broadcast K or V value times vectors
 * of queries.                                                                                                        */
#ifndef LR_ATTENTION_MANY_H
#define LR_ATTENTION_MANY_H

#include "kernels/cpu/attention_load.h"

typedef struct many {
    int32_t n, lanes, dim, v_dim; /* queries; rounded up to W; head_dim; of V */
    float *q, *out;          /* (dim, lanes) */
    float *score;            /* (TILE, lanes) */
    float *most, *sum, *shrink; /* (lanes) running maximum, sum, factor for what was gathered before this tile */
    float *lo, *hi;          /* (lanes) positions of the tile that the query sees */
    float *tile;             /* (TILE, dim) */
} many;

static many many_start(const lr_attention_args *a, const lr_att_item *it, float *scratch) {
    many m = {.n = it->n_rows * it->group, .dim = a->head_dim, .v_dim = lr_att_v_dim(a), .q = scratch};
    m.lanes = (m.n + W - 1) / W * W;
    m.out = m.q + m.dim * m.lanes;
    m.score = m.out + m.dim * m.lanes;
    m.most = m.score + TILE * m.lanes;
    m.sum = m.most + m.lanes;
    m.shrink = m.sum + m.lanes;
    m.lo = m.shrink + m.lanes;
    m.hi = m.lo + m.lanes;
    m.tile = m.hi + m.lanes;
    for (int32_t l = 0; l < m.lanes; l += W) {
        const float *row[W];
        for (int32_t i = 0; i < W; i++) { /* lanes beyond the queries repeat the last one; nobody reads their results */
            int32_t query = (int32_t)lr_min(l + i, m.n - 1), r = query / it->group, g = query % it->group;
            row[i] = a->q + (it->row + r) * a->q_stride + (int64_t)(it->kv_head * it->group + g) * m.dim;
            if (it->seq->kv.format != LR_KV_ROTATED) continue;
            float *rotated = m.out + i * m.dim; /* free until below */
            row[i] = memcpy(rotated, row[i], (size_t)m.dim * sizeof *rotated);
            lr_rotate(rotated, m.dim);
        }
        for (int32_t d = 0; d < m.dim; d += W) {
            int n = (int)lr_min(W, m.dim - d);
            vf x[W];
            for (int i = 0; i < W; i++) x[i] = v_load_n(row[i] + d, n) * v_all(a->scale);
            v_transpose(x);
            for (int i = 0; i < n; i++) v_store(m.q + (d + i) * m.lanes + l, x[i]);
        }
        v_store(m.most + l, v_all(-INFINITY));
        v_store(m.sum + l, v_zero());
    }
    memset(m.out, 0, (size_t)(m.dim * m.lanes) * sizeof *m.out);
    return m;
}

/* out[row][lane] = shrink[lane] * out[row][lane] + sum over i of left[row][i] * right[i][lane], for ROWS rows and VECS
 * vectors of lanes.  left: row r, term i at r * row_step + i * term_step.                                            */
INLINE void product(int rows, int vecs, float *out, const float *left, int row_step, int term_step, const float *right,
                    int terms, int lanes, const float *shrink) {
    vf sum[6][4];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            sum[r][v] = v_zero();
            if (shrink) sum[r][v] = v_load(out + r * lanes + v * W) * v_load(shrink + v * W);
        }
    for (int i = 0; i < terms; i++) {
        vf x[4];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) x[v] = v_load(right + i * lanes + v * W);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            vf w = v_all(left[r * row_step + i * term_step]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) sum[r][v] = v_fma(w, x[v], sum[r][v]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) v_store(out + r * lanes + v * W, sum[r][v]);
}

INLINE void product_rows(int vecs, float *out, int n_rows, const float *left, int row_step, int term_step,
                         const float *right, int terms, int lanes, const float *shrink) {
    int r = 0;
    for (; r + 6 <= n_rows; r += 6)
        product(6, vecs, out + r * lanes, left + r * row_step, row_step, term_step, right, terms, lanes, shrink);
    for (; r + 4 <= n_rows; r += 4)
        product(4, vecs, out + r * lanes, left + r * row_step, row_step, term_step, right, terms, lanes, shrink);
    for (; r < n_rows; r++)
        product(1, vecs, out + r * lanes, left + r * row_step, row_step, term_step, right, terms, lanes, shrink);
}

static void product_all(float *out, int n_rows, const float *left, int row_step, int term_step, const float *right,
                        int terms, int lanes, const float *shrink) {
    enum { VECS = W == 16 ? 4 : 2 }; /* 6 x VECS sums fill the registers */
    int l = 0;
    for (; l + VECS * W <= lanes; l += VECS * W)
        product_rows(VECS, out + l, n_rows, left, row_step, term_step, right + l, terms, lanes,
                     shrink ? shrink + l : NULL);
    for (; l < lanes; l += W)
        product_rows(1, out + l, n_rows, left, row_step, term_step, right + l, terms, lanes,
                     shrink ? shrink + l : NULL);
}

/* Hides what a query does not see in the tile.                                                                       */
static void many_hide(const lr_attention_args *a, const lr_att_item *it, many *m, int32_t p, int32_t n) {
    bool all = true;
    for (int32_t r = 0; r < it->n_rows; r++) {
        int32_t lo, hi;
        lr_att_seen(a, it, r, p, n, &lo, &hi);
        all = all && lo == 0 && hi == n;
        for (int32_t g = 0; g < it->group; g++) {
            m->lo[r * it->group + g] = (float)lo;
            m->hi[r * it->group + g] = (float)hi;
        }
    }
    for (int32_t i = m->n; i < m->lanes; i++) m->lo[i] = m->hi[i] = 0;
    if (all) return;
    for (int32_t l = 0; l < m->lanes; l += W)
        for (int32_t t = 0; t < n; t++) {
            float *s = m->score + t * m->lanes + l;
            v_store(s, v_between((float)t, v_load(m->lo + l), v_load(m->hi + l), v_load(s), v_all(-INFINITY)));
        }
}

static void many_soften(many *m, int32_t n) {
    for (int32_t l = 0; l < m->lanes; l += W) {
        float *score = m->score + l;
        vf before = v_load(m->most + l), most = before, sum = v_zero();
        for (int32_t t = 0; t < n; t++) most = v_max(v_load(score + t * m->lanes), most);
        vf base = v_max(most, v_all(-0x1p100f)); /* a query that has seen nothing yet: exp(-inf), not exp(NaN) */
        for (int32_t t = 0; t < n; t++) {
            vf weight = v_exp(v_load(score + t * m->lanes) - base);
            v_store(score + t * m->lanes, weight);
            sum += weight;
        }
        vf shrink = v_exp(before - base);
        v_store(m->shrink + l, shrink);
        v_store(m->sum + l, v_fma(v_load(m->sum + l), shrink, sum));
        v_store(m->most + l, most);
    }
}

static void many_visit(const lr_attention_args *a, const lr_att_item *it, many *m, int32_t p, const lr_att_run *run) {
    lr_format format = it->seq->kv.format;
    const float *k = to_floats(format, m->tile, run->k, run->k_scales, run->n * m->dim);
    product_all(m->score, run->n, k, m->dim, 1, m->q, m->dim, m->lanes, NULL);
    cap_scores(a, m->score, run->n * m->lanes);
    many_hide(a, it, m, p, run->n);
    many_soften(m, run->n);
    const float *v = run->v == run->k ? k : to_floats(format, m->tile, run->v, run->v_scales, run->n * m->dim);
    product_all(m->out, m->v_dim, v, 1, m->dim, m->score, run->n, m->lanes, m->shrink);
}

static void many_finish(const lr_attention_args *a, const lr_att_item *it, const many *m) {
    for (int32_t l = 0; l < m->lanes; l += W) {
        int n_queries = (int)lr_min(W, m->n - l);
        float factor[W], *row[W];
        for (int i = 0; i < n_queries; i++) row[i] = result(a, it, l + i, m->most[l + i], m->sum[l + i], &factor[i]);
        for (int32_t d = 0; d < m->v_dim; d += W) {
            int n = (int)lr_min(W, m->v_dim - d);
            vf x[W];
            for (int i = 0; i < W; i++) x[i] = i < n ? v_load(m->out + (d + i) * m->lanes + l) : x[0];
            v_transpose(x);
            for (int i = 0; i < n_queries; i++) v_store_n(row[i] + d, x[i] * v_all(factor[i]), n);
        }
        if (it->seq->kv.format == LR_KV_ROTATED && !it->partial)
            for (int i = 0; i < n_queries; i++) lr_rotate(row[i], m->v_dim);
    }
}

#endif
