/* AWQ, "gemm".  X.qweight (cols, rows / 8) and X.qzeros (groups, rows / 8): words have codes of 8 rows in the order 0 2 4 6
 * 1 3 5 7, from the lowest bits up; X.scales (groups, rows).                                                          */
#include "loaders/packed_parts.h"

static inline int shift_of(int64_t row) { return 4 * (int)(row % 8 / 2 + row % 2 * 4); }

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    const lr_tensor *words = p->t[LR_PACKED_CODES];
    (void)perm;
    for (int64_t i = 0; i < n_cols; i++)
        for (int64_t r = row; r < row + n_rows; r++)
            q[(r - row) * n_cols + i] =
                (uint8_t)(lr_packed_word_at(words, (col + i) * (p->rows / 8) + r / 8) >> shift_of(r) & 15);
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    int64_t g = col / p->group;
    uint32_t zeros = lr_packed_word_at(p->t[LR_PACKED_ZEROS], g * (p->rows / 8) + row / 8);
    return (lr_packed_scale){ .d = lr_packed_float_at(p->t[LR_PACKED_SCALES], g * p->rows + row),
                              .zero = (int32_t)(zeros >> shift_of(row) & 15),
                              .n = (g + 1) * p->group - col };
}

static const lr_packed_kind awq = { LR_CODING_UNSIGNED, codes, scale };

llmrun_status lr_packed_open_awq(lr_packed *p, bool *found, const lr_packed_opener *o) {
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    const lr_tensor *scales = lr_packed_find(o, ".scales");
    p->t[LR_PACKED_CODES] = lr_packed_find(o, ".qweight");
    if (!p->t[LR_PACKED_CODES]) return LLMRUN_OK;
    *found = true;
    p->kind = &awq;
    p->bits = 4;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_ZEROS] = lr_packed_find(o, ".qzeros");
    llmrun_status status =
        lr_packed_check(o, p->t[LR_PACKED_CODES], ".qweight", lr_packed_words, 2, (uint64_t[]){ cols, rows / 8 });
    if (!status)
        status = lr_packed_check(o, scales, ".scales", lr_packed_floats_16_32, 2, (uint64_t[]){ LR_PACKED_ANY, rows });
    if (status) return status;
    uint64_t n_groups = scales->shape[0];
    if (n_groups == 0 || cols % n_groups || rows % 8)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: %llu groups of %llu columns and %llu rows",
                       o->c->files[scales->file].path, scales->name, (unsigned long long)n_groups,
                       (unsigned long long)cols, (unsigned long long)rows);
    p->group = (int64_t)(cols / n_groups);
    status =
        lr_packed_check(o, p->t[LR_PACKED_ZEROS], ".qzeros", lr_packed_words, 2, (uint64_t[]){ n_groups, rows / 8 });
    if (!status) p->format = lr_packed_format_of(p);
    return status;
}
