/* Block formats of GGUF with super-blocks of 256 values: sub-blocks of 16 or 32 have small integer scales (and mins) in
 * units of the super-block's f16 d (and dmin).  Element i is in half h = i / 128; there, in quarter k = i % 128 / 32 at
 * place l = i % 32.  Offsets in bytes:
 *   Q2_K    0 scales[16]; 16 qs[64]; 80 d; 82 dmin               d * (s & 15) * q - dmin * (s >> 4)
 *   Q3_K    0 hmask[32]; 32 qs[64]; 96 scales[12] of 6 bits; 108 d       d * (S - 32) * (q - 4)
 *   Q4_K    0 d; 2 dmin; 4 six bits[12]; 16 qs[128]              d * S * q - dmin * M
 *   Q5_K    0 d; 2 dmin; 4 six bits[12]; 16 qh[32]; 48 qs[128]   d * S * q - dmin * M
 *   Q6_K    0 ql[128]; 128 qh[64]; 192 int8 scales[16]; 208 d    d * S * (q - 32)
 *   IQ4_XS  0 d; 2 scales' high bits; 4 their low bits [4]; 8 qs[128]    d * (S - 32) * lr_iq4_nl_values[q]            */
#include "quant/blocks.h"

#include "quant/encoders.h"

/* Two bits of element i, four elements in a byte: Q2_K, Q3_K and the high bits of Q6_K.                               */
static int two_bits(const uint8_t *q, int i) { return q[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3; }

void lr_block_q2_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 84) {
        float d = lr_f16_at(p + 80), dmin = lr_f16_at(p + 82);
        for (int i = 0; i < 256; i++) {
            float step = d * (float)(p[i / 16] & 15), offset = dmin * (float)(p[i / 16] >> 4);
            x[i] = step * (float)two_bits(p + 16, i) - offset;
        }
    }
}

void lr_block_q3_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 110) {
        const uint8_t *packed = p + 96;
        float d = lr_f16_at(p + 108), step[16];
        for (int s = 0; s < 16; s++) {
            int low = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4, high = packed[8 + s % 4] >> 2 * (s / 4) & 3;
            step[s] = d * (float)((low | high << 4) - 32);
        }
        for (int i = 0; i < 256; i++) {
            int third = p[i % 32] >> i / 32 & 1;
            x[i] = step[i / 16] * (float)(two_bits(p + 32, i) - (third ? 0 : 4));
        }
    }
}

void lr_block_q4_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 144) {
        float d = lr_f16_at(p), dmin = lr_f16_at(p + 2);
        for (int s = 0; s < 8; s++) {
            int scale, min;
            lr_unpack_six_bits(p + 4, s, &scale, &min);
            float step = d * (float)scale, offset = dmin * (float)min;
            const uint8_t *q = p + 16 + s / 2 * 32;
            for (int l = 0; l < 32; l++) x[32 * s + l] = step * (float)(s % 2 ? q[l] >> 4 : q[l] & 15) - offset;
        }
    }
}

void lr_block_q5_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 176) {
        float d = lr_f16_at(p), dmin = lr_f16_at(p + 2);
        for (int s = 0; s < 8; s++) {
            int scale, min;
            lr_unpack_six_bits(p + 4, s, &scale, &min);
            float step = d * (float)scale, offset = dmin * (float)min;
            const uint8_t *q = p + 48 + s / 2 * 32, *fifth = p + 16;
            for (int l = 0; l < 32; l++) {
                int code = (s % 2 ? q[l] >> 4 : q[l] & 15) | (fifth[l] >> s & 1) << 4;
                x[32 * s + l] = step * (float)code - offset;
            }
        }
    }
}

void lr_block_q6_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 210) {
        float d = lr_f16_at(p + 208);
        for (int i = 0; i < 256; i++) {
            int quarter = i % 128 / 32, low = p[i / 128 * 64 + i % 64];
            int code = (quarter < 2 ? low & 15 : low >> 4) | two_bits(p + 128, i) << 4;
            x[i] = d * (float)(int8_t)p[192 + i / 16] * (float)(code - 32);
        }
    }
}

void lr_block_iq4_xs_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 136) {
        float d = lr_f16_at(p);
        int high = p[2] | p[3] << 8;
        for (int s = 0; s < 8; s++) {
            float step = d * (float)(((p[4 + s / 2] >> 4 * (s % 2) & 15) | (high >> 2 * s & 3) << 4) - 32);
            const uint8_t *q = p + 8 + 16 * s;
            for (int l = 0; l < 32; l++) x[32 * s + l] = step * (float)lr_iq4_nl_values[l < 16 ? q[l] & 15 : q[l - 16] >> 4];
        }
    }
}

void lr_block_q4_k_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 144) lr_encoders_best()->q4_k(p + 16, p, x, 256);
}
