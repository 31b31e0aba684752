/* fp8: blocks of 64 values of F8_E4M3 with one f32 scale d, x = d * value.  Codes 0x7f and 0xff, NaN, never occur: what
 * reads files refuses them.                                                                                           */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* The seven bits of a magnitude at the place of those of an f32 are the value times 2^-120, subnormal ones too.       */
float lr_f8_e4m3_to_f32(uint8_t b) {
    union { uint32_t u; float f; } v = {.u = (uint32_t)(b & 0x7f) << 20};
    if ((b & 0x7f) == 0x7f) return __builtin_nanf("");
    return b & 0x80 ? -(v.f * 0x1p120f) : v.f * 0x1p120f;
}

/* Nearest, ties to even; beyond 448: 448.                                                                             */
static uint8_t to_e4m3(float x) {
    union { float f; uint32_t u; } v = {.f = fminf(fabsf(x), 448) * 0x1p-120f};
    return (uint8_t)((v.u + 0x7ffff + (v.u >> 20 & 1)) >> 20 | (signbit(x) ? 0x80 : 0));
}

void lr_fp8_encode(void *quants, void *scales, const float *x, int64_t n) {
    uint8_t *q = quants;
    char *s = scales;
    for (int64_t b = 0; b < n; b += 64, x += 64, q += 64, s += 4) {
        float most = 0;
        for (int i = 0; i < 64; i++) most = fmaxf(most, fabsf(x[i]));
        float d = most / 448, inverse = d > 1e-38f ? 1 / d : 0;
        for (int i = 0; i < 64; i++) q[i] = to_e4m3(x[i] * inverse);
        memcpy(s, &d, sizeof d);
    }
}

void lr_fp8_decode(float *x, const void *quants, const void *scales, int64_t n) {
    const uint8_t *q = quants;
    const char *s = scales;
    for (int64_t b = 0; b < n; b += 64, s += 4) {
        float d;
        memcpy(&d, s, sizeof d);
        for (int i = 0; i < 64; i++) {
            union { uint32_t u; float f; } v = {.u = (uint32_t)(q[b + i] & 0x7f) << 20 | (uint32_t)(q[b + i] & 0x80) << 24};
            x[b + i] = d * (v.f * 0x1p120f);
        }
    }
}
