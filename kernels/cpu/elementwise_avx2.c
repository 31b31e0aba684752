/* Row kernels for AVX2 with FMA and F16C.                                                                            */
#define LEVEL(op) lr_##op##_avx2
#include "kernels/cpu/elementwise_body.h"

void lr_elementwise_fill_avx2(lr_ops *ops) {
    LR_SET_OP(ops, norm, avx2);
    LR_SET_OP(ops, pack, avx2);
    LR_SET_OP(ops, rope, avx2);
    LR_SET_OP(ops, glu, avx2);
    LR_SET_OP(ops, softcap, avx2);
}
