/* Token embedding: decodes one row of the table per token, in whatever format the table is stored.                   */
#include "kernels/cpu/elementwise.h"

enum { PIECE = 256 }; /* a multiple of every format's block */

void lr_embed_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_embed_args *a = args;
    const lr_matrix *w = &a->table;
    const lr_format_traits *f = &lr_formats[w->format];
    float row[PIECE];
    (void)scratch;
    for (int64_t t = i0; t < i1; t++) {
        float *x = a->x + t * w->cols;
        size_t id = (size_t)a->ids[t];
        const uint8_t *quants = (const uint8_t *)w->quants + id * w->quants_stride;
        const uint8_t *scales = w->scales ? (const uint8_t *)w->scales + id * w->scales_stride : NULL;
        for (int64_t from = 0; from < w->cols; from += PIECE) {
            int64_t n = lr_min(PIECE, w->cols - from), block = from / f->block;
            f->decode(row, quants + block * f->quant_bytes, scales ? scales + block * f->scale_bytes : NULL, n);
            for (int64_t i = 0; i < n; i++) x[from + i] = a->scale * row[i] + (a->accumulate ? x[from + i] : 0);
        }
    }
}
