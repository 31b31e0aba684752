/* Gated delta nets on vectors; included once per instruction set, which defines LEVEL(op) as the name of the kernel. */
#include "kernels/cpu/delta.h"
#include "kernels/cpu/vec.h"

/* A vector of n channels through all rows of the sequence.                                                           */
INLINE void convolve(const lr_delta_head *h, int32_t taps, int32_t c, int n) {
    vf w[LR_DELTA_TAPS], last[LR_DELTA_TAPS];
    float column[W];
    for (int j = 0; j < LR_DELTA_TAPS; j++) { /* as if there were all taps: older ones count nothing */
        int at = j - (LR_DELTA_TAPS - taps);
        for (int i = 0; i < W; i++) column[i] = at >= 0 && i < n ? h->taps[(int64_t)(c + i) * taps + at] : 0;
        w[j] = v_load(column);
        last[j] = at >= 0 && at < taps - 1 && !h->fresh ? v_load_n(h->before + at * h->before_stride + c, n) : v_zero();
    }
    for (int64_t t = 0; t < h->n; t++) {
        float *x = h->x + t * h->stride + c;
        last[LR_DELTA_TAPS - 1] = v_load_n(x, n);
        vf sum = w[0] * last[0];
#pragma GCC unroll 4
        for (int j = 1; j < LR_DELTA_TAPS; j++) sum = v_fma(w[j], last[j], sum);
#pragma GCC unroll 4
        for (int j = 0; j < LR_DELTA_TAPS - 1; j++) last[j] = last[j + 1];
        v_store_n(x, sum / (v_all(1.0f) + v_exp(v_zero() - sum)), n);
    }
    for (int j = LR_DELTA_TAPS - taps; j < LR_DELTA_TAPS - 1; j++)
        v_store_n(h->before + (j - (LR_DELTA_TAPS - taps)) * h->before_stride + c, last[j], n);
}

INLINE void make_unit(float *x, int32_t dim, float length) {
    vf sum = v_zero();
    for (int32_t c = 0; c < dim; c += W) {
        vf v = v_load_n(x + c, (int)lr_min(W, dim - c));
        sum = v_fma(v, v, sum);
    }
    vf scale = v_all(length / sqrtf(v_sum(sum) + LR_DELTA_EPS));
    for (int32_t c = 0; c < dim; c += W) {
        int n = (int)lr_min(W, dim - c);
        v_store_n(x + c, v_load_n(x + c, n) * scale, n);
    }
}

static void LEVEL(delta_conv)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_delta_args *a = args;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        lr_delta_head h = lr_delta_head_at(a, i);
        for (int32_t c = 0; c < h.dim; c += W) convolve(&h, a->taps, c, (int)lr_min(W, h.dim - c));
        for (int64_t t = 0; t < h.n && h.is_unit; t++) make_unit(h.x + t * h.stride, h.dim, h.length);
    }
}

/* BLOCKS vectors of columns of a head's matrix through all rows of the sequence: they stay in the nearest cache.  n: of
 * the last vector.                                                                                                   */
INLINE void rule_columns(int blocks, const lr_delta_args *a, const lr_seq *seq, int32_t head, int32_t first, int n) {
    int32_t k_head = head / (a->v_heads / a->k_heads);
    float *s = lr_delta_matrix(a, seq, head) + first;
    for (int32_t x = 0; x < a->k_dim && seq->position == 0; x++)
        for (int b = 0; b < blocks; b++)
            v_store_n(s + (int64_t)x * a->v_dim + b * W, v_zero(), b + 1 < blocks ? W : n);
    for (int64_t r = seq->row; r < seq->row + seq->n; r++) {
        const float *q = a->q + (r * a->k_heads + k_head) * a->k_dim, *k = a->k + (r * a->k_heads + k_head) * a->k_dim;
        const float *v = a->v + (r * a->v_heads + head) * a->v_dim + first;
        float *out = a->out + (r * a->v_heads + head) * a->v_dim + first;
        vf kept = v_all(lr_delta_kept(a, r, head)), share = v_all(lr_delta_share(a, r, head));
        vf d[4], o[4];
        for (int b = 0; b < blocks; b++) d[b] = o[b] = v_zero();
        for (int32_t x = 0; x < a->k_dim; x++)
            for (int b = 0; b < blocks; b++)
                d[b] = v_fma(v_load_n(s + (int64_t)x * a->v_dim + b * W, b + 1 < blocks ? W : n), v_all(k[x]), d[b]);
        for (int b = 0; b < blocks; b++)
            d[b] = share * (v_load_n(v + b * W, b + 1 < blocks ? W : n) - kept * d[b]);
        for (int32_t x = 0; x < a->k_dim; x++)
            for (int b = 0; b < blocks; b++) {
                float *at = s + (int64_t)x * a->v_dim + b * W;
                int m = b + 1 < blocks ? W : n;
                vf now = v_fma(v_all(k[x]), d[b], kept * v_load_n(at, m));
                v_store_n(at, now, m);
                o[b] = v_fma(now, v_all(q[x]), o[b]);
            }
        for (int b = 0; b < blocks; b++) v_store_n(out + b * W, o[b], b + 1 < blocks ? W : n);
    }
}

static void LEVEL(delta_rule)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_delta_args *a = args;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        const lr_seq *seq = &a->seqs[i / a->v_heads];
        int32_t head = (int32_t)(i % a->v_heads), j = 0;
        for (; j + 4 * W <= a->v_dim; j += 4 * W) rule_columns(4, a, seq, head, j, W);
        for (; j < a->v_dim; j += W) rule_columns(1, a, seq, head, j, (int)lr_min(W, a->v_dim - j));
    }
}
