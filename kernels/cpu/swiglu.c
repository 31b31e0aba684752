/* SwiGLU: silu(gate) * up.  Source: Shazeer, arXiv:2002.05202.                                                       */
#include <math.h>

#include "kernels/cpu/elementwise.h"

void lr_swiglu_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_swiglu_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *gate = a->gate + t * a->in_stride, *up = a->up + t * a->in_stride;
        float *y = a->y + t * a->y_stride;
        for (int64_t i = 0; i < a->dim; i++) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
    }
}
