/* norm, pack, rope and glu on vectors; included once per instruction set, which defines LEVEL(op) as the name of
 * the kernel.                                                                                                        */
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/vec.h"

static void LEVEL(norm)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_norm_args *a = args;
    int64_t body = a->dim / W * W;
    int tail = (int)(a->dim - body);
    if (a->center || a->b || a->accumulate) {
        lr_norm_c(args, i0, i1, scratch);
        return;
    }
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * a->x_stride;
        float *y = a->y + t * a->y_stride;
        vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()}, v;
        for (int64_t i = 0; i < body; i += W) {
            v = v_load(x + i);
            sum[i / W % 4] = v_fma(v, v, sum[i / W % 4]);
        }
        v = v_load_n(x + body, tail);
        sum[0] = v_fma(v, v, sum[0]);
        float total = v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
        vf scale = v_all(1.0f / sqrtf(total / (float)a->dim + a->eps));
        for (int64_t i = 0; i < body; i += W) v_store(y + i, v_load(x + i) * scale * v_load(a->w + i));
        v_store_n(y + body, v * scale * v_load_n(a->w + body, tail), tail);
    }
}

INLINE void pack_q8_block(const float *x, int8_t *q, float *d, float *s) {
    vf most = v_zero();
    for (int i = 0; i < 32; i += W) most = v_max(v_abs(v_load(x + i)), most);
    float scale = v_most(most) / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    if (!isfinite(inverse)) inverse = scale = 0.0f; /* a block below 4e-37 is zero */
    vi sum = v_round(v_zero());
    for (int i = 0; i < 32; i += W) {
        vi v = v_round(v_load(x + i) * v_all(inverse));
        v_store_i8(q + i, v);
        sum = VF(add_epi32)(sum, v);
    }
    *d = scale;
    *s = scale * (float)v_sum_i(sum);
}

/* To nearest even, as lr_f32_to_bf16: the instruction would flush small values to zero.                              */
INLINE vi to_bf16(vf x) {
    vi u = VI(castps)(x), odd = VI(and)(VF(srli_epi32)(u, 16), VF(set1_epi32)(1));
    vi near = VF(add_epi32)(VF(add_epi32)(u, VF(set1_epi32)(0x7fff)), odd);
    return VF(srli_epi32)(v_pick_nan(x, VI(or)(u, VF(set1_epi32)(0x400000)), near), 16);
}

static void LEVEL(pack)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_pack_args *a = args;
    int64_t cols = a->out.cols, n_blocks = cols / 32;
    if (a->out.format == LR_ACT_F32) {
        lr_pack_c(args, i0, i1, scratch);
        return;
    }
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * cols;
        if (a->out.format == LR_ACT_Q8) {
            int8_t *q = lr_act_q8_row(&a->out, t);
            float *d = (float *)a->out.d + t * n_blocks, *s = (float *)a->out.s + t * n_blocks;
            for (int64_t b = 0; b < n_blocks; b++) pack_q8_block(x + b * 32, q + b * 32, d + b, s + b);
        } else {
            uint16_t *y = (uint16_t *)a->out.values + t * cols;
            int64_t i = 0;
            for (; i + W <= cols; i += W) v_store_u16(y + i, to_bf16(v_load(x + i)));
            for (; i < cols; i++) y[i] = lr_f32_to_bf16(x[i]);
        }
    }
}

/* (x, y) -> (x cos - y sin, x sin + y cos)                                                                           */
INLINE void rotate(vf *x, vf *y, vf co, vf si) {
    vf x0 = *x;
    *x = VF(fmsub_ps)(x0, co, *y * si);
    *y = v_fma(x0, si, *y * co);
}

static void rope_halves(float *x, const float *cs, int32_t n_pairs) {
    for (int32_t i = 0; i < n_pairs; i += W) {
        int n = (int)lr_min(W, n_pairs - i), first = (int)lr_min(W, 2 * n);
        vf co, si, p = v_load_n(x + i, n), q = v_load_n(x + n_pairs + i, n);
        v_part(v_load_n(cs + 2 * i, first), v_load_n(cs + 2 * i + first, 2 * n - first), &co, &si);
        rotate(&p, &q, co, si);
        v_store_n(x + i, p, n);
        v_store_n(x + n_pairs + i, q, n);
    }
}

static void rope_adjacent(float *x, const float *cs, int32_t n_rot) {
    for (int32_t i = 0; i < n_rot; i += W) {
        int n = (int)lr_min(W, n_rot - i);
        vf v = v_load_n(x + i, n), c = v_load_n(cs + i, n), swapped = VF(permute_ps)(v, 0xb1);
        v_store_n(x + i, VF(fmaddsub_ps)(v, VF(moveldup_ps)(c), swapped * VF(movehdup_ps)(c)), n);
    }
}

static void LEVEL(rope)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_rope_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++)
        for (int32_t h = 0; h < a->n_heads; h++) {
            float *x = a->x + t * a->x_stride + (int64_t)h * a->head_dim;
            const float *cs = a->cos_sin + t * a->n_rot;
            if (a->adjacent) rope_adjacent(x, cs, a->n_rot);
            else rope_halves(x, cs, a->n_rot / 2);
        }
}

static void LEVEL(glu)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_glu_args *a = args;
    if (a->act != LR_GLU_SILU || !a->up) {
        lr_glu_c(args, i0, i1, scratch);
        return;
    }
    for (int64_t t = i0; t < i1; t++) {
        const float *gate = a->gate + t * a->in_stride, *up = a->up + t * a->in_stride;
        float *y = a->y + t * a->y_stride;
        for (int64_t i = 0; i < a->dim; i += W) {
            int n = (int)lr_min(W, a->dim - i);
            vf g = v_load_n(gate + i, n), u = v_load_n(up + i, n);
            v_store_n(y + i, g / (v_all(1.0f) + v_exp(v_zero() - g)) * u, n);
        }
    }
}
