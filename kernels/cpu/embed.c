/* Token embedding: decodes one row of the table per token, in whatever format the table is stored.                   */
#include "kernels/cpu/elementwise.h"

void lr_embed_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_embed_args *a = args;
    const lr_matrix *w = &a->table;
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        float *x = a->x + t * w->cols;
        size_t row = (size_t)a->ids[t];
        const uint8_t *quants = (const uint8_t *)w->quants + row * w->quants_stride;
        const uint8_t *scales = w->scales ? (const uint8_t *)w->scales + row * w->scales_stride : NULL;
        lr_formats[w->format].decode(x, quants, scales, w->cols);
        if (a->scale != 1.0f)
            for (int64_t i = 0; i < w->cols; i++) x[i] *= a->scale;
    }
}
