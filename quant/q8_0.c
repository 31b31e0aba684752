/* q8_0: blocks of 32 int8 with one f16 scale d, x = d * q.  The encoder is in q8_0_lanes.h.                          */
#include "quant/encoders.h"

#include <string.h>

void lr_q8_0_encode(void *quants, void *scales, const float *x, int64_t n) {
    lr_encoders_best()->q8_0(quants, scales, x, n);
}

void lr_q8_0_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const int8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 32, s += 2) {
        uint16_t h;
        memcpy(&h, s, sizeof h);
        float d = lr_f16_to_f32(h);
        for (int i = 0; i < 32; i++) x[b + i] = d * (float)q[b + i];
    }
}
