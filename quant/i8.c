/* i8: blocks of 64 int8 with one f32 scale d, x = d * q: int8 weights of bitsandbytes, compressed-tensors and GPTQ, whose
 * scales f16 would not hold.                                                                                          */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

void lr_i8_encode(void *quants, void *scales, const float *x, int64_t n) {
    int8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 64, x += 64, q += 64, s += 4) {
        float most = 0;
        for (int i = 0; i < 64; i++) most = fmaxf(most, fabsf(x[i]));
        float d = most / 127, inverse = d > 1e-38f ? 1 / d : 0;
        for (int i = 0; i < 64; i++) q[i] = (int8_t)lrintf(fminf(fmaxf(x[i] * inverse, -127), 127));
        memcpy(s, &d, sizeof d);
    }
}

void lr_i8_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const int8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 64, s += 4) {
        float d;
        memcpy(&d, s, sizeof d);
        for (int i = 0; i < 64; i++) x[b + i] = d * (float)q[b + i];
    }
}
