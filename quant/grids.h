/* The codebooks of GGUF's IQ1, IQ2 and IQ3 types (grids.def), and the layouts of their blocks of 256 values.
 *
 * A block is 8 sub-blocks b of 32, each 4 groups g of 8.  A group is a row of a codebook, or two of 4 values (IQ3),
 * with a sign for each value.  x = d * (2 s + 1) * value / unit, with a scale s of 3 or 4 bits for 32 values or 16.
 * Offsets in bytes, d is f16:
 *   IQ2_XXS  0 d; 2 of each b: rows[4] of 8 bits, then a word: 7 bits of signs for each g, s on top          unit 8
 *   IQ2_XS   0 d; 2 u16 [32]: row, 7 bits of signs on top; 66 scales[8]: nibbles of 16 values each           unit 8
 *   IQ2_S    0 d; 2 rows[32]; 34 signs[32]; 66 high bits of rows[8]: two for each g; 74 scales[8]            unit 8
 *   IQ3_XXS  0 d; 2 rows[64]; 66 words[8] as in IQ2_XXS                                                      unit 4
 *   IQ3_S    0 d; 2 rows[64]; 66 ninth bits of rows[8]; 74 signs[32]; 106 scales[4]: nibbles of 32 values    unit 1
 *   IQ1_S    0 d; 2 rows[32]; 34 u16 [8]: three high bits of each row, s, bit 15: shift down                 unit 8
 *   IQ1_M    0 rows[32]; 32 nibbles[32] of each group: three high bits of its row, shift down; 48 u16 [4]: 4 times 3
 *            bits of s for 16 values each, on top a nibble of d                                              unit 8
 * Seven bits of signs are eight, of which an even number is set.  IQ1 has no signs: its values are -1, 0 and 1 with 1/8
 * added or, shifted down, taken off.  Here they are 8 times that and 9 more: 0 8 16, or 2 more where they are shifted up. */
#ifndef LR_GRIDS_H
#define LR_GRIDS_H

#include <stdint.h>

#include "quant/grids.def"

/* Value at place c of each codebook's levels.                                                                       */
#define LR_LEVEL_IQ2(c) (0x2b1908u >> 8 * (c) & 255)
#define LR_LEVEL_IQ1(c) (8u * (c))
#define LR_LEVEL_IQ3_XXS(c) (4u + 8 * (c) + 2 * ((c) == 7))
#define LR_LEVEL_IQ3_S(c) (1u + 2 * (c))
enum { LR_IQ1_ZERO = 9, LR_IQ1_UP = 2 };
/* All levels of a codebook in eight bytes: of 4, twice, and of 8.                                                   */
#define LR_LEVELS_4(level) LR_ROW_8(level, 0xe4e4)
#define LR_LEVELS_8(level) (LR_ROW_4(level, 0x688) | (uint64_t)LR_ROW_4(level, 0xfac) << 32)

/* The values of a row of 8 and of 4, a byte each, the first one lowest.                                             */
#define LR_ROW_BYTE_8(level, code, j) ((uint64_t)level((code) >> 2 * (j) & 3) << 8 * (j))
#define LR_ROW_8(level, code)                                                                                         \
    (LR_ROW_BYTE_8(level, code, 0) | LR_ROW_BYTE_8(level, code, 1) | LR_ROW_BYTE_8(level, code, 2) |                  \
     LR_ROW_BYTE_8(level, code, 3) | LR_ROW_BYTE_8(level, code, 4) | LR_ROW_BYTE_8(level, code, 5) |                  \
     LR_ROW_BYTE_8(level, code, 6) | LR_ROW_BYTE_8(level, code, 7))
#define LR_ROW_BYTE_4(level, code, j) (level((code) >> 3 * (j) & 7) << 8 * (j))
#define LR_ROW_4(level, code)                                                                                         \
    (LR_ROW_BYTE_4(level, code, 0) | LR_ROW_BYTE_4(level, code, 1) | LR_ROW_BYTE_4(level, code, 2) |                  \
     LR_ROW_BYTE_4(level, code, 3))
/* Eight rows, as codes and as values.                                                                               */
#define LR_EIGHT_ROWS(row, level, a, b, c, d, e, f, g, h)                                                             \
    row(level, a), row(level, b), row(level, c), row(level, d), row(level, e), row(level, f), row(level, g),           \
        row(level, h),
#define LR_ROWS_CODES(a, b, c, d, e, f, g, h) a, b, c, d, e, f, g, h,
#define LR_ROWS_IQ1(...) LR_EIGHT_ROWS(LR_ROW_8, LR_LEVEL_IQ1, __VA_ARGS__)
#define LR_ROWS_IQ2(...) LR_EIGHT_ROWS(LR_ROW_8, LR_LEVEL_IQ2, __VA_ARGS__)
#define LR_ROWS_IQ3_XXS(...) LR_EIGHT_ROWS(LR_ROW_4, LR_LEVEL_IQ3_XXS, __VA_ARGS__)
#define LR_ROWS_IQ3_S(...) LR_EIGHT_ROWS(LR_ROW_4, LR_LEVEL_IQ3_S, __VA_ARGS__)

/* name, type of a row's values, rows, which of the above.                                                           */
#define LR_GRIDS(X)                                                                                                   \
    X(iq2_xxs, uint64_t, 256, LR_GRID_IQ2_XXS, LR_ROWS_IQ2)                                                           \
    X(iq2_xs, uint64_t, 512, LR_GRID_IQ2_XS, LR_ROWS_IQ2)                                                             \
    X(iq2_s, uint64_t, 1024, LR_GRID_IQ2_S, LR_ROWS_IQ2)                                                              \
    X(iq1, uint64_t, 2048, LR_GRID_IQ1, LR_ROWS_IQ1)                                                                  \
    X(iq3_xxs, uint32_t, 256, LR_GRID_IQ3_XXS, LR_ROWS_IQ3_XXS)                                                       \
    X(iq3_s, uint32_t, 512, LR_GRID_IQ3_S, LR_ROWS_IQ3_S)

/* Rows as values, and as in grids.def.                                                                              */
#define LR_GRID(name, type, n, rows, values)                                                                          \
    extern const type lr_grid_##name[n];                                                                              \
    extern const uint16_t lr_codes_##name[n];
LR_GRIDS(LR_GRID)
#undef LR_GRID

#ifdef __CUDACC__
#define LR_GRIDS_FN static inline __host__ __device__
#else
#define LR_GRIDS_FN static inline
#endif

/* The signs of four groups, a byte each, from 7 bits each.                                                          */
LR_GRIDS_FN uint32_t lr_even_signs(uint32_t word) {
    uint32_t seven = (word & 0x7f) | (word & 0x3f80) << 1 | (word & 0x1fc000) << 2 | (word & 0xfe00000) << 3;
    uint32_t odd = seven ^ seven >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return seven | (odd & 0x01010101) << 7;
}

#endif
