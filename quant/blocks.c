/* Block formats of GGUF with 32 values a block.  d and m are f16; byte j of qs holds element j in its low nibble and
 * element j + 16 in its high one; bit e of the 32-bit qh is the fifth bit of element e.
 *   Q4_0    d, qs[16]          (q - 8) * d          Q5_0   d, qh, qs[16]       (q - 16) * d
 *   Q4_1    d, m, qs[16]       q * d + m            Q5_1   d, m, qh, qs[16]    q * d + m
 *   Q8_0    d, int8 q[32]      q * d                IQ4_NL d, qs[16]           lr_iq4_nl_values[q] * d
 *   MXFP4   exponent e of 8 bits, qs[16]            E2M1[q] * 2^(e - 127)
 * Q8_0, IQ4_NL and (blocks_k.c) Q4_K are the run formats of those names with each block's scales before its codes.    */
#include "quant/blocks.h"

#include "quant/encoders.h"

/* 32 values from 16 bytes of nibbles, in a form that compilers vectorize.                                             */
static void nibbles(float *restrict x, const uint8_t *restrict qs, int zero, float d, float m) {
    for (int i = 0; i < 16; i++) x[i] = (float)((qs[i] & 15) - zero) * d + m;
    for (int i = 0; i < 16; i++) x[i + 16] = (float)((qs[i] >> 4) - zero) * d + m;
}

/* The same with the fifth bits of qh.                                                                                 */
static void five_bits(float *restrict x, const uint8_t *restrict qh, const uint8_t *restrict qs, int zero, float d,
                      float m) {
    for (int i = 0; i < 16; i++) x[i] = (float)(((qs[i] & 15) | (qh[i / 8] >> i % 8 & 1) << 4) - zero) * d + m;
    for (int i = 0; i < 16; i++) x[i + 16] = (float)(((qs[i] >> 4) | (qh[2 + i / 8] >> i % 8 & 1) << 4) - zero) * d + m;
}

static void signed_bytes(float *restrict x, const uint8_t *restrict qs, float d) {
    for (int i = 0; i < 32; i++) x[i] = (float)(int8_t)qs[i] * d;
}

static void table(float *restrict x, const uint8_t *restrict qs, const int8_t values[16], float d) {
    for (int i = 0; i < 16; i++) {
        x[i] = (float)values[qs[i] & 15] * d;
        x[i + 16] = (float)values[qs[i] >> 4] * d;
    }
}

void lr_block_q4_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) nibbles(x, p + 2, 8, lr_f16_at(p), 0);
}

void lr_block_q4_1_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 20) nibbles(x, p + 4, 0, lr_f16_at(p), lr_f16_at(p + 2));
}

void lr_block_q5_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 22) five_bits(x, p + 2, p + 6, 16, lr_f16_at(p), 0);
}

void lr_block_q5_1_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 24) five_bits(x, p + 4, p + 8, 0, lr_f16_at(p), lr_f16_at(p + 2));
}

void lr_block_q8_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 34) signed_bytes(x, p + 2, lr_f16_at(p));
}

void lr_block_iq4_nl_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) table(x, p + 2, lr_iq4_nl_values, lr_f16_at(p));
}

const int8_t lr_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void lr_block_mxfp4_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 17) table(x, p + 1, lr_mxfp4_values, lr_mxfp4_scale(p[0]));
}

/* ---- encoders ---- */

/* The value of largest magnitude becomes -8, so that all 16 codes are in use.  As ggml's, so that the bytes are equal.  */
void lr_block_q4_0_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) {
        float peak = 0;
        for (int i = 0; i < 32; i++)
            if (__builtin_fabsf(x[i]) > __builtin_fabsf(peak)) peak = x[i];
        float d = peak / -8, inverse = d != 0 ? 1 / d : 0;
        uint16_t h = lr_f32_to_f16(d);
        memcpy(p, &h, sizeof h);
        for (int i = 0; i < 16; i++) {
            int low = (int)(x[i] * inverse + 8.5f), high = (int)(x[i + 16] * inverse + 8.5f);
            p[2 + i] = (uint8_t)(lr_min(low, 15) | lr_min(high, 15) << 4);
        }
    }
}

void lr_block_q8_0_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 34) lr_encoders_best()->q8_0(p + 2, p, x, 32);
}

void lr_block_iq4_nl_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) lr_encoders_best()->iq4_nl(p + 2, p, x, 32);
}

uint8_t lr_e2m1_code(float x) {
    static const float midpoints[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    float size = __builtin_fabsf(x);
    int code = 0;
    while (code < 7 && (code % 2 ? size >= midpoints[code] : size > midpoints[code])) code++;
    return (uint8_t)(code | (x < 0 ? 8 : 0));
}

/* The exponent that the OCP specification has: the largest value gets the exponent of 4, the largest of E2M1.         */
void lr_block_mxfp4_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 17) {
        union { float f; uint32_t u; } most = {.f = 0};
        for (int i = 0; i < 32; i++) most.f = __builtin_fmaxf(most.f, __builtin_fabsf(x[i]));
        int e = (int)(most.u >> 23) - 2;
        p[0] = (uint8_t)(e < 0 ? 0 : e);
        float inverse = 0.5f / lr_mxfp4_scale(p[0]);
        for (int j = 0; j < 16; j++)
            p[1 + j] = (uint8_t)(lr_e2m1_code(x[j] * inverse) | lr_e2m1_code(x[j + 16] * inverse) << 4);
    }
}
