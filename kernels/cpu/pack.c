/* Packs float activations into what a matmul reads: float, bf16, or int8 in blocks of 32 with a float scale.         */
#include <math.h>
#include <string.h>

#include "kernels/cpu/elementwise.h"

static void pack_q8(const lr_act *out, int64_t t, const float *x) {
    int64_t n_blocks = out->cols / 32;
    int8_t *q = lr_act_q8_row(out, t);
    float *d = (float *)out->d + t * n_blocks, *s = (float *)out->s + t * n_blocks;
    for (int64_t b = 0; b < n_blocks; b++, x += 32, q += 32) {
        float most = 0;
        for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[i]));
        float scale = most / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
        if (!isfinite(inverse)) inverse = scale = 0.0f; /* a block below 4e-37 is zero */
        int32_t sum = 0;
        for (int i = 0; i < 32; i++) {
            q[i] = (int8_t)lrintf(x[i] * inverse);
            sum += q[i];
        }
        d[b] = scale;
        s[b] = scale * (float)sum;
    }
}

void lr_pack_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_pack_args *a = args;
    int64_t cols = a->out.cols;
    if (a->perm) {
        lr_pack_permuted(lr_pack_c, a, i0, i1, scratch);
        return;
    }
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * cols;
        if (a->out.format == LR_ACT_Q8) {
            pack_q8(&a->out, t, x);
        } else if (a->out.format == LR_ACT_BF16) {
            uint16_t *y = (uint16_t *)a->out.values + t * cols;
            for (int64_t i = 0; i < cols; i++) y[i] = lr_f32_to_bf16(x[i]);
        } else {
            memcpy((float *)a->out.values + t * cols, x, (size_t)cols * sizeof *x);
        }
    }
}

void lr_pack_permuted(lr_kernel pack, const lr_pack_args *a, int64_t i0, int64_t i1, void *scratch) {
    float *x = scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *from = a->x + t * a->out.cols;
        for (int64_t c = 0; c < a->out.cols; c++) x[c] = from[a->perm[c]];
        pack(&(lr_pack_args){ .x = x, .out = lr_act_row(&a->out, t) }, 0, 1, NULL);
    }
}
