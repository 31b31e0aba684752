/* Soft limit of logits.  Source: Gemma 2, arXiv:2408.00118.                                                           */
#include <math.h>

#include "kernels/cpu/elementwise.h"

void lr_softcap_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_softcap_args *a = args;
    (void)scratch;
    for (int64_t i = i0 * a->dim; i < i1 * a->dim; i++) a->x[i] = a->cap * tanhf(a->x[i] / a->cap);
}
