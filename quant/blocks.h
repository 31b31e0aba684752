/* Encoders and decoders of the block formats (formats.def): scales and codes in one plane, so `none` is not used.     */
#ifndef LR_BLOCKS_H
#define LR_BLOCKS_H

#include <string.h>

#include "quant/quant.h"

#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file) /* in files of their own */
#define LR_BLOCK_FORMAT(id, name, block, bytes, bits, file, encoder) \
    void lr_##file##_decode(float *x, const void *blocks, const void *none, int64_t n);
#include "quant/formats.def"
#undef LR_FORMAT

void lr_block_q4_0_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_block_q8_0_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_block_q4_k_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_block_q6_k_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_block_iq4_nl_encode(void *blocks, void *none, const float *x, int64_t n);

/* The f16 at any address.                                                                                             */
static inline float lr_f16_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return lr_f16_to_f32(h);
}

void lr_block_mxfp4_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_block_nvfp4_encode(void *blocks, void *none, const float *x, int64_t n);
void lr_nvfp4_encode(void *blocks, void *factor, const float *x, int64_t n);

extern const int8_t lr_mxfp4_values[16]; /* twice E2M1 */
/* Code of the nearest value of E2M1; of two as near, the even one; beyond 6: 6.                                       */
uint8_t lr_e2m1_code(float x);
/* 2^(e - 128): MXFP4's block scale 2^(e - 127) for values that are twice too large; 255 is NaN.                       */
static inline float lr_mxfp4_scale(uint8_t e) {
    return e == 255 ? __builtin_nanf("") : __builtin_ldexpf(1, e - 128);
}

/* Half of NVFP4's scale for a group, for values that are twice too large: E4M3 without sign, 0x7f is 0.  The seven bits
 * at the place of those of an f32 are the scale times 2^-120, subnormal ones too.                                     */
static inline float lr_nvfp4_scale(uint8_t b) {
    union { uint32_t u; float f; } v = { .u = (b & 0x7f) == 0x7f ? 0 : (uint32_t)(b & 0x7f) << 20 };
    return v.f * 0x1p119f;
}

/* Scale S and min M of sub-block s (0 .. 7) from the 12 packed bytes of Q4_K, Q5_K and q4_k.                          */
static inline void lr_unpack_six_bits(const uint8_t *packed, int s, int *scale, int *min) {
    if (s < 4) {
        *scale = packed[s] & 63;
        *min = packed[s + 4] & 63;
    } else {
        *scale = (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
        *min = packed[s + 4] >> 4 | packed[s] >> 6 << 4;
    }
}

#endif
