/* Registers the portable kernels: every op has one, so a table filled here is complete.                              */
#include "kernels/cpu/elementwise.h"

void lr_elementwise_fill_c(lr_ops *ops) {
#define LR_OP(name, args, item) LR_SET_OP(ops, name, c);
#include "kernels/ops.def"
#undef LR_OP
}
