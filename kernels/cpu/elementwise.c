/* Registers the portable kernels that work on rows and tokens.                                                       */
#include "kernels/cpu/elementwise.h"

void lr_elementwise_fill_c(lr_ops *ops) {
    LR_SET_OP(ops, embed, c);
    LR_SET_OP(ops, norm, c);
    LR_SET_OP(ops, pack, c);
    LR_SET_OP(ops, rope, c);
    LR_SET_OP(ops, kv_write, c);
    LR_SET_OP(ops, glu, c);
    LR_SET_OP(ops, softcap, c);
    LR_SET_OP(ops, route, c);
    LR_SET_OP(ops, gate_rows, c);
}

size_t lr_elementwise_scratch_bytes(int64_t max_cols, int64_t n) {
    (void)n;
    return (size_t)max_cols * sizeof(float); /* a row of pack */
}
