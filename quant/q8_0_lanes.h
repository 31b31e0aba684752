/* Encoder of q8_0.  Part of encoders_body.h.                                                                         */
#include "quant/lanes.h"

/* d = absmax / 127.  The codes are nearest for d before it is rounded to f16, as ggml's, so that the bytes equal ggml's;
 * below f16's normal range, where d keeps few digits, they are nearest for the stored d instead.                      */
static void q8_0_encode(void *quants, void *scales, const float *x, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    vf top = v_all(127.0f);
    for (int64_t b = 0; b < n; b += 32, x += 32, q += 32, s += 2) {
        vf most = {0};
        for (int i = 0; i < 32; i += LANES) most = v_max(v_abs(v_load(x + i)), most);
        float d = v_max_lane(most) / 127.0f;
        uint16_t h = scale_f16(d);
        if (d < 0x1p-14f || d > 65504.0f) d = scale_f32(h);
        vf inv = v_all(d > 0 ? 1.0f / d : 0.0f);
        for (int i = 0; i < 32; i += LANES)
            v_store_bytes(q + i, v_round_i(v_max(v_min(v_load(x + i) * inv, top), -top)));
        memcpy(s, &h, sizeof h);
    }
}
