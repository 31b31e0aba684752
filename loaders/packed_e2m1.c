/* 4-bit floats E2M1, a pair of columns in a byte, the first in the low nibble.  Scales for groups of columns are E4M3 for
 * 16 (NVFP4), with a factor for the matrix, or powers of two for 32 (MXFP4):
 *   compressed-tensors  X.weight_packed (rows, cols / 2), X.weight_scale (rows, groups) of E4M3, and X.weight_global_scale
 *                       to divide by; without that one the scales are exponents
 *   ModelOpt            X.weight (rows, cols / 2), X.weight_scale of E4M3, X.weight_scale_2 to multiply with
 *   GGUF                X.weight of type NVFP4 (quant/nvfp4.c) where X.scale is there to multiply with, one for each of the
 *                       matrices in the tensor; without it the blocks serve as they are
 * Scales are never below 0 but in theory: then codes change their signs instead.                                      */
#include "loaders/packed_parts.h"

#include "quant/blocks.h"

static const lr_packed_kind divided, multiplied, exponents, in_blocks;

static const uint8_t *block_at(const lr_packed *p, int64_t row, int64_t col) {
    return p->t[LR_PACKED_CODES]->data + (row * p->cols + col) / 64 * 36;
}

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    (void)perm;
    for (int64_t r = row; r < row + n_rows; r++)
        for (int64_t c = col; c < col + n_cols; c++) {
            const uint8_t *bytes = p->t[LR_PACKED_CODES]->data + (r * p->cols + c) / 2;
            *q++ = *bytes >> (c % 2 * 4) & 15;
        }
}

static void codes_of_blocks(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                            int64_t n_cols) {
    (void)perm;
    for (int64_t r = row; r < row + n_rows; r++)
        for (int64_t c = col; c < col + n_cols; c++)
            *q++ = block_at(p, r, c)[4 + c % 64 / 16 * 8 + c % 8] >> (c % 16 / 8 * 4) & 15;
}

static float factor_of(const lr_packed *p, int64_t row) {
    float x = lr_packed_float_at(p->t[LR_PACKED_EXTRA], row / p->group_rows);
    return p->kind == &divided ? 1 / x : x;
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    const uint8_t *byte = p->t[LR_PACKED_SCALES]->data + row * (p->cols / p->group) + col / p->group;
    lr_packed_scale s = { .n = p->group - col % p->group };
    if (p->kind == &exponents) s.d = lr_mxfp4_scale(*byte);
    else if (p->kind == &in_blocks) s.d = lr_nvfp4_scale(block_at(p, row, col)[col % 64 / 16]) * factor_of(p, row);
    else s.d = lr_f8_e4m3_to_f32(*byte) * 0.5f * factor_of(p, row);
    return s;
}

static const lr_packed_kind divided = { LR_CODING_E2M1, codes, scale }, multiplied = { LR_CODING_E2M1, codes, scale },
                            exponents = { LR_CODING_E2M1, codes, scale },
                            in_blocks = { LR_CODING_E2M1, codes_of_blocks, scale };

/* 64 columns to a block.                                                                                              */
static void put_block(uint8_t out[36], const uint8_t bytes[32], const uint8_t scales[4]) {
    for (int s = 0; s < 4; s++, bytes += 8) {
        int sign = scales[s] & 0x80 ? 0x88 : 0;
        out[s] = scales[s] & 0x7f;
        for (int j = 0; j < 8; j++) {
            int low = bytes[j / 2] >> (j % 2 * 4) & 15, high = bytes[4 + j / 2] >> (j % 2 * 4) & 15;
            out[4 + 8 * s + j] = (uint8_t)((low | high << 4) ^ sign);
        }
    }
}

int64_t lr_packed_e2m1_planes(const lr_packed *p, uint8_t *quants, uint8_t *factors, int64_t row, int64_t n_rows) {
    const uint8_t *bytes = p->t[LR_PACKED_CODES]->data + row * p->cols / 2, *scales = p->t[LR_PACKED_SCALES]->data;
    int64_t groups = p->cols / p->group, n_blocks = n_rows * (p->cols / 64), bad = -1;
    scales += row * groups;
    if (p->format == LR_BLOCK_MXFP4) lr_packed_mxfp4(quants, bytes, scales, n_rows * groups);
    else if (p->kind == &in_blocks) memcpy(quants, block_at(p, row, 0), (size_t)n_blocks * 36);
    else for (int64_t b = 0; b < n_blocks; b++) put_block(quants + 36 * b, bytes + 32 * b, scales + 4 * b);
    for (int64_t r = row; r < row + n_rows; r++) {
        float factor = p->format == LR_NVFP4 ? factor_of(p, r) : 1;
        if (p->format == LR_NVFP4) memcpy(factors + 4 * (r - row), &factor, sizeof factor);
        for (int64_t c = 0; c < p->cols && bad < 0; c += p->group) {
            float d = scale(p, r, c).d;
            if (!(d - d == 0)) bad = r * p->cols + c;
        }
    }
    return bad;
}

/* ---- opening ---- */

static const lr_dtype u8[3] = { LR_DT_U8, LR_DT_UNKNOWN, LR_DT_UNKNOWN }, e4m3[3] = { LR_DT_F8_E4M3, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                      e8m0[3] = { LR_DT_U8, LR_DT_F8_E8M0, LR_DT_UNKNOWN }, f32[3] = { LR_DT_F32, LR_DT_UNKNOWN, LR_DT_UNKNOWN };

/* Factors for n matrices of equal size.                                                                               */
static llmrun_status check_factors(lr_packed *p, const lr_packed_opener *o, const char *end, uint64_t n) {
    const lr_tensor *t = p->t[LR_PACKED_EXTRA];
    bool scalar = t && n == 1 && t->n_dims == 0;
    llmrun_status status = lr_packed_check(o, t, end, f32, scalar ? 0 : 1, &n);
    for (uint64_t i = 0; i < n && !status; i++) {
        float x = lr_packed_float_at(t, (int64_t)i), times = p->kind == &divided ? 1 / x : x;
        if (!(times - times == 0))
            status = lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: element %llu: expected a factor, got %g",
                             o->c->files[t->file].path, t->name, (unsigned long long)i, (double)x);
    }
    p->group_rows = p->rows / (int64_t)n;
    return status;
}

static llmrun_status open_pairs(lr_packed *p, const lr_packed_opener *o, const char *codes_end, const char *factor_end) {
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    bool nv = p->kind != &exponents;
    p->bits = 4;
    p->group = nv ? 16 : 32;
    if (p->cols % p->group)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s%s: %lld columns do not divide into groups of %lld", o->c->dir, o->stem,
                       codes_end, (long long)p->cols, (long long)p->group);
    llmrun_status status = lr_packed_check(o, p->t[LR_PACKED_CODES], codes_end, u8, 2, (uint64_t[]){ rows, cols / 2 });
    if (!status)
        status = lr_packed_check(o, p->t[LR_PACKED_SCALES], ".weight_scale", nv ? e4m3 : e8m0, 2,
                                 (uint64_t[]){ rows, cols / (uint64_t)p->group });
    if (!status && nv) status = check_factors(p, o, factor_end, 1);
    if (!status) p->format = nv ? (p->cols % 64 ? LR_FORMAT_NONE : LR_NVFP4) : LR_BLOCK_MXFP4;
    return status;
}

llmrun_status lr_packed_open_compressed_e2m1(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *codes_of = lr_packed_find(o, ".weight_packed"), *scales = lr_packed_find(o, ".weight_scale");
    if (!codes_of || codes_of->dtype != LR_DT_U8) return LLMRUN_OK;
    *found = true;
    p->t[LR_PACKED_CODES] = codes_of;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_EXTRA] = lr_packed_find(o, ".weight_global_scale");
    p->t[LR_PACKED_STATE] = lr_packed_find(o, ".weight_shape");
    p->kind = p->t[LR_PACKED_EXTRA] || (scales && scales->dtype == LR_DT_F8_E4M3) ? &divided : &exponents;
    return open_pairs(p, o, ".weight_packed", ".weight_global_scale");
}

llmrun_status lr_packed_open_modelopt(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *codes_of = lr_packed_find(o, ".weight"), *scales = lr_packed_find(o, ".weight_scale");
    if (!codes_of || !scales || codes_of->dtype != LR_DT_U8) return LLMRUN_OK;
    *found = true;
    p->kind = &multiplied;
    p->t[LR_PACKED_CODES] = codes_of;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_EXTRA] = lr_packed_find(o, ".weight_scale_2");
    return open_pairs(p, o, ".weight", ".weight_scale_2");
}

llmrun_status lr_packed_open_nvfp4(lr_packed *p, bool *found, const lr_packed_opener *o) {
    const lr_tensor *t = lr_packed_find(o, ".weight"), *factors = lr_packed_find(o, ".scale");
    if (!t || !factors || t->dtype != LR_DT_NVFP4) return LLMRUN_OK;
    uint64_t n = t->n_dims == 3 ? t->shape[0] : 1;
    *found = true;
    p->kind = &in_blocks;
    p->bits = 4;
    p->group = 16;
    p->t[LR_PACKED_CODES] = p->t[LR_PACKED_SCALES] = t;
    p->t[LR_PACKED_EXTRA] = factors;
    llmrun_status status = lr_packed_check_rows(o, t, ".weight", (lr_dtype[3]){ LR_DT_NVFP4, LR_DT_UNKNOWN, LR_DT_UNKNOWN },
                                                p->rows, p->cols);
    if (!status) status = check_factors(p, o, ".scale", n);
    if (!status) p->format = LR_NVFP4;
    return status;
}
