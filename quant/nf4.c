/* nf4: blocks of 64 codes into 16 fixed values (quantiles of a normal distribution) with one f32 scale, the block's
 * largest magnitude.  Codes and scales are those of bitsandbytes; the order of nibbles is our own (formats.def).
 * The encoder is in nf4_lanes.h.                                                                                      */
#include "quant/encoders.h"

#include <string.h>

const float lr_nf4_values[16] = {
    -1.0f,                 -0.6961928009986877f, -0.5250730514526367f,  -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f, 0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,  0.7229568362236023f,   1.0f};

void lr_nf4_encode(void *quants, void *scales, const float *x, int64_t n) {
    lr_encoders_best()->nf4(quants, scales, x, n);
}

void lr_nf4_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const uint8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 64, q += 32, s += 4) {
        float absmax;
        memcpy(&absmax, s, sizeof absmax);
        for (int i = 0; i < 32; i++) {
            x[b + i] = absmax * lr_nf4_values[q[i] & 15];
            x[b + i + 32] = absmax * lr_nf4_values[q[i] >> 4];
        }
    }
}
