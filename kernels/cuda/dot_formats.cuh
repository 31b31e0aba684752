/* The weight formats of the GPU kernels, one line each: format, its dot product, the one for rows that are not whole
 * aligned units of 16 bytes (quantized rows always are).  Their activations are named in kernels/gpu_facts.c.        */
#ifndef LR_DOT_FORMATS_CUH
#define LR_DOT_FORMATS_CUH

#include "kernels/cuda/dot_f32.cuh"
#include "kernels/cuda/dot_f16.cuh"
#include "kernels/cuda/dot_bf16.cuh"
#include "kernels/cuda/dot_q8_0.cuh"
#include "kernels/cuda/dot_q4_k.cuh"
#include "kernels/cuda/dot_iq4_nl.cuh"
#include "kernels/cuda/dot_nf4.cuh"

#define GPU_DOT_FORMATS(X)                    \
    X(LR_F32, dot_f32, dot_f32_odd)           \
    X(LR_F16, dot_f16, dot_f16_odd)           \
    X(LR_BF16, dot_bf16, dot_bf16_odd)        \
    X(LR_Q8_0, dot_q8_0, dot_q8_0)            \
    X(LR_Q4_K, dot_q4_k, dot_q4_k)            \
    X(LR_IQ4_NL, dot_iq4_nl, dot_iq4_nl)      \
    X(LR_NF4, dot_nf4, dot_nf4)

#endif
