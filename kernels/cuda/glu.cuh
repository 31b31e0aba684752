/* Activations of feed-forward blocks.  Sources: Shazeer, arXiv:2002.05202; Hendrycks and Gimpel, arXiv:1606.08415;
 * gpt-oss model card (LR_GLU_OAI).                                                                                   */
#ifndef LR_GLU_CUH
#define LR_GLU_CUH

#include "kernels/cuda/device.h"

GPU_FN float times_sigmoid(float x, float at) { return x / (1.0f + __expf(-at)); }

/* act(gate) * up; up 1 where there is none.                                                                          */
GPU_FN float glu(lr_glu_act act, float gate, float up) {
    if (act == LR_GLU_GELU) return 0.5f * gate * (1.0f + erff(gate * 0.70710678f)) * up;
    if (act == LR_GLU_GELU_TANH) /* (1 + tanh(y)) / 2 is the sigmoid of 2 y */
        return times_sigmoid(gate, 1.59576912f * (gate + 0.044715f * gate * gate * gate)) * up;
    if (act == LR_GLU_OAI) {
        gate = fminf(gate, 7.0f);
        return times_sigmoid(gate, 1.702f * gate) * (fminf(fmaxf(up, -7.0f), 7.0f) + 1.0f);
    }
    return times_sigmoid(act == LR_GLU_SIGMOID ? 1.0f : gate, gate) * up;
}

#endif
