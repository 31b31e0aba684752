/* Checks of latent attention on a device: attention over caches whose V is K, what brings rows into them, the products
 * of heads.                                                                                                          */
#ifndef CHECKKERNELS_DEVICE_LATENT_H
#define CHECKKERNELS_DEVICE_LATENT_H

#include "tests/checkkernels_device_attention.h"

/* ---- attention ---- */

static pass make_latent_pass(const lr_ops *c, int round, bool want_long, int32_t *v_dim) {
    pass p = {.format = round % 2 ? LR_Q8_0 : LR_F16, .n_kv_heads = 1, .n_heads = (int32_t)PICK(1, 3, 4, 16),
              .v_in_k = true};
    *v_dim = (int32_t)(p.format == LR_Q8_0 ? PICK(32, 64, 256, 512) : PICK(16, 48, 64, 272, 512));
    p.head_dim = *v_dim + (int32_t)(p.format == LR_Q8_0 ? PICK(32, 64) : PICK(16, 32, 64));
    p.n_seqs = 1 + (int32_t)random_below(want_long ? 2 : 3);
    for (int32_t s = 0; s < p.n_seqs; s++) {
        lr_seq *seq = &p.seqs[s];
        seq->row = p.n_rows;
        seq->n = want_long ? PICK(1, 2, 5) : PICK(1, 1, 2, 3, 9, 33);
        seq->position = (int32_t)(want_long ? PICK(0, 511, 700) : PICK(0, 0, 1, 31, 63, 64, 130));
        p.n_rows += seq->n;
        seq->kv = make_cache(&p, (int32_t)(seq->position + seq->n + random_below(3)));
        fill_cache(c, &p, s, (pattern)(round / 2 % N_PATTERNS));
    }
    return p;
}

static void put_caches(device_pass *d) {
    for (int32_t s = 0; s < d->p.n_seqs; s++) {
        const lr_kv_layer *from = &d->p.seqs[s].kv;
        lr_kv_layer *kv = &d->there[s].kv;
        int32_t n_pages = (from->n_slots + from->page_slots - 1) / from->page_slots;
        d->there[s] = d->p.seqs[s];
        d->cache_bytes[s] = (size_t)n_pages * from->page_bytes;
        kv->base = gpu_put(from->base, d->cache_bytes[s]);
        if (from->pages) kv->pages = gpu_put(from->pages, (size_t)n_pages * sizeof *from->pages);
    }
    d->seqs = gpu_put(d->there, (size_t)d->p.n_seqs * sizeof *d->there);
}

static void expect_latent(const pass *p, int32_t n_ctx, int32_t v_dim, const float *q, const float *y, int64_t stride,
                          float scale) {
    double exact[MAX_HEAD_DIM], magnitude[MAX_HEAD_DIM], worst = 0, plain_worst = 0, steepest = 0;
    float half[MAX_HEAD_DIM];
    int64_t width = (int64_t)p->n_heads * p->head_dim;
    for (int32_t s = 0; s < p->n_seqs; s++)
        for (int64_t r = 0; r < p->seqs[s].n; r++)
            for (int32_t h = 0; h < p->n_heads; h++) {
                int64_t row = p->seqs[s].row + r;
                const float *qh = q + row * width + (int64_t)h * p->head_dim;
                steepest = fmax(steepest, attend_exactly(p, s, r, h, qh, scale, exact, magnitude));
                attend_in_half(p, s, r, h, qh, scale, half);
                for (int32_t i = 0; i < v_dim; i++) {
                    float got = y[row * stride + (int64_t)h * v_dim + i];
                    worst = fmax(worst, error_of(got, exact[i], magnitude[i]));
                    plain_worst = fmax(plain_worst, error_of(half[i], exact[i], magnitude[i]));
                }
            }
    double plain_error = fmax(plain_worst, score_error(p, 0x1p-12, steepest));
    double allowed = allowed_error("attention", plain_error, n_ctx);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain %.3g)", worst, allowed, plain_worst);
}

static void check_device_latent_attention(const lr_ops *c) {
    for (int round = 0; round < 2 * check.rounds && !check.kernel_failed; round++) {
        int32_t v_dim;
        device_pass d = {.p = make_latent_pass(c, round, round % 4 == 3, &v_dim)};
        const pass *p = &d.p;
        put_caches(&d);
        int64_t n = p->n_rows, width = (int64_t)p->n_heads * p->head_dim, out_width = (int64_t)p->n_heads * v_dim;
        int64_t stride = round % 3 ? out_width : out_width + 4 * random_below(5);
        float scale = 1 / sqrtf((float)p->head_dim), *q = filled(n * width, round % 3 ? P_RANDOM : P_ALTERNATE);
        bool packs = stride == out_width && random_below(2);
        op_call call = {.shape = shape_of(p), .packs = packs};
        describe("%s of %d, %d values", pass_text(p), call.shape.n_ctx, v_dim);
        call.attention = (lr_attention_args){.q = gpu_floats(q, n * width), .out_stride = stride, .q_stride = width,
                                             .v_dim = v_dim, .seqs = d.seqs, .n_seqs = p->n_seqs,
                                             .n_heads = p->n_heads, .head_dim = p->head_dim, .scale = scale,
                                             .n_kv_heads = 1, .kv_format = p->format};
        size_t partial = lr_gpu_attention_partial_bytes((int32_t)n, call.shape.n_ctx, p->n_heads, 1, v_dim);
        call.attention.partial = gpu_room(partial);
        gpu_writes(call.attention.partial, partial, partial, 1);
        call.attention.out = gpu_output(n, out_width, stride);
        if (packs) call.out = gpu_act_output(pick_act(out_width), n, out_width);
        gpu_run(call_attention, &call);
        if (packs) expect_packed(c, &call.out, rows_of(call.attention.out, n, out_width, stride));
        expect_latent(p, call.shape.n_ctx, v_dim, q, in_result(call.attention.out), stride, scale);
        gpu_clear();
    }
}

/* ---- rows ---- */

/* Norm and rope as the portable kernels compute them, and what the cache's format makes of it.                       */
static void check_device_latent_rows(const lr_ops *c) {
    for (int round = 0; round < check.rounds && !check.kernel_failed; round++) {
        int32_t rank;
        device_pass d = {.p = make_latent_pass(c, round, false, &rank)};
        const pass *p = &d.p;
        put_caches(&d);
        int32_t n_rot = p->head_dim - rank, n_nope = (int32_t)PICK(16, 32, 128), head = n_nope + n_rot, dim = p->head_dim;
        int64_t n = p->n_rows, x_width = (int64_t)p->n_heads * head, q_width = (int64_t)p->n_heads * dim;
        describe("%s, rank %d, %d rotated", pass_text(p), rank, n_rot);
        float *k = filled(n * dim, P_RANDOM), *x = filled(n * x_width, P_RANDOM), *w = filled(rank, P_RANDOM);
        float *cs = floats(n * n_rot);
        for (int64_t i = 0; i < n * n_rot; i += 2) {
            float angle = random_unit() * 3.14159f;
            cs[i] = cosf(angle);
            cs[i + 1] = sinf(angle);
        }
        op_call call = {.shape = shape_of(p)};
        call.latent = (lr_latent_args){.k_norm = gpu_floats(w, rank), .norm_eps = 1e-6f,
                                       .cos_sin = gpu_floats(cs, n * n_rot), .n_heads = p->n_heads, .n_nope = n_nope,
                                       .n_rot = n_rot, .kv_rank = rank, .seqs = d.seqs};
        call.latent.k = gpu_output(n, dim, dim);
        call.latent.x = gpu_output(n, x_width, x_width);
        call.latent.q = gpu_output(n, q_width, q_width);
        memcpy(in_image(call.latent.k), k, (size_t)(n * dim) * sizeof *k);
        memcpy(in_image(call.latent.x), x, (size_t)(n * x_width) * sizeof *x);
        for (int32_t s = 0; s < p->n_seqs; s++) gpu_writes(d.there[s].kv.base, d.cache_bytes[s], d.cache_bytes[s], 1);
        gpu_run(call_latent, &call);

        lr_norm_args norm = {.y = k, .x = k, .w = w, .dim = rank, .x_stride = dim, .y_stride = dim, .eps = 1e-6f};
        c->norm(&norm, 0, n, NULL);
        lr_rope_args rope = {.x = k + rank, .x_stride = dim, .cos_sin = cs, .n_heads = 1, .head_dim = dim,
                             .n_rot = n_rot, .adjacent = true};
        c->rope(&rope, 0, n, NULL);
        rope.x = x + n_nope;
        rope.x_stride = x_width;
        rope.n_heads = p->n_heads;
        rope.head_dim = head;
        c->rope(&rope, 0, n, NULL);
        const float *q = in_result(call.latent.q);
        for (int64_t i = 0; i < n * p->n_heads; i++)
            for (int32_t j = 0; j < n_rot; j++) {
                double want = x[i * head + n_nope + j], got = q[i * dim + rank + j];
                if (!(fabs(got - want) <= 1e-5 * fmax(1, fabs(want)))) fail("q is %.6g, expected %.6g", got, want);
            }
        for (int32_t s = 0; s < p->n_seqs; s++)
            for (int64_t r = 0; r < p->seqs[s].n; r++) {
                lr_kv_layer result = p->seqs[s].kv;
                float got[MAX_HEAD_DIM];
                void *quants, *scales;
                result.base = in_result(d.there[s].kv.base);
                lr_kv_row(&result, (int32_t)((p->seqs[s].position + r) % result.n_slots), 0, 0, &quants, &scales);
                lr_formats[p->format].decode(got, quants, scales, dim);
                const float *want = k + (p->seqs[s].row + r) * dim;
                for (int32_t i = 0; i < dim; i++) {
                    double most = 0, step = 0x1p-10 * fabs((double)want[i]) + 1e-6;
                    for (int32_t j = i / 32 * 32; j < i / 32 * 32 + 32 && p->format == LR_Q8_0; j++)
                        most = fmax(most, fabs((double)want[j]));
                    if (!(fabs((double)got[i] - want[i]) <= step + most / 127 * 0.6))
                        fail("the cache has %.6g, expected %.6g", (double)got[i], (double)want[i]);
                }
            }
        gpu_clear();
    }
}

/* ---- products of heads ---- */

static void check_device_heads(const lr_ops *c, lr_format format) {
    for (int round = 0; round < check.rounds && !check.kernel_failed; round++) {
        pattern pat = (pattern)(round % N_PATTERNS);
        lr_act_format act = gpu.ops.act(gpu.d, format, 1);
        int64_t n = round % 2 ? 1 + random_below(LR_GPU_FEW) : PICK(9, 16, 19), rows = PICK(16, 32, 48, 67);
        int64_t cols = (pick_cols(format) + 31) / 32 * 32;
        int64_t x_head = cols + (lr_formats[format].block >= 64 ? 64 : 32) * random_below(3);
        int32_t n_heads = (int32_t)PICK(1, 2, 5);
        describe("%d heads, rows %lld cols %lld of %lld tokens %lld, %s", n_heads, (long long)rows, (long long)cols,
                 (long long)x_head, (long long)n, pattern_names[pat]);
        float *x = floats(n * n_heads * x_head), *mine = floats(n * cols);
        op_call call = {.n = n};
        product m = {.w = make_weights(format, n_heads * rows, cols, pat),
                     .args.x = {.format = act, .n = lr_min(n, LR_GPU_FEW), .cols = cols}};
        int64_t y_head = rows + random_below(5), stride = n_heads * y_head;
        call.heads = (lr_heads_args){.y_stride = stride, .y_head = y_head, .x_head = x_head, .n_heads = n_heads,
                                     .w = gpu_matrix(&m.w)};
        call.heads.x = gpu_activations(c, act, n, n_heads * x_head, filled(n * n_heads * x_head, pat), x);
        call.heads.y = gpu_room((size_t)(n * stride) * sizeof(float));
        gpu_writes(call.heads.y, (size_t)rows * sizeof(float), (size_t)y_head * sizeof(float), n * n_heads);
        gpu_run(call_heads, &call);
        const float *y = in_result(call.heads.y);
        double worst = 0, magnitude, plain_worst = reading_error(format, &m.args.x, pat);
        float plain;
        for (int32_t h = 0; h < n_heads; h++) {
            for (int64_t t = 0; t < n; t++)
                memcpy(mine + t * cols, x + (t * n_heads + h) * x_head, (size_t)cols * sizeof *mine);
            for (int64_t t = 0; t < n; t++)
                for (int64_t r = 0; r < rows; r++) {
                    double exact = product_at(&m, mine, t, h * rows + r, &magnitude, &plain);
                    worst = fmax(worst, error_of(y[t * stride + h * y_head + r], exact, magnitude));
                    plain_worst = fmax(plain_worst, error_of(plain, exact, magnitude));
                }
        }
        double allowed = allowed_error("matmul", plain_worst, terms_of(pat, cols));
        if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain %.3g)", worst, allowed, plain_worst);
        gpu_clear();
    }
}

#endif
