/* GPTQ.  X.qweight (cols * bits / 32, rows): each word has codes of 32 / bits columns of one row, the first in its lowest
 * bits.  X.qzeros (groups, rows * bits / 32), packed along rows, one less than the zero but in gptq_v2; X.scales (groups,
 * rows); X.g_idx (cols), where it is, names each column's group, which act-order leaves unsorted.                    */
#include "loaders/packed_parts.h"

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    const lr_tensor *words = p->t[LR_PACKED_CODES];
    const int64_t per_word = 32 / p->bits;
    const uint32_t mask = (1u << p->bits) - 1;
    for (int64_t i = 0; i < n_cols; i++) { /* the rows of a column lie together in the file */
        int64_t c = perm ? perm[col + i] : col + i, at = c / per_word * p->rows + row;
        int shift = (int)(c % per_word) * p->bits;
        for (int64_t r = 0; r < n_rows; r++)
            q[r * n_cols + i] = (uint8_t)(lr_packed_word_at(words, at + r) >> shift & mask);
    }
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    const int64_t per_word = 32 / p->bits;
    int64_t g = p->perm ? lr_packed_word_at(p->t[LR_PACKED_ORDER], col) : col / p->group;
    uint32_t word = lr_packed_word_at(p->t[LR_PACKED_ZEROS], g * (p->rows / per_word) + row / per_word);
    uint32_t mask = (1u << p->bits) - 1, zero = word >> (row % per_word * p->bits) & mask;
    return (lr_packed_scale){ .d = lr_packed_float_at(p->t[LR_PACKED_SCALES], g * p->rows + row),
                              .zero = (int32_t)((zero + (uint32_t)p->zero_more) & mask),
                              .n = p->perm ? 1 : (col / p->group + 1) * p->group - col };
}

static const lr_packed_kind four = { LR_CODING_UNSIGNED, codes, scale };

/* 8 bits around a zero of 128 are int8; others keep their zeros, which no run format of 8 bits has.                   */
static void codes_8(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                    int64_t n_cols) {
    codes(p, q, row, n_rows, perm, col, n_cols);
    for (int64_t i = 0; i < n_rows * n_cols; i++) q[i] ^= 128;
}
static lr_packed_scale scale_8(const lr_packed *p, int64_t row, int64_t col) {
    lr_packed_scale s = scale(p, row, col);
    s.zero -= 128;
    return s;
}
static const lr_packed_kind eight = { LR_CODING_SIGNED, codes_8, scale_8 };

/* Is every zero 128?                                                                                                 */
static bool symmetric(const lr_packed *p) {
    const lr_tensor *zeros = p->t[LR_PACKED_ZEROS];
    uint32_t want = p->zero_more ? 0x7f7f7f7fu : 0x80808080u;
    for (int64_t i = 0; i < (int64_t)(zeros->bytes / 4); i++)
        if (lr_packed_word_at(zeros, i) != want) return false;
    return true;
}

llmrun_status lr_packed_open_gptq(lr_packed *p, bool *found, const lr_packed_opener *o) {
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    const lr_tensor *codes_of = lr_packed_find(o, ".qweight"), *scales = lr_packed_find(o, ".scales");
    /* AWQ has as many rows of words as there are columns, GPTQ fewer. */
    if (!codes_of || (codes_of->n_dims == 2 && codes_of->shape[0] == cols)) return LLMRUN_OK;
    *found = true;
    p->t[LR_PACKED_CODES] = codes_of;
    p->t[LR_PACKED_SCALES] = scales;
    p->t[LR_PACKED_ZEROS] = lr_packed_find(o, ".qzeros");
    p->t[LR_PACKED_ORDER] = lr_packed_find(o, ".g_idx");
    p->zero_more = !o->packing->zeros_as_are;
    for (int32_t bits = 2; bits <= 8 && !p->bits; bits++)
        if (codes_of->n_dims == 2 && codes_of->shape[0] * 32 == cols * (uint64_t)bits) p->bits = bits;
    if (p->bits && p->bits != 4 && p->bits != 8)
        return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: codes of %d bits are not supported; known: 4, 8",
                       o->c->files[codes_of->file].path, codes_of->name, p->bits);
    uint64_t per_word = p->bits ? 32 / (uint64_t)p->bits : 1;
    llmrun_status status = lr_packed_check(o, codes_of, ".qweight", lr_packed_words, 2, (uint64_t[]){ cols / 8, rows });
    if (p->bits == 8)
        status = lr_packed_check(o, codes_of, ".qweight", lr_packed_words, 2, (uint64_t[]){ cols / 4, rows });
    if (!status)
        status = lr_packed_check(o, scales, ".scales", lr_packed_floats_16_32, 2, (uint64_t[]){ LR_PACKED_ANY, rows });
    if (status) return status;
    uint64_t n_groups = scales->shape[0];
    if (n_groups == 0 || n_groups > cols || rows % per_word)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: %llu groups of %llu columns and %llu rows",
                       o->c->files[scales->file].path, scales->name, (unsigned long long)n_groups,
                       (unsigned long long)cols, (unsigned long long)rows);
    p->group = (int64_t)((cols + n_groups - 1) / n_groups);
    status = lr_packed_check(o, p->t[LR_PACKED_ZEROS], ".qzeros", lr_packed_words, 2,
                             (uint64_t[]){ n_groups, rows / per_word });
    if (!status && p->t[LR_PACKED_ORDER])
        status = lr_packed_check(o, p->t[LR_PACKED_ORDER], ".g_idx", lr_packed_words, 1, &cols);
    if (!status && p->t[LR_PACKED_ORDER]) status = lr_packed_sort(p, o);
    if (status) return status;
    p->kind = p->bits == 4 ? &four : &eight;
    p->format = p->bits == 4 || symmetric(p) ? lr_packed_format_of(p) : LR_FORMAT_NONE;
    return status;
}
