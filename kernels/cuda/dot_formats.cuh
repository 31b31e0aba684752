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
#include "kernels/cuda/dot_fp4.cuh"
#include "kernels/cuda/dot_u4.cuh"
#include "kernels/cuda/dot_i8.cuh"
#include "kernels/cuda/dot_fp8.cuh"
#include "kernels/cuda/dot_block_32.cuh"
#include "kernels/cuda/dot_block_k.cuh"
#include "kernels/cuda/dot_block_table.cuh"
#include "kernels/cuda/dot_block_grid.cuh"
#include "kernels/cuda/dot_nvfp4.cuh"

#define GPU_DOT_FORMATS(X)                                                    \
    X(LR_F32, dot_f32, dot_f32_odd)                                           \
    X(LR_F16, dot_f16, dot_f16_odd)                                           \
    X(LR_BF16, dot_bf16, dot_bf16_odd)                                        \
    X(LR_Q8_0, dot_q8_0, dot_q8_0)                                            \
    X(LR_Q4_K, dot_q4_k, dot_q4_k)                                            \
    X(LR_IQ4_NL, dot_iq4_nl, dot_iq4_nl)                                      \
    X(LR_NF4, dot_nf4, dot_nf4)                                               \
    X(LR_FP4, dot_fp4, dot_fp4)                                               \
    X(LR_U4, dot_u4, dot_u4)                                                  \
    X(LR_U4_32, dot_u4_32, dot_u4_32)                                         \
    X(LR_I8, dot_i8, dot_i8)                                                  \
    X(LR_FP8, dot_fp8, dot_fp8)                                               \
    X(LR_BLOCK_Q4_0, dot_block_q4_0, dot_block_q4_0)                          \
    X(LR_BLOCK_Q4_1, dot_block_q4_1, dot_block_q4_1)                          \
    X(LR_BLOCK_Q5_0, dot_block_q5_0, dot_block_q5_0)                          \
    X(LR_BLOCK_Q5_1, dot_block_q5_1, dot_block_q5_1)                          \
    X(LR_BLOCK_Q8_0, dot_block_q8_0, dot_block_q8_0)                          \
    X(LR_BLOCK_IQ4_NL, dot_block_iq4_nl, dot_block_iq4_nl)                    \
    X(LR_BLOCK_MXFP4, dot_block_mxfp4, dot_block_mxfp4)                       \
    X(LR_BLOCK_NVFP4, dot_nvfp4, dot_nvfp4)                                   \
    X(LR_NVFP4, dot_nvfp4, dot_nvfp4)                                         \
    X(LR_BLOCK_Q2_K, dot_block_q2_k, dot_block_q2_k)                          \
    X(LR_BLOCK_Q3_K, dot_block_q3_k, dot_block_q3_k)                          \
    X(LR_BLOCK_Q4_K, dot_block_q4_k, dot_block_q4_k)                          \
    X(LR_BLOCK_Q5_K, dot_block_q5_k, dot_block_q5_k)                          \
    X(LR_BLOCK_Q6_K, dot_block_q6_k, dot_block_q6_k)                          \
    X(LR_BLOCK_IQ4_XS, dot_block_iq4_xs, dot_block_iq4_xs)                    \
    X(LR_BLOCK_IQ2_XXS, dot_block_iq2_xxs, dot_block_iq2_xxs)                 \
    X(LR_BLOCK_IQ2_XS, dot_block_iq2_xs, dot_block_iq2_xs)                    \
    X(LR_BLOCK_IQ2_S, dot_block_iq2_s, dot_block_iq2_s)                       \
    X(LR_BLOCK_IQ3_XXS, dot_block_iq3_xxs, dot_block_iq3_xxs)                 \
    X(LR_BLOCK_IQ3_S, dot_block_iq3_s, dot_block_iq3_s)                       \
    X(LR_BLOCK_IQ1_S, dot_block_iq1_s, dot_block_iq1_s)                       \
    X(LR_BLOCK_IQ1_M, dot_block_iq1_m, dot_block_iq1_m)

#endif
