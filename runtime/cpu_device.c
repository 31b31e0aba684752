/* See cpu_device.h.                                                                                                    */
#include "runtime/cpu_device.h"

#include "kernels/cpu/delta.h"
#include "kernels/cpu/experts.h"

#include <string.h>

static const lr_cpu_device *cpu_of(const lr_device *d) { return (const lr_cpu_device *)d; }

static void run(const lr_device *d, lr_kernel kernel, const void *args, int64_t n, int64_t step) {
    lr_threads_run(cpu_of(d)->threads, kernel, args, n, step);
}

void lr_cpu_spend(const lr_cpu_device *cpu, double bytes, double flops) {
    if (!cpu->host_work) return;
    double reading = cpu->read_bytes_per_s > 0 ? bytes / cpu->read_bytes_per_s : 0;
    double computing = cpu->flops_per_s > 0 ? flops / cpu->flops_per_s : 0;
    cpu->host_work(reading > computing ? reading : computing);
}

/* Packs rows where the format asked for is another than floats in place.                                              */
static void pack_rows(const lr_device *d, const float *x, const lr_act *out) {
    if (!out || out->format == LR_ACT_F32) return;
    lr_pack_args a = { .x = x, .out = *out };
    run(d, cpu_of(d)->ops->pack, &a, out->n, 1);
}

static lr_act_format act(const lr_device *d, lr_format w, int64_t n) { return lr_ops_matmul(cpu_of(d)->ops, w, n)->act; }

static llmrun_status embed(lr_device *d, const lr_embed_args *a, int64_t n, llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->embed, a, n, 1);
    return LLMRUN_OK;
}

static llmrun_status norm(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out,
                             llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->norm, a, rows, 1);
    pack_rows(d, a->y, out);
    return LLMRUN_OK;
}

static llmrun_status pack(lr_device *d, const lr_pack_args *a, llmrun_error *err) {
    (void)err;
    if (a->perm || a->out.format != LR_ACT_F32) run(d, cpu_of(d)->ops->pack, a, a->out.n, 1);
    return LLMRUN_OK;
}

static llmrun_status glu(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out,
                            llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->glu, a, rows, 1);
    pack_rows(d, a->y, out);
    return LLMRUN_OK;
}

/* ---- matmuls ---- */

/* Up to three matmuls that read the same activations, run as one op: their rows are laid end to end.                  */
typedef struct group {
    const lr_matmul_args *m;
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

static llmrun_status matmul(lr_device *d, const lr_matmul_args *m, int count, llmrun_error *err) {
    (void)err;
    group g = { .m = m, .n = count, .step = 1 };
    double bytes = 0, values = 0;
    for (int i = 0; i < count; i++) {
        g.kernel[i] = lr_ops_matmul(cpu_of(d)->ops, m[i].w.format, m[i].x.n);
        g.step = lr_max(g.step, g.kernel[i]->row_step); /* row steps are powers of two: the largest serves all */
        bytes += lr_cpu_bytes(&m[i].w);
        values += (double)m[i].w.rows * (double)m[i].w.cols;
    }
    for (int i = 0; i < count; i++) g.start[i + 1] = g.start[i] + (m[i].w.rows + g.step - 1) / g.step * g.step;
    run(d, run_group, &g, g.start[count], g.step);
    lr_cpu_spend(cpu_of(d), bytes, 2 * values * (double)m->x.n);
    return LLMRUN_OK;
}

static llmrun_status matmul_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out,
                                llmrun_error *err) {
    llmrun_status status = matmul(d, m, 2, err);
    lr_glu_args a = { .y = m[0].y, .gate = m[0].y, .up = m[1].y, .dim = m[0].w.rows, .y_stride = m[0].y_stride,
                      .in_stride = m[0].y_stride, .act = act };
    return status ? status : glu(d, &a, m[0].x.n, out, err);
}

/* ---- attention ---- */

static void norm_heads(lr_device *d, float *x, const float *w, int64_t n, int32_t n_heads, const lr_qkv_args *a) {
    if (!w) return;
    int64_t dim = a->norm_rows ? (int64_t)n_heads * a->head_dim : a->head_dim, rows = a->norm_rows ? n : n * n_heads;
    lr_norm_args norm = { .y = x, .x = x, .w = w, .dim = dim, .x_stride = dim, .y_stride = dim, .eps = a->norm_eps };
    if (!a->norm_each) {
        run(d, cpu_of(d)->ops->norm, &norm, rows, 1);
        return;
    }
    norm.center = true;
    norm.x_stride = norm.y_stride = n_heads * dim;
    for (int32_t h = 0; h < n_heads; h++, norm.x = norm.y += dim, norm.w += dim)
        run(d, cpu_of(d)->ops->norm, &norm, n, 1);
}

static void rotate(lr_device *d, float *x, int32_t n_heads, int64_t n, const lr_qkv_args *a) {
    if (a->n_rot == 0) return;
    lr_rope_args rope = { .x = x, .x_stride = (int64_t)n_heads * a->head_dim, .cos_sin = a->cos_sin,
                          .n_heads = n_heads, .head_dim = a->head_dim, .n_rot = a->n_rot, .adjacent = a->rope_adjacent };
    run(d, cpu_of(d)->ops->rope, &rope, n, 1);
}

static llmrun_status qkv(lr_device *d, const lr_qkv_args *a, const lr_pass_shape *s, llmrun_error *err) {
    (void)err;
    norm_heads(d, a->q, a->q_norm, s->n, a->n_heads, a);
    norm_heads(d, a->k, a->k_norm, s->n, a->n_kv_heads, a);
    rotate(d, a->q, a->n_heads, s->n, a);
    rotate(d, a->k, a->n_kv_heads, s->n, a);
    int64_t kv_dim = (int64_t)a->n_kv_heads * a->head_dim;
    lr_kv_write_args write = { .k = a->k, .v = a->v, .k_stride = kv_dim, .v_stride = kv_dim, .seqs = a->seqs,
                               .n_seqs = s->n_seqs };
    run(d, cpu_of(d)->ops->kv_write, &write, s->n, 1);
    return LLMRUN_OK;
}

/* Reads of the caches, and two products for each score.                                                               */
static void spend_attention(const lr_cpu_device *cpu, const lr_attention_args *a) {
    double bytes = 0, flops = 0;
    for (int32_t i = 0; i < a->n_seqs && cpu->host_work; i++) {
        const lr_kv_layer *kv = &a->seqs[i].kv;
        double seen = (double)lr_min(a->seqs[i].position + a->seqs[i].n, kv->n_slots);
        bytes += (double)kv->page_bytes * seen / kv->page_slots;
        flops += 4 * seen * (double)a->seqs[i].n * a->n_heads * a->head_dim;
    }
    lr_cpu_spend(cpu, bytes, flops);
}

static llmrun_status attention(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out,
                               llmrun_error *err) {
    (void)err;
    const lr_ops *ops = cpu_of(d)->ops;
    run(d, ops->attention, a, lr_attention_items(a), 1);
    if (lr_attention_is_split(a)) run(d, ops->attention_merge, a, s->n * a->n_heads, 1);
    pack_rows(d, a->out, out);
    spend_attention(cpu_of(d), a);
    return LLMRUN_OK;
}

/* The states are read and written.                                                                                   */
static llmrun_status delta(lr_device *d, const lr_delta_args *a, const lr_pass_shape *s, llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->delta_conv, a, lr_delta_conv_items(a), 1);
    run(d, cpu_of(d)->ops->delta_rule, a, lr_delta_rule_items(a), 1);
    double values = (double)a->v_heads * a->k_dim * a->v_dim;
    lr_cpu_spend(cpu_of(d), 8 * values * a->n_seqs, 6 * values * (double)s->n);
    return LLMRUN_OK;
}

/* ---- experts ---- */

static llmrun_status gate_rows(lr_device *d, const lr_gate_rows_args *a, int64_t rows, llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->gate_rows, a, rows, 1);
    return LLMRUN_OK;
}

static llmrun_status route(lr_device *d, const lr_route_args *a, int64_t rows, llmrun_error *err) {
    (void)err;
    run(d, cpu_of(d)->ops->route, a, rows, 1);
    return LLMRUN_OK;
}

static llmrun_status experts(lr_device *d, const lr_experts_args *a, llmrun_error *err) {
    (void)err;
    lr_experts_run r;
    double bytes = 0;
    lr_experts_begin(&r, cpu_of(d)->ops, a);
    while (lr_experts_next(&r)) {
        for (int i = 0; i < LR_EXPERTS_STEPS; i++) run(d, r.steps[i].run, &r, r.steps[i].n_items, r.steps[i].row_step);
        for (int32_t i = 0; i < r.n_rows; i++)
            bytes += lr_cpu_bytes(&a->gate[r.rows[i].expert]) + lr_cpu_bytes(&a->up[r.rows[i].expert]) +
                     lr_cpu_bytes(&a->down[r.rows[i].expert]);
    }
    lr_cpu_spend(cpu_of(d), bytes, 6 * (double)(a->n * a->k) * (double)r.dim * (double)r.hidden);
    return LLMRUN_OK;
}

const lr_device_ops lr_cpu_device_ops = { .act = act,
                                          .embed = embed,
                                          .norm = norm,
                                          .pack = pack,
                                          .matmul = matmul,
                                          .matmul_glu = matmul_glu,
                                          .glu = glu,
                                          .qkv = qkv,
                                          .attention = attention,
                                          .gate_rows = gate_rows,
                                          .route = route,
                                          .experts = experts,
                                          .latent = lr_cpu_latent,
                                          .heads = lr_cpu_heads,
                                          .delta = delta };

/* ---- copying ---- */

typedef struct copy_args {
    char *dst;
    const char *src;
    size_t bytes;
} copy_args;

enum { COPY_PIECE = 1 << 18 };

static void copy_pieces(const void *args, int64_t i0, int64_t i1, void *scratch) {
    (void)scratch;
    const copy_args *a = args;
    size_t from = (size_t)i0 * COPY_PIECE, to = (size_t)i1 * COPY_PIECE;
    if (to > a->bytes) to = a->bytes;
    memcpy(a->dst + from, a->src + from, to - from);
}

void lr_cpu_copy(lr_cpu_device *cpu, void *dst, const void *src, size_t bytes) {
    copy_args a = { .dst = dst, .src = src, .bytes = bytes };
    lr_threads_run(cpu->threads, copy_pieces, &a, (int64_t)((bytes + COPY_PIECE - 1) / COPY_PIECE), 1);
    lr_cpu_spend(cpu, (double)bytes, 0);
}
