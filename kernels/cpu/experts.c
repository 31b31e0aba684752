/* Steps of the routed experts' products.  See experts.h.                                                              */
#include "kernels/cpu/experts.h"

#include <string.h>

enum { LEAST_WAVE = 64 }; /* pairs: decoding a few tokens is one wave */

/* ---- memory: offsets in args.work ---- */

typedef struct layout {
    size_t pairs, rows, in, gate, up, bytes;
} layout;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Takes count elements of size bytes off the end; returns where they are.                                             */
static size_t take(layout *l, int64_t count, size_t size) {
    size_t at = l->bytes;
    l->bytes += lr_aligned((size_t)count * size);
    return at;
}

/* Of a row in any format that a CPU kernel reads; n rows together take n times that at most.                          */
static size_t packed_bytes(int64_t cols) {
    return larger(lr_act_bytes(LR_ACT_F32, 1, cols), lr_act_bytes(LR_ACT_Q8, 1, cols));
}

/* No expert gets a token twice, so a wave of n pairs has room for all rows of one.                                    */
static int64_t wave_of(int64_t n, int32_t k) { return lr_min(n * k, lr_max(n, LEAST_WAVE)); }

static layout lay_out(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden) {
    layout l = { 0 };
    int64_t wave = wave_of(n, k);
    l.pairs = take(&l, n * k, sizeof(int32_t));
    l.rows = take(&l, n_experts, sizeof(lr_expert_rows));
    l.in = take(&l, wave, packed_bytes(dim));
    l.gate = take(&l, wave, (size_t)hidden * sizeof(float));
    l.up = take(&l, wave, packed_bytes(hidden));
    return l;
}

size_t lr_experts_bytes(int64_t n, int32_t k, int32_t n_experts, int64_t dim, int64_t hidden) {
    return lay_out(n, k, n_experts, dim, hidden).bytes;
}

/* ---- the steps ---- */

typedef struct matrices {
    const lr_matrix *w;
    const float *bias; /* of all experts, or NULL */
} matrices;

static const lr_matmul_kernel *kernel_of(const lr_experts_run *r, const lr_matrix *w, const lr_expert_rows *e) {
    return lr_ops_matmul(r->ops, w[e->expert].format, e->n);
}

/* Packed rows of one expert in the format that its matrix w wants, in a plane with `row` bytes for each pair.         */
static lr_act act_of(const lr_experts_run *r, const lr_matrix *w, const lr_expert_rows *e, void *plane) {
    int64_t cols = w[e->expert].cols;
    return lr_act_at(kernel_of(r, w, e)->act, e->n, cols, (char *)plane + (size_t)e->first * packed_bytes(cols));
}

/* Rows [i0, i1) of one expert's matrix times its activations, into y, which has a row for each of them.               */
static void product(const lr_experts_run *r, matrices m, const lr_expert_rows *e, void *plane, float *y, int64_t i0,
                    int64_t i1, void *scratch) {
    const lr_matrix *w = &m.w[e->expert];
    lr_matmul_args args = { .y = y, .y_stride = w->rows, .w = *w, .x = act_of(r, m.w, e, plane),
                            .bias = m.bias ? m.bias + (size_t)e->expert * (size_t)w->rows : NULL };
    kernel_of(r, m.w, e)->run(&args, i0, i1, scratch);
}

/* Runs f over what the pairs [i0, i1) of the wave have of each expert.                                                 */
typedef void (*pair_step)(const lr_experts_run *r, const lr_expert_rows *e, int64_t pair, void *scratch);
static void each_pair(const lr_experts_run *r, int64_t i0, int64_t i1, pair_step f, void *scratch) {
    for (int32_t j = 0; j < r->n_rows; j++) {
        const lr_expert_rows *e = &r->rows[j];
        for (int64_t p = lr_max(i0, e->first); p < lr_min(i1, e->first + e->n); p++) f(r, e, p, scratch);
    }
}

static int64_t token_of(const lr_experts_run *r, int64_t pair) { return r->pairs[r->first + pair] / r->a->k; }

/* gate and up of an expert read the same rows, packed once: both want one format (see check_experts of runtime/load.c)
 * and one order of columns (see runtime/bind.c).                                                                      */
static void gather_pair(const lr_experts_run *r, const lr_expert_rows *e, int64_t pair, void *scratch) {
    lr_act act = act_of(r, r->a->gate, e, r->in);
    lr_pack_args a = { .x = r->a->h + token_of(r, pair) * r->dim, .out = lr_act_row(&act, pair - e->first),
                       .perm = r->a->gate[e->expert].perm };
    r->ops->pack(&a, 0, 1, scratch);
}
static void gather(const void *run, int64_t i0, int64_t i1, void *scratch) {
    each_pair(run, i0, i1, gather_pair, scratch);
}

/* The rows of gate and of up of all experts of the wave, end to end.                                                  */
static int64_t padded(int64_t rows, int64_t step) { return (rows + step - 1) / step * step; }

static void gate_up(const void *run, int64_t i0, int64_t i1, void *scratch) {
    const lr_experts_run *r = run;
    const int64_t size = padded(r->hidden, r->steps[1].row_step);
    for (int64_t i = i0, end; i < i1; i = end) {
        const int64_t block = i / size, from = i - block * size;
        end = lr_min(i1, (block + 1) * size);
        const lr_expert_rows *e = &r->rows[block / 2];
        const bool is_up = block % 2;
        const matrices m = is_up ? (matrices){ r->a->up, r->a->b_up } : (matrices){ r->a->gate, r->a->b_gate };
        float *y = (is_up ? r->up : r->gate) + e->first * r->hidden;
        int64_t to = lr_min(end - block * size, r->hidden);
        if (from < to) product(r, m, e, r->in, y, from, to, scratch);
    }
}

static void glu(const void *run, int64_t i0, int64_t i1, void *scratch) {
    const lr_experts_run *r = run;
    lr_glu_args a = { .y = r->gate, .gate = r->gate, .up = r->up, .dim = r->hidden, .y_stride = r->hidden,
                      .in_stride = r->hidden, .act = r->a->act };
    r->ops->glu(&a, i0, i1, scratch);
}

static void pack_pair(const lr_experts_run *r, const lr_expert_rows *e, int64_t pair, void *scratch) {
    lr_act act = act_of(r, r->a->down, e, r->up);
    lr_pack_args a = { .x = r->gate + pair * r->hidden, .out = lr_act_row(&act, pair - e->first),
                       .perm = r->a->down[e->expert].perm };
    r->ops->pack(&a, 0, 1, scratch);
}
static void pack(const void *run, int64_t i0, int64_t i1, void *scratch) { each_pair(run, i0, i1, pack_pair, scratch); }

/* Rows [i0, i1) of every expert's down, added to x one expert after the other.                                        */
static void down(const void *run, int64_t i0, int64_t i1, void *scratch) {
    const lr_experts_run *r = run;
    const lr_experts_args *a = r->a;
    for (int32_t j = 0; j < r->n_rows; j++) {
        const lr_expert_rows *e = &r->rows[j];
        float *out = (float *)(void *)r->in + e->first * r->dim;
        product(r, (matrices){ a->down, a->b_down }, e, r->up, out, i0, i1, scratch);
        for (int64_t p = 0; p < e->n; p++) {
            const float weight = a->weights[r->pairs[r->first + e->first + p]];
            const float *y = out + p * r->dim;
            float *x = a->x + token_of(r, e->first + p) * r->dim;
            for (int64_t i = i0; i < i1; i++) x[i] += weight * y[i];
        }
    }
}

/* ---- the waves ---- */

static void sort_pairs(int32_t *pairs, const lr_experts_args *a, lr_expert_rows *counts) {
    const int64_t n = a->n * a->k;
    for (int32_t e = 0; e < a->n_experts; e++) counts[e].n = 0;
    for (int64_t i = 0; i < n; i++) counts[a->chosen[i]].n++;
    for (int32_t e = 0, at = 0; e < a->n_experts; at += counts[e++].n) counts[e].first = at;
    for (int64_t i = 0; i < n; i++) pairs[counts[a->chosen[i]].first++] = (int32_t)i;
}

void lr_experts_begin(lr_experts_run *r, const lr_ops *ops, const lr_experts_args *a) {
    char *base = a->work;
    *r = (lr_experts_run){ .a = a, .ops = ops, .dim = a->down->rows, .hidden = a->down->cols };
    layout l = lay_out(a->n, a->k, a->n_experts, r->dim, r->hidden);
    int32_t *pairs = (int32_t *)(void *)(base + l.pairs);
    r->pairs = pairs;
    r->wave = wave_of(a->n, a->k);
    r->rows = (lr_expert_rows *)(void *)(base + l.rows);
    r->in = base + l.in;
    r->gate = (float *)(void *)(base + l.gate);
    r->up = (float *)(void *)(base + l.up);
    sort_pairs(pairs, a, r->rows);
}

/* Largest row step of these matrices' kernels in this wave: steps are powers of two, the largest serves all.          */
static int64_t row_step(const lr_experts_run *r, const lr_matrix *w) {
    int64_t step = 1;
    for (int32_t j = 0; j < r->n_rows; j++) step = lr_max(step, kernel_of(r, w, &r->rows[j])->row_step);
    return step;
}

bool lr_experts_next(lr_experts_run *r) {
    const int64_t all = r->a->n * r->a->k;
    if (r->next == all) return false;
    r->first = r->next;
    r->n = lr_min(r->wave, all - r->first);
    r->next += r->n;
    r->n_rows = 0;
    for (int64_t p = 0; p < r->n; p++) {
        int32_t expert = r->a->chosen[r->pairs[r->first + p]];
        if (p == 0 || r->rows[r->n_rows - 1].expert != expert)
            r->rows[r->n_rows++] = (lr_expert_rows){ .expert = expert, .first = (int32_t)p };
        r->rows[r->n_rows - 1].n++;
    }
    const int64_t both = lr_max(row_step(r, r->a->gate), row_step(r, r->a->up)), last = row_step(r, r->a->down);
    const int64_t items = 2 * r->n_rows * padded(r->hidden, both);
    const lr_experts_step steps[LR_EXPERTS_STEPS] = { { gather, r->n, 1 }, { gate_up, items, both }, { glu, r->n, 1 },
                                                      { pack, r->n, 1 }, { down, r->dim, last } };
    memcpy(r->steps, steps, sizeof steps);
    return true;
}
