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

/* 16 values: a code's low bits from one byte each, its high bits from another.  In a form that compilers vectorize.   */
typedef struct bits {
    const uint8_t *at;
    int shift, mask;
} bits;

static inline __attribute__((always_inline)) void sixteen(float *restrict x, bits low, bits high, int high_place, int zero,
                                                          float step, float offset) {
    const uint8_t *restrict p = low.at, *restrict q = high.at;
    for (int l = 0; l < 16; l++) {
        int code = (p[l] >> low.shift & low.mask) | (q[l] >> high.shift & high.mask) << high_place;
        x[l] = step * (float)(code - zero) - offset;
    }
}

/* Sub-block s of 16 values: half s / 8, quarter s % 8 / 2, from place s % 2 * 16 on.                                  */
static inline bits two_bits(const uint8_t *q, int s) { return (bits){ q + s / 8 * 32 + s % 2 * 16, s % 8 / 2 * 2, 3 }; }

/* Of Q4_K and Q5_K: quarters 0 and 1 in 32 bytes, quarters 2 and 3 in the next.                                       */
static inline bits nibbles(const uint8_t *q, int s) { return (bits){ q + s / 4 * 32 + s % 2 * 16, s / 2 % 2 * 4, 15 }; }

void lr_block_q2_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 84) {
        float d = lr_f16_at(p + 80), dmin = lr_f16_at(p + 82);
        for (int s = 0; s < 16; s++)
            sixteen(x + 16 * s, two_bits(p + 16, s), (bits){ p, 0, 0 }, 0, 0, d * (float)(p[s] & 15),
                    dmin * (float)(p[s] >> 4));
    }
}

void lr_block_q3_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 110) {
        const uint8_t *packed = p + 96;
        float d = lr_f16_at(p + 108);
        for (int s = 0; s < 16; s++) {
            int low = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4, high = packed[8 + s % 4] >> 2 * (s / 4) & 3;
            bits third = { p + s % 2 * 16, s / 2, 1 };
            sixteen(x + 16 * s, two_bits(p + 32, s), third, 2, 4, d * (float)((low | high << 4) - 32), 0);
        }
    }
}

void lr_block_q4_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 144) {
        float d = lr_f16_at(p), dmin = lr_f16_at(p + 2);
        for (int s = 0; s < 16; s++) {
            int scale, min;
            lr_unpack_six_bits(p + 4, s / 2, &scale, &min);
            sixteen(x + 16 * s, nibbles(p + 16, s), (bits){ p, 0, 0 }, 0, 0, d * (float)scale, dmin * (float)min);
        }
    }
}

void lr_block_q5_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 176) {
        float d = lr_f16_at(p), dmin = lr_f16_at(p + 2);
        for (int s = 0; s < 16; s++) {
            int scale, min;
            lr_unpack_six_bits(p + 4, s / 2, &scale, &min);
            bits fifth = { p + 16 + s % 2 * 16, s / 2, 1 };
            sixteen(x + 16 * s, nibbles(p + 48, s), fifth, 4, 0, d * (float)scale, dmin * (float)min);
        }
    }
}

void lr_block_q6_k_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 210) {
        float d = lr_f16_at(p + 208);
        for (int s = 0; s < 16; s++) {
            bits low = { p + s / 8 * 64 + s % 4 * 16, s % 8 / 4 * 4, 15 };
            sixteen(x + 16 * s, low, two_bits(p + 128, s), 4, 32, d * (float)(int8_t)p[192 + s], 0);
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

/* ---- Q6_K ---- */

/* To the nearest whole number, -32 to 31; in a form that compilers vectorize.                                         */
static inline float code_of(float v) {
    v = v < -32 ? -32 : v > 31 ? 31 : v;
    return v + 12582912.0f - 12582912.0f;
}

/* The step that is best for 16 values: of some that put the largest one near an end of the codes, with codes by each,
 * the one with the least squared error.                                                                               */
static float step_of(const float *x) {
    float far = 0, best = 0, step = 0;
    for (int i = 0; i < 16; i++)
        if (__builtin_fabsf(x[i]) > __builtin_fabsf(far)) far = x[i];
    if (__builtin_fabsf(far) < 1e-30f) return 0;
    for (int k = -9; k <= 9; k++) {
        float inverse = -(32 + 0.1f * (float)k) / far, lx[16], ll[16], sum_lx = 0, sum_ll = 0;
        for (int i = 0; i < 16; i++) {
            float l = code_of(inverse * x[i]);
            lx[i] = l * (x[i] / far);
            ll[i] = l * l;
        }
        for (int i = 0; i < 16; i++) sum_lx += lx[i], sum_ll += ll[i];
        if (!(sum_ll > 0) || !(sum_lx * sum_lx > best * sum_ll)) continue;
        best = sum_lx * sum_lx / sum_ll;
        step = sum_lx / sum_ll * far;
    }
    return step;
}

static void encode_q6_k(uint8_t *p, const float *x) {
    enum { HALF_LEAST = 1, HALF_MOST = 0x7bff };
    float steps[16], far = 0;
    for (int s = 0; s < 16; s++) {
        steps[s] = step_of(x + 16 * s);
        if (__builtin_fabsf(steps[s]) > __builtin_fabsf(far)) far = steps[s];
    }
    uint16_t half = lr_f32_to_f16(__builtin_fabsf(far) / 128);
    half = half < HALF_LEAST ? HALF_LEAST : half > HALF_MOST ? HALF_MOST : half;
    float d = lr_f16_to_f32(half);
    memset(p, 0, 192);
    for (int s = 0; s < 16; s++) {
        float scale = steps[s] / d;
        int whole = (int)(scale < -128 ? -128 : scale > 127 ? 127 : scale + (scale < 0 ? -0.5f : 0.5f));
        float step = d * (float)whole;
        p[192 + s] = (uint8_t)whole;
        for (int l = 0; l < 16; l++) {
            int code = (whole ? (int)code_of(x[16 * s + l] / step) : 0) + 32;
            p[s / 8 * 64 + s % 4 * 16 + l] |= (uint8_t)((code & 15) << s % 8 / 4 * 4);
            p[128 + s / 8 * 32 + s % 2 * 16 + l] |= (uint8_t)((code >> 4) << s % 8 / 2 * 2);
        }
    }
    memcpy(p + 208, &half, sizeof half);
}

void lr_block_q6_k_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, x += 256, p += 210) encode_q6_k(p, x);
}
