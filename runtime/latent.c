/* Latent attention: the cache keeps one short row a token, kv_rank values that keys and values of all heads come from and
 * n_rot rotated ones.  What makes keys of them is multiplied into the queries, what makes values into the result, so that
 * attention itself sees one KV head whose rows are both K and V.  Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.  */
#include <string.h>

#include "runtime/forward_layer.h"

/* y[t][h] = w_h x[t][h], w_h being the rows of w that belong to head h.                item: head                      */
typedef struct heads_args {
    float *y;
    const float *x;
    int64_t n, cols, rows;                  /* rows, cols: of a head */
    int64_t y_stride, y_head, x_stride, x_head; /* floats from row to row of the pass, from head to head */
    const lr_matrix *w;
    const lr_ops *ops;
} heads_args;

enum { PIECE = 8 }; /* rows of the pass at once, what kernels for few tokens take */

/* Gathered rows, the same packed, and what the kernels want besides.                                                   */
static size_t piece_bytes(int64_t cols) { return lr_aligned(PIECE * (size_t)cols * sizeof(float)); }

size_t lr_latent_scratch_bytes(const lr_hparams *h, const lr_ops *ops) {
    int64_t cols = lr_max(h->n_nope, h->kv_rank);
    size_t inner = ops->scratch_bytes(cols, PIECE, 1, 32), packed = lr_act_bytes(LR_ACT_F32, PIECE, cols);
    for (int f = 0; f < LR_N_ACT_FORMATS; f++)
        if (f != LR_ACT_Q8 || cols % 32 == 0) packed = (size_t)lr_max((int64_t)packed, (int64_t)lr_act_bytes(f, PIECE, cols));
    return piece_bytes(cols) + lr_aligned(packed) + inner;
}

static void heads(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const heads_args *a = args;
    const lr_matmul_kernel *kernel = &a->ops->matmul_few[a->w->format];
    float *rows = scratch;
    uint8_t *packed = (uint8_t *)scratch + piece_bytes(a->cols);
    uint8_t *inner = packed + lr_aligned(lr_act_bytes(kernel->act, PIECE, a->cols));
    for (int64_t h = i0; h < i1; h++) {
        lr_matmul_args m = { .y_stride = a->y_stride, .w = *a->w };
        m.w.rows = a->rows;
        m.w.quants = (const uint8_t *)a->w->quants + (size_t)(h * a->rows) * a->w->quants_stride;
        if (a->w->scales) m.w.scales = (const uint8_t *)a->w->scales + (size_t)(h * a->rows) * a->w->scales_stride;
        for (int64_t t = 0, n; t < a->n; t += n) {
            n = lr_min(PIECE, a->n - t);
            for (int64_t i = 0; i < n; i++)
                memcpy(rows + i * a->cols, a->x + (t + i) * a->x_stride + h * a->x_head, (size_t)a->cols * sizeof *rows);
            m.x = lr_act_at(kernel->act, n, a->cols, packed);
            if (kernel->act == LR_ACT_F32) m.x.values = rows;
            else a->ops->pack(&(lr_pack_args){ .x = rows, .out = m.x }, 0, n, inner);
            m.y = a->y + t * a->y_stride + h * a->y_head;
            kernel->run(&m, 0, a->rows, inner);
        }
    }
}

/* The rotated parts of queries, behind where the cache's row will meet them.                                           */
static void place_rotated(const lr_hparams *h, int64_t n, const float *from, float *to) {
    size_t bytes = (size_t)h->n_rot * sizeof *to;
    for (int64_t i = 0; i < n * h->n_heads; i++)
        memcpy(to + i * h->head_dim + h->kv_rank, from + i * (h->n_nope + h->n_rot) + h->n_nope, bytes);
}

static void rotate(const lr_work *w, float *x, int64_t stride, int32_t n_heads, int32_t head, const float *cos_sin) {
    const lr_hparams *h = &w->e->binding.hparams;
    lr_rope_args a = { .x = x, .x_stride = stride, .cos_sin = cos_sin, .n_heads = n_heads, .head_dim = head,
                       .n_rot = h->n_rot, .adjacent = h->rope_adjacent };
    lr_threads_run(w->e->threads, w->e->ops.rope, &a, w->p->n, 1);
}

/* Norms of the short rows have an eps of their own.                                                                    */
static void norm_rows(const lr_work *w, float *x, const float *weight, int64_t dim, int64_t stride) {
    lr_norm_args a = { .y = x, .x = x, .w = weight, .dim = dim, .x_stride = stride, .y_stride = stride, .eps = 1e-6f };
    lr_threads_run(w->e->threads, w->e->ops.norm, &a, w->p->n, 1);
}

/* Heads of queries as they meet the cache, in `q`; the new rows of the cache, in `k`.                                  */
static llmrun_status project(const lr_work *w, lr_place *p, const lr_layer *l, float *ranked, float *q) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, head = h->n_nope + h->n_rot;
    float *k = lr_layer_floats(p, b->k);
    const float *cos_sin = lr_layer_floats(p, b->cos_sin);
    lr_input in = { .x = lr_layer_floats(p, b->x), .norm = l->attn_norm, .y = lr_layer_floats(p, b->y), .n = n,
                    .cols = h->dim };
    LR_TRY(lr_layer_products(w, p, &in, (const lr_matrix *const[]){ h->q_rank ? &l->wq_a : &l->wq, &l->wkv_a },
                             (float *const[]){ h->q_rank ? ranked : q, k }, NULL, 2, false));
    if (h->q_rank) {
        norm_rows(w, ranked, l->q_a_norm, h->q_rank, h->q_rank);
        lr_input from = { .x = ranked, .n = n, .cols = h->q_rank };
        const lr_matrix *wq = &l->wq;
        LR_TRY(lr_layer_products(w, p, &from, &wq, &q, NULL, 1, false));
    }
    norm_rows(w, k, l->kv_a_norm, h->kv_rank, h->head_dim);
    rotate(w, k + h->kv_rank, h->head_dim, 1, h->head_dim, cos_sin);
    rotate(w, q + h->n_nope, h->n_heads * head, h->n_heads, (int32_t)head, cos_sin);
    heads_args up = { .y = lr_layer_floats(p, b->q), .x = q, .n = n, .cols = h->n_nope, .rows = h->kv_rank,
                      .y_stride = (int64_t)h->n_heads * h->head_dim, .y_head = h->head_dim,
                      .x_stride = h->n_heads * head, .x_head = head, .w = &l->wk_b, .ops = &w->e->ops };
    lr_threads_run(w->e->threads, heads, &up, h->n_heads, 1);
    place_rotated(h, n, q, lr_layer_floats(p, b->q));
    return LLMRUN_OK;
}

llmrun_status lr_latent_attention(const lr_work *w, lr_place *p, int32_t layer, const lr_layer *l, const lr_seq *seqs) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, q_dim = (int64_t)h->n_heads * h->head_dim, v_dim = (int64_t)h->n_heads * h->v_dim;
    float *ranked = lr_layer_floats(p, b->latent), *values = ranked + n * h->q_rank;
    (void)layer;
    LR_TRY(project(w, p, l, ranked, values));
    lr_kv_write_args write = { .k = lr_layer_floats(p, b->k), .k_stride = h->head_dim, .seqs = seqs,
                               .n_seqs = w->p->n_sessions };
    lr_threads_run(w->e->threads, w->e->ops.kv_write, &write, n, 1);
    lr_attention_args a = { .out = lr_layer_floats(p, b->att), .q = lr_layer_floats(p, b->q), .out_stride = q_dim,
                            .q_stride = q_dim, .seqs = seqs, .n_seqs = w->p->n_sessions, .n_heads = h->n_heads,
                            .head_dim = h->head_dim, .scale = h->attn_scale, .n_kv_heads = 1,
                            .kv_format = w->e->plan.kv, .partial = lr_layer_floats(p, b->partial) };
    LR_TRY(p->ops->attention(p->device, &a, &w->shape, NULL, w->err));
    heads_args up = { .y = values, .x = a.out, .n = n, .cols = h->kv_rank, .rows = h->v_dim, .y_stride = v_dim,
                      .y_head = h->v_dim, .x_stride = q_dim, .x_head = h->head_dim, .w = &l->wv_b, .ops = &w->e->ops };
    lr_threads_run(w->e->threads, heads, &up, h->n_heads, 1);
    lr_input in = { .x = values, .n = n, .cols = v_dim };
    return lr_layer_add_product(w, p, &in, &l->wo, NULL, NULL);
}
