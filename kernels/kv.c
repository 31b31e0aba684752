/* Where a row of the KV cache lies.  A page holds K, then V; each has the rows of all heads, head after head, as a
 * plane of quants and a plane of scales, both rounded up to LR_ALIGN.  Shared by every backend.                      */
#include "kernels/kernels.h"

/* Bytes of one of the two halves of a page, and where its scales begin.  False on overflow.                          */
static bool half_bytes(lr_format format, uint64_t rows, uint64_t head_dim, uint64_t *scales_offset, uint64_t *bytes) {
    const lr_format_traits *f = &lr_formats[format];
    uint64_t values, quants, scales;
    if (!lr_mul_u64(rows, head_dim, &values)) return false;
    uint64_t blocks = values / (uint64_t)f->block;
    if (!lr_mul_u64(blocks, (uint64_t)f->quant_bytes, &quants) || !lr_align_u64(quants, LR_ALIGN, &quants))
        return false;
    if (!lr_mul_u64(blocks, (uint64_t)f->scale_bytes, &scales) || !lr_align_u64(scales, LR_ALIGN, &scales))
        return false;
    if (!lr_add_u64(quants, scales, bytes)) return false;
    *scales_offset = quants;
    return true;
}

bool lr_kv_page_bytes(lr_format format, int32_t n_kv_heads, int32_t head_dim, int32_t page_slots, uint64_t *bytes) {
    uint64_t rows, scales_offset, half;
    if (format < 0 || format >= LR_N_FORMATS || n_kv_heads < 1 || head_dim < 1 || page_slots < 1) return false;
    if (head_dim % lr_formats[format].block) return false;
    return lr_mul_u64((uint64_t)n_kv_heads, (uint64_t)page_slots, &rows) &&
           half_bytes(format, rows, (uint64_t)head_dim, &scales_offset, &half) && lr_mul_u64(2, half, bytes);
}

void lr_kv_row(const lr_kv_layer *kv, int32_t slot, int32_t head, int which, void **quants, void **scales) {
    const lr_format_traits *f = &lr_formats[kv->format];
    int64_t page = slot / kv->page_slots;
    if (kv->pages) page = kv->pages[page];
    uint64_t half = kv->v_in_k ? 0 : kv->page_bytes / 2;
    uint64_t row = (uint64_t)head * (uint64_t)kv->page_slots + (uint64_t)(slot % kv->page_slots);
    uint64_t row_blocks = (uint64_t)(kv->head_dim / f->block);
    uint64_t all_blocks = (uint64_t)kv->n_kv_heads * (uint64_t)kv->page_slots * row_blocks;
    uint64_t scales_offset = lr_aligned(all_blocks * (uint64_t)f->quant_bytes);
    uint8_t *at = kv->base + (uint64_t)page * kv->page_bytes + (which ? half : 0);
    *quants = at + row * row_blocks * (uint64_t)f->quant_bytes;
    *scales = f->scale_bytes ? at + scales_offset + row * row_blocks * (uint64_t)f->scale_bytes : NULL;
}
