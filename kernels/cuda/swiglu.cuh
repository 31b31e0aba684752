/* silu(gate) * up.                                                                                                   */
#ifndef LR_SWIGLU_CUH
#define LR_SWIGLU_CUH

#include "kernels/cuda/gpu.h"

GPU_FN float swiglu(float gate, float up) { return gate / (1.0f + __expf(-gate)) * up; }

#endif
