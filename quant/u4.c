/* u4 and u4_32: codes 0 .. 15 in blocks of 128 and 32, x = d * (q - z), as GPTQ, AWQ and compressed-tensors have them.  A
 * block's scale is one word, lr_u4_scale: d without its lowest 8 bits, which hold z.  That keeps every scale that was
 * f16 or bf16 exact.                                                                                                  */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

static void encode(uint8_t *q, char *scale, const float *x, int block, int half) {
    float low = 0, high = 0; /* zero is among the values */
    for (int i = 0; i < block; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    uint32_t word = lr_u4_scale(high / 15 - low / 15, 0);
    float d = lr_u4_d(word), inverse = d > 1e-38f ? 1 / d : 0;
    int z = (int)lrintf(-low * inverse);
    word = lr_u4_scale(d, z < 15 ? z : 15);
    memcpy(scale, &word, sizeof word);
    for (int i = 0; i < block; i++) {
        int code = (int)lrintf(fminf(fmaxf(x[i] * inverse + (float)lr_u4_z(word), 0), 15));
        uint8_t *byte = &q[i / (2 * half) * half + i % half];
        *byte = (uint8_t)(i / half % 2 ? *byte | code << 4 : code);
    }
}

/* Byte i of each `half` bytes holds value i in its low bits and value i + half in its high ones.                      */
static void decode(float *x, const uint8_t *q, const char *scale, int block, int half) {
    uint32_t word;
    memcpy(&word, scale, sizeof word);
    float d = lr_u4_d(word);
    int z = lr_u4_z(word);
    for (int b = 0; b < block; b += 2 * half, x += 2 * half, q += half)
        for (int i = 0; i < half; i++) {
            x[i] = d * (float)((q[i] & 15) - z);
            x[i + half] = d * (float)((q[i] >> 4) - z);
        }
}

void lr_u4_encode(void *quants, void *scales, const float *x, int64_t n) {
    for (int64_t b = 0; b < n / 128; b++) encode((uint8_t *)quants + 64 * b, (char *)scales + 4 * b, x + 128 * b, 128, 32);
}
void lr_u4_decode(float *x, const void *quants, const void *scales, int64_t n) {
    for (int64_t b = 0; b < n / 128; b++)
        decode(x + 128 * b, (const uint8_t *)quants + 64 * b, (const char *)scales + 4 * b, 128, 32);
}
void lr_u4_32_encode(void *quants, void *scales, const float *x, int64_t n) {
    for (int64_t b = 0; b < n / 32; b++) encode((uint8_t *)quants + 16 * b, (char *)scales + 4 * b, x + 32 * b, 32, 16);
}
void lr_u4_32_decode(float *x, const void *quants, const void *scales, int64_t n) {
    for (int64_t b = 0; b < n / 32; b++)
        decode(x + 32 * b, (const uint8_t *)quants + 16 * b, (const char *)scales + 4 * b, 32, 16);
}
