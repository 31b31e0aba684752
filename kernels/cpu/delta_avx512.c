/* Gated delta nets for AVX-512. */
#define LEVEL(op) lr_##op##_avx512
#include "kernels/cpu/delta_body.h"

void lr_delta_fill_avx512(lr_ops *ops) {
    LR_SET_OP(ops, delta_conv, avx512);
    LR_SET_OP(ops, delta_rule, avx512);
}
