/* The table of formats and what follows from it: names, sizes of matrices, the fallback for short rows, and the element
 * types that files have.  Everything is a pure function of formats.def.                                               */
#include "quant/blocks.h"

#include <string.h>

#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file)      \
    void lr_##file##_encode(void *quants, void *scales, const float *x, int64_t n); \
    void lr_##file##_decode(float *x, const void *quants, const void *scales, int64_t n);
#define LR_BLOCK_FORMAT(id, name, block, bytes, bits, file, encoder) /* blocks.h */
#include "quant/formats.def"
#undef LR_FORMAT

const lr_format_traits lr_formats[LR_N_FORMATS] = {
#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file) \
    [id] = {name, block, quant_bytes, scale_bytes, bits, lr_##file##_encode, lr_##file##_decode, 0},
#define LR_BLOCK_FORMAT(id, name, block, bytes, bits, file, encoder) \
    [id] = {name, block, bytes, 0, bits, encoder, lr_##file##_decode, 0},
#define LR_ROW_FORMAT(id, name, block, bytes, bits, file, encoder) \
    [id] = {name, block, bytes, 0, bits, encoder, lr_##file##_decode, 4},
#include "quant/formats.def"
#undef LR_FORMAT
};

lr_format lr_format_by_name(const char *name) {
    for (int f = 0; f < LR_N_FORMATS; f++)
        if (strcmp(lr_formats[f].name, name) == 0) return (lr_format)f;
    return LR_FORMAT_NONE;
}

/* Bytes of a plane that has stride bytes for each of rows rows, rounded up to LR_ALIGN.                              */
static LR_MUST_CHECK bool plane_bytes(uint64_t rows, uint64_t stride, uint64_t *out) {
    uint64_t bytes;
    return lr_mul_u64(rows, stride, &bytes) && lr_align_u64(bytes, LR_ALIGN, out);
}

bool lr_format_measure(lr_format format, uint64_t rows, uint64_t cols, lr_format_size *out) {
    if (format < 0 || format >= LR_N_FORMATS) return false;
    const lr_format_traits *t = &lr_formats[format];
    lr_format_size size;
    uint64_t scales;
    if (cols % (uint64_t)t->block) return false;
    uint64_t blocks = cols / (uint64_t)t->block;
    if (!lr_mul_u64(blocks, (uint64_t)t->quant_bytes, &size.quants_stride) ||
        !lr_mul_u64(blocks, (uint64_t)t->scale_bytes, &size.scales_stride) ||
        !lr_add_u64(size.scales_stride, (uint64_t)t->row_bytes, &size.scales_stride) ||
        !plane_bytes(rows, size.quants_stride, &size.scales_offset) ||
        !plane_bytes(rows, size.scales_stride, &scales) || !lr_add_u64(size.scales_offset, scales, &size.bytes))
        return false;
    *out = size;
    return true;
}

lr_format lr_format_fallback(lr_format want, int64_t cols) {
    const lr_format order[] = {want, lr_formats[want].bits == 4 ? LR_IQ4_NL : LR_Q8_0, LR_Q8_0};
    for (size_t i = 0; i < LR_COUNT(order); i++)
        if (cols % lr_formats[order[i]].block == 0) return order[i];
    return LR_F16;
}

lr_matrix lr_matrix_at(lr_format format, int64_t rows, int64_t cols, const void *base) {
    const lr_format_traits *t = &lr_formats[format];
    int64_t blocks = cols / t->block;
    lr_matrix m = {.format = format, .rows = rows, .cols = cols, .quants = base};
    m.quants_stride = (size_t)(blocks * t->quant_bytes);
    m.scales_stride = (size_t)(blocks * t->scale_bytes + t->row_bytes);
    if (m.scales_stride) {
        size_t quants = lr_aligned((uint64_t)rows * m.quants_stride);
        m.scales = (const char *)base + quants;
    }
    return m;
}

const struct lr_dtype_traits lr_dtypes[LR_N_DTYPES] = {
    [LR_DT_BOOL] = {"BOOL", 8, 1},       [LR_DT_U8] = {"U8", 8, 1},           [LR_DT_I8] = {"I8", 8, 1},
    [LR_DT_F8_E4M3] = {"F8_E4M3", 8, 1}, [LR_DT_F8_E5M2] = {"F8_E5M2", 8, 1}, [LR_DT_F8_E8M0] = {"F8_E8M0", 8, 1},
    [LR_DT_I16] = {"I16", 16, 1},        [LR_DT_U16] = {"U16", 16, 1},        [LR_DT_F16] = {"F16", 16, 1},
    [LR_DT_BF16] = {"BF16", 16, 1},      [LR_DT_I32] = {"I32", 32, 1},        [LR_DT_U32] = {"U32", 32, 1},
    [LR_DT_F32] = {"F32", 32, 1},        [LR_DT_I64] = {"I64", 64, 1},        [LR_DT_U64] = {"U64", 64, 1},
    [LR_DT_F64] = {"F64", 64, 1},        [LR_DT_C64] = {"C64", 64, 1},        [LR_DT_F4] = {"F4", 4, 1},
    [LR_DT_F6_E2M3] = {"F6_E2M3", 6, 1}, [LR_DT_F6_E3M2] = {"F6_E3M2", 6, 1},
#define BLOCKS(name, block, bytes) [LR_DT_##name] = {#name, 8 * (bytes), block}
    BLOCKS(Q4_0, 32, 18),     BLOCKS(Q4_1, 32, 20),    BLOCKS(Q5_0, 32, 22),     BLOCKS(Q5_1, 32, 24),
    BLOCKS(Q8_0, 32, 34),     BLOCKS(Q8_1, 32, 36),    BLOCKS(Q2_K, 256, 84),    BLOCKS(Q3_K, 256, 110),
    BLOCKS(Q4_K, 256, 144),   BLOCKS(Q5_K, 256, 176),  BLOCKS(Q6_K, 256, 210),   BLOCKS(Q8_K, 256, 292),
    BLOCKS(IQ2_XXS, 256, 66), BLOCKS(IQ2_XS, 256, 74), BLOCKS(IQ3_XXS, 256, 98), BLOCKS(IQ1_S, 256, 50),
    BLOCKS(IQ4_NL, 32, 18),   BLOCKS(IQ3_S, 256, 110), BLOCKS(IQ2_S, 256, 82),   BLOCKS(IQ4_XS, 256, 136),
    BLOCKS(IQ1_M, 256, 56),   BLOCKS(TQ1_0, 256, 54),  BLOCKS(TQ2_0, 256, 66),   BLOCKS(MXFP4, 32, 17),
    BLOCKS(NVFP4, 64, 36),    BLOCKS(Q1_0, 128, 18),   BLOCKS(Q2_0, 64, 18),
#undef BLOCKS
};

/* Formats and file types that are the same bytes have the same name, but for the case of plain ones.                 */
lr_format lr_format_of_dtype(lr_dtype dtype) {
    switch (dtype) {
    case LR_DT_F32: return LR_F32;
    case LR_DT_F16: return LR_F16;
    case LR_DT_BF16: return LR_BF16;
    default: return dtype >= LR_DT_Q4_0 && dtype < LR_N_DTYPES ? lr_format_by_name(lr_dtypes[dtype].name) : LR_FORMAT_NONE;
    }
}
