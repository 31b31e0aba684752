/* GGUF's ternary types, blocks of 256 values (q - 1) * d with f16 d at the end.
 *   TQ1_0  qs[48], qh[4]: bytes of 5 digits to the base 3 (qh: 4), as fractions of 256, the first digit the largest.  Byte m
 *          of qs[0 .. 31] holds elements m + 32 k, of qs[32 .. 47] elements 160 + m - 32 + 16 k, of qh 240 + m + 4 k
 *   TQ2_0  qs[64]: 2 bits each, byte 32 j + m holds elements 128 j + m + 32 k
 * Codes, the zero of 1 and scales fit u4 exactly.                                                                     */
#include "loaders/packed_parts.h"

enum { BLOCK = 256 };

static const uint8_t *block_at(const lr_packed *p, int64_t row, int64_t col) {
    const lr_tensor *t = p->t[LR_PACKED_CODES];
    return t->data + lr_dtype_bytes(t->dtype, (uint64_t)(row * p->cols + col / BLOCK * BLOCK));
}

static uint8_t digit(uint8_t byte, int64_t k) {
    static const uint8_t powers[5] = { 1, 3, 9, 27, 81 };
    return (uint8_t)((uint8_t)(byte * powers[k]) * 3 >> 8);
}

static uint8_t code_1(const uint8_t *block, int64_t e) {
    if (e < 160) return digit(block[e % 32], e / 32);
    if (e < 240) return digit(block[32 + e % 16], (e - 160) / 16);
    return digit(block[48 + e % 4], (e - 240) / 4);
}

static uint8_t code_2(const uint8_t *block, int64_t e) {
    return block[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
}

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    bool two = p->t[LR_PACKED_CODES]->dtype == LR_DT_TQ2_0;
    (void)perm;
    for (int64_t r = row; r < row + n_rows; r++)
        for (int64_t c = col; c < col + n_cols; c++) {
            const uint8_t *block = block_at(p, r, c);
            *q++ = two ? code_2(block, c % BLOCK) : code_1(block, c % BLOCK);
        }
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    const lr_tensor *t = p->t[LR_PACKED_CODES];
    const uint8_t *end = block_at(p, row, col) + lr_dtype_bytes(t->dtype, BLOCK);
    return (lr_packed_scale){ .d = lr_f16_to_f32((uint16_t)(end[-2] | end[-1] << 8)), .zero = 1, .n = BLOCK - col % BLOCK };
}

static const lr_packed_kind ternary = { LR_CODING_UNSIGNED, codes, scale };

llmrun_status lr_packed_open_ternary(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *t = lr_packed_find(o, ".weight");
    if (!t || (t->dtype != LR_DT_TQ1_0 && t->dtype != LR_DT_TQ2_0)) return LLMRUN_OK;
    *found = true;
    p->kind = &ternary;
    p->bits = 2;
    p->group = BLOCK;
    p->t[LR_PACKED_CODES] = p->t[LR_PACKED_SCALES] = t;
    llmrun_status status = lr_packed_check_rows(o, t, ".weight", (lr_dtype[3]){ t->dtype, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                                                p->rows, p->cols);
    if (!status) p->format = lr_packed_format_of(p);
    return status;
}
