/* Encoder of q8_0.  Part of encoders_body.h.                                                                         */
#include "quant/lanes.h"

/* d = absmax / 127 as f16; each code is the nearest for the d that is stored, not for the one before rounding.       */
static void q8_0_encode(void *quants, void *scales, const float *x, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 32, x += 32, q += 32, s += 2) {
        vf most = {0};
        for (int i = 0; i < 32; i += LANES) most = v_max(v_abs(v_load(x + i)), most);
        uint16_t h = scale_f16(v_max_lane(most) / 127.0f);
        float d = scale_f32(h);
        vf inv = v_all(d > 0 ? 1.0f / d : 0.0f), top = v_all(127.0f);
        for (int i = 0; i < 32; i += LANES)
            v_store_bytes(q + i, v_round_i(v_max(v_min(v_load(x + i) * inv, top), -top)));
        memcpy(s, &h, sizeof h);
    }
}
