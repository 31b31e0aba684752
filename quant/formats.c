/* The table of formats and what follows from it: names, sizes of matrices, the fallback for short rows, and the element
 * types that files have.  Everything is a pure function of formats.def.                                               */
#include "quant/quant.h"

#include <string.h>

#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file)      \
    void lr_##file##_encode(void *quants, void *scales, const float *x, int64_t n); \
    void lr_##file##_decode(float *x, const void *quants, const void *scales, int64_t n);
#include "quant/formats.def"
#undef LR_FORMAT

const lr_format_traits lr_formats[LR_N_FORMATS] = {
#define LR_FORMAT(id, name, block, quant_bytes, scale_bytes, bits, file) \
    [id] = {name, block, quant_bytes, scale_bytes, bits, lr_##file##_encode, lr_##file##_decode},
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
    m.scales_stride = (size_t)(blocks * t->scale_bytes);
    if (t->scale_bytes) {
        size_t quants = ((size_t)rows * m.quants_stride + LR_ALIGN - 1) & ~(size_t)(LR_ALIGN - 1);
        m.scales = (const char *)base + quants;
    }
    return m;
}

const struct lr_dtype_traits lr_dtypes[LR_N_DTYPES] = {
    [LR_DT_BOOL] = {"BOOL", 8},       [LR_DT_U8] = {"U8", 8},           [LR_DT_I8] = {"I8", 8},
    [LR_DT_F8_E4M3] = {"F8_E4M3", 8}, [LR_DT_F8_E5M2] = {"F8_E5M2", 8}, [LR_DT_F8_E8M0] = {"F8_E8M0", 8},
    [LR_DT_I16] = {"I16", 16},        [LR_DT_U16] = {"U16", 16},        [LR_DT_F16] = {"F16", 16},
    [LR_DT_BF16] = {"BF16", 16},      [LR_DT_I32] = {"I32", 32},        [LR_DT_U32] = {"U32", 32},
    [LR_DT_F32] = {"F32", 32},        [LR_DT_I64] = {"I64", 64},        [LR_DT_U64] = {"U64", 64},
    [LR_DT_F64] = {"F64", 64},        [LR_DT_C64] = {"C64", 64},        [LR_DT_F4] = {"F4", 4},
    [LR_DT_F6_E2M3] = {"F6_E2M3", 6}, [LR_DT_F6_E3M2] = {"F6_E3M2", 6},
};

lr_format lr_format_of_dtype(lr_dtype dtype) {
    switch (dtype) {
    case LR_DT_F32: return LR_F32;
    case LR_DT_F16: return LR_F16;
    case LR_DT_BF16: return LR_BF16;
    default: return LR_FORMAT_NONE;
    }
}
