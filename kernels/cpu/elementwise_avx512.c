/* Row kernels for AVX-512.                                                                                     */
#define LEVEL(op) lr_##op##_avx512
#include "kernels/cpu/elementwise_body.h"

void lr_elementwise_fill_avx512(lr_ops *ops) {
    LR_SET_OP(ops, norm, avx512);
    LR_SET_OP(ops, pack, avx512);
    LR_SET_OP(ops, rope, avx512);
    LR_SET_OP(ops, glu, avx512);
    LR_SET_OP(ops, softcap, avx512);
}
