/* iq4_nl: blocks of 32 codes into 16 fixed, unevenly spaced values with one f16 scale d.  The encoder is in
 * iq4_nl_lanes.h.                                                                                                     */
#include "quant/encoders.h"

#include <string.h>

const int8_t lr_iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void lr_iq4_nl_encode(void *quants, void *scales, const float *x, int64_t n) {
    lr_encoders_best()->iq4_nl(quants, scales, x, n);
}

void lr_iq4_nl_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const uint8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 32, q += 16, s += 2) {
        uint16_t h;
        memcpy(&h, s, sizeof h);
        float d = lr_f16_to_f32(h);
        for (int i = 0; i < 16; i++) {
            x[b + i] = d * (float)lr_iq4_nl_values[q[i] & 15];
            x[b + i + 16] = d * (float)lr_iq4_nl_values[q[i] >> 4];
        }
    }
}
