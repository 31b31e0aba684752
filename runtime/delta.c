/* Layers that remember a matrix for each head instead of keys and values: gated delta nets.  A token's key asks the
 * matrix what it holds for it, and a part of the difference to the token's value goes in.
 * Source: Yang et al., "Gated Delta Networks", arXiv:2412.06464.                                                     */
#include "runtime/forward_layer.h"

/* The norm of each head of the result, times silu(z), as w_out reads it.                                             */
static llmrun_status gate(const lr_work *w, lr_place *p, const lr_layer *l, float *x, const float *z,
                          const lr_act *out) {
    const lr_hparams *h = &w->e->binding.hparams;
    int64_t n = w->p->n, width = (int64_t)h->delta_v_heads * h->delta_v_dim;
    lr_norm_args norm = { .y = x, .x = x, .w = l->delta.norm, .dim = h->delta_v_dim, .x_stride = h->delta_v_dim,
                          .y_stride = h->delta_v_dim, .eps = h->norm_eps };
    LR_TRY(p->ops->norm(p->device, &norm, n * h->delta_v_heads, NULL, w->err));
    lr_glu_args glu = { .y = x, .gate = z, .up = x, .dim = width, .y_stride = width, .in_stride = width,
                        .act = LR_GLU_SILU };
    return p->ops->glu(p->device, &glu, n, out, w->err);
}

llmrun_status lr_delta_net(const lr_work *w, lr_place *p, const lr_layer *l, const lr_seq *seqs) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_layer_delta *m = &l->delta;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, width = (int64_t)h->delta_v_heads * h->delta_v_dim;
    float *q = lr_layer_floats(p, b->inner), *k = q + n * m->q.rows, *v = k + n * m->k.rows, *z = v + n * width;
    float *share = z + n * width, *kept = share + n * h->delta_v_heads, *out = lr_layer_floats(p, b->att);
    lr_input in = { .x = lr_layer_floats(p, b->x), .norm = l->attn_norm, .y = lr_layer_floats(p, b->y), .n = n,
                    .cols = h->dim };
    LR_TRY(lr_layer_products(w, p, &in, (const lr_matrix *const[]){ &m->q, &m->k, &m->v, &m->z, &m->b, &m->a },
                             (float *const[]){ q, k, v, z, share, kept }, NULL, 6, false));
    lr_delta_args a = { .q = q, .k = k, .v = v, .b = share, .a = kept, .conv = m->conv, .dt = m->dt, .rate = m->rate,
                        .out = out, .k_heads = h->delta_k_heads, .v_heads = h->delta_v_heads, .k_dim = h->delta_k_dim,
                        .v_dim = h->delta_v_dim, .taps = h->delta_conv, .seqs = seqs, .n_seqs = w->p->n_sessions };
    LR_TRY(p->ops->delta(p->device, &a, &w->shape, w->err));
    lr_act_format format = lr_layer_input_format(p, &m->out, n);
    lr_act packed = lr_act_at(format, n, width, lr_place_at(p, b->act));
    bool packs = format != LR_ACT_F32;
    LR_TRY(gate(w, p, l, out, z, packs ? &packed : NULL));
    lr_input from = { .x = out, .packed = packs ? &packed : NULL, .n = n, .cols = width };
    return lr_layer_add_product(w, p, &from, &m->out, NULL, NULL);
}
