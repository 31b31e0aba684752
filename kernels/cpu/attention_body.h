/* Attention on vectors; included once per instruction set, which defines LEVEL(op) as the name of the kernel.
 *
 * Many queries (prefill): lanes are queries.  Scores, maxima and results are kept transposed, so softmax and rescaling
 * need no horizontal step, and both products are register tiles: a broadcast K or V value times vectors of queries.
 * Few queries (decode): lanes are dimensions.  K and V are read straight from the cache, converted in registers, once
 * per block of queries; W dot products (queries x positions) form their sums together.                               */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/vec.h"

enum { TILE = LR_ATT_TILE };

/* ---- K and V as floats ---- */

/* n (1..W) values of a row from dimension d on; others are zero.                                                      */
INLINE vf load_kv(lr_format format, const uint8_t *row, const uint8_t *scales, int d, int n) {
    if (format == LR_F32) return n == W ? v_load((const float *)row + d) : v_load_n((const float *)row + d, n);
    if (format == LR_F16) return n == W ? v_load_f16(row + 2 * d) : v_load_f16_n(row + 2 * d, n);
    uint16_t scale;
    memcpy(&scale, scales + d / 32 * 2, sizeof scale);
    return v_load_i8((const int8_t *)row + d) * v_all(_cvtsh_ss(scale)); /* q8_0: whole blocks of 32 */
}

/* n values (a multiple of 8) of neighbouring rows to floats; f32 stays where it is.                                   */
static const float *to_floats(lr_format format, float *tile, const uint8_t *quants, const uint8_t *scales, int32_t n) {
    int32_t i = 0;
    if (format == LR_F32) return (const float *)(const void *)quants;
    if (format == LR_F16)
        for (; i + W <= n; i += W) v_store(tile + i, load_kv(LR_F16, quants, NULL, i, W));
    else
        for (; i + W <= n; i += W) v_store(tile + i, load_kv(LR_Q8_0, quants, scales, i, W));
    if (i < n) v_store_n(tile + i, load_kv(LR_F16, quants, NULL, i, n - i), n - i);
    return tile;
}

/* ---- many queries ---- */

typedef struct many {
    int32_t n, lanes, dim;   /* queries; rounded up to W; head_dim */
    float *q, *out;          /* (dim, lanes) */
    float *score;            /* (TILE, lanes) */
    float *most, *sum, *shrink; /* (lanes) running maximum, sum, factor for what was gathered before this tile */
    float *lo, *hi;          /* (lanes) positions of the tile that the query sees */
    float *tile;             /* (TILE, dim) */
} many;

static many many_start(const lr_attention_args *a, const lr_att_item *it, float *scratch) {
    many m = {.n = it->n_rows * it->group, .dim = a->head_dim, .q = scratch};
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
        product_rows(VECS, out + l, n_rows, left, row_step, term_step, right + l, terms, lanes, shrink ? shrink + l : NULL);
    for (; l < lanes; l += W)
        product_rows(1, out + l, n_rows, left, row_step, term_step, right + l, terms, lanes, shrink ? shrink + l : NULL);
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
    many_hide(a, it, m, p, run->n);
    many_soften(m, run->n);
    const float *v = to_floats(format, m->tile, run->v, run->v_scales, run->n * m->dim);
    product_all(m->out, m->dim, v, 1, m->dim, m->score, run->n, m->lanes, m->shrink);
}

/* Where the result of query i goes, and the factor that finishes it.                                                 */
static float *result(const lr_attention_args *a, const lr_att_item *it, int32_t i, float most, float sum, float *factor) {
    int32_t r = i / it->group, g = i % it->group;
    if (it->partial) {
        float *at = it->partial + r * it->row_stride + g * it->head_stride;
        at[a->head_dim] = most;
        at[a->head_dim + 1] = sum;
        *factor = 1.0f;
        return at;
    }
    *factor = 1.0f / sum;
    return a->out + (it->row + r) * a->out_stride + (int64_t)(it->kv_head * it->group + g) * a->head_dim;
}

static void many_finish(const lr_attention_args *a, const lr_att_item *it, const many *m) {
    for (int32_t l = 0; l < m->lanes; l += W) {
        int n_queries = (int)lr_min(W, m->n - l);
        float factor[W], *row[W];
        for (int i = 0; i < n_queries; i++) row[i] = result(a, it, l + i, m->most[l + i], m->sum[l + i], &factor[i]);
        for (int32_t d = 0; d < m->dim; d += W) {
            int n = (int)lr_min(W, m->dim - d);
            vf x[W];
            for (int i = 0; i < W; i++) x[i] = i < n ? v_load(m->out + (d + i) * m->lanes + l) : x[0];
            v_transpose(x);
            for (int i = 0; i < n_queries; i++) v_store_n(row[i] + d, x[i] * v_all(factor[i]), n);
        }
    }
}

/* ---- few queries ---- */

typedef struct few {
    int32_t n, dim, width;   /* queries; head_dim; head_dim rounded up to 16 */
    float *q, *out;          /* (n, width), zero beyond dim */
    float *score;            /* (TILE, queries of a block) */
    float *most, *sum, *shrink; /* (n) */
} few;

static few few_start(const lr_attention_args *a, const lr_att_item *it, float *scratch) {
    few f = {.n = it->n_rows * it->group, .dim = a->head_dim, .width = (a->head_dim + 15) & ~15, .q = scratch};
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
            s[j] = format == LR_Q8_0 ? run->k_scales + at * scale_bytes : NULL;
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

/* Lane l of a vector of scores belongs to query l % queries, queries being W / 2, W / 4 or 1.                         */
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

/* Adds the weighted V rows of a run to `queries` queries, `vecs` vectors of dimensions from d on.                     */
INLINE void few_gather(lr_format format, int queries, int vecs, few *f, int32_t i, const lr_att_run *run, int d) {
    const lr_format_traits *traits = &lr_formats[format];
    int row_bytes = f->dim / traits->block * traits->quant_bytes, scale_bytes = f->dim / traits->block * traits->scale_bytes;
    int last = (int)lr_min(W, f->dim - d - (vecs - 1) * W); /* values in the last vector */
    float *out = f->out + i * f->width + d;
    const float *weight = f->score;
    const uint8_t *v = run->v, *s = format == LR_Q8_0 ? run->v_scales : NULL;
    vf sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[r][j] = v_load(out + r * f->width + j * W) * v_all(f->shrink[i + r]);
    for (int32_t t = 0; t < run->n; t++, v += row_bytes) {
        vf x[4];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) x[j] = load_kv(format, v, s, d + j * W, j + 1 < vecs ? W : last);
        if (format == LR_Q8_0) s += scale_bytes;
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

/* All steps for the queries [i, i + queries); vecs x queries sums fit the registers.                                  */
INLINE void few_block(lr_format format, int queries, int vecs, const lr_attention_args *a, const lr_att_item *it, few *f,
                      int32_t i, int32_t p, const lr_att_run *run) {
    int d = 0;
    few_dots(format, queries, f, i, run);
    few_soften(queries, a, it, f, i, p, run->n);
    for (; d + vecs * W <= f->dim; d += vecs * W) few_gather(format, queries, vecs, f, i, run, d);
    for (; d < f->dim; d += W) few_gather(format, queries, 1, f, i, run, d);
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
    default: few_visit_format(LR_Q8_0, a, it, f, p, run);
    }
}

static void few_finish(const lr_attention_args *a, const lr_att_item *it, const few *f) {
    for (int32_t i = 0; i < f->n; i++) {
        float factor, *out = result(a, it, i, f->most[i], f->sum[i], &factor);
        for (int32_t d = 0; d < f->dim; d++) out[d] = f->out[i * f->width + d] * factor;
    }
}

/* ---- the kernel ---- */

static void LEVEL(attention)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_attention_args *a = args;
    if (a->head_dim % 8) {
        lr_attention_c(args, i0, i1, scratch);
        return;
    }
    for (int64_t i = i0; i < i1; i++) {
        lr_att_item it;
        lr_att_run run;
        lr_att_item_at(a, i, &it);
        bool is_few = it.n_rows * it.group <= W;
        many m;
        few f;
        if (is_few) f = few_start(a, &it, scratch);
        else m = many_start(a, &it, scratch);
        for (int32_t p = it.p0; p < it.p1; p += run.n) {
            lr_att_run_at(&it.seq->kv, it.kv_head, p, (int32_t)lr_min(TILE, it.p1 - p), &run);
            if (is_few) few_visit(a, &it, &f, p, &run);
            else many_visit(a, &it, &m, p, &run);
        }
        if (is_few) few_finish(a, &it, &f);
        else many_finish(a, &it, &m);
    }
}
