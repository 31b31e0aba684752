/* bf16: plain rows, round to nearest even.  The range is that of f32.                                                       */
#include "quant/encoders.h"

void lr_bf16_encode(void *quants, void *scales, const float *x, int64_t n) {
    (void)scales;
    lr_encoders_best()->f32_to_bf16(quants, x, n);
}

void lr_bf16_decode(float *x, const void *quants, const void *scales, int64_t n) {
    (void)scales;
    lr_encoders_best()->bf16_to_f32(x, quants, n);
}
