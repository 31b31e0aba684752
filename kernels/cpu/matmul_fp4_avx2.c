/* fp4 weights, few tokens.                                                                                           */
#include "kernels/cpu/fp4_values.h"

enum { PLANES = 2, PLANE_BITS = 7, SHIFT = 2 };
#define VALUES fp4_planes
#define UNIT FP4_UNIT
#define NAME lr_matmul_fp4_avx2
#include "kernels/cpu/matmul_values_avx2.h"
