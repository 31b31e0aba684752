/* f16: plain rows, round to nearest even.  Values of 65520 and above become infinite: upload.c looks for them first.     */
#include "quant/encoders.h"

void lr_f16_encode(void *quants, void *scales, const float *x, int64_t n) {
    (void)scales;
    lr_encoders_best()->f32_to_f16(quants, x, n);
}

void lr_f16_decode(float *x, const void *quants, const void *scales, int64_t n) {
    (void)scales;
    lr_encoders_best()->f16_to_f32(x, quants, n);
}
