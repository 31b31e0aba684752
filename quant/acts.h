/* Functions that stand between matrices: models name them, kernels compute them.                                      */
#ifndef LR_ACTS_H
#define LR_ACTS_H

/* Activations of feed-forward blocks.                                                                                 */
typedef enum lr_glu_act {
    LR_GLU_SILU,      /* x / (1 + exp(-x)) */
    LR_GLU_GELU,      /* x * Phi(x), by erf */
    LR_GLU_GELU_TANH, /* its approximation: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    LR_GLU_OAI,       /* gpt-oss: g = min(gate, 7), u = clamp(up, -7, 7): g / (1 + exp(-1.702 g)) * (u + 1) */
    LR_GLU_SIGMOID,   /* 1 / (1 + exp(-x)) */
    LR_N_GLU_ACTS
} lr_glu_act;

/* What kernels of gated delta nets take: values of a head, taps of the convolution.                                   */
enum { LR_DELTA_MOST = 256, LR_DELTA_TAPS = 4 };
#define LR_DELTA_EPS 1e-6f /* beside the squares of a query or a key */

/* Experts that a row may be routed among: kernels keep a value of each where they are fast.                           */
#define LR_MAX_EXPERTS 1024

#endif
