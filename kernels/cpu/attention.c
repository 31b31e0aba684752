/* Attention: the cut into items, the portable kernel, and the merge of splits.
 * Sources: online softmax, Milakov and Gimelshein, arXiv:1805.02867; tiling, Dao et al., arXiv:2205.14135; splits of
 * the context in decode, Flash-Decoding (Dao et al., 2023).                                                          */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rotate.h"

/* ---- the cut: depends on shapes alone ---- */

typedef struct cut {
    int32_t rows;      /* of a block */
    int32_t least;     /* positions of a split */
    bool split;
    int64_t n_rows;    /* of the pass */
    int32_t n_splits;  /* most that any block has: stride of the partial results */
} cut;

/* Positions that the rows [r0, r0 + n) of a sequence see together.                                                   */
static void visible(const lr_attention_args *a, const lr_seq *seq, int64_t r0, int64_t n, int32_t *p0, int32_t *p1) {
    int32_t first = (int32_t)(seq->position + r0);
    *p0 = a->window > 0 && first >= a->window ? first - a->window + 1 : 0;
    *p1 = (int32_t)(first + n);
}

/* Few KV heads are few items: shorter splits make up for it.                                                         */
static int32_t least_split(int32_t n_kv_heads) { return n_kv_heads == 1 ? LR_ATT_SPLIT_ONE : LR_ATT_SPLIT; }

static int32_t split_length(const cut *c, int32_t n_positions) {
    int32_t room = c->least * LR_ATT_MAX_SPLITS;
    return c->least * (int32_t)((n_positions + (int64_t)room - 1) / room);
}

static int32_t count_splits(const cut *c, int32_t n_positions) {
    int32_t length = split_length(c, n_positions);
    return (n_positions + length - 1) / length;
}

static int64_t count_blocks(const cut *c, const lr_seq *seq) { return (seq->n + c->rows - 1) / c->rows; }

static int32_t block_splits(const lr_attention_args *a, const cut *c, const lr_seq *seq, int64_t block) {
    int32_t p0, p1;
    int64_t r0 = block * c->rows;
    visible(a, seq, r0, lr_min(c->rows, seq->n - r0), &p0, &p1);
    return count_splits(c, p1 - p0);
}

static cut make_cut(const lr_attention_args *a) {
    cut c = {.rows = 1, .n_splits = 1};
    if (a->n_seqs < 1) return c;
    int32_t group = a->n_heads / a->seqs[0].kv.n_kv_heads;
    c.rows = (int32_t)lr_max(1, LR_ATT_QUERIES / group);
    c.least = least_split(a->seqs[0].kv.n_kv_heads);
    const lr_seq *last = &a->seqs[a->n_seqs - 1];
    c.n_rows = last->row + last->n;
    if (c.n_rows > LR_ATT_SPLIT_ROWS) return c;
    for (int32_t s = 0; s < a->n_seqs; s++)
        for (int64_t b = 0; b < count_blocks(&c, &a->seqs[s]); b++)
            c.n_splits = (int32_t)lr_max(c.n_splits, block_splits(a, &c, &a->seqs[s], b));
    c.split = c.n_splits > 1;
    return c;
}

bool lr_attention_is_split(const lr_attention_args *a) { return make_cut(a).split; }

int64_t lr_attention_items(const lr_attention_args *a) {
    cut c = make_cut(a);
    int64_t n = 0;
    for (int32_t s = 0; s < a->n_seqs; s++) {
        const lr_seq *seq = &a->seqs[s];
        int64_t blocks = count_blocks(&c, seq);
        if (!c.split) n += blocks * seq->kv.n_kv_heads;
        else
            for (int64_t b = 0; b < blocks; b++) n += (int64_t)block_splits(a, &c, seq, b) * seq->kv.n_kv_heads;
    }
    return n;
}

size_t lr_attention_partial_bytes(int32_t n_rows, int32_t n_ctx, int32_t n_heads, int32_t n_kv_heads, int32_t v_dim) {
    int32_t least = least_split(n_kv_heads);
    if (n_ctx <= least) return 0;
    size_t rows = (size_t)lr_min(n_rows, LR_ATT_SPLIT_ROWS);
    size_t splits = (size_t)lr_min(LR_ATT_MAX_SPLITS, ((int64_t)n_ctx + least - 1) / least);
    return rows * splits * (size_t)n_heads * (size_t)(v_dim + 2) * sizeof(float);
}

void lr_att_item_at(const lr_attention_args *a, int64_t item, lr_att_item *out) {
    cut c = make_cut(a);
    const lr_seq *seq = a->seqs;
    int64_t block = 0, heads;
    int32_t splits = 1;
    for (;; seq++) { /* find the sequence, then the block */
        heads = seq->kv.n_kv_heads;
        int64_t blocks = count_blocks(&c, seq);
        if (!c.split) {
            if (item < blocks * heads) {
                block = item / heads;
                item %= heads;
                break;
            }
            item -= blocks * heads;
            continue;
        }
        for (block = 0; block < blocks; block++) {
            splits = block_splits(a, &c, seq, block);
            if (item < splits * heads) break;
            item -= splits * heads;
        }
        if (block < blocks) break;
    }
    int64_t r0 = block * c.rows;
    int32_t p0, p1, split = (int32_t)(item % splits);
    *out = (lr_att_item){.seq = seq, .row = seq->row + r0, .n_rows = (int32_t)lr_min(c.rows, seq->n - r0),
                         .position = (int32_t)(seq->position + r0), .kv_head = (int32_t)(item / splits),
                         .group = a->n_heads / seq->kv.n_kv_heads};
    visible(a, seq, r0, out->n_rows, &p0, &p1);
    out->p0 = p0;
    out->p1 = p1;
    if (c.split) {
        int32_t length = split_length(&c, p1 - p0), width = lr_att_v_dim(a) + 2;
        out->p0 = p0 + split * length;
        out->p1 = (int32_t)lr_min(p1, (int64_t)out->p0 + length);
        out->head_stride = (int64_t)c.n_splits * width;
        out->row_stride = a->n_heads * out->head_stride;
        out->partial = a->partial + out->row * out->row_stride + out->kv_head * out->group * out->head_stride +
                       (int64_t)split * width;
    }
}

void lr_att_run_at(const lr_kv_layer *kv, int32_t kv_head, int32_t p, int32_t n, lr_att_run *out) {
    void *quants, *scales;
    int32_t slot = p % kv->n_slots;
    n = (int32_t)lr_min(n, kv->n_slots - slot);
    out->n = (int32_t)lr_min(n, kv->page_slots - slot % kv->page_slots);
    lr_kv_row(kv, slot, kv_head, 0, &quants, &scales);
    out->k = quants;
    out->k_scales = scales;
    lr_kv_row(kv, slot, kv_head, 1, &quants, &scales);
    out->v = quants;
    out->v_scales = scales;
}

/* Queries and results (2 x queries x head_dim), K or V of a tile, scores (queries x tile), and six values per query.
 * Queries and head sizes are rounded up to 16 so that vectors may run over the end of a row.                         */
size_t lr_attention_scratch_bytes(int64_t n, int32_t n_heads, int32_t head_dim) {
    size_t dim = ((size_t)head_dim + 15) & ~(size_t)15;
    size_t queries = ((size_t)lr_max(LR_ATT_QUERIES, n_heads) + 15) & ~(size_t)15;
    (void)n;
    return (2 * queries * dim + LR_ATT_TILE * dim + queries * LR_ATT_TILE + 6 * queries) * sizeof(float);
}

/* ---- the portable kernel ---- */

typedef struct state {
    int32_t n_queries, dim, v_dim;
    float *q, *out;     /* (n_queries, dim) scaled queries, unnormalised results */
    float *most, *sum;  /* (n_queries) running maximum and sum of exponentials */
    float *tile;        /* (LR_ATT_TILE, dim) K, then V */
    float *score;       /* (n_queries, LR_ATT_TILE) */
} state;

static state lay_out(const lr_attention_args *a, const lr_att_item *it, float *scratch) {
    int32_t n = it->n_rows * it->group, dim = a->head_dim;
    state s = {.n_queries = n, .dim = dim, .v_dim = lr_att_v_dim(a), .q = scratch};
    s.out = s.q + n * dim;
    s.most = s.out + n * dim;
    s.sum = s.most + n;
    s.tile = s.sum + n;
    s.score = s.tile + LR_ATT_TILE * dim;
    return s;
}

static void start(const lr_attention_args *a, const lr_att_item *it, state *s) {
    for (int32_t i = 0; i < s->n_queries; i++) {
        int32_t r = i / it->group, h = it->kv_head * it->group + i % it->group;
        const float *q = a->q + (it->row + r) * a->q_stride + (int64_t)h * s->dim;
        for (int32_t d = 0; d < s->dim; d++) {
            s->q[i * s->dim + d] = q[d] * a->scale;
            s->out[i * s->dim + d] = 0;
        }
        if (it->seq->kv.format == LR_KV_ROTATED) lr_rotate(s->q + i * s->dim, s->dim);
        s->most[i] = -INFINITY;
        s->sum[i] = 0;
    }
}

/* Scores of query i against a tile become weights; what it gathered so far is scaled to the new maximum.             */
static void soften(state *s, int32_t i, int32_t lo, int32_t hi) {
    float *score = s->score + i * LR_ATT_TILE, most = s->most[i], sum = 0;
    for (int32_t t = lo; t < hi; t++) most = fmaxf(most, score[t]);
    float shrink = expf(s->most[i] - most);
    for (int32_t t = lo; t < hi; t++) sum += score[t] = expf(score[t] - most);
    for (int32_t d = 0; d < s->v_dim; d++) s->out[i * s->dim + d] *= shrink;
    s->sum[i] = s->sum[i] * shrink + sum;
    s->most[i] = most;
}

enum { LANES = 8 }; /* sums side by side: less rounding than one, and the compiler may use vectors */

static float dot(const float *restrict x, const float *restrict y, int32_t n) {
    float sum[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) sum[l] += x[i + l] * y[i + l];
    for (int l = 0; i < n; i++, l++) sum[l] += x[i] * y[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void add_scaled(float *restrict out, const float *restrict x, float scale, int32_t n) {
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) out[i + l] += scale * x[i + l];
    for (; i < n; i++) out[i] += scale * x[i];
}

static void visit(const lr_attention_args *a, const lr_att_item *it, state *s, int32_t p, const lr_att_run *run) {
    const lr_format_traits *f = &lr_formats[it->seq->kv.format];
    int32_t dim = s->dim, lo, hi;
    f->decode(s->tile, run->k, run->k_scales, (int64_t)run->n * dim);
    for (int32_t i = 0; i < s->n_queries; i++) {
        lr_att_seen(a, it, i / it->group, p, run->n, &lo, &hi);
        for (int32_t t = lo; t < hi; t++) {
            float score = dot(s->q + i * dim, s->tile + t * dim, dim);
            s->score[i * LR_ATT_TILE + t] = a->softcap > 0 ? a->softcap * tanhf(score / a->softcap) : score;
        }
        if (lo < hi) soften(s, i, lo, hi);
    }
    f->decode(s->tile, run->v, run->v_scales, (int64_t)run->n * dim);
    for (int32_t i = 0; i < s->n_queries; i++) {
        lr_att_seen(a, it, i / it->group, p, run->n, &lo, &hi);
        for (int32_t t = lo; t < hi; t++)
            add_scaled(s->out + i * dim, s->tile + t * dim, s->score[i * LR_ATT_TILE + t], s->v_dim);
    }
}

static void finish(const lr_attention_args *a, const lr_att_item *it, const state *s) {
    for (int32_t i = 0; i < s->n_queries; i++) {
        int32_t r = i / it->group, g = i % it->group, h = it->kv_head * it->group + g;
        float *out = a->out + (it->row + r) * a->out_stride + (int64_t)h * s->v_dim, factor = 1.0f;
        if (it->partial) {
            out = it->partial + r * it->row_stride + g * it->head_stride;
            out[s->v_dim] = s->most[i];
            out[s->v_dim + 1] = s->sum[i];
        } else {
            factor = lr_att_factor(a, h, s->most[i], s->sum[i]);
        }
        for (int32_t d = 0; d < s->v_dim; d++) out[d] = s->out[i * s->dim + d] * factor;
        if (it->seq->kv.format == LR_KV_ROTATED && !it->partial) lr_rotate(out, s->v_dim);
    }
}

void lr_attention_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_attention_args *a = args;
    for (int64_t i = i0; i < i1; i++) {
        lr_att_item it;
        lr_att_run run;
        lr_att_item_at(a, i, &it);
        state s = lay_out(a, &it, scratch);
        start(a, &it, &s);
        for (int32_t p = it.p0; p < it.p1; p += run.n) {
            lr_att_run_at(&it.seq->kv, it.kv_head, p, (int32_t)lr_min(LR_ATT_TILE, it.p1 - p), &run);
            visit(a, &it, &s, p, &run);
        }
        finish(a, &it, &s);
    }
}

/* ---- merge ---- */

/* Number of splits of the block that holds a row of the pass.                                                        */
static int32_t row_splits(const lr_attention_args *a, const cut *c, int64_t row) {
    for (int32_t s = 0; s < a->n_seqs; s++) {
        const lr_seq *seq = &a->seqs[s];
        if (row >= seq->row && row < seq->row + seq->n) return block_splits(a, c, seq, (row - seq->row) / c->rows);
    }
    return 0;
}

void lr_attention_merge_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_attention_args *a = args;
    cut c = make_cut(a);
    int32_t v_dim = lr_att_v_dim(a), width = v_dim + 2;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        int64_t row = i / a->n_heads, head = i % a->n_heads;
        int32_t n = row_splits(a, &c, row);
        const float *from = a->partial + i * c.n_splits * width;
        float *out = a->out + row * a->out_stride + head * v_dim, most = -INFINITY, sum = 0;
        if (n == 0) continue;
        for (int32_t s = 0; s < n; s++) most = fmaxf(most, from[s * width + v_dim]);
        for (int32_t d = 0; d < v_dim; d++) out[d] = 0;
        for (int32_t s = 0; s < n; s++) { /* a split of which the row sees nothing has maximum -inf: weight 0 */
            const float *x = from + s * width;
            float weight = expf(x[v_dim] - most);
            sum += weight * x[v_dim + 1];
            for (int32_t d = 0; d < v_dim; d++) out[d] += weight * x[d];
        }
        float factor = lr_att_factor(a, head, most, sum);
        for (int32_t d = 0; d < v_dim; d++) out[d] *= factor;
        if (a->seqs[0].kv.format == LR_KV_ROTATED) lr_rotate(out, v_dim);
    }
}

void lr_attention_fill_c(lr_ops *ops) {
    LR_SET_OP(ops, attention, c);
    LR_SET_OP(ops, attention_merge, c);
}
