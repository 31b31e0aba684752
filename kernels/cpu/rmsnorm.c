/* RMS norm.  Source: Zhang and Sennrich, arXiv:1910.07467.                                                           */
#include <math.h>

#include "kernels/cpu/elementwise.h"

void lr_rmsnorm_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_rmsnorm_args *a = args;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        const float *x = a->x + t * a->x_stride;
        float *y = a->y + t * a->y_stride;
        float sum[8] = {0}; /* eight running sums: less rounding than one, and the compiler may use vectors */
        int64_t k = 0;
        for (; k + 8 <= a->dim; k += 8)
            for (int l = 0; l < 8; l++) sum[l] += x[k + l] * x[k + l];
        for (int l = 0; k < a->dim; k++, l++) sum[l] += x[k] * x[k];
        float total = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
        float scale = 1.0f / sqrtf(total / (float)a->dim + a->eps);
        for (int64_t i = 0; i < a->dim; i++) y[i] = x[i] * scale * a->w[i];
    }
}
