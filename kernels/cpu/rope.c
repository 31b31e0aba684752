/* Rotary position embedding, both pairings.  Source: Su et al., arXiv:2104.09864.                                    */
#include "kernels/cpu/elementwise.h"

void lr_rope_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_rope_args *a = args;
    int32_t n_pairs = a->n_rot / 2, step = a->adjacent ? 2 : 1, other = a->adjacent ? 1 : n_pairs;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *cs = a->cos_sin + t * a->n_rot;
        for (int32_t h = 0; h < a->n_heads; h++) {
            float *x = a->x + t * a->x_stride + (int64_t)h * a->head_dim;
            for (int32_t i = 0; i < n_pairs; i++) {
                float *p = x + i * step, *q = p + other, x0 = *p, x1 = *q;
                *p = x0 * cs[2 * i] - x1 * cs[2 * i + 1];
                *q = x0 * cs[2 * i + 1] + x1 * cs[2 * i];
            }
        }
    }
}
