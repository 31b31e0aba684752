/* Ops of latent attention on the CPU.  See cpu_device.h.                                                               */
#include <string.h>

#include "runtime/cpu_device.h"

/* ---- rows ---- */

static void rotate(const lr_cpu_device *cpu, float *x, int64_t stride, int32_t n_heads, int32_t head,
                   const lr_latent_args *a, int64_t n) {
    lr_rope_args rope = { .x = x, .x_stride = stride, .cos_sin = a->cos_sin, .n_heads = n_heads, .head_dim = head,
                          .n_rot = a->n_rot, .adjacent = true };
    lr_threads_run(cpu->threads, cpu->ops->rope, &rope, n, 1);
}

llmrun_status lr_cpu_latent(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s, llmrun_error *err) {
    const lr_cpu_device *cpu = (const lr_cpu_device *)d;
    int32_t row = a->kv_rank + a->n_rot, head = a->n_nope + a->n_rot;
    (void)err;
    lr_norm_args norm = { .y = a->k, .x = a->k, .w = a->k_norm, .dim = a->kv_rank, .x_stride = row, .y_stride = row,
                          .eps = a->norm_eps };
    lr_threads_run(cpu->threads, cpu->ops->norm, &norm, s->n, 1);
    rotate(cpu, a->k + a->kv_rank, row, 1, row, a, s->n);
    rotate(cpu, a->x + a->n_nope, (int64_t)a->n_heads * head, a->n_heads, head, a, s->n);
    for (int64_t i = 0; i < s->n * a->n_heads; i++)
        memcpy(a->q + i * row + a->kv_rank, a->x + i * head + a->n_nope, (size_t)a->n_rot * sizeof *a->q);
    lr_kv_write_args write = { .k = a->k, .k_stride = row, .seqs = a->seqs, .n_seqs = s->n_seqs };
    lr_threads_run(cpu->threads, cpu->ops->kv_write, &write, s->n, 1);
    return LLMRUN_OK;
}

/* ---- products of heads ----                                                                       item: head         */

typedef struct products {
    const lr_heads_args *args;
    const lr_ops *ops;
} products;

enum { PIECE = 8 }; /* rows of the pass at once, what kernels for few tokens take */

/* Gathered rows, the same packed, and what the kernels want besides.                                                   */
static size_t piece_bytes(int64_t cols) { return lr_aligned(PIECE * (size_t)cols * sizeof(float)); }

size_t lr_cpu_heads_scratch_bytes(const lr_ops *ops, int64_t cols) {
    size_t inner = ops->scratch_bytes(cols, PIECE, 1, 32), packed = lr_act_bytes(LR_ACT_F32, PIECE, cols);
    for (int f = 0; f < LR_N_ACT_FORMATS; f++)
        if (f != LR_ACT_Q8 || cols % 32 == 0)
            packed = (size_t)lr_max((int64_t)packed, (int64_t)lr_act_bytes(f, PIECE, cols));
    return piece_bytes(cols) + lr_aligned(packed) + inner;
}

static void run_heads(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const products *r = args;
    const lr_heads_args *a = r->args;
    const lr_matmul_kernel *kernel = &r->ops->matmul_few[a->w.format];
    int64_t cols = a->w.cols, rows = a->w.rows / a->n_heads;
    float *x = scratch;
    uint8_t *packed = (uint8_t *)scratch + piece_bytes(cols);
    uint8_t *inner = packed + lr_aligned(lr_act_bytes(kernel->act, PIECE, cols));
    for (int64_t h = i0; h < i1; h++) {
        lr_matmul_args m = { .y_stride = a->y_stride, .w = a->w };
        m.w.rows = rows;
        m.w.quants = (const uint8_t *)a->w.quants + (size_t)(h * rows) * a->w.quants_stride;
        if (a->w.scales) m.w.scales = (const uint8_t *)a->w.scales + (size_t)(h * rows) * a->w.scales_stride;
        for (int64_t t = 0, n; t < a->x.n; t += n) {
            const float *from = (const float *)a->x.values + t * a->x.cols + h * a->x_head;
            n = lr_min(PIECE, a->x.n - t);
            for (int64_t i = 0; i < n; i++) memcpy(x + i * cols, from + i * a->x.cols, (size_t)cols * sizeof *x);
            m.x = lr_act_at(kernel->act, n, cols, packed);
            if (kernel->act == LR_ACT_F32) m.x.values = x;
            else r->ops->pack(&(lr_pack_args){ .x = x, .out = m.x }, 0, n, inner);
            m.y = a->y + t * a->y_stride + h * a->y_head;
            kernel->run(&m, 0, rows, inner);
        }
    }
}

llmrun_status lr_cpu_heads(lr_device *d, const lr_heads_args *a, llmrun_error *err) {
    const lr_cpu_device *cpu = (const lr_cpu_device *)d;
    (void)err;
    lr_threads_run(cpu->threads, run_heads, &(products){ a, cpu->ops }, a->n_heads, 1);
    lr_cpu_spend(cpu, lr_cpu_bytes(&a->w), 2 * (double)a->w.rows * (double)a->w.cols * (double)a->x.n);
    return LLMRUN_OK;
}
