/* Values of file element types to f32.  Sources are bytes of a mapped file, so they may be unaligned.                */
#include "quant/encoders.h"

#include <string.h>

bool lr_dtype_to_f32(float *x, lr_dtype dtype, const void *src, int64_t n) {
    const unsigned char *p = src;
    switch (dtype) {
    case LR_DT_F32: memcpy(x, src, (size_t)n * sizeof *x); return true;
    case LR_DT_F16: lr_encoders_best()->f16_to_f32(x, src, n); return true;
    case LR_DT_BF16: lr_encoders_best()->bf16_to_f32(x, src, n); return true;
    case LR_DT_F64:
        for (int64_t i = 0; i < n; i++) {
            double v;
            memcpy(&v, p + 8 * i, sizeof v);
            x[i] = (float)v;
        }
        return true;
    case LR_DT_F8_E4M3:
        for (int64_t i = 0; i < n; i++) x[i] = lr_f8_e4m3_to_f32(p[i]);
        return true;
    case LR_DT_F8_E5M2: /* the upper half of an f16 */
        for (int64_t i = 0; i < n; i++) x[i] = lr_f16_to_f32((uint16_t)(p[i] << 8));
        return true;
    default: break;
    }
    lr_format format = lr_format_of_dtype(dtype);
    if (format == LR_FORMAT_NONE) return false;
    lr_formats[format].decode(x, src, NULL, n);
    return true;
}
