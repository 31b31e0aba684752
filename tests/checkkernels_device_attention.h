/* Checks of qkv and attention on a device: the passes and caches of checkkernels_attention.h, copied there.           */
#ifndef CHECKKERNELS_DEVICE_ATTENTION_H
#define CHECKKERNELS_DEVICE_ATTENTION_H

#include "tests/checkkernels_attention.h"
#include "tests/checkkernels_device_ops.h"

/* A pass whose caches lie on the device too.                                                                          */
typedef struct device_pass {
    pass p;
    const lr_seq *seqs; /* of the device */
    lr_seq there[MAX_SEQS];
    size_t cache_bytes[MAX_SEQS];
} device_pass;

static lr_pass_shape shape_of(const pass *p) {
    lr_pass_shape s = {.n = p->n_rows, .n_seqs = p->n_seqs};
    for (int32_t i = 0; i < p->n_seqs; i++) {
        s.most_rows = lr_max(s.most_rows, p->seqs[i].n);
        s.n_ctx = (int32_t)lr_max(s.n_ctx, p->seqs[i].position + p->seqs[i].n);
    }
    s.n_ctx += (int32_t)PICK(0, 0, 1, 100, 1000);
    return s;
}

/* The next pass that the device's attention takes.                                                                    */
static device_pass make_device_pass(const lr_ops *c, int round, bool want_long) {
    device_pass d = {0};
    do {
        release_all();
        d.p = make_pass(c, round, want_long);
    } while (d.p.v_in_k || !lr_gpu_attention_takes(d.p.format, d.p.head_dim));
    for (int32_t s = 0; s < d.p.n_seqs; s++) {
        lr_kv_layer *kv = &d.there[s].kv;
        int32_t n_pages = (d.p.seqs[s].kv.n_slots + d.p.seqs[s].kv.page_slots - 1) / d.p.seqs[s].kv.page_slots;
        d.there[s] = d.p.seqs[s];
        d.cache_bytes[s] = (size_t)n_pages * kv->page_bytes;
        kv->base = gpu_put(kv->base, d.cache_bytes[s]);
        if (kv->pages) kv->pages = gpu_put(kv->pages, (size_t)n_pages * sizeof *kv->pages);
    }
    d.seqs = gpu_put(d.there, (size_t)d.p.n_seqs * sizeof *d.there);
    return d;
}

/* ---- qkv ---- */

/* Norm of the head, or of the row of n_heads heads in which it is number h, then rope, exactly; size: of what is added
 * for value i.                                                                                                       */
static void rotate_exactly(const lr_qkv_args *a, const float *row, int32_t n_heads, int32_t h, const float *norm,
                           const float *cos_sin, double *y, double *size) {
    const float *x = row + (int64_t)h * a->head_dim;
    int32_t first_value = a->norm_rows ? 0 : h * a->head_dim, n_values = a->norm_rows ? n_heads * a->head_dim : a->head_dim;
    double v[MAX_HEAD_DIM], sum = 0;
    for (int32_t i = 0; i < n_values; i++) sum += (double)row[first_value + i] * (double)row[first_value + i];
    double scale = norm ? 1 / sqrt(sum / n_values + (double)a->norm_eps) : 1;
    if (norm) norm += h * a->head_dim - first_value;
    for (int32_t i = 0; i < a->head_dim; i++) v[i] = x[i] * scale * (norm ? (double)norm[i] : 1);
    for (int32_t i = 0; i < a->head_dim; i++) {
        y[i] = v[i];
        size[i] = fabs(v[i]);
        if (i >= a->n_rot) continue;
        int32_t pair = a->rope_adjacent ? i / 2 : i % (a->n_rot / 2), away = a->rope_adjacent ? 1 : a->n_rot / 2;
        bool second = a->rope_adjacent ? i % 2 : i >= a->n_rot / 2;
        double first = second ? v[i - away] : v[i], other = second ? v[i] : v[i + away];
        double co = cos_sin[2 * pair], si = cos_sin[2 * pair + 1];
        y[i] = second ? first * si + other * co : first * co - other * si;
        size[i] = hypot(first, other);
    }
}

static double rotation_error(const lr_qkv_args *a, int32_t n_heads, const float *norm) {
    double terms = (double)a->head_dim * (a->norm_rows ? n_heads : 1);
    return allowed_error("rope", 0, 0) + (norm ? allowed_error("norm", 0, terms) : 0);
}

static void expect_rotated(const lr_qkv_args *a, const float *before, const float *after, const float *norm,
                           const float *cos_sin, int64_t n) {
    double y[MAX_HEAD_DIM], size[MAX_HEAD_DIM], worst = 0;
    for (int64_t t = 0; t < n; t++)
        for (int32_t h = 0; h < a->n_heads; h++) {
            int64_t row = t * a->n_heads * a->head_dim, at = row + (int64_t)h * a->head_dim;
            rotate_exactly(a, before + row, a->n_heads, h, norm, cos_sin + t * a->n_rot, y, size);
            for (int32_t i = 0; i < a->head_dim; i++) worst = fmax(worst, error_of(after[at + i], y[i], size[i]));
        }
    double allowed = rotation_error(a, a->n_heads, norm);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g", worst, allowed);
}

/* A K row of the cache, of head h of `row`: the rotated k, off by its own error and by half a step of the format.     */
static void expect_k(const lr_qkv_args *a, lr_format format, const void *quants, const void *scales, const float *row,
                     int32_t h, const float *norm, const float *cos_sin) {
    double y[MAX_HEAD_DIM], size[MAX_HEAD_DIM];
    float got[MAX_HEAD_DIM];
    rotate_exactly(a, row, a->n_kv_heads, h, norm, cos_sin, y, size);
    decode_row(format, got, quants, scales, a->head_dim);
    double sum = 0;
    for (int32_t i = 0; i < a->head_dim; i++) sum += y[i] * y[i];
    if (format == LR_KV_ROTATED) make_even(size, a->head_dim);
    for (int32_t i = 0; i < a->head_dim; i++) {
        double most = 0, step = 0;
        if (format == LR_KV_ROTATED) step = 0.5 * sqrt(sum); /* of the row's length; its bytes are checked in v */
        for (int32_t j = i / 32 * 32; j < i / 32 * 32 + 32 && format == LR_Q8_0; j++) most = fmax(most, fabs(y[j]));
        if (format == LR_F16) step = 0x1.01p-11 * fabs(y[i]) + 0x1p-25;
        if (format == LR_Q8_0) step = most / 127 * 0.6 + 0x1p-25 * 127; /* codes, and the scale in f16 */
        double d = fabs(got[i] - y[i]), allowed = size[i] * rotation_error(a, a->n_kv_heads, norm) + step;
        if (!(d <= allowed)) fail("k in the cache is off by %.3g, allowed %.3g", d, allowed);
    }
}

/* Of the caches nothing may have changed but the new rows; v there to the bit as the format's encoder has it.         */
static void expect_cached(const device_pass *d, const lr_qkv_args *a, const float *k, const float *v,
                          const float *norm, const float *cos_sin) {
    int64_t width = (int64_t)d->p.n_kv_heads * d->p.head_dim;
    size_t row_quants = (size_t)(d->p.head_dim / lr_formats[d->p.format].block * lr_formats[d->p.format].quant_bytes);
    size_t row_scales = (size_t)(d->p.head_dim / lr_formats[d->p.format].block * lr_formats[d->p.format].scale_bytes);
    for (int32_t s = 0; s < d->p.n_seqs; s++) {
        const lr_seq *seq = &d->p.seqs[s]; /* the host's cache still has what was there before */
        lr_kv_layer result = seq->kv;
        result.base = in_result(d->there[s].kv.base);
        for (int64_t r = 0; r < seq->n; r++)
            for (int32_t h = 0; h < d->p.n_kv_heads; h++) {
                int32_t slot = (int32_t)((seq->position + r) % seq->kv.n_slots);
                int64_t row = seq->row + r, at = row * width + (int64_t)h * d->p.head_dim;
                void *quants, *scales, *got, *got_scales;
                lr_kv_row(&seq->kv, slot, h, 1, &quants, &scales);
                encode_row(d->p.format, quants, scales, v + at, d->p.head_dim);
                lr_kv_row(&seq->kv, slot, h, 0, &quants, &scales);
                lr_kv_row(&result, slot, h, 0, &got, &got_scales);
                expect_k(a, d->p.format, got, got_scales, k + row * width, h, norm, cos_sin + row * a->n_rot);
                memcpy(quants, got, row_quants);
                if (row_scales) memcpy(scales, got_scales, row_scales);
            }
        if (memcmp(seq->kv.base, result.base, d->cache_bytes[s]))
            fail("cache of sequence %d: v differs from its format's encoder, or other rows have changed", s);
    }
}

static void check_device_qkv(const lr_ops *c) {
    for (int round = 0; round < 2 * check.rounds && !check.kernel_failed; round++) {
        device_pass d = make_device_pass(c, round, false);
        pattern shape = (pattern)(round % N_PATTERNS);
        int64_t n = d.p.n_rows;
        int32_t hd = d.p.head_dim, n_rot = (int32_t)PICK(0, hd / 2 * 2, hd / 2 * 2, hd / 4 * 2);
        int64_t q_width = (int64_t)d.p.n_heads * hd, k_width = (int64_t)d.p.n_kv_heads * hd;
        bool norm_rows = random_below(2);
        describe("%s, %d rotated, %s%s", pass_text(&d.p), n_rot, pattern_names[shape],
                 round % 3 != 1 ? "" : norm_rows ? ", norms of rows" : ", norms of heads");
        float *q = filled(n * q_width, shape), *k = filled(n * k_width, shape), *v = filled(n * k_width, P_RANDOM);
        float *norms[2] = {NULL, NULL}, *cs = floats(n * n_rot);
        for (int i = 0; i < 2; i++)
            if (round % 3 == 1) norms[i] = filled(norm_rows ? i ? k_width : q_width : hd, P_RANDOM);
        for (int64_t i = 0; i < n * n_rot; i += 2) {
            float angle = random_unit() * 3.14159f;
            cs[i] = cosf(angle);
            cs[i + 1] = sinf(angle);
        }
        op_call call = {.shape = shape_of(&d.p)};
        call.qkv = (lr_qkv_args){.v = gpu_floats(v, n * k_width), .norm_eps = 1e-6f,
                                 .cos_sin = gpu_floats(cs, n * n_rot), .n_heads = d.p.n_heads,
                                 .n_kv_heads = d.p.n_kv_heads, .head_dim = hd, .n_rot = n_rot,
                                 .norm_rows = norm_rows, .rope_adjacent = random_below(2), .seqs = d.seqs};
        call.qkv.q = gpu_output(n, q_width, q_width);
        call.qkv.k = gpu_output(n, k_width, k_width);
        memcpy(in_image(call.qkv.q), q, (size_t)(n * q_width) * sizeof *q);
        memcpy(in_image(call.qkv.k), k, (size_t)(n * k_width) * sizeof *k);
        if (norms[0]) call.qkv.q_norm = gpu_floats(norms[0], norm_rows ? q_width : hd);
        if (norms[1]) call.qkv.k_norm = gpu_floats(norms[1], norm_rows ? k_width : hd);
        for (int32_t s = 0; s < d.p.n_seqs; s++)
            gpu_writes(d.there[s].kv.base, d.cache_bytes[s], d.cache_bytes[s], 1);
        gpu_run(call_qkv, &call);
        expect_rotated(&call.qkv, q, in_result(call.qkv.q), norms[0], cs, n);
        expect_cached(&d, &call.qkv, k, v, norms[1], cs);
        gpu_clear();
    }
}

/* ---- attention ---- */

static float as_half(float x) { return lr_f16_to_f32(lr_f32_to_f16(x)); }

/* Row r of sequence s, head h, as tensor cores read it: q, k, v and the weights in f16, sums in f32.                   */
static void attend_in_half(const pass *p, int32_t s, int64_t r, int32_t h, const float *q, float scale, float *out) {
    const lr_seq *seq = &p->seqs[s];
    int64_t last = seq->position + r, first = p->window ? lr_max(0, last - p->window + 1) : 0;
    int64_t at = (int64_t)(h / (p->n_heads / p->n_kv_heads)) * p->head_dim, width = (int64_t)p->n_kv_heads * p->head_dim;
    static float weight[8192];
    float most = -INFINITY, sum = 0;
    for (int64_t i = first; i <= last; i++) {
        float dot = 0;
        for (int32_t d = 0; d < p->head_dim; d++) dot += as_half(q[d]) * as_half(p->k[s][i * width + at + d]);
        weight[i - first] = p->softcap > 0 ? p->softcap * tanhf(dot * scale / p->softcap) : dot * scale;
        most = fmaxf(most, weight[i - first]);
    }
    for (int64_t i = 0; i <= last - first; i++) sum += weight[i] = as_half(expf(weight[i] - most));
    if (p->sinks) sum += expf(p->sinks[h] - most);
    for (int32_t d = 0; d < p->head_dim; d++) {
        out[d] = 0;
        for (int64_t i = first; i <= last; i++) out[d] += weight[i - first] * as_half(p->v[s][i * width + at + d]);
        out[d] /= sum;
    }
}

static void expect_attended(const pass *p, const lr_pass_shape *shape, const float *q, const float *y, int64_t stride,
                            float scale) {
    double exact[MAX_HEAD_DIM], magnitude[MAX_HEAD_DIM], plain_magnitude[MAX_HEAD_DIM];
    double worst = 0, plain_worst = 0, steepest = 0;
    float plain[MAX_HEAD_DIM], half[MAX_HEAD_DIM];
    int64_t width = (int64_t)p->n_heads * p->head_dim;
    bool in_half = p->format != LR_F32; /* tensor cores */
    for (int32_t s = 0; s < p->n_seqs; s++)
        for (int64_t r = 0; r < p->seqs[s].n; r++)
            for (int32_t h = 0; h < p->n_heads; h++) {
                int64_t row = p->seqs[s].row + r;
                const float *qh = q + row * width + (int64_t)h * p->head_dim;
                steepest = fmax(steepest, attend_exactly(p, s, r, h, qh, scale, exact, magnitude));
                attend_plainly(p, s, r, h, qh, scale, plain, plain_magnitude);
                if (in_half) attend_in_half(p, s, r, h, qh, scale, half);
                for (int32_t d = 0; d < p->head_dim; d++) {
                    float got = y[row * stride + (int64_t)h * p->head_dim + d];
                    worst = fmax(worst, error_of(got, exact[d], magnitude[d]));
                    plain_worst = fmax(plain_worst, error_of(plain[d], exact[d], magnitude[d]));
                    if (in_half) plain_worst = fmax(plain_worst, error_of(half[d], exact[d], magnitude[d]));
                }
            }
    double plain_error = fmax(plain_worst, score_error(p, in_half ? 0x1p-12 : ROUNDING, steepest));
    double allowed = allowed_error("attention", plain_error, shape->n_ctx);
    if (!(worst <= allowed)) fail("error %.3g, allowed %.3g (plain %.3g)", worst, allowed, plain_worst);
}

static void check_device_attention(const lr_ops *c, bool many) {
    for (int round = 0; round < 2 * check.rounds && !check.kernel_failed; round++) {
        device_pass d = make_device_pass(c, round, round % 4 == 3);
        if ((d.p.n_rows > LR_GPU_FEW) != many) {
            gpu_clear();
            continue;
        }
        int64_t n = d.p.n_rows, width = (int64_t)d.p.n_heads * d.p.head_dim, stride = width + 4 * random_below(5);
        float scale = 1 / sqrtf((float)d.p.head_dim), *q = filled(n * width, round % 2 ? P_RANDOM : P_ALTERNATE);
        int wants = 1 + (int)random_below(3); /* a->out, out, both */
        op_call call = {.shape = shape_of(&d.p), .packs = wants & 2};
        describe("%s of %d", pass_text(&d.p), call.shape.n_ctx);
        call.attention = (lr_attention_args){.q = gpu_floats(q, n * width), .out_stride = stride, .q_stride = width,
                                             .seqs = d.seqs, .n_seqs = d.p.n_seqs, .n_heads = d.p.n_heads,
                                             .head_dim = d.p.head_dim, .window = d.p.window, .scale = scale,
                                             .softcap = d.p.softcap, .n_kv_heads = d.p.n_kv_heads,
                                             .kv_format = d.p.format};
        if (d.p.sinks) call.attention.sinks = gpu_floats(d.p.sinks, d.p.n_heads);
        size_t partial = lr_gpu_attention_partial_bytes((int32_t)n, call.shape.n_ctx, d.p.n_heads, d.p.n_kv_heads,
                                                        d.p.head_dim);
        if (partial) {
            call.attention.partial = gpu_room(partial);
            gpu_writes(call.attention.partial, partial, partial, 1);
        }
        if (wants & 1) call.attention.out = gpu_output(n, width, stride);
        lr_act_format act = wants == 3 ? pick_act(width) : LR_ACT_F32;
        if (many && act == LR_ACT_Q8) act = LR_ACT_F16; /* no product of a long pass reads it */
        if (call.packs) call.out = gpu_act_output(act, n, width);
        gpu_run(call_attention, &call);
        const float *y = wants & 1 ? in_result(call.attention.out) : in_result(call.out.values);
        if (wants == 3) expect_packed(c, &call.out, rows_of(call.attention.out, n, width, stride));
        expect_attended(&d.p, &call.shape, q, y, wants & 1 ? stride : width, scale);
        gpu_clear();
    }
}

#endif
