/* Gated delta nets for AVX2 with FMA. */
#define LEVEL(op) lr_##op##_avx2
#include "kernels/cpu/delta_body.h"

void lr_delta_fill_avx2(lr_ops *ops) {
    LR_SET_OP(ops, delta_conv, avx2);
    LR_SET_OP(ops, delta_rule, avx2);
}
