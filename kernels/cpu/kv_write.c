/* Stores new K and V rows in the caches, in the cache's own format.                                                  */
#include "kernels/cpu/elementwise.h"

void lr_kv_write_c(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const lr_kv_write_args *a = args;
    (void)scratch;
    int32_t s = 0;
    for (int64_t i = i0; i < i1; i++) {
        while (s < a->n_seqs && i >= a->seqs[s].row + a->seqs[s].n) s++;
        if (s == a->n_seqs || i < a->seqs[s].row) continue;
        const lr_seq *seq = &a->seqs[s];
        const lr_kv_layer *kv = &seq->kv;
        int32_t slot = (int32_t)((seq->position + (i - seq->row)) % kv->n_slots);
        for (int32_t h = 0; h < kv->n_kv_heads; h++) {
            for (int which = 0; which < (kv->v_in_k ? 1 : 2); which++) {
                const float *x = which ? a->v + i * a->v_stride : a->k + i * a->k_stride;
                void *quants, *scales;
                lr_kv_row(kv, slot, h, which, &quants, &scales);
                lr_formats[kv->format].encode(quants, scales, x + (int64_t)h * kv->head_dim, kv->head_dim);
            }
        }
    }
}
