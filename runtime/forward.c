/* The forward pass: embed, blocks, norm, head.  One pass serves every family, format and batch; what differs is data.
 * It only calls ops; every buffer is a region of the plan.                                                            */
#include "runtime/forward.h"

#include <math.h>
#include <string.h>

/* What a pass works on: the plan's buffers as pointers.                                                               */
typedef struct work {
    llmrun_engine *e;
    const lr_pass *p;
    float *x, *y, *q, *k, *v, *att, *gate, *up, *cos_sin, *partial;
    lr_seq *seqs;
    void *act;
} work;

static void run(const work *w, lr_kernel kernel, const void *args, int64_t n, int64_t step) {
    lr_threads_run(w->e->threads, kernel, args, n, step);
}

static int32_t count_of(const lr_pass *p, int32_t session) { return p->counts ? p->counts[session] : 1; }

/* ---- matmuls ---- */

/* Up to three matmuls that read the same activations, run as one op: their rows are laid end to end.                  */
typedef struct group {
    lr_matmul_args m[3];
    const lr_matmul_kernel *kernel[3];
    int64_t start[4]; /* first item of each, multiples of step */
    int n;
    int64_t step;
} group;

static void run_group(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const group *g = args;
    for (int i = 0; i < g->n; i++) {
        int64_t a = lr_max(i0, g->start[i]) - g->start[i];
        int64_t b = lr_min(lr_min(i1, g->start[i + 1]) - g->start[i], g->m[i].w.rows);
        if (a < b) g->kernel[i]->run(&g->m[i], a, b, scratch);
    }
}

/* y[i] (+)= w[i] x + bias[i] for matrices over the same float rows x (n, cols).                                       */
static void matmul(const work *w, const float *x, int64_t n, const lr_matrix *const *m, float *const *y,
                   const float *const *bias, int count, bool accumulate) {
    const lr_ops *ops = &w->e->ops;
    bool done[3] = {false};
    for (int first = 0; first < count; first++) {
        if (done[first]) continue;
        lr_act_format format = lr_ops_matmul(ops, m[first]->format, n)->act;
        int64_t cols = m[first]->cols;
        lr_act act = lr_act_at(format, n, cols, w->act);
        if (format == LR_ACT_F32) {
            act.values = x;
        } else {
            lr_pack_args pack = {.x = x, .out = act};
            run(w, ops->pack, &pack, n, 1);
        }
        group g = {.step = 1};
        for (int i = first; i < count; i++) {
            const lr_matmul_kernel *kernel = lr_ops_matmul(ops, m[i]->format, n);
            if (done[i] || kernel->act != format) continue;
            done[i] = true;
            g.m[g.n] = (lr_matmul_args){.y = y[i], .y_stride = m[i]->rows, .w = *m[i], .x = act,
                                        .bias = bias ? bias[i] : NULL, .accumulate = accumulate};
            g.kernel[g.n++] = kernel;
            g.step = lr_max(g.step, kernel->row_step); /* row steps are powers of two: the largest serves all */
        }
        for (int i = 0; i < g.n; i++)
            g.start[i + 1] = g.start[i] + (g.m[i].w.rows + g.step - 1) / g.step * g.step;
        run(w, run_group, &g, g.start[g.n], g.step);
    }
}

static void matmul_one(const work *w, const float *x, int64_t n, const lr_matrix *m, float *y, const float *bias,
                       bool accumulate) {
    matmul(w, x, n, &m, &y, &bias, 1, accumulate);
}

/* ---- the parts of a block ---- */

static void rmsnorm(const work *w, float *y, const float *x, const float *weight, int64_t rows, int64_t dim) {
    lr_rmsnorm_args a = {.y = y, .x = x, .w = weight, .dim = dim, .x_stride = dim, .y_stride = dim,
                         .eps = w->e->binding.hparams.norm_eps};
    run(w, w->e->ops.rmsnorm, &a, rows, 1);
}

static void rope(const work *w, float *x, int32_t n_heads) {
    const lr_hparams *h = &w->e->binding.hparams;
    lr_rope_args a = {.x = x, .x_stride = (int64_t)n_heads * h->head_dim, .cos_sin = w->cos_sin, .n_heads = n_heads,
                      .head_dim = h->head_dim, .n_rot = h->n_rot, .adjacent = h->rope_adjacent};
    run(w, w->e->ops.rope, &a, w->p->n, 1);
}

static void attention(const work *w, int32_t layer) {
    const llmrun_engine *e = w->e;
    const lr_hparams *h = &e->binding.hparams;
    const lr_pass *p = w->p;
    int64_t kv_dim = (int64_t)h->n_kv_heads * h->head_dim, q_dim = (int64_t)h->n_heads * h->head_dim;
    int64_t row = 0;
    for (int32_t i = 0; i < p->n_sessions; i++) {
        w->seqs[i] = (lr_seq){.row = row, .n = count_of(p, i), .position = p->sessions[i]->position,
                              .kv = lr_session_kv(p->sessions[i], layer)};
        row += count_of(p, i);
    }
    lr_kv_write_args write = {.k = w->k, .v = w->v, .k_stride = kv_dim, .v_stride = kv_dim, .seqs = w->seqs,
                              .n_seqs = p->n_sessions};
    run(w, e->ops.kv_write, &write, p->n, 1);
    lr_attention_args a = {.out = w->att, .q = w->q, .out_stride = q_dim, .q_stride = q_dim, .seqs = w->seqs,
                           .n_seqs = p->n_sessions, .n_heads = h->n_heads, .head_dim = h->head_dim,
                           .window = e->layers[layer].window, .scale = 1 / sqrtf((float)h->head_dim),
                           .partial = w->partial};
    run(w, e->ops.attention, &a, lr_attention_items(&a), 1);
    if (lr_attention_is_split(&a)) run(w, e->ops.attention_merge, &a, (int64_t)p->n * h->n_heads, 1);
}

static void block(const work *w, int32_t layer) {
    const lr_hparams *h = &w->e->binding.hparams;
    const lr_layer *l = &w->e->layers[layer];
    int64_t n = w->p->n;
    rmsnorm(w, w->y, w->x, l->attn_norm, n, h->dim);
    matmul(w, w->y, n, (const lr_matrix *const[]){&l->wq, &l->wk, &l->wv}, (float *const[]){w->q, w->k, w->v},
           (const float *const[]){l->bq, l->bk, l->bv}, 3, false);
    if (l->q_norm) rmsnorm(w, w->q, w->q, l->q_norm, n * h->n_heads, h->head_dim);
    if (l->k_norm) rmsnorm(w, w->k, w->k, l->k_norm, n * h->n_kv_heads, h->head_dim);
    rope(w, w->q, h->n_heads);
    rope(w, w->k, h->n_kv_heads);
    attention(w, layer);
    matmul_one(w, w->att, n, &l->wo, w->x, l->bo, true);

    rmsnorm(w, w->y, w->x, l->ffn_norm, n, h->dim);
    matmul(w, w->y, n, (const lr_matrix *const[]){&l->w_gate, &l->w_up}, (float *const[]){w->gate, w->up},
           (const float *const[]){l->b_gate, l->b_up}, 2, false);
    lr_swiglu_args glu = {.y = w->gate, .gate = w->gate, .up = w->up, .dim = h->hidden_dim, .y_stride = h->hidden_dim,
                          .in_stride = h->hidden_dim};
    run(w, w->e->ops.swiglu, &glu, n, 1);
    matmul_one(w, w->gate, n, &l->w_down, w->x, l->b_down, true);
}

/* Angles in double: positions beyond 2^16 keep their accuracy.                                                        */
static void fill_cos_sin(const work *w) {
    const lr_hparams *h = &w->e->binding.hparams;
    float *out = w->cos_sin;
    for (int32_t i = 0; i < w->p->n_sessions; i++)
        for (int32_t t = 0; t < count_of(w->p, i); t++)
            for (int32_t j = 0; j < h->n_rot / 2; j++) {
                double angle = (double)(w->p->sessions[i]->position + t) * w->e->rope_freq[j];
                *out++ = (float)cos(angle) * h->rope_attn_factor;
                *out++ = (float)sin(angle) * h->rope_attn_factor;
            }
}

static bool cancelled(const lr_pass *p) {
    for (int32_t i = 0; i < p->n_sessions; i++)
        if (atomic_load_explicit(&p->sessions[i]->cancelled, memory_order_relaxed)) return true;
    return false;
}

llmrun_status lr_forward(llmrun_engine *e, const lr_pass *p) {
    const lr_hparams *h = &e->binding.hparams;
    const lr_plan_buffers *b = &e->plan.buffers;
    uint8_t *arena = e->arena;
    work w = {.e = e, .p = p, .x = (float *)(arena + b->x), .y = (float *)(arena + b->y), .q = (float *)(arena + b->q),
              .k = (float *)(arena + b->k), .v = (float *)(arena + b->v), .att = (float *)(arena + b->att),
              .gate = (float *)(arena + b->gate), .up = (float *)(arena + b->up),
              .cos_sin = (float *)(arena + b->cos_sin), .partial = (float *)(arena + b->partial),
              .seqs = (lr_seq *)(arena + b->seqs), .act = arena + b->act};
    fill_cos_sin(&w);
    lr_embed_args embed = {.x = w.x, .ids = p->ids, .table = e->embed, .scale = 1};
    run(&w, e->ops.embed, &embed, p->n, 1);
    for (int32_t l = 0; l < h->n_layers; l++) {
        if (cancelled(p)) return LLMRUN_CANCELLED;
        block(&w, l);
    }
    int32_t rows = p->n - p->logits_from;
    if (rows > 0) {
        rmsnorm(&w, w.y, w.x + (int64_t)p->logits_from * h->dim, e->out_norm, rows, h->dim);
        matmul_one(&w, w.y, rows, &e->head, p->logits, NULL, false);
    }
    return LLMRUN_OK;
}
