/* fp4: blocks of 64 codes of sign, exponent and fraction with one f32 scale, the block's largest magnitude.  Codes and
 * scales are those of bitsandbytes; the order of nibbles is our own (formats.def).                                    */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

const float lr_fp4_values[16] = {
    0.0f,  0.0052083333f,  0.6666667f,  1.0f,  0.33333334f,  0.5f,  0.16666667f,  0.25f,
    0.0f,  -0.0052083333f, -0.6666667f, -1.0f, -0.33333334f, -0.5f, -0.16666667f, -0.25f};

/* Nearest value; one on the midpoint of two takes the smaller.                                                       */
static uint8_t code_of(float x) {
    static const uint8_t ascending[8] = {0, 1, 6, 7, 4, 5, 2, 3};
    int i = 0;
    while (i < 7 && fabsf(x) > (lr_fp4_values[ascending[i]] + lr_fp4_values[ascending[i + 1]]) / 2) i++;
    return (uint8_t)(ascending[i] | (x < 0 ? 8 : 0));
}

void lr_fp4_encode(void *quants, void *scales, const float *x, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 64, x += 64, q += 32, s += 4) {
        float absmax = 0;
        for (int i = 0; i < 64; i++) absmax = fmaxf(absmax, fabsf(x[i]));
        float least = fmaxf(absmax, 1e-38f);
        for (int i = 0; i < 32; i++) q[i] = (uint8_t)(code_of(x[i] / least) | code_of(x[i + 32] / least) << 4);
        memcpy(s, &absmax, sizeof absmax);
    }
}

void lr_fp4_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const uint8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 64, q += 32, s += 4) {
        float absmax;
        memcpy(&absmax, s, sizeof absmax);
        for (int i = 0; i < 32; i++) {
            x[b + i] = absmax * lr_fp4_values[q[i] & 15];
            x[b + i + 32] = absmax * lr_fp4_values[q[i] >> 4];
        }
    }
}
