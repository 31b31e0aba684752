/* Gated delta nets, token by token.  Source: Yang et al., "Gated Delta Networks", arXiv:2412.06464.                  */
#include <string.h>

#include "kernels/cpu/delta.h"

enum { EARLIER = LR_DELTA_TAPS - 1 };

static void convolve(const lr_delta_head *h, int32_t taps) {
    for (int32_t c = 0; c < h->dim; c++) {
        const float *w = h->taps + (int64_t)c * taps;
        float last[EARLIER + 1] = { 0 }; /* oldest first; the last one is the token's own */
        for (int32_t j = 0; j < taps - 1 && !h->fresh; j++) last[j] = h->before[j * h->before_stride + c];
        for (int64_t t = 0; t < h->n; t++) {
            float *x = h->x + t * h->stride + c, sum = 0;
            last[taps - 1] = *x;
            for (int32_t j = 0; j < taps; j++) sum += w[j] * last[j];
            memmove(last, last + 1, EARLIER * sizeof *last);
            *x = sum / (1 + expf(-sum));
        }
        for (int32_t j = 0; j < taps - 1; j++) h->before[j * h->before_stride + c] = last[j];
    }
}

void lr_delta_conv_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_delta_args *a = args;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        lr_delta_head h = lr_delta_head_at(a, i);
        convolve(&h, a->taps);
        for (int64_t t = 0; t < h.n && h.is_unit; t++) {
            float *x = h.x + t * h.stride, sum[8] = { 0 };
            for (int32_t c = 0; c < h.dim; c++) sum[c % 8] += x[c] * x[c];
            float all = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
            float scale = h.length / sqrtf(all + LR_DELTA_EPS);
            for (int32_t c = 0; c < h.dim; c++) x[c] *= scale;
        }
    }
}

void lr_delta_rule_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_delta_args *a = args;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        const lr_seq *seq = &a->seqs[i / a->v_heads];
        int32_t head = (int32_t)(i % a->v_heads), k_head = head / (a->v_heads / a->k_heads);
        float *s = lr_delta_matrix(a, seq, head), d[LR_DELTA_MOST];
        if (seq->position == 0) memset(s, 0, (size_t)a->k_dim * (size_t)a->v_dim * sizeof *s);
        for (int64_t r = seq->row; r < seq->row + seq->n; r++) {
            int64_t at = (r * a->k_heads + k_head) * a->k_dim;
            const float *q = a->q + at, *k = a->k + at;
            const float *v = a->v + (r * a->v_heads + head) * a->v_dim;
            float *out = a->out + (r * a->v_heads + head) * a->v_dim;
            float kept = lr_delta_kept(a, r, head), share = lr_delta_share(a, r, head);
            for (int32_t j = 0; j < a->v_dim; j++) d[j] = out[j] = 0;
            for (int32_t x = 0; x < a->k_dim; x++)
                for (int32_t j = 0; j < a->v_dim; j++) d[j] += s[x * a->v_dim + j] * k[x];
            for (int32_t j = 0; j < a->v_dim; j++) d[j] = share * (v[j] - kept * d[j]);
            for (int32_t x = 0; x < a->k_dim; x++)
                for (int32_t j = 0; j < a->v_dim; j++) {
                    s[x * a->v_dim + j] = kept * s[x * a->v_dim + j] + k[x] * d[j];
                    out[j] += s[x * a->v_dim + j] * q[x];
                }
        }
    }
}

void lr_delta_fill_c(lr_ops *ops) {
    LR_SET_OP(ops, delta_conv, c);
    LR_SET_OP(ops, delta_rule, c);
}
