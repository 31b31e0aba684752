/* See source.h.                                                                                                        */
#include "loaders/source.h"

lr_source lr_source_of(const lr_tensor *t, int64_t rows, int64_t cols) {
    return (lr_source){ .tensor = t, .rows = rows, .cols = cols, .run = rows, .stride = rows, .times = 1 };
}

static int64_t tensor_row(const lr_source *s, int64_t r) { return s->first + r / s->run * s->stride + r % s->run; }

/* Byte of value `at` counted in the tensor's own order.                                                               */
static const uint8_t *value_at(const lr_source *s, int64_t at) {
    return s->tensor->data + lr_dtype_bytes(s->tensor->dtype, (uint64_t)at);
}

const uint8_t *lr_source_bytes(const lr_source *s) {
    bool as_stored = s->tensor && s->run >= s->rows && !s->pitch && s->plus == 0 && s->times == 1 && !s->packed;
    return as_stored ? value_at(s, s->first * s->cols) : NULL;
}

/* Columns [col, col + n) of row r.                                                                                    */
static bool row_floats(const lr_source *s, float *x, int64_t r, int64_t col, int64_t n) {
    int64_t row = tensor_row(s, r);
    if (!s->pitch) return lr_dtype_to_f32(x, s->tensor->dtype, value_at(s, row * s->cols + col), n);
    for (int64_t i = 0; i < n; i++)
        if (!lr_dtype_to_f32(x + i, s->tensor->dtype, value_at(s, (col + i) * s->pitch + row), 1)) return false;
    return true;
}

bool lr_source_floats(const lr_source *s, float *x, int64_t at, int64_t n) {
    for (int64_t done = 0; done < n;) {
        int64_t r = (at + done) / s->cols, col = (at + done) % s->cols, step = lr_min(n - done, s->cols - col);
        if (!row_floats(s, x + done, r, col, step)) return false;
        done += step;
    }
    for (int64_t i = 0; i < n && (s->plus != 0 || s->times != 1); i++) x[i] = (x[i] + s->plus) * s->times;
    return true;
}
