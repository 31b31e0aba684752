/* Row and token kernels for avx512. */
#include "kernels/cpu/elementwise.h"

void lr_elementwise_fill_avx512(lr_ops *ops) { (void)ops; }
