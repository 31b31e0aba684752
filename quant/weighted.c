/* Encoding with weights: what a text showed to matter (quantize --calibrate) is kept closer.  q4_k and iq4_nl have such a
 * search in their encoders; here is the choice of format, and the search of those that have one scale and fixed values. */
#include "quant/encoders.h"

#include <string.h>

enum { TRIALS = 16 };

/* The code of the nearest of 16 ascending values.                                                                     */
static int nearest(float v, const float values[16]) {
    int code = 0;
    for (int k = 0; k < 15; k++) code += v > (values[k] + values[k + 1]) / 2;
    return code;
}

/* The least-squares scale for the best of some trial roundings.                                                       */
static float best_scale(const float *x, const float *w, int n, const float values[16], float peak_scale) {
    float best = peak_scale, most = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        float inverse = 1 / (peak_scale * (0.76f + 0.02f * (float)trial)), xq = 0, qq = 0;
        for (int i = 0; i < n; i++) {
            float q = values[nearest(x[i] * inverse, values)];
            xq += w[i] * q * x[i];
            qq += w[i] * q * q;
        }
        if (!(qq > 0) || !(xq * xq / qq > most)) continue;
        most = xq * xq / qq;
        best = xq / qq;
    }
    return best;
}

static void pack_nibbles(uint8_t *to, const float *x, int n, const float values[16], float scale) {
    float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < n / 2; i++)
        to[i] = (uint8_t)(nearest(x[i] * inverse, values) | nearest(x[i + n / 2] * inverse, values) << 4);
}

/* The value of largest magnitude, with its sign.                                                                      */
static float peak_of(const float *x, int n) {
    float peak = 0;
    for (int i = 0; i < n; i++)
        if (__builtin_fabsf(x[i]) > __builtin_fabsf(peak)) peak = x[i];
    return peak;
}

static void nf4_weighted(uint8_t *q, char *scales, const float *x, const float *w, int64_t n) {
    for (; n > 0; n -= 64, x += 64, w += 64, q += 32, scales += sizeof(float)) {
        float peak = __builtin_fabsf(peak_of(x, 64)), scale = peak > 1e-30f ? best_scale(x, w, 64, lr_nf4_values, peak) : peak;
        pack_nibbles(q, x, 64, lr_nf4_values, scale);
        memcpy(scales, &scale, sizeof scale);
    }
}

static void q4_0_weighted(uint8_t *p, const float *x, const float *w, int64_t n) {
    static const float values[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    for (; n > 0; n -= 32, x += 32, w += 32, p += 18) {
        float peak = peak_of(x, 32), d = __builtin_fabsf(peak) > 1e-30f ? best_scale(x, w, 32, values, peak / -8) : 0;
        uint16_t half = lr_f32_to_f16(d);
        memcpy(p, &half, sizeof half);
        pack_nibbles(p + 2, x, 32, values, lr_f16_to_f32(half));
    }
}

bool lr_encode_weighted(lr_format format, void *quants, void *scales, const float *x, const float *w, int64_t n) {
    const lr_encoders *e = lr_encoders_best();
    char *p = quants;
    switch (format) {
    case LR_Q4_K: e->q4_k_weighted(quants, scales, x, w, n); return true;
    case LR_IQ4_NL: e->iq4_nl_weighted(quants, scales, x, w, n); return true;
    case LR_NF4: nf4_weighted(quants, scales, x, w, n); return true;
    case LR_BLOCK_Q4_0: q4_0_weighted(quants, x, w, n); return true;
    case LR_BLOCK_Q4_K:
        for (int64_t i = 0; i < n; i += 256, p += 144) e->q4_k_weighted(p + 16, p, x + i, w + i, 256);
        return true;
    case LR_BLOCK_IQ4_NL:
        for (int64_t i = 0; i < n; i += 32, p += 18) e->iq4_nl_weighted(p + 2, p, x + i, w + i, 32);
        return true;
    default: return false;
    }
}
