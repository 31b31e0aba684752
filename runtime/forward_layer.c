/* See forward_layer.h.                                                                                                 */
#include "runtime/forward_layer.h"
#include "runtime/stream.h"

lr_act_format lr_layer_input_format(const lr_place *p, const lr_matrix *m, int64_t n) {
    return m->perm ? LR_ACT_F32 : p->ops->act(p->device, m->format, n);
}

/* The format that all of these want their input in, LR_ACT_NONE if they differ in it or in the order of its columns.  */
static lr_act_format common_format(const lr_place *p, const lr_matrix *const *m, int count, int64_t n) {
    lr_act_format format = p->ops->act(p->device, m[0]->format, n);
    for (int i = 0; i < count; i++)
        if (m[i]->perm != m[0]->perm || p->ops->act(p->device, m[i]->format, n) != format) return LR_ACT_NONE;
    return format;
}

/* Where blocks are scaled by r before they are added, all of x is kept divided by r: norms see no difference when eps is
 * divided by its square.                                                                                              */
static float norm_eps(const lr_hparams *h) { return h->norm_eps / (h->residual_scale * h->residual_scale); }

llmrun_status lr_layer_norm(const lr_work *w, lr_place *p, const lr_input *in, const lr_act *out) {
    const lr_hparams *h = &w->e->binding.hparams;
    lr_norm_args a = { .y = p->backend && out ? NULL : in->y, .x = in->x, .w = in->norm, .b = in->bias, .dim = in->cols,
                       .x_stride = in->cols, .y_stride = in->cols, .eps = norm_eps(h), .center = h->layer_norm };
    return p->ops->norm(p->device, &a, in->n, out, w->err);
}

static lr_act act_at(const lr_place *p, const lr_input *in, lr_act_format format) {
    return lr_act_at(format, in->n, in->cols, lr_place_at(p, p->buffers->act));
}

llmrun_status lr_layer_products(const lr_work *w, lr_place *p, const lr_input *in, const lr_matrix *const *m,
                                float *const *y, const float *const *bias, int count, bool accumulate) {
    lr_act_format all = common_format(p, m, count, in->n);
    bool pack_with_norm = in->norm && all != LR_ACT_NONE && all != LR_ACT_F32 && !m[0]->perm;
    bool done[LR_PRODUCTS_MOST] = { false };
    lr_act act = act_at(p, in, all == LR_ACT_NONE ? LR_ACT_F32 : all);
    if (in->norm) LR_TRY(lr_layer_norm(w, p, in, pack_with_norm ? &act : NULL));
    const float *rows = in->norm ? in->y : in->x;
    for (int first = 0; first < count; first++) {
        if (done[first]) continue;
        lr_act_format format = p->ops->act(p->device, m[first]->format, in->n);
        const int32_t *perm = m[first]->perm;
        if (perm) {
            act = act_at(p, in, format);
            LR_TRY(p->ops->pack(p->device, &(lr_pack_args){ .x = rows, .out = act, .perm = perm }, w->err));
        } else if (in->packed && in->packed->format == format) {
            act = *in->packed;
        } else if (format == LR_ACT_F32) {
            act = (lr_act){ .format = format, .n = in->n, .cols = in->cols, .values = rows };
        } else if (!pack_with_norm) {
            act = act_at(p, in, format);
            LR_TRY(p->ops->pack(p->device, &(lr_pack_args){ .x = rows, .out = act }, w->err));
        }
        lr_matmul_args args[3];
        int n = 0;
        for (int i = first; i < count && n < (int)LR_COUNT(args); i++) {
            if (done[i] || m[i]->perm != perm || p->ops->act(p->device, m[i]->format, in->n) != format) continue;
            done[i] = true;
            args[n++] = (lr_matmul_args){ .y = y[i], .y_stride = m[i]->rows, .w = *m[i], .x = act,
                                          .bias = bias ? bias[i] : NULL, .accumulate = accumulate };
        }
        LR_TRY(p->ops->matmul(p->device, args, n, w->err));
    }
    return LLMRUN_OK;
}

llmrun_status lr_layer_add_product(const lr_work *w, lr_place *p, const lr_input *in, const lr_matrix *m,
                                   const float *bias, const float *post_norm) {
    const lr_hparams *h = &w->e->binding.hparams;
    float *x = lr_layer_floats(p, p->buffers->x), *y = lr_layer_floats(p, p->buffers->y);
    LR_TRY(lr_layer_products(w, p, in, &m, post_norm ? &y : &x, &bias, 1, !post_norm));
    if (!post_norm) return LLMRUN_OK;
    lr_norm_args a = { .y = x, .x = y, .w = post_norm, .dim = h->dim, .x_stride = h->dim, .y_stride = h->dim,
                       .eps = h->norm_eps, .center = h->layer_norm, .accumulate = true };
    return p->ops->norm(p->device, &a, in->n, NULL, w->err);
}

/* Parallel: see attention.  Experts: see lr_layer_shared.                                                             */
lr_input lr_layer_ffn_input(const lr_work *w, const lr_place *p, const lr_layer *l) {
    const lr_plan_buffers *b = p->buffers;
    const lr_hparams *h = &w->e->binding.hparams;
    lr_input in = { .y = lr_layer_floats(p, b->y), .n = w->p->n, .cols = h->dim };
    if (h->parallel) {
        in.x = lr_layer_floats(p, b->h);
    } else if (l->experts.gate) {
        in.x = in.y;
    } else {
        in.x = lr_layer_floats(p, b->x);
        in.norm = l->ffn_norm;
        in.bias = l->b_ffn_norm;
    }
    return in;
}

llmrun_status lr_layer_attention(const lr_work *w, lr_place *p, int32_t layer, const lr_layer *l, const lr_seq *seqs) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    if (h->kv_rank) return lr_latent_attention(w, p, l, seqs);
    if (l->delta.out.quants) return lr_delta_net(w, p, l, seqs);
    int64_t n = w->p->n, q_dim = (int64_t)h->n_heads * h->head_dim;

    if (h->parallel) { /* one norm may serve both */
        lr_input ffn = { .x = lr_layer_floats(p, b->x), .norm = l->ffn_norm ? l->ffn_norm : l->attn_norm,
                      .bias = l->ffn_norm ? l->b_ffn_norm : l->b_attn_norm, .y = lr_layer_floats(p, b->h), .n = n,
                      .cols = h->dim };
        LR_TRY(lr_layer_norm(w, p, &ffn, NULL));
    }
    lr_input in = { .x = lr_layer_floats(p, b->x), .norm = l->attn_norm, .bias = l->b_attn_norm,
                    .y = lr_layer_floats(p, b->y), .n = n, .cols = h->dim };
    float *gate = lr_layer_floats(p, b->inner);
    bool gated = l->wq_gate.quants != NULL;
    LR_TRY(lr_layer_products(w, p, &in, (const lr_matrix *const[]){ &l->wq, &l->wk, &l->wv, &l->wq_gate },
                 (float *const[]){ lr_layer_floats(p, b->q), lr_layer_floats(p, b->k), lr_layer_floats(p, b->v), gate },
                 (const float *const[]){ l->bq, l->bk, l->bv, NULL }, gated ? 4 : 3, false));
    lr_qkv_args qkv = { .q = lr_layer_floats(p, b->q), .k = lr_layer_floats(p, b->k), .v = lr_layer_floats(p, b->v),
                        .q_norm = l->q_norm, .k_norm = l->k_norm, .norm_rows = h->norm_rows,
                        .norm_each = h->norm_each, .norm_eps = h->norm_eps,
                        .cos_sin = lr_layer_floats(p, b->cos_sin) + (int64_t)lr_layer_rope(h, layer) * n * h->n_rot,
                        .n_heads = h->n_heads, .n_kv_heads = h->n_kv_heads, .head_dim = h->head_dim,
                        .n_rot = h->layer_flags[layer] & LR_LAYER_NO_ROPE ? 0 : h->n_rot,
                        .rope_adjacent = h->rope_adjacent, .seqs = seqs };
    LR_TRY(p->ops->qkv(p->device, &qkv, &w->shape, w->err));

    const lr_matrix *wo = &l->wo;
    lr_act_format format = lr_layer_input_format(p, wo, n);
    lr_act packed = lr_act_at(format, n, q_dim, lr_place_at(p, b->act));
    bool floats_only = format == LR_ACT_F32, device = p->backend != NULL;
    float *out = lr_layer_floats(p, b->att);
    lr_attention_args a = { .out = device && !floats_only && !gated ? NULL : out, .q = qkv.q,
                            .out_stride = q_dim, .q_stride = q_dim, .seqs = seqs, .n_seqs = w->p->n_sessions,
                            .n_heads = h->n_heads, .head_dim = h->head_dim, .window = l->window,
                            .scale = h->attn_scale, .softcap = h->attn_softcap, .sinks = l->sinks,
                            .n_kv_heads = h->n_kv_heads, .kv_format = w->e->plan.kv,
                            .partial = lr_layer_floats(p, b->partial) };
    LR_TRY(p->ops->attention(p->device, &a, &w->shape, floats_only || gated ? NULL : &packed, w->err));
    lr_glu_args glu = { .y = out, .gate = gate, .up = out, .dim = q_dim, .y_stride = q_dim, .in_stride = q_dim,
                        .act = LR_GLU_SIGMOID };
    if (gated) LR_TRY(p->ops->glu(p->device, &glu, n, floats_only ? NULL : &packed, w->err));
    lr_input att = { .x = out, .packed = floats_only ? NULL : &packed, .n = n, .cols = q_dim };
    return lr_layer_add_product(w, p, &att, wo, l->bo, l->attn_post_norm);
}

/* The hidden values in a format.                                                                                        */
static lr_act hidden_at(const lr_work *w, const lr_place *p, const lr_layer *l, lr_act_format format) {
    const lr_plan_buffers *b = p->buffers;
    lr_act out = lr_act_at(format, w->p->n, l->w_up.rows, lr_place_at(p, p->plan ? b->act_hidden : b->act));
    if (format == LR_ACT_F32) out.values = lr_layer_floats(p, b->gate);
    return out;
}

static llmrun_status activate(const lr_work *w, lr_place *p, const lr_layer *l, lr_act_format format) {
    bool gated = l->w_gate.quants != NULL;
    float *gate = lr_layer_floats(p, p->buffers->gate), *up = lr_layer_floats(p, p->buffers->up);
    lr_act out = hidden_at(w, p, l, format);
    lr_glu_args a = { .y = gate, .gate = gate, .up = gated ? up : NULL, .dim = l->w_up.rows,
                      .y_stride = l->w_up.rows, .in_stride = l->w_up.rows, .act = w->e->binding.hparams.act };
    return p->ops->glu(p->device, &a, w->p->n, &out, w->err);
}

/* The rows that matmuls read, normed where there is a norm, in that format and order of columns: packed, or as floats
 * where they lie.                                                                                                      */
static llmrun_status prepare(const lr_work *w, lr_place *p, const lr_input *in, lr_act_format format,
                             const int32_t *perm, lr_act *out) {
    const float *rows = in->norm ? in->y : in->x;
    bool packs = format != LR_ACT_F32 || perm, with_norm = packs && in->norm && !perm;
    *out = act_at(p, in, format);
    if (!packs) out->values = rows;
    if (in->norm) LR_TRY(lr_layer_norm(w, p, in, with_norm ? out : NULL));
    if (!packs || with_norm) return LLMRUN_OK;
    return p->ops->pack(p->device, &(lr_pack_args){ .x = rows, .out = *out, .perm = perm }, w->err);
}

llmrun_status lr_layer_gate_up(const lr_work *w, lr_place *p, const lr_layer *l, lr_act_format format) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_plan_buffers *b = p->buffers;
    int64_t n = w->p->n, hidden = l->w_up.rows;
    float *gate = lr_layer_floats(p, b->gate), *up = lr_layer_floats(p, b->up);
    lr_act out = hidden_at(w, p, l, format);
    lr_input in = lr_layer_ffn_input(w, p, l);
    const lr_matrix *const m[] = { &l->w_gate, &l->w_up };
    bool gated = l->w_gate.quants != NULL;
    lr_act_format all = gated ? common_format(p, m, 2, n) : LR_ACT_NONE;
    if (all == LR_ACT_NONE) {
        if (gated)
            LR_TRY(lr_layer_products(w, p, &in, m, (float *const[]){ gate, up },
                                     (const float *const[]){ l->b_gate, l->b_up }, 2, false));
        else
            LR_TRY(lr_layer_products(w, p, &in, m + 1, &gate, &l->b_up, 1, false));
        return activate(w, p, l, format);
    }
    lr_act act;
    LR_TRY(prepare(w, p, &in, all, l->w_up.perm, &act));
    lr_matmul_args args[2] = {
        { .y = gate, .y_stride = hidden, .w = l->w_gate, .x = act, .bias = l->b_gate },
        { .y = up, .y_stride = hidden, .w = l->w_up, .x = act, .bias = l->b_up },
    };
    return p->ops->matmul_glu(p->device, args, h->act, &out, w->err);
}

llmrun_status lr_layer_streamed_gate_up(const lr_work *w, lr_place *p, int32_t layer, lr_layer *l,
                                        lr_act_format format) {
    bool gated = l->w_gate.quants != NULL;
    float *y[] = { lr_layer_floats(p, p->buffers->gate), lr_layer_floats(p, p->buffers->up) };
    LR_TRY(lr_stream_fetch(w->e, p, layer, LR_STREAM_GATE, l, NULL, w->err));
    lr_input in = lr_layer_ffn_input(w, p, l);
    const lr_matrix *const m[] = { &l->w_gate, &l->w_up };
    lr_act_format all = gated ? common_format(p, m, 2, in.n) : lr_layer_input_format(p, &l->w_up, in.n);
    lr_act act;
    LR_TRY(prepare(w, p, &in, all == LR_ACT_NONE ? LR_ACT_F32 : all, NULL, &act));
    lr_input rows = { .x = in.norm ? in.y : in.x, .packed = act.format != LR_ACT_F32 ? &act : NULL, .n = in.n,
                      .cols = in.cols };
    if (gated) LR_TRY(lr_layer_products(w, p, &rows, &m[0], &y[0], &l->b_gate, 1, false));
    LR_TRY(lr_stream_release(p, LR_STREAM_GATE, w->err));
    LR_TRY(lr_stream_fetch(w->e, p, layer, LR_STREAM_UP, l, NULL, w->err));
    LR_TRY(lr_layer_products(w, p, &rows, &m[1], &y[gated], &l->b_up, 1, false));
    LR_TRY(lr_stream_release(p, LR_STREAM_UP, w->err));
    return activate(w, p, l, format);
}

llmrun_status lr_layer_down(const lr_work *w, lr_place *p, const lr_layer *l, lr_act_format format, bool packed_there) {
    const lr_plan_buffers *b = p->buffers;
    int64_t hidden = l->w_down.cols;
    lr_act act = lr_act_at(format, w->p->n, hidden, lr_place_at(p, p->plan ? b->act_hidden : b->act));
    lr_input in = { .x = lr_layer_floats(p, b->gate), .packed = packed_there && format != LR_ACT_F32 ? &act : NULL,
                    .n = w->p->n, .cols = hidden };
    return lr_layer_add_product(w, p, &in, &l->w_down, l->b_down, l->ffn_post_norm);
}
