/* See stream.h.                                                                                                        */
#include "runtime/stream.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the cache of a streamed layer ---- */

/* Rows of consecutive slots in all heads of one plane: `heads` pieces of `bytes`, `pitch` apart, from `offset` on in the
 * page.                                                                                                                */
typedef struct piece {
    size_t offset, bytes, pitch, heads;
} piece;

/* The planes (K and V, quants and scales) of slots [first, first + n) of a one-page cache; returns their number.       */
static int pieces_of(const lr_kv_layer *kv, int32_t first, int32_t n, piece out[4]) {
    const lr_format_traits *t = &lr_formats[kv->format];
    size_t blocks = (size_t)(kv->head_dim / t->block);
    int count = 0;
    for (int which = 0; which < (kv->v_in_k ? 1 : 2); which++) {
        void *quants, *scales;
        lr_kv_row(kv, first, 0, which, &quants, &scales);
        const struct { const uint8_t *at; size_t row; } planes[2] = {
            { quants, blocks * (size_t)t->quant_bytes }, { scales, blocks * (size_t)t->scale_bytes }
        };
        for (int i = 0; i < 2; i++)
            if (planes[i].at)
                out[count++] = (piece){ .offset = (size_t)(planes[i].at - kv->base),
                                        .bytes = (size_t)n * planes[i].row,
                                        .pitch = (size_t)kv->page_slots * planes[i].row,
                                        .heads = (size_t)kv->n_kv_heads };
    }
    return count;
}

static void copy_piece(uint8_t *dst, const uint8_t *src, const piece *x) {
    for (size_t h = 0; h < x->heads; h++)
        memcpy(dst + x->offset + h * x->pitch, src + x->offset + h * x->pitch, x->bytes);
}

/* Moves what a slot still holds for the host into the host's cache.                                                   */
static llmrun_status settle(lr_place *p, int turn, llmrun_error *err) {
    struct lr_kv_pending w = p->pending[turn];
    if (!w.kv.base) return LLMRUN_OK;
    p->pending[turn].kv.base = NULL;
    LR_TRY(p->backend->event_sync(p->device, p->kv_back[turn], err));
    for (int64_t done = 0; done < w.n;) {
        int32_t slot = (int32_t)((w.position + done) % w.kv.n_slots);
        int32_t n = (int32_t)lr_min(w.n - done, w.kv.n_slots - slot);
        piece pieces[4];
        int count = pieces_of(&w.kv, slot, n, pieces);
        for (int i = 0; i < count; i++) copy_piece(w.kv.base, p->pinned + p->plan->pinned_kv[turn], &pieces[i]);
        done += n;
    }
    return LLMRUN_OK;
}

/* The rows before position, behind the weights on the same queue: alone on the other one they would wait for the copy of
 * the next weights, and computing with them.                                                                          */
static llmrun_status send_kv(lr_place *p, int turn, const lr_kv_layer *kv, int32_t position, llmrun_error *err) {
    uint8_t *pinned = p->pinned + p->plan->pinned_kv[turn], *slot = lr_place_at(p, p->plan->kv_slot[turn]);
    LR_TRY(settle(p, turn, err));
    if (p->pending[!turn].kv.base == kv->base) LR_TRY(settle(p, !turn, err));
    int32_t n = (int32_t)lr_min(position, kv->n_slots);
    piece pieces[4];
    int count = n ? pieces_of(kv, 0, n, pieces) : 0;
    for (int i = 0; i < count; i++) {
        const piece *x = &pieces[i];
        copy_piece(pinned, kv->base, x);
        LR_TRY(p->backend->copy_in(p->device, LR_QUEUE_COPY, slot + x->offset, x->pitch, pinned + x->offset, x->pitch,
                                   x->bytes, x->heads, err));
    }
    return LLMRUN_OK;
}

llmrun_status lr_stream_return_kv(lr_place *p, const lr_stream_kv *cache, int64_t n, llmrun_error *err) {
    const lr_kv_layer *kv = &cache->layer;
    int turn = cache->turn;
    int32_t position = cache->position;
    uint8_t *pinned = p->pinned + p->plan->pinned_kv[turn], *slot = lr_place_at(p, p->plan->kv_slot[turn]);
    LR_TRY(p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->kv_done[turn], err));
    LR_TRY(p->backend->event_wait(p->device, LR_QUEUE_RETURN, p->kv_done[turn], err));
    for (int64_t done = 0; done < n;) {
        int32_t first = (int32_t)((position + done) % kv->n_slots);
        int32_t rows = (int32_t)lr_min(n - done, kv->n_slots - first);
        piece pieces[4];
        int count = pieces_of(kv, first, rows, pieces);
        for (int i = 0; i < count; i++) {
            const piece *x = &pieces[i];
            LR_TRY(p->backend->copy_out(p->device, LR_QUEUE_RETURN, pinned + x->offset, x->pitch, slot + x->offset,
                                        x->pitch, x->bytes, x->heads, err));
        }
        done += rows;
    }
    LR_TRY(p->backend->event_record(p->device, LR_QUEUE_RETURN, p->kv_back[turn], err));
    p->pending[turn] = (struct lr_kv_pending){ .kv = *kv, .position = position, .n = n };
    p->kv_turn ^= 1;
    return LLMRUN_OK;
}

llmrun_status lr_stream_drain(lr_place *p, llmrun_error *err) {
    llmrun_status first = settle(p, 0, err), second = settle(p, 1, first ? NULL : err);
    return first ? first : second;
}

/* ---- weights ---- */

/* A part goes in so many copies: between them the link serves what the compute queue waits for.                      */
enum { PIECES = 8 };

static llmrun_status send_weights(lr_place *p, uint8_t *slot, const uint8_t *pinned, uint64_t bytes, llmrun_error *err) {
    uint64_t step = lr_aligned(bytes / PIECES + 1);
    for (uint64_t at = 0; at < bytes; at += step)
        LR_TRY(p->backend->copy_in(p->device, LR_QUEUE_COPY, slot + at, 0, pinned + at, 0,
                                   bytes - at < step ? bytes - at : step, 1, err));
    return LLMRUN_OK;
}

static lr_stream_part part_of(const llmrun_engine *e, lr_role role) {
    lr_group g = lr_plan_group(&e->binding.hparams, role);
    return g == LR_GROUP_GATE_UP && (role == LR_W_UP || role == LR_B_UP) ? LR_STREAM_UP : (lr_stream_part)g;
}

static uint64_t part_bytes(const llmrun_engine *e, int32_t layer, lr_stream_part part) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < e->binding.n; i++)
        if (e->binding.tensors[i].layer == layer && part_of(e, e->binding.tensors[i].role) == part)
            bytes += lr_plan_gpu_bytes(&e->plan.placements[i]);
    return bytes;
}

llmrun_status lr_stream_fetch(llmrun_engine *e, lr_place *p, int32_t layer, lr_stream_part part, lr_layer *out,
                              const lr_stream_kv *kv, llmrun_error *err) {
    int t = p->slot_turn ^= 1;
    lr_group g = part == LR_STREAM_UP ? LR_GROUP_GATE_UP : (lr_group)part;
    uint64_t bytes = part_bytes(e, layer, part), start = part == LR_STREAM_UP ? p->plan->slot_bytes[g] - bytes : 0, at = 0;
    uint8_t *pinned = p->pinned + p->plan->pinned_slot[t], *slot = (uint8_t *)lr_place_at(p, p->plan->slot[g]) + start;
    const int32_t *order = NULL;
    const uint8_t *sent_order = NULL;
    LR_TRY(p->backend->event_sync(p->device, p->slot_sent[t], err));
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_tensor *tensor = &e->binding.tensors[i];
        const lr_plan_placement *place = &e->plan.placements[i];
        if (tensor->layer != layer || part_of(e, tensor->role) != part) continue;
        lr_matrix host = lr_engine_tensor(e, i), m = lr_matrix_at(place->format, tensor->rows, tensor->cols, slot + at);
        lr_cpu_copy(&e->cpu, pinned + at, host.quants, place->bytes);
        if (host.perm) {
            uint64_t order_at = at + lr_plan_order_offset(place);
            memcpy(pinned + order_at, host.perm, place->order_bytes);
            if (host.perm != order) sent_order = slot + order_at; /* matrices that share one keep sharing it */
            order = host.perm;
            m.perm = (const int32_t *)(const void *)sent_order;
        }
        lr_layer_set(out, tensor->role, m);
        at += lr_plan_gpu_bytes(place);
    }
    LR_TRY(p->backend->event_wait(p->device, LR_QUEUE_COPY, p->slot_used[part], err));
    if (part == LR_STREAM_GATE && bytes > p->up_start) /* layers differ */
        LR_TRY(p->backend->event_wait(p->device, LR_QUEUE_COPY, p->slot_used[LR_STREAM_UP], err));
    if (part == LR_STREAM_UP) p->up_start = start;
    LR_TRY(send_weights(p, slot, pinned, bytes, err));
    if (kv) LR_TRY(send_kv(p, kv->turn, &kv->layer, kv->position, err));
    LR_TRY(p->backend->event_record(p->device, LR_QUEUE_COPY, p->slot_sent[t], err));
    return p->backend->event_wait(p->device, LR_QUEUE_COMPUTE, p->slot_sent[t], err);
}

llmrun_status lr_stream_release(lr_place *p, lr_stream_part part, llmrun_error *err) {
    return p->backend->event_record(p->device, LR_QUEUE_COMPUTE, p->slot_used[part], err);
}

/* ---- disk ---- */

void lr_stream_read_ahead(const llmrun_engine *e, int32_t layer) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < e->binding.n; i++) {
        const lr_plan_placement *p = &e->plan.placements[i];
        bool experts = e->binding.tensors[i].experts > 0; /* a token reads few of them: which is not known yet */
        if (p->tier != LR_TIER_DISK || e->binding.tensors[i].layer != layer || experts) continue;
        uintptr_t at = (uintptr_t)lr_engine_tensor(e, i).quants, start = at & ~(page - 1);
        madvise((void *)start, at + p->bytes - start, MADV_WILLNEED);
    }
}
