/* See source.h.                                                                                                        */
#include "loaders/packed.h"

#include <sys/mman.h>
#include <unistd.h>

lr_source lr_source_of(const lr_tensor *t, int64_t rows, int64_t cols) {
    return (lr_source){ .tensor = t, .rows = rows, .cols = cols, .run = rows, .stride = rows, .step = 1, .times = 1 };
}

lr_source lr_source_stacked(const lr_source *parts, int32_t n) {
    return (lr_source){ .tensor = parts[0].tensor, .rows = parts[0].rows * n, .cols = parts[0].cols, .parts = parts,
                        .n_parts = n, .times = 1 };
}

static int64_t tensor_row(const lr_source *s, int64_t r) { return s->first + r / s->run * s->stride + r % s->run; }

/* Byte of value `at` counted in the tensor's own order.                                                               */
static const uint8_t *value_at(const lr_source *s, int64_t at) {
    return s->tensor->data + lr_dtype_bytes(s->tensor->dtype, (uint64_t)(s->offset + at));
}

const uint8_t *lr_source_bytes(const lr_source *s) {
    bool as_stored = s->tensor && !s->parts && s->run >= s->rows && !s->pitch && s->plus == 0 && s->times == 1 && !s->packed &&
                     !s->exponents;
    return as_stored ? value_at(s, s->first * s->cols) : NULL;
}

/* Blocks of the tensor's row from column col on, in the order of the run format; col and n are multiples of 32.       */
static void mxfp4_blocks(const lr_source *s, uint8_t *out, int64_t row, int64_t col, int64_t n) {
    const int64_t block = (row * s->cols + col) / 32;
    lr_packed_mxfp4(out, s->tensor->data + block * 16, s->exponents->data + block, n / 32);
}

static void mxfp4_floats(const lr_source *s, float *x, int64_t row, int64_t col, int64_t n) {
    for (int64_t i = 0, some; i < n; i += some) {
        uint8_t block[32];
        float values[32];
        int64_t skip = (col + i) % 32;
        some = lr_min(32 - skip, n - i);
        mxfp4_blocks(s, block, row, col + i - skip, 32);
        lr_formats[LR_BLOCK_MXFP4].decode(values, block, NULL, 32);
        for (int64_t k = 0; k < some; k++) x[i + k] = values[skip + k];
    }
}

enum { MOST_OF_BLOCK = 256 }; /* values of any file type's block */

/* Columns [col, col + n) of row r.                                                                                    */
static bool row_floats(const lr_source *s, float *x, int64_t r, int64_t col, int64_t n) {
    int64_t row = s->pitch ? s->first + r / s->run * s->stride : tensor_row(s, r);
    if (s->packed) return lr_packed_floats(s->packed, x, n, row, 1, col, n), true;
    if (s->exponents) return mxfp4_floats(s, x, row, col, n), true;
    if (!s->pitch) return lr_dtype_to_f32(x, s->tensor->dtype, value_at(s, row * s->cols + col), n);
    float block[MOST_OF_BLOCK];
    int64_t size = lr_dtypes[s->tensor->dtype].block;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = (row + col + i) * s->pitch + s->shift + r % s->run * s->step;
        if (!lr_dtype_to_f32(block, s->tensor->dtype, value_at(s, at - at % size), size)) return false;
        x[i] = block[at % size];
    }
    return true;
}

static int64_t values_of(const lr_source *s) { return s->rows * s->cols; }

static bool stacked_floats(const lr_source *s, float *x, int64_t at, int64_t n) {
    int64_t size = values_of(s->parts);
    for (int64_t done = 0, step; done < n; done += step) {
        int64_t part = (at + done) / size, from = (at + done) % size;
        step = lr_min(n - done, size - from);
        if (!lr_source_floats(&s->parts[part], x + done, from, step)) return false;
    }
    return true;
}

static void adjust(const lr_source *s, float *x, int64_t n) {
    for (int64_t i = 0; i < n && (s->plus != 0 || s->times != 1); i++) x[i] = (x[i] + s->plus) * s->times;
}

bool lr_source_floats(const lr_source *s, float *x, int64_t at, int64_t n) {
    if (s->parts) return stacked_floats(s, x, at, n);
    for (int64_t done = 0; done < n;) {
        int64_t r = (at + done) / s->cols, col = (at + done) % s->cols, step = lr_min(n - done, s->cols - col);
        if (!row_floats(s, x + done, r, col, step)) return false;
        done += step;
    }
    adjust(s, x, n);
    return true;
}

/* ---- packed ---- */

/* Rows of parts: the part of row r, the row in it, and how many of n rows from there are in it.                       */
static const lr_source *part_at(const lr_source *s, int64_t *r, int64_t *n) {
    const lr_source *part = &s->parts[*r / s->parts->rows];
    *r %= part->rows;
    *n = lr_min(*n, part->rows - *r);
    return part;
}

bool lr_source_is_packed(const lr_source *s) { return s->parts ? s->parts->packed != NULL : s->packed || s->exponents; }

lr_format lr_source_packed_format(const lr_source *s) {
    if (s->parts) return lr_source_packed_format(s->parts);
    if (s->exponents) return LR_BLOCK_MXFP4;
    return s->packed && s->plus == 0 && s->times == 1 ? s->packed->format : LR_FORMAT_NONE;
}

/* How many of n rows from r on follow each other in the tensor.                                                      */
static int64_t rows_together(const lr_source *s, int64_t r, int64_t n) { return lr_min(n, s->run - r % s->run); }

void lr_source_packed_floats(const lr_source *s, float *x, int64_t x_stride, int64_t row, int64_t n_rows, int64_t col,
                             int64_t n_cols) {
    for (int64_t done = 0, n; s->parts && done < n_rows; done += n) {
        int64_t r = row + done;
        n = n_rows - done;
        const lr_source *part = part_at(s, &r, &n);
        lr_source_packed_floats(part, x + done * x_stride, x_stride, r, n, col, n_cols);
    }
    for (int64_t r = 0, n; !s->parts && r < n_rows; r += n) {
        n = rows_together(s, row + r, n_rows - r);
        for (int64_t i = r; i < r + n && s->exponents; i++)
            mxfp4_floats(s, x + i * x_stride, tensor_row(s, row + i), col, n_cols);
        if (s->packed) lr_packed_floats(s->packed, x + r * x_stride, x_stride, tensor_row(s, row + r), n, col, n_cols);
        for (int64_t i = r; i < r + n; i++) adjust(s, x + i * x_stride, n_cols);
    }
}

int64_t lr_source_packed_planes(const lr_source *s, void *quants, void *scales, int64_t row, int64_t n_rows) {
    lr_matrix m = lr_matrix_at(lr_source_packed_format(s), 1, s->cols, NULL);
    int64_t bad = -1;
    for (int64_t done = 0, n; s->parts && done < n_rows && bad < 0; done += n) {
        int64_t r = row + done, before;
        n = n_rows - done;
        const lr_source *part = part_at(s, &r, &n);
        before = row + done - r;
        bad = lr_source_packed_planes(part, (char *)quants + (size_t)done * m.quants_stride,
                                      (char *)scales + (size_t)done * m.scales_stride, r, n);
        if (bad >= 0) bad += before * s->cols;
    }
    for (int64_t r = 0; s->exponents && r < n_rows && bad < 0; r++) {
        const uint8_t *e = s->exponents->data + tensor_row(s, row + r) * (s->cols / 32);
        mxfp4_blocks(s, (uint8_t *)quants + (size_t)r * m.quants_stride, tensor_row(s, row + r), 0, s->cols);
        for (int64_t i = 0; i < s->cols / 32 && bad < 0; i++)
            if (e[i] == 255) bad = (row + r) * s->cols + i * 32; /* not a number */
    }
    for (int64_t r = 0, n; s->packed && r < n_rows && bad < 0; r += n) {
        int64_t first = tensor_row(s, row + r);
        n = rows_together(s, row + r, n_rows - r);
        bad = lr_packed_planes(s->packed, (char *)quants + (size_t)r * m.quants_stride,
                               (char *)scales + (size_t)r * m.scales_stride, first, n);
        if (bad >= 0) bad += (row + r - first) * s->cols;
    }
    return bad;
}

void lr_source_advise(const lr_source *s, int64_t at, int64_t n, int advice) {
    int64_t size = s->parts ? values_of(s->parts) : values_of(s);
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int64_t i = at / size * size; s->parts && i < at + n; i += size) {
        int64_t from = lr_max(at, i) - i, to = lr_min(at + n, i + size) - i;
        lr_source_advise(&s->parts[i / size], from, to - from, advice);
    }
    const uint8_t *bytes = lr_source_bytes(s);
    if (s->parts || (!bytes && !s->packed && !s->exponents)) return;
    uintptr_t start = (uintptr_t)s->tensor->data, end = start + s->tensor->bytes; /* packed rows lie anywhere in it */
    if (bytes) start = (uintptr_t)bytes + lr_dtype_bytes(s->tensor->dtype, (uint64_t)at);
    if (bytes) end = (uintptr_t)bytes + lr_dtype_bytes(s->tensor->dtype, (uint64_t)(at + n));
    start &= ~(page - 1);
    madvise((void *)start, end - start, advice);
}
