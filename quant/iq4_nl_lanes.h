/* Encoder of iq4_nl: a search over 16 scales, one per lane.  Part of encoders_body.h.                                 */
#include "quant/lanes.h"

/* lr_iq4_nl_values of the nearest code; on a midpoint the upper one.                                                  */
static inline vf iq4_nl_nearest(vf x) {
    vf value = v_all(-127.0f);
    for (int k = 1; k < 16; k++) {
        float lower = lr_iq4_nl_values[k - 1], upper = lr_iq4_nl_values[k];
        value += (vf)(v_bits(v_all(upper - lower)) & (x >= 0.5f * (lower + upper)));
    }
    return value;
}

static inline vi iq4_nl_code(vf x) {
    vi code = {0};
    for (int k = 1; k < 16; k++)
        code -= x >= 0.5f * (float)(lr_iq4_nl_values[k - 1] + lr_iq4_nl_values[k]);
    return code;
}

/* The least-squares scale of the best of 16 trial roundings.  Trial c makes the largest magnitude fall on
 * 96 + 4 c of the code values, on the longer (negative) end.                                                          */
static float iq4_nl_scale(const float *x, float peak) {
    float scale[16], gain[16];
    for (int c = 0; c < 16; c += LANES) {
        vf inv, xq = {0}, qq = {0};
        for (int k = 0; k < LANES; k++) inv[k] = -(96.0f + 4.0f * (float)(c + k)) / peak;
        for (int i = 0; i < 32; i++) {
            vf q = iq4_nl_nearest(inv * x[i]);
            xq += q * x[i];
            qq += q * q;
        }
        v_store(scale + c, xq / qq);
        v_store(gain + c, xq * xq / qq);
    }
    int best = 0;
    for (int c = 1; c < 16; c++)
        if (gain[c] > gain[best]) best = c;
    return scale[best];
}

static void iq4_nl_encode(void *quants, void *scales, const float *x, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 32, x += 32, q += 16, s += 2) {
        float peak = 0;
        for (int i = 0; i < 32; i++) {
            float a = x[i] < 0 ? -x[i] : x[i], p = peak < 0 ? -peak : peak;
            peak = a > p ? x[i] : peak;
        }
        float d = peak != 0 ? iq4_nl_scale(x, peak) : 0.0f;
        uint16_t h = d < 0 ? scale_f16(-d) | 0x8000 : scale_f16(d);
        d = scale_f32(h);
        vf inv = v_all(d != 0 ? 1.0f / d : 0.0f);
        for (int i = 0; i < 16; i += LANES)
            v_store_bytes(q + i, iq4_nl_code(v_load(x + i) * inv) | iq4_nl_code(v_load(x + i + 16) * inv) << 4);
        memcpy(s, &h, sizeof h);
    }
}
