/* Encoder of nf4.  Part of encoders_body.h.                                                                          */
#include "quant/lanes.h"

/* As bitsandbytes: x times 1 / absmax, then the nearest value; a value on the midpoint of two takes the lower.       */
static void nf4_encode(void *quants, void *scales, const float *x, int64_t n) {
    static const float midpoints[15] = { /* of lr_nf4_values, in f32 arithmetic */
        -0.848096371f, -0.610632896f, -0.45999527f, -0.33967942f, -0.234607399f,
        -0.137911737f, -0.0455250181f, 0.0397901498f, 0.120255247f, 0.203521252f,
        0.292013764f, 0.389312536f, 0.501663446f, 0.64278692f, 0.861478448f};
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 64, x += 64, q += 32, s += 4) {
        vf most = {0};
        for (int i = 0; i < 64; i += LANES) most = v_max(v_abs(v_load(x + i)), most);
        float absmax = v_max_lane(most);
        vf inv = v_all(1.0f / (absmax > 1e-38f ? absmax : 1e-38f));
        for (int i = 0; i < 32; i += LANES) {
            vi lo = v_code16(v_load(x + i) * inv, midpoints), hi = v_code16(v_load(x + i + 32) * inv, midpoints);
            v_store_bytes(q + i, lo | hi << 4);
        }
        memcpy(s, &absmax, sizeof absmax);
    }
}
