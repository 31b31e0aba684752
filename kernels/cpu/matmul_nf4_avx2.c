/* nf4 weights, few tokens.                                                                                           */
#include "kernels/cpu/nf4_values.h"

enum { PLANES = 2, PLANE_BITS = 8, SHIFT = 128 };
#define VALUES nf4_planes
#define UNIT NF4_UNIT
#define NAME lr_matmul_nf4_avx2
#include "kernels/cpu/matmul_values_avx2.h"
