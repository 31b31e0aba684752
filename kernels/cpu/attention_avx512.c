/* Attention for AVX-512.                                                                                       */
#define LEVEL(op) lr_##op##_avx512
#include "kernels/cpu/attention_body.h"

void lr_attention_fill_avx512(lr_ops *ops) { LR_SET_OP(ops, attention, avx512); }
