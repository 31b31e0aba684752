/* silu(gate) * up.                                                                                                   */
#ifndef LR_GLU_CUH
#define LR_GLU_CUH

#include "kernels/cuda/gpu.h"

GPU_FN float glu(float gate, float up) { return gate / (1.0f + __expf(-gate)) * up; }

#endif
