/* GGUF's IQ1, IQ2 and IQ3 types, whose values are rows of codebooks: layouts in grids.h.                            */
#include "quant/grids.h"

#include "quant/blocks.h"

#define LR_GRID(name, type, n, rows, values)                                                                          \
    const type lr_grid_##name[n] = { rows(values) };                                                                  \
    const uint16_t lr_codes_##name[n] = { rows(LR_ROWS_CODES) };
LR_GRIDS(LR_GRID)
#undef LR_GRID

static uint32_t word_at(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Eight values, negative where a bit of signs is set; in a form that compilers vectorize.                           */
static inline void eight(float *restrict x, uint64_t row, int signs, float step) {
    for (int j = 0; j < 8; j++) {
        int value = (int)(row >> 8 * j & 255), sign = -(signs >> j & 1);
        x[j] = step * (float)((value ^ sign) - sign);
    }
}

static inline void eight_iq1(float *restrict x, uint64_t row, bool down, float step) {
    for (int j = 0; j < 8; j++) x[j] = step * (float)((int)(row >> 8 * j & 255) - LR_IQ1_ZERO + (down ? 0 : LR_IQ1_UP));
}

static uint64_t two_rows(const uint32_t *grid, int first, int second) {
    return grid[first] | (uint64_t)grid[second] << 32;
}

/* d * (2 s + 1) / unit                                                                                              */
static float step_of(float d, int s, float unit) { return d * (float)(2 * s + 1) / unit; }

void lr_block_iq2_xxs_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 66)
        for (int b = 0; b < 8; b++) {
            const uint8_t *rows = p + 2 + 8 * b;
            uint32_t word = word_at(rows + 4), signs = lr_even_signs(word);
            float step = step_of(lr_f16_at(p), (int)(word >> 28), 8);
            for (int g = 0; g < 4; g++, x += 8) eight(x, lr_grid_iq2_xxs[rows[g]], (int)(signs >> 8 * g & 255), step);
        }
}

void lr_block_iq2_xs_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 74)
        for (int i = 0; i < 32; i++, x += 8) {
            int both = p[2 + 2 * i] | p[3 + 2 * i] << 8, s = p[66 + i / 4] >> i % 4 / 2 * 4 & 15;
            eight(x, lr_grid_iq2_xs[both & 511], (int)lr_even_signs((uint32_t)both >> 9), step_of(lr_f16_at(p), s, 8));
        }
}

void lr_block_iq2_s_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 82)
        for (int i = 0; i < 32; i++, x += 8) {
            int row = p[2 + i] | (p[66 + i / 4] >> i % 4 * 2 & 3) << 8, s = p[74 + i / 4] >> i % 4 / 2 * 4 & 15;
            eight(x, lr_grid_iq2_s[row], p[34 + i], step_of(lr_f16_at(p), s, 8));
        }
}

void lr_block_iq3_xxs_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 98)
        for (int b = 0; b < 8; b++) {
            const uint8_t *rows = p + 2 + 8 * b;
            uint32_t word = word_at(p + 66 + 4 * b), signs = lr_even_signs(word);
            float step = step_of(lr_f16_at(p), (int)(word >> 28), 4);
            for (int g = 0; g < 4; g++, x += 8)
                eight(x, two_rows(lr_grid_iq3_xxs, rows[2 * g], rows[2 * g + 1]), (int)(signs >> 8 * g & 255), step);
        }
}

void lr_block_iq3_s_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 110)
        for (int i = 0; i < 32; i++, x += 8) {
            const uint8_t *rows = p + 2 + 2 * i;
            int high = p[66 + i / 4] >> i % 4 * 2, s = p[106 + i / 8] >> i / 4 % 2 * 4 & 15;
            eight(x, two_rows(lr_grid_iq3_s, rows[0] | (high & 1) << 8, rows[1] | (high & 2) << 7), p[74 + i],
                  step_of(lr_f16_at(p), s, 1));
        }
}

void lr_block_iq1_s_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 50)
        for (int i = 0; i < 32; i++, x += 8) {
            int high = p[34 + i / 4 * 2] | p[35 + i / 4 * 2] << 8, row = p[2 + i] | (high >> i % 4 * 3 & 7) << 8;
            eight_iq1(x, lr_grid_iq1[row], high >> 15, step_of(lr_f16_at(p), high >> 12 & 7, 8));
        }
}

void lr_block_iq1_m_decode(float *x, const void *blocks, const void *none, int64_t n) {
    const uint8_t *p = blocks;
    (void)none;
    for (; n > 0; n -= 256, p += 56) {
        int d = 0, scales[4];
        for (int i = 0; i < 4; i++) {
            scales[i] = p[48 + 2 * i] | p[49 + 2 * i] << 8;
            d |= scales[i] >> 12 << 4 * i;
        }
        for (int i = 0; i < 32; i++, x += 8) {
            int high = p[32 + i / 2] >> i % 2 * 4, s = scales[i / 8] >> i / 2 % 4 * 3 & 7;
            eight_iq1(x, lr_grid_iq1[p[i] | (high & 7) << 8], high & 8, step_of(lr_f16_to_f32((uint16_t)d), s, 8));
        }
    }
}
