/* Encoder of iq4_nl: a search over 16 scales, one per lane; with weights (w) or without (NULL).  Part of encoders_body.h. */
#include "quant/lanes.h"

static const float iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float iq4_nl_steps[15] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
static const float iq4_nl_midpoints[15] = {-115.5f, -93.5f, -74, -57,   -42, -28.5f, -16, -4.5f,
                                           7,       19,     31.5f, 45.5f, 61,  79,     101};
/* Trial c makes the block's peak fall on this value of the code.                                                      */
static const float iq4_nl_trials[16] = {-96,  -100, -104, -108, -112, -116, -120, -124,
                                        -128, -132, -136, -140, -144, -148, -152, -156};

/* The least-squares scale of the best of 16 trial roundings; peak is the value with the largest magnitude.            */
ALWAYS_INLINE float iq4_nl_scale(const float *x, const float *w, float peak) {
    float scale[16], gain[16];
    for (int c = 0; c < 16; c += LANES) {
        vf inv = v_load(iq4_nl_trials + c) / peak, xq = {0}, qq = {0};
        for (int i = 0; i < 32; i++) {
            vf q = v_value16(inv * x[i], iq4_nl_midpoints, iq4_nl_values, iq4_nl_steps);
            xq += q * (w ? w[i] * x[i] : x[i]);
            qq = w ? qq + w[i] * q * q : v_mul_add_exact(q, q, qq);
        }
        v_store(scale + c, xq / qq);
        v_store(gain + c, v_max(xq * xq / qq, v_all(0.0f)));
    }
    return scale[best_of_16(gain)];
}

ALWAYS_INLINE void iq4_nl_encode_with(void *quants, void *scales, const float *x, const float *w, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 32, x += 32, q += 16, s += 2) {
        float peak = 0;
        for (int i = 0; i < 32; i++) {
            float a = x[i] < 0 ? -x[i] : x[i], p = peak < 0 ? -peak : peak;
            peak = a > p ? x[i] : peak;
        }
        float d = peak != 0 ? iq4_nl_scale(x, w ? w + b : NULL, peak) : 0.0f;
        uint16_t h = d < 0 ? scale_f16(-d) | 0x8000 : scale_f16(d);
        d = scale_f32(h);
        vf inv = v_all(d != 0 ? 1.0f / d : 0.0f);
        for (int i = 0; i < 16; i += LANES)
            v_store_bytes(q + i, v_code16(v_load(x + i) * inv, iq4_nl_midpoints) |
                                     v_code16(v_load(x + i + 16) * inv, iq4_nl_midpoints) << 4);
        memcpy(s, &h, sizeof h);
    }
}

static void iq4_nl_encode(void *quants, void *scales, const float *x, int64_t n) { iq4_nl_encode_with(quants, scales, x, NULL, n); }
static void iq4_nl_weighted(void *quants, void *scales, const float *x, const float *w, int64_t n) {
    iq4_nl_encode_with(quants, scales, x, w, n);
}
