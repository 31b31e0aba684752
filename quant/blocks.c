/* Block formats of GGUF with 32 values a block.  d and m are f16; byte j of qs holds element j in its low nibble and
 * element j + 16 in its high one; bit e of the 32-bit qh is the fifth bit of element e.
 *   Q4_0    d, qs[16]          (q - 8) * d          Q5_0   d, qh, qs[16]       (q - 16) * d
 *   Q4_1    d, m, qs[16]       q * d + m            Q5_1   d, m, qh, qs[16]    q * d + m
 *   Q8_0    d, int8 q[32]      q * d                IQ4_NL d, qs[16]           lr_iq4_nl_values[q] * d
 *   MXFP4   exponent e of 8 bits, qs[16]            E2M1[q] * 2^(e - 127)
 * Q8_0, IQ4_NL and (blocks_k.c) Q4_K are the run formats of those names with each block's scales before its codes.    */
#include "quant/blocks.h"

#include "quant/encoders.h"

static int nibble(const uint8_t *qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

static int five_bits(const uint8_t *qh, const uint8_t *qs, int i) {
    return nibble(qs, i) | (qh[i / 8] >> i % 8 & 1) << 4;
}

void lr_block_q4_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) {
        float d = lr_f16_at(p);
        for (int i = 0; i < 32; i++) x[i] = (float)(nibble(p + 2, i) - 8) * d;
    }
}

void lr_block_q4_1_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 20) {
        float d = lr_f16_at(p), m = lr_f16_at(p + 2);
        for (int i = 0; i < 32; i++) x[i] = (float)nibble(p + 4, i) * d + m;
    }
}

void lr_block_q5_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 22) {
        float d = lr_f16_at(p);
        for (int i = 0; i < 32; i++) x[i] = (float)(five_bits(p + 2, p + 6, i) - 16) * d;
    }
}

void lr_block_q5_1_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 24) {
        float d = lr_f16_at(p), m = lr_f16_at(p + 2);
        for (int i = 0; i < 32; i++) x[i] = (float)five_bits(p + 4, p + 8, i) * d + m;
    }
}

void lr_block_q8_0_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 34) {
        float d = lr_f16_at(p);
        for (int i = 0; i < 32; i++) x[i] = (float)(int8_t)p[2 + i] * d;
    }
}

void lr_block_iq4_nl_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 18) {
        float d = lr_f16_at(p);
        for (int i = 0; i < 32; i++) x[i] = (float)lr_iq4_nl_values[nibble(p + 2, i)] * d;
    }
}

const int8_t lr_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void lr_block_mxfp4_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 32, x += 32, p += 17) {
        float d = lr_mxfp4_scale(p[0]);
        for (int i = 0; i < 32; i++) x[i] = (float)lr_mxfp4_values[nibble(p + 1, i)] * d;
    }
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
