/* compressed-tensors, "pack-quantized".  X.weight_packed (rows, cols * bits / 32): each word has codes of 32 / bits columns,
 * the first in its lowest bits, stored with 2^(bits - 1) added; X.weight_scale (rows, groups) or (rows, 1);
 * X.weight_zero_point (rows * bits / 32, groups), packed along rows, or none; X.weight_g_idx (cols) as in GPTQ;
 * X.weight_shape (2).                                                                                                */
#include "loaders/packed_parts.h"

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    const lr_tensor *words = p->t[LR_PACKED_CODES];
    const int64_t per_word = 32 / p->bits, stride = (p->cols + per_word - 1) / per_word;
    const uint32_t mask = (1u << p->bits) - 1;
    for (int64_t r = row; r < row + n_rows; r++)
        for (int64_t i = 0; i < n_cols; i++) {
            int64_t c = perm ? perm[col + i] : col + i;
            *q++ = (uint8_t)(lr_packed_word_at(words, r * stride + c / per_word) >> (c % per_word * p->bits) & mask);
        }
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    const int64_t per_word = 32 / p->bits, n_groups = (p->cols + p->group - 1) / p->group;
    int64_t g = p->perm ? lr_packed_word_at(p->t[LR_PACKED_ORDER], col) : col / p->group;
    const lr_tensor *zeros = p->t[LR_PACKED_ZEROS];
    lr_packed_scale s = { .d = lr_packed_float_at(p->t[LR_PACKED_SCALES], row * n_groups + g),
                          .zero = 1 << (p->bits - 1),
                          .n = p->perm ? 1 : (col / p->group + 1) * p->group - col };
    if (zeros)
        s.zero = (int32_t)(lr_packed_word_at(zeros, row / per_word * n_groups + g) >> (row % per_word * p->bits) &
                           ((1u << p->bits) - 1));
    return s;
}

static const lr_packed_kind integers = { LR_CODING_UNSIGNED, codes, scale };

llmrun_status lr_packed_open_words(lr_packed *p, bool *found, const lr_packed_opener *o) {
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    const lr_tensor *words = lr_packed_find(o, ".weight_packed"), *scales = lr_packed_find(o, ".weight_scale");
    if (!words || words->dtype == LR_DT_U8) return LLMRUN_OK; /* bytes: packed_e2m1.c */
    *found = true;
    p->t[LR_PACKED_CODES] = words;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_ZEROS] = lr_packed_find(o, ".weight_zero_point");
    p->t[LR_PACKED_ORDER] = lr_packed_find(o, ".weight_g_idx");
    p->t[LR_PACKED_EXTRA] = lr_packed_find(o, ".weight_shape");
    if (words->n_dims == 2 && words->shape[1] != (cols + 7) / 8 && words->shape[1] != (cols + 3) / 4)
        return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: %llu words for %llu columns: expected codes of 4 or 8 bits",
                       o->c->files[words->file].path, words->name, (unsigned long long)words->shape[1],
                       (unsigned long long)cols);
    p->bits = words->n_dims == 2 && words->shape[1] == (cols + 7) / 8 ? 4 : 8;
    uint64_t per_word = 32 / (uint64_t)p->bits;
    llmrun_status status = lr_packed_check(o, words, ".weight_packed", lr_packed_words, 2,
                                           (uint64_t[]){ rows, (cols + per_word - 1) / per_word });
    if (!status)
        status =
            lr_packed_check(o, scales, ".weight_scale", lr_packed_floats_16_32, 2, (uint64_t[]){ rows, LR_PACKED_ANY });
    if (status) return status;
    uint64_t n_groups = scales->shape[1];
    if (n_groups == 0 || n_groups > cols || cols % n_groups)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: %llu groups of %llu columns", o->c->files[scales->file].path,
                       scales->name, (unsigned long long)n_groups, (unsigned long long)cols);
    p->group = (int64_t)(cols / n_groups);
    p->kind = &integers;
    if (p->t[LR_PACKED_ZEROS])
        status = lr_packed_check(o, p->t[LR_PACKED_ZEROS], ".weight_zero_point", lr_packed_words, 2,
                                 (uint64_t[]){ (rows + per_word - 1) / per_word, n_groups });
    if (!status && p->t[LR_PACKED_ORDER])
        status = lr_packed_check(o, p->t[LR_PACKED_ORDER], ".weight_g_idx", lr_packed_words, 1, &cols);
    if (!status && p->t[LR_PACKED_ORDER]) status = lr_packed_sort(p, o);
    /* 8 bits with zeros of their own: no run format has them. */
    if (!status) p->format = p->bits == 4 || !p->t[LR_PACKED_ZEROS] ? lr_packed_format_of(p) : LR_FORMAT_NONE;
    return status;
}
