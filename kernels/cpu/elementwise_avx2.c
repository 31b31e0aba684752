/* Row and token kernels for avx2. */
#include "kernels/cpu/elementwise.h"

void lr_elementwise_fill_avx2(lr_ops *ops) { (void)ops; }
