/* Activations of feed-forward blocks, gated or not.
 * Sources: Shazeer, arXiv:2002.05202; Hendrycks and Gimpel, arXiv:1606.08415; gpt-oss model card (LR_GLU_OAI).        */
#include <math.h>

#include "kernels/cpu/elementwise.h"

static float activation(lr_glu_act act, float x) {
    switch (act) {
    case LR_GLU_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case LR_GLU_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case LR_GLU_OAI: return x / (1.0f + expf(-1.702f * x));
    case LR_GLU_SIGMOID: return 1.0f / (1.0f + expf(-x));
    default: return x / (1.0f + expf(-x));
    }
}

void lr_glu_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_glu_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *gate = a->gate + t * a->in_stride, *up = a->up ? a->up + t * a->in_stride : NULL;
        float *y = a->y + t * a->y_stride;
        for (int64_t i = 0; i < a->dim; i++) {
            float g = gate[i], u = up ? up[i] : 1.0f;
            if (a->act == LR_GLU_OAI) {
                g = fminf(g, 7.0f);
                u = fminf(fmaxf(u, -7.0f), 7.0f) + 1.0f;
            }
            y[i] = activation(a->act, g) * u;
        }
    }
}
