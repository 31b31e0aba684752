/* Layers with experts.  The router and the routed experts are the DOWN group of such a layer, because a token reads but
 * few of their bytes; norm and shared feed-forward, of which it reads all, are the GATE_UP group.                     */
#include "runtime/forward_layer.h"

llmrun_status lr_layer_shared(const lr_work *w, lr_place *p, const lr_layer *l) {
    const lr_plan_buffers *b = p->buffers;
    lr_input in = { .x = lr_layer_floats(p, b->x), .norm = l->ffn_norm, .bias = l->b_ffn_norm,
                    .y = lr_layer_floats(p, b->y), .n = w->p->n, .cols = w->e->binding.hparams.dim };
    LR_TRY(lr_layer_norm(w, p, &in, NULL));
    if (!l->w_up.quants) return LLMRUN_OK;
    const lr_matrix *m = &l->experts.shared_gate;
    lr_act_format format = lr_layer_input_format(p, &l->w_down, in.n);
    LR_TRY(lr_layer_gate_up(w, p, l, m->quants ? LR_ACT_F32 : format));
    if (!m->quants) return lr_layer_down(w, p, l, format, true);
    /* The gate may as well be taken before w_down, which is linear; `up` is free for its values. */
    float *gate = lr_layer_floats(p, b->up);
    lr_input normed = lr_layer_ffn_input(w, p, l);
    LR_TRY(lr_layer_products(w, p, &normed, &m, &gate, NULL, 1, false));
    lr_gate_rows_args a = { .x = lr_layer_floats(p, b->gate), .gate = gate, .dim = l->w_up.rows };
    LR_TRY(p->ops->gate_rows(p->device, &a, in.n, w->err));
    return lr_layer_down(w, p, l, format, false);
}

llmrun_status lr_layer_experts_run(const lr_work *w, lr_place *p, const lr_layer *l) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_layer_experts *e = &l->experts;
    int64_t n = w->p->n;
    int32_t k = h->n_experts_used;
    float *logits = lr_layer_floats(p, p->buffers->route), *weights = logits + n * h->n_experts;
    int32_t *chosen = (int32_t *)(void *)(weights + n * k);
    lr_input in = lr_layer_ffn_input(w, p, l);
    const lr_matrix *router = &e->router;
    LR_TRY(lr_layer_products(w, p, &in, &router, &logits, h->bias_chooses ? NULL : &e->b_router, 1, false));
    lr_route_args route = { .chosen = chosen, .weights = weights, .among_chosen = h->among_chosen, .sigmoid = h->sigmoid,
                            .scale = h->expert_scale, .logits = logits, .bias = h->bias_chooses ? e->b_router : NULL,
                            .n_experts = h->n_experts, .k = k, .n_groups = h->n_expert_groups,
                            .k_groups = h->n_expert_groups_used, .best_of_group = h->best_of_group };
    LR_TRY(p->ops->route(p->device, &route, n, w->err));
    lr_experts_args a = { .x = lr_layer_floats(p, p->buffers->x), .h = in.x, .n = n, .chosen = chosen,
                          .weights = weights, .gate = e->gate, .up = e->up, .down = e->down, .b_gate = e->b_gate,
                          .b_up = e->b_up, .b_down = e->b_down, .n_experts = h->n_experts, .k = k, .act = h->act,
                          .work = lr_place_at(p, p->buffers->experts), .packed = lr_place_at(p, p->buffers->act) };
    return p->ops->experts(p->device, &a, w->err);
}
