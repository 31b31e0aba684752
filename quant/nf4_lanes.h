/* Encoder of nf4.  Part of encoders_body.h.                                                                          */
#include "quant/lanes.h"

/* As bitsandbytes: x times 1 / absmax, then the nearest value; a value on the midpoint of two takes the lower.       */
static void nf4_encode(void *quants, void *scales, const float *x, int64_t n) {
    static const float midpoints[15] = {
        -0.8480964004993439f,   -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
        -0.13791173323988914f,  -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,  0.2035212516784668f,
        0.2920137718319893f,    0.3893125355243683f,  0.5016634166240692f,  0.6427869200706482f,   0.8614784181118011f};
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
