/* norm, pack, rope, glu and softcap on vectors; included once per instruction set, which defines LEVEL(op) as the name
 * of the kernel.                                                                                                     */
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/vec.h"

/* sum + v^power */
INLINE vf add_power(vf sum, vf v, int power) {
    if (power == 1) return sum + v;
    return v_fma(v, v, sum);
}

/* Sum of (x - mean)^power, power 1 or 2.                                                                             */
INLINE float sum_of(int power, const float *x, int64_t n, vf mean) {
    vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;
    for (; i + W <= n; i += W) sum[i / W % 4] = add_power(sum[i / W % 4], v_load(x + i) - mean, power);
    sum[0] = add_power(sum[0], v_only(v_load_n(x + i, (int)(n - i)) - mean, (int)(n - i)), power);
    return v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* plain: RMSNorm that adds to nothing.                                                                               */
INLINE void norm_piece(bool plain, const lr_norm_args *a, const float *x, float *y, int64_t i, int n, vf mean,
                       vf scale) {
    vf v = (v_load_n(x + i, n) - mean) * scale * v_load_n(a->w + i, n);
    if (!plain && a->b) v += v_load_n(a->b + i, n);
    if (!plain && a->accumulate) v += v_load_n(y + i, n);
    v_store_n(y + i, v, n);
}

INLINE void norm_rows(bool plain, const lr_norm_args *a, int64_t i0, int64_t i1) {
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * a->x_stride;
        float *y = a->y + t * a->y_stride;
        int64_t i = 0;
        vf mean = v_zero();
        if (!plain && a->center) mean = v_all(sum_of(1, x, a->dim, mean) / (float)a->dim);
        vf scale = v_all(1.0f / sqrtf(sum_of(2, x, a->dim, mean) / (float)a->dim + a->eps));
        for (; i + W <= a->dim; i += W) norm_piece(plain, a, x, y, i, W, mean, scale);
        norm_piece(plain, a, x, y, i, (int)(a->dim - i), mean, scale);
    }
}

static void LEVEL(norm)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_norm_args *a = args;
    (void)scratch;
    if (a->center || a->b || a->accumulate) norm_rows(false, a, i0, i1);
    else norm_rows(true, a, i0, i1);
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
    if (a->perm) {
        lr_pack_permuted(LEVEL(pack), a, i0, i1, scratch);
        return;
    }
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

INLINE vf times_sigmoid(vf x, vf at) { return x / (v_all(1.0f) + v_exp(v_zero() - at)); }

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|).  Phi(-t) = exp(p(t)) / 2, p fitted (Lawson) so that the error is at most
 * 2^-25.7 |x| Phi(|x|), and 0 is near where t leaves the fit, from 5.5 on.                                           */
INLINE vf gelu(vf x) {
    vf t = v_abs(x), p = v_all(-2.0875343e-6f);
    p = v_fma(p, t, v_all(2.8685296e-5f));
    p = v_fma(p, t, v_all(-1.3523997e-4f));
    p = v_fma(p, t, v_all(-8.1128543e-5f));
    p = v_fma(p, t, v_all(4.8797308e-3f));
    p = v_fma(p, t, v_all(-3.6377735e-2f));
    p = v_fma(p, t, v_all(-3.1830156e-1f));
    p = v_fma(p, t, v_all(-7.9788506e-1f));
    return v_max(x, v_zero()) - t * v_all(0.5f) * v_exp(p * t);
}

INLINE vf activate(lr_glu_act act, vf x) {
    if (act == LR_GLU_GELU) return gelu(x);
    if (act == LR_GLU_GELU_TANH) /* (1 + tanh(y)) / 2 is the sigmoid of 2 y */
        return times_sigmoid(x, v_all(1.59576912f) * v_fma(v_all(0.044715f) * x * x, x, x));
    if (act == LR_GLU_OAI) return times_sigmoid(x, v_all(1.702f) * x);
    return times_sigmoid(act == LR_GLU_SIGMOID ? v_all(1.0f) : x, x);
}

INLINE void glu_rows(lr_glu_act act, const lr_glu_args *a, int64_t i0, int64_t i1) {
    for (int64_t t = i0; t < i1; t++) {
        const float *gate = a->gate + t * a->in_stride, *up = a->up ? a->up + t * a->in_stride : NULL;
        float *y = a->y + t * a->y_stride;
        for (int64_t i = 0; i < a->dim; i += W) {
            int n = (int)lr_min(W, a->dim - i);
            vf g = v_load_n(gate + i, n), u = up ? v_load_n(up + i, n) : v_all(1.0f);
            if (act == LR_GLU_OAI) {
                g = v_min(v_all(7.0f), g);
                u = v_min(v_all(7.0f), v_max(v_all(-7.0f), u)) + v_all(1.0f);
            }
            v_store_n(y + i, activate(act, g) * u, n);
        }
    }
}

static void LEVEL(glu)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_glu_args *a = args;
    (void)scratch;
    switch (a->act) {
    case LR_GLU_GELU: glu_rows(LR_GLU_GELU, a, i0, i1); break;
    case LR_GLU_GELU_TANH: glu_rows(LR_GLU_GELU_TANH, a, i0, i1); break;
    case LR_GLU_OAI: glu_rows(LR_GLU_OAI, a, i0, i1); break;
    case LR_GLU_SIGMOID: glu_rows(LR_GLU_SIGMOID, a, i0, i1); break;
    default: glu_rows(LR_GLU_SILU, a, i0, i1);
    }
}

static void LEVEL(softcap)(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_softcap_args *a = args;
    vf cap = v_all(a->cap);
    (void)scratch;
    for (int64_t i = i0 * a->dim; i < i1 * a->dim; i += W) {
        int n = (int)lr_min(W, i1 * a->dim - i);
        v_store_n(a->x + i, cap * v_tanh(v_load_n(a->x + i, n) / cap), n);
    }
}
