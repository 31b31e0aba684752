/* GPTQ.  X.qweight (cols * bits / 32, rows): a row's codes one after another in the bits of the words of its column of
 * words, the first in the lowest; those of 3 bits go over the ends of words.  X.qzeros (groups, rows * bits / 32), the same
 * along rows, one less than the zero but in gptq_v2; X.scales (groups, rows); X.g_idx (cols), where it is, names each
 * column's group, which act-order leaves unsorted.                                                                    */
#include "loaders/packed_parts.h"

/* Code i of a sequence in words that are `stride` apart.                                                              */
static inline uint32_t code_at(const lr_tensor *t, int64_t first, int64_t stride, int64_t i, int bits) {
    int64_t at = first + i * bits / 32 * stride;
    int shift = (int)(i * bits % 32);
    uint32_t code = lr_packed_word_at(t, at) >> shift;
    if (shift + bits > 32) code |= lr_packed_word_at(t, at + stride) << (32 - shift);
    return code & ((1u << bits) - 1);
}

static void codes(const lr_packed *p, uint8_t *q, int64_t row, int64_t n_rows, const int32_t *perm, int64_t col,
                  int64_t n_cols) {
    for (int64_t i = 0; i < n_cols; i++) /* the rows of a column lie together in the file */
        for (int64_t r = 0; r < n_rows; r++)
            q[r * n_cols + i] =
                (uint8_t)code_at(p->t[LR_PACKED_CODES], row + r, p->rows, perm ? perm[col + i] : col + i, p->bits);
}

static lr_packed_scale scale(const lr_packed *p, int64_t row, int64_t col) {
    int64_t g = p->perm ? lr_packed_word_at(p->t[LR_PACKED_ORDER], col) : col / p->group;
    uint32_t zero = code_at(p->t[LR_PACKED_ZEROS], g * (p->rows * p->bits / 32), 1, row, p->bits);
    return (lr_packed_scale){ .d = lr_packed_float_at(p->t[LR_PACKED_SCALES], g * p->rows + row),
                              .zero = (int32_t)((zero + (uint32_t)p->zero_more) & ((1u << p->bits) - 1)),
                              .n = p->perm ? 1 : (col / p->group + 1) * p->group - col };
}

static const lr_packed_kind gptq = { LR_CODING_UNSIGNED, codes, scale };

/* Is every zero 128, that of int8?                                                                                                 */
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
    for (int32_t bits = 2; bits <= 8 && !p->bits; bits += bits < 4 ? 1 : 4)
        if (codes_of->n_dims == 2 && codes_of->shape[0] * 32 == cols * (uint64_t)bits) p->bits = bits;
    if (!p->bits)
        return lr_fail(o->err, LLMRUN_UNSUPPORTED, "%s: %s: expected codes of 2, 3, 4 or 8 bits for %llu columns, got %llu words",
                       o->c->files[codes_of->file].path, codes_of->name, (unsigned long long)cols,
                       (unsigned long long)(codes_of->n_dims ? codes_of->shape[0] : 0));
    uint64_t bits = (uint64_t)p->bits;
    llmrun_status status =
        lr_packed_check(o, codes_of, ".qweight", lr_packed_words, 2, (uint64_t[]){ cols * bits / 32, rows });
    if (!status)
        status = lr_packed_check(o, scales, ".scales", lr_packed_floats_16_32, 2, (uint64_t[]){ LR_PACKED_ANY, rows });
    if (status) return status;
    uint64_t n_groups = scales->shape[0];
    if (n_groups == 0 || n_groups > cols || rows * bits % 32)
        return lr_fail(o->err, LLMRUN_FORMAT, "%s: %s: %llu groups of %llu columns and %llu rows",
                       o->c->files[scales->file].path, scales->name, (unsigned long long)n_groups,
                       (unsigned long long)cols, (unsigned long long)rows);
    p->group = (int64_t)((cols + n_groups - 1) / n_groups);
    status = lr_packed_check(o, p->t[LR_PACKED_ZEROS], ".qzeros", lr_packed_words, 2,
                             (uint64_t[]){ n_groups, rows * bits / 32 });
    if (!status && p->t[LR_PACKED_ORDER])
        status = lr_packed_check(o, p->t[LR_PACKED_ORDER], ".g_idx", lr_packed_words, 1, &cols);
    if (!status && p->t[LR_PACKED_ORDER]) status = lr_packed_sort(p, o);
    if (status) return status;
    p->kind = &gptq;
    p->format = p->bits < 8 || symmetric(p) ? lr_packed_format_of(p) : LR_FORMAT_NONE;
    return status;
}
