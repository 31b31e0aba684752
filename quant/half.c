/* f16 and bf16, one value at a time, in integer arithmetic.  Round to nearest even; NaN stays NaN (made quiet, payload
 * kept as far as it fits), as the CPU's own conversions do.                                                           */
#include "quant/quant.h"

#include <string.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float of_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

uint16_t lr_f32_to_f16(float x) {
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (a < 0x38800000) return (uint16_t)(sign | (bits_of(of_bits(a) + 0.5f) - 0x3f000000)); /* 0.5's ulp is 2^-24 */
    return (uint16_t)(sign | ((a + 0xfff + (a >> 13 & 1) - 0x38000000) >> 13));
}

float lr_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, a = h & 0x7fff;
    if (a > 0x7c00) return of_bits(sign | 0x7fc00000 | a << 13);
    if (a == 0x7c00) return of_bits(sign | 0x7f800000);
    if (a < 0x400) return of_bits(sign | bits_of((float)a * 0x1p-24f));
    return of_bits(sign | ((a << 13) + 0x38000000));
}

uint16_t lr_f32_to_bf16(float x) {
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
