/* Stores new K and V rows in the caches, in the cache's own format.                                                  */
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rotate.h"

/* A row of n values, block after block.                                                                              */
static void write_rotated(uint8_t *quants, uint8_t *scales, const float *x, int32_t n) {
    const lr_format_traits *f = &lr_formats[LR_KV_ROTATED];
    float block[LR_KV_ROTATED_MOST];
    for (int32_t size; n > 0; x += size, n -= size) {
        size = lr_rotate_size(n);
        memcpy(block, x, (size_t)size * sizeof *x);
        lr_rotate_block(block, size);
        f->encode(quants, scales, block, size);
        quants += size / f->block * f->quant_bytes;
        scales += size / f->block * f->scale_bytes;
    }
}

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
                const float *x = (which ? a->v + i * a->v_stride : a->k + i * a->k_stride) + (int64_t)h * kv->head_dim;
                void *quants, *scales;
                lr_kv_row(kv, slot, h, which, &quants, &scales);
                if (kv->format == LR_KV_ROTATED) write_rotated(quants, scales, x, kv->head_dim);
                else lr_formats[kv->format].encode(quants, scales, x, kv->head_dim);
            }
        }
    }
}
