/* The CPU's kernels other than matmul: portable C of every op.  A kernel norm of
 * level avx512 is called "norm_avx512" in lists and lr_norm_avx512 here.                             */
#ifndef LR_ELEMENTWISE_H
#define LR_ELEMENTWISE_H

#include "kernels/cpu/cpu.h"

/* Sets the ops table's row `op` to the kernel of that level. */
#define LR_SET_OP(ops, op, level) ((ops)->op = lr_##op##_##level, (ops)->op##_kernel = #op "_" #level)

#define LR_OP(name, args, item) \
    void lr_##name##_c(const void *args_, int64_t i0, int64_t i1, void *scratch);
#include "kernels/ops.def"
#undef LR_OP

/* The row of an activation that belongs to token t: planes start there.                                              */
static inline int8_t *lr_act_q8_row(const lr_act *a, int64_t t) { return (int8_t *)a->values + t * a->cols; }

#endif
