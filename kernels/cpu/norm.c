/* RMSNorm and LayerNorm.  Sources: Zhang and Sennrich, arXiv:1910.07467; Ba et al., arXiv:1607.06450.                 */
#include <math.h>

#include "kernels/cpu/elementwise.h"

/* Sum of (x - mean)^power, power 1 or 2.                                                                              */
static float sum_of(const float *x, int64_t n, float mean, int power) {
    float sum[8] = {0}; /* eight running sums: less rounding than one, and the compiler may use vectors */
    for (int64_t k = 0; k < n; k++) {
        float d = x[k] - mean;
        sum[k % 8] += power == 1 ? d : d * d;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void lr_norm_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_norm_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * a->x_stride;
        float *y = a->y + t * a->y_stride;
        float mean = a->center ? sum_of(x, a->dim, 0, 1) / (float)a->dim : 0;
        float scale = 1.0f / sqrtf(sum_of(x, a->dim, mean, 2) / (float)a->dim + a->eps);
        for (int64_t i = 0; i < a->dim; i++) {
            float v = (x[i] - mean) * scale * a->w[i] + (a->b ? a->b[i] : 0);
            y[i] = a->accumulate ? y[i] + v : v;
        }
    }
}
