/* Random blocks of the block formats: every bit pattern of the codes, scales that are tame.                          */
#ifndef TESTS_BLOCKS_H
#define TESTS_BLOCKS_H

#include "quant/quant.h"

#include <string.h>
#ifdef __cplusplus
#include <vector>
#endif

/* Where a block has its f16 scale, and its f16 min (in units of which something is added or subtracted); -1: none, or not
 * in two bytes.                                                                                                      */
static const struct {
    lr_format format;
    int d, min;
} block_fields[] = {
    { LR_BLOCK_Q4_0, 0, -1 }, { LR_BLOCK_Q4_1, 0, 2 },    { LR_BLOCK_Q5_0, 0, -1 },  { LR_BLOCK_Q5_1, 0, 2 },
    { LR_BLOCK_Q8_0, 0, -1 }, { LR_BLOCK_IQ4_NL, 0, -1 }, { LR_BLOCK_MXFP4, -1, -1 }, { LR_BLOCK_Q2_K, 80, 82 },
    { LR_BLOCK_Q3_K, 108, -1 }, { LR_BLOCK_Q4_K, 0, 2 },  { LR_BLOCK_Q5_K, 0, 2 },   { LR_BLOCK_Q6_K, 208, -1 },
    { LR_BLOCK_IQ4_XS, 0, -1 },  { LR_BLOCK_NVFP4, -1, -1 },
    { LR_BLOCK_IQ2_XXS, 0, -1 }, { LR_BLOCK_IQ2_XS, 0, -1 }, { LR_BLOCK_IQ2_S, 0, -1 }, { LR_BLOCK_IQ3_XXS, 0, -1 },
    { LR_BLOCK_IQ3_S, 0, -1 }, { LR_BLOCK_IQ1_S, 0, -1 }, { LR_BLOCK_IQ1_M, -1, -1 },
};

static inline int block_field(lr_format format, bool min) {
    for (size_t i = 0; i < LR_COUNT(block_fields); i++)
        if (block_fields[i].format == format) return min ? block_fields[i].min : block_fields[i].d;
    return -1;
}

/* The scale of IQ1_M: a nibble on top of each of four words.                                                          */
__attribute__((unused)) static void set_iq1_m_scale(uint8_t *block, uint16_t scale) {
    for (int i = 0; i < 4; i++) block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (scale >> 4 * i & 15) << 4);
}

#ifdef __cplusplus
inline std::vector<lr_format> and_block_formats(std::vector<lr_format> formats) {
    for (const auto &row : block_fields) formats.push_back(row.format);
    return formats;
}
#endif

static inline uint64_t block_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* n values (a multiple of the block) of random weights of either sign, magnitudes of scales from 2^-9 to 2^-5.       */
__attribute__((unused)) static void random_blocks(lr_format format, void *out, int64_t n, uint64_t *state) {
    const lr_format_traits *f = &lr_formats[format];
    uint8_t *p = (uint8_t *)out;
    for (int64_t b = 0; b < n / f->block; b++, p += f->quant_bytes) {
        for (int i = 0; i < f->quant_bytes; i++) p[i] = (uint8_t)block_random(state);
        for (int min = 0; min < 2; min++) {
            uint16_t h = (uint16_t)((block_random(state) & 0x8fff) + 0x1800);
            int at = block_field(format, min);
            if (at >= 0) memcpy(p + at, &h, sizeof h);
            if (format == LR_BLOCK_IQ1_M) set_iq1_m_scale(p, h);
        }
        if (format == LR_BLOCK_NVFP4 || format == LR_NVFP4)
            for (int i = 0; i < 4; i++) p[i] = (uint8_t)(block_random(state) % 8 ? 8 + p[i] % 40 : p[i] % 4 ? p[i] & 7 : 0x7f);
        if (format == LR_BLOCK_MXFP4) p[0] = (uint8_t)(118 + block_random(state) % 6);
    }
}

#endif
