/* Attention for avx512. */
#include "kernels/cpu/elementwise.h"

void lr_attention_fill_avx512(lr_ops *ops) { (void)ops; }
