/* FP8: X.weight of F8_E4M3 and scales to multiply with.  X.weight_scale_inv (rows / 128, cols / 128), one for a square of
 * that size, rounded up; or X.weight_scale, one for the matrix, for each row, or for each block as compressed-tensors
 * have it.  X.input_scale concerns activations, which stay as they are here.                                         */
#include "loaders/packed_parts.h"

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    int64_t per_row = (p->cols + p->group - 1) / p->group;
    return (lr_packed_scale){ .d = lr_packed_float_at(p->t[LR_PACKED_SCALES],
                                                      row / p->group_rows * per_row + col / p->group),
                              .n = (col / p->group + 1) * p->group - col };
}

static const lr_packed_kind e4m3 = { LR_CODING_E4M3, lr_packed_bytes, scale },
                            int8 = { LR_CODING_SIGNED, lr_packed_bytes, scale };

/* Rows and columns of a block from the scales' shape.  Blocks of the last row or column may be cut.                  */
static bool block_of(int64_t *size, int64_t n, uint64_t n_blocks) {
    static const int64_t sizes[] = { 128, 64, 32, 256, 512 };
    *size = n;
    if (n_blocks == 1) return true;
    if (n_blocks == (uint64_t)n) return *size = 1, true;
    for (size_t i = 0; i < LR_COUNT(sizes); i++)
        if ((uint64_t)((n + sizes[i] - 1) / sizes[i]) == n_blocks) return *size = sizes[i], true;
    return false;
}

/* Codes of one byte with scales in whatever arrangement.                                                              */
static llmrun_status open_bytes(lr_packed *p, const lr_packed_opener *o, const char *end) {
    const lr_tensor *scales = p->t[LR_PACKED_SCALES];
    p->bits = 8;
    p->t[LR_PACKED_EXTRA] = lr_packed_find(o, ".input_scale");
    llmrun_status status = lr_packed_check(o, p->t[LR_PACKED_CODES], ".weight",
                                           (lr_dtype[3]){ p->t[LR_PACKED_CODES]->dtype, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                                           2, (uint64_t[]){ (uint64_t)p->rows, (uint64_t)p->cols });
    if (!status)
        status = lr_packed_check(o, scales, end, lr_packed_floats_16_32, scales->n_dims,
                                 (uint64_t[8]){ LR_PACKED_ANY, LR_PACKED_ANY, LR_PACKED_ANY, LR_PACKED_ANY,
                                                LR_PACKED_ANY, LR_PACKED_ANY, LR_PACKED_ANY, LR_PACKED_ANY });
    if (status) return status;
    uint64_t d0 = scales->n_dims > 0 ? scales->shape[0] : 1, d1 = scales->n_dims > 1 ? scales->shape[1] : 1;
    if (scales->n_dims > 2 || !block_of(&p->group_rows, p->rows, d0) || !block_of(&p->group, p->cols, d1))
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: %llu x %llu scales do not divide %lld x %lld values",
                       o->c->files[scales->file].path, scales->name, (unsigned long long)d0, (unsigned long long)d1,
                       (long long)p->rows, (long long)p->cols);
    p->format = lr_packed_format_of(p);
    return LLMRUN_OK;
}

llmrun_status lr_packed_open_fp8(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *codes_of = lr_packed_find(o, ".weight");
    const char *end = ".weight_scale_inv";
    if (!codes_of || codes_of->dtype != LR_DT_F8_E4M3) return LLMRUN_OK;
    p->t[LR_PACKED_CODES] = codes_of;
    p->t[LR_PACKED_SCALES] = lr_packed_find(o, end);
    if (!p->t[LR_PACKED_SCALES]) p->t[LR_PACKED_SCALES] = lr_packed_find(o, end = ".weight_scale");
    *found = true;
    p->kind = &e4m3;
    if (!p->t[LR_PACKED_SCALES])
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: tensor \"%s.weight_scale\" is missing", o->c->dir, o->stem);
    return open_bytes(p, o, end);
}

/* compressed-tensors' int-quantized: the same with int8, w = code * scale.                                            */
llmrun_status lr_packed_open_int8(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *codes_of = lr_packed_find(o, ".weight"), *scales = lr_packed_find(o, ".weight_scale");
    const lr_tensor *zeros = lr_packed_find(o, ".weight_zero_point");
    if (!codes_of || !scales || codes_of->dtype != LR_DT_I8) return LLMRUN_OK;
    *found = true;
    p->kind = &int8;
    p->t[LR_PACKED_CODES] = codes_of;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_ZEROS] = zeros;
    for (uint64_t i = 0; zeros && i < zeros->bytes; i++)
        if (zeros->data[i])
            return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: zero points other than 0 are not supported for int8",
                           o->c->files[zeros->file].path, zeros->name);
    return open_bytes(p, o, ".weight_scale");
}
