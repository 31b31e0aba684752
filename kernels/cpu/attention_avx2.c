/* Attention for AVX2 with FMA and F16C.                                                                              */
#define LEVEL(op) lr_##op##_avx2
#include "kernels/cpu/attention_body.h"

void lr_attention_fill_avx2(lr_ops *ops) { LR_SET_OP(ops, attention, avx2); }
