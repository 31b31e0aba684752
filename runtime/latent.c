/* Latent attention: the cache keeps one short row a token, kv_rank values that keys and values of all heads come from and
 * n_rot rotated ones.  What makes keys of them is multiplied into the queries, what makes values into the result, so that
 * attention itself sees one KV head whose rows are both K and V.  Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.  */
#include "runtime/forward_layer.h"

#define LATENT_EPS 1e-6f /* norms of the short rows have an eps of their own */

/* In which products of heads take their input.                                                                        */
static lr_act_format input_format(const lr_place *p, const lr_matrix *m) {
    return p->backend ? p->ops->act(p->device, m->format, 1) : LR_ACT_F32;
}

/* Products of heads of `from` (n, n_heads * x_head), which `packed` has already where the place wants it so; y_head
 * values from one head's result to the next's.                                                                         */
static llmrun_status heads(const lr_work *w, lr_place *p, const lr_matrix *m, const float *from, int64_t x_head,
                           const lr_act *packed, float *y, int64_t y_head) {
    int32_t n_heads = w->e->binding.hparams.n_heads;
    int64_t n = w->p->n, cols = n_heads * x_head;
    lr_act_format format = input_format(p, m);
    lr_heads_args a = { .y = y, .y_stride = n_heads * y_head, .y_head = y_head, .x_head = x_head, .w = *m,
                        .n_heads = n_heads };
    if (format == LR_ACT_F32) {
        a.x = (lr_act){ .format = format, .n = n, .cols = cols, .values = from };
    } else if (packed) {
        a.x = *packed;
    } else {
        a.x = lr_act_at(format, n, cols, lr_place_at(p, p->buffers->act));
        LR_TRY(p->ops->pack(p->device, &(lr_pack_args){ .x = from, .out = a.x }, w->err));
    }
    return p->ops->heads(p->device, &a, w->err);
}

/* Heads of queries as they meet the cache, in `q`; the new rows of the cache, in it.  x: room for queries before.      */
static llmrun_status project(const lr_work *w, lr_place *p, const lr_layer *l, const lr_seq *seqs, float *ranked,
                             float *x) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n;
    float *k = lr_layer_floats(p, b->k), *q = lr_layer_floats(p, b->q);
    lr_input in = { .x = lr_layer_floats(p, b->x), .norm = l->attn_norm, .y = lr_layer_floats(p, b->y), .n = n,
                    .cols = h->dim };
    LR_TRY(lr_layer_products(w, p, &in, (const lr_matrix *const[]){ h->q_rank ? &l->wq_a : &l->wq, &l->wkv_a },
                             (float *const[]){ h->q_rank ? ranked : x, k }, NULL, 2, false));
    if (h->q_rank) {
        lr_norm_args norm = { .y = ranked, .x = ranked, .w = l->q_a_norm, .dim = h->q_rank, .x_stride = h->q_rank,
                              .y_stride = h->q_rank, .eps = LATENT_EPS };
        LR_TRY(p->ops->norm(p->device, &norm, n, NULL, w->err));
        lr_input from = { .x = ranked, .n = n, .cols = h->q_rank };
        const lr_matrix *wq = &l->wq;
        LR_TRY(lr_layer_products(w, p, &from, &wq, &x, NULL, 1, false));
    }
    lr_latent_args rows = { .k = k, .k_norm = l->kv_a_norm, .norm_eps = LATENT_EPS, .x = x, .q = q,
                            .cos_sin = lr_layer_floats(p, b->cos_sin), .n_heads = h->n_heads, .n_nope = h->n_nope,
                            .n_rot = h->n_rot, .kv_rank = h->kv_rank, .seqs = seqs };
    LR_TRY(p->ops->latent(p->device, &rows, &w->shape, w->err));
    return heads(w, p, &l->wk_b, x, h->n_nope + h->n_rot, NULL, q, h->head_dim);
}

llmrun_status lr_latent_attention(const lr_work *w, lr_place *p, const lr_layer *l, const lr_seq *seqs) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, q_dim = (int64_t)h->n_heads * h->head_dim, out_dim = (int64_t)h->n_heads * h->kv_rank;
    float *ranked = lr_layer_floats(p, b->inner), *values = ranked + n * h->q_rank, *att = lr_layer_floats(p, b->att);
    LR_TRY(project(w, p, l, seqs, ranked, values));

    lr_act_format format = input_format(p, &l->wv_b);
    lr_act packed = lr_act_at(format, n, out_dim, lr_place_at(p, b->act));
    bool packs = format != LR_ACT_F32;
    lr_attention_args a = { .out = att, .q = lr_layer_floats(p, b->q), .out_stride = out_dim,
                            .q_stride = q_dim, .v_dim = h->kv_rank, .seqs = seqs,
                            .n_seqs = w->p->n_sessions, .n_heads = h->n_heads, .head_dim = h->head_dim,
                            .scale = h->attn_scale, .n_kv_heads = 1, .kv_format = w->e->plan.kv,
                            .partial = lr_layer_floats(p, b->partial) };
    LR_TRY(p->ops->attention(p->device, &a, &w->shape, packs ? &packed : NULL, w->err));
    LR_TRY(heads(w, p, &l->wv_b, att, h->kv_rank, packs ? &packed : NULL, values, h->v_dim));
    lr_input in = { .x = values, .n = n, .cols = (int64_t)h->n_heads * h->v_dim };
    return lr_layer_add_product(w, p, &in, &l->wo, NULL, NULL);
}
