/* NVFP4: blocks of 64 values E2M1 in four groups of 16, each with a scale E4M3 that has no sign: 4 scales, then 8 bytes for
 * each group, byte j with elements j (low nibble) and j + 8.  GGUF's blocks are that alone; nvfp4 has a factor for each row
 * beside them, because checkpoints have one for the matrix, or one for each expert's.                                 */
#include "quant/blocks.h"

/* The largest scale that the value needs, and never 0x7f: beyond 6 * 448 there is none.                               */
static uint8_t scale_of(float most) {
    int byte = 0;
    while (byte < 0x7e && 6 * lr_nvfp4_scale((uint8_t)byte) * 2 < most) byte++;
    return (uint8_t)byte;
}

void lr_block_nvfp4_encode(void *blocks, void *none, const float *x, int64_t n) {
    uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 64, p += 36)
        for (int s = 0; s < 4; s++, x += 16) {
            float most = 0;
            for (int i = 0; i < 16; i++) most = __builtin_fmaxf(most, __builtin_fabsf(x[i]));
            p[s] = scale_of(most);
            float d = 2 * lr_nvfp4_scale(p[s]), inverse = d != 0 ? 1 / d : 0;
            for (int j = 0; j < 8; j++)
                p[4 + 8 * s + j] = (uint8_t)(lr_e2m1_code(x[j] * inverse) | lr_e2m1_code(x[j + 8] * inverse) << 4);
        }
}

static void decode(float *restrict x, const uint8_t *restrict p, float factor, int64_t n) {
    for (; n > 0; n -= 64, p += 36)
        for (int s = 0; s < 4; s++, x += 16) {
            float d = lr_nvfp4_scale(p[s]) * factor;
            for (int j = 0; j < 8; j++) {
                x[j] = (float)lr_mxfp4_values[p[4 + 8 * s + j] & 15] * d;
                x[j + 8] = (float)lr_mxfp4_values[p[4 + 8 * s + j] >> 4] * d;
            }
        }
}

void lr_block_nvfp4_decode(float *x, const void *blocks, const void *none, int64_t n) {
    (void)none;
    decode(x, blocks, 1, n);
}

/* What the encoder makes has a factor of 1.                                                                           */
void lr_nvfp4_encode(void *blocks, void *factor, const float *x, int64_t n) {
    const float one = 1;
    memcpy(factor, &one, sizeof one);
    lr_block_nvfp4_encode(blocks, NULL, x, n);
}

void lr_nvfp4_decode(float *x, const void *blocks, const void *factor, int64_t n) {
    float f;
    memcpy(&f, factor, sizeof f);
    decode(x, blocks, f, n);
}
