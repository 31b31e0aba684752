/* Activation matrices: sizes and planes of each format.  See kernels.h.                                               */
#include "kernels/kernels.h"

static size_t value_bytes(lr_act_format format) {
    static const size_t bytes[LR_N_ACT_FORMATS] = {
        [LR_ACT_F32] = sizeof(float), [LR_ACT_BF16] = sizeof(uint16_t),
        [LR_ACT_F16] = sizeof(uint16_t), [LR_ACT_Q8] = sizeof(int8_t)
    };
    return bytes[format];
}

static size_t values_bytes(lr_act_format format, int64_t n, int64_t cols) {
    return lr_aligned((size_t)n * (size_t)cols * value_bytes(format));
}

/* Of the plane d, and of the plane s where there is one.                                                             */
static size_t scales_bytes(lr_act_format format, int64_t n, int64_t cols) {
    size_t row = format == LR_ACT_Q8 ? (size_t)(cols / 32) : format == LR_ACT_F16 ? 1 : 0;
    return lr_aligned((size_t)n * row * sizeof(float));
}

size_t lr_act_bytes(lr_act_format format, int64_t n, int64_t cols) {
    return values_bytes(format, n, cols) + scales_bytes(format, n, cols) * (format == LR_ACT_Q8 ? 2 : 1);
}

lr_act lr_act_at(lr_act_format format, int64_t n, int64_t cols, void *base) {
    lr_act act = { .format = format, .n = n, .cols = cols, .values = base };
    char *d = (char *)base + values_bytes(format, n, cols);
    if (format == LR_ACT_Q8 || format == LR_ACT_F16) act.d = (const float *)d;
    if (format == LR_ACT_Q8) act.s = (const float *)(d + scales_bytes(format, n, cols));
    return act;
}

lr_act lr_act_row(const lr_act *act, int64_t t) {
    int64_t scales = act->format == LR_ACT_Q8 ? act->cols / 32 : 1;
    return (lr_act){ .format = act->format, .n = 1, .cols = act->cols,
                     .values = (const char *)act->values + t * act->cols * (int64_t)value_bytes(act->format),
                     .d = act->d ? act->d + t * scales : NULL, .s = act->s ? act->s + t * scales : NULL };
}
