/* See place.h.                                                                                                         */
#include "runtime/place.h"

#include <string.h>

/* Every event of a place, for opening and closing.                                                                    */
static size_t events_of(lr_place *p, lr_event **list[16]) {
    lr_event **all[] = { &p->header_sent[0], &p->header_sent[1], &p->x_sent,       &p->hidden_sent,
                         &p->ready,          &p->taken,          &p->slot_sent[0], &p->slot_sent[1],
                         &p->slot_used[0],   &p->slot_used[1],   &p->slot_used[2], &p->slot_used[3],
                         &p->kv_done[0],     &p->kv_done[1],     &p->kv_back[0],   &p->kv_back[1] };
    memcpy(list, all, sizeof all);
    return LR_COUNT(all);
}

llmrun_status lr_place_open(lr_place *p, llmrun_error *err) {
    lr_event **events[16];
    size_t n = events_of(p, events);
    void *pinned = NULL;
    llmrun_status status = p->backend->pinned_open(p->device, p->plan->pinned_bytes, &pinned, err);
    p->pinned = pinned;
    for (size_t i = 0; i < n && !status; i++) status = p->backend->event_open(p->device, events[i], err);
    return status;
}

void lr_place_close(lr_place *p) {
    lr_event **events[16];
    size_t n = events_of(p, events);
    if (!p->backend) return;
    if (p->device) p->backend->sync(p->device, NULL);
    for (size_t i = 0; i < n && p->device; i++) p->backend->event_close(p->device, *events[i]);
    if (p->pinned) p->backend->pinned_close(p->device, p->pinned);
    if (p->arena) p->backend->arena_close(p->device);
    p->backend->close(p->device);
    memset(p, 0, sizeof *p);
}

llmrun_status lr_place_sync(lr_place *p, llmrun_error *err) {
    return p->backend ? p->backend->sync(p->device, err) : LLMRUN_OK;
}

/* Between the device and pageable memory, through a pinned slot: to the host where `to` is given, else out of `from`.  */
static llmrun_status carry(lr_place *p, uint8_t *device, uint8_t *to, const uint8_t *from, size_t bytes,
                           llmrun_error *err) {
    const lr_backend *b = p->backend;
    uint8_t *slot = p->pinned + p->plan->pinned_slot[0];
    llmrun_status status = b->sync(p->device, err);
    for (size_t at = 0, n; at < bytes && !status; at += n) {
        n = bytes - at < p->plan->pinned_slot_bytes ? bytes - at : p->plan->pinned_slot_bytes;
        if (from) memcpy(slot, from + at, n);
        status = from ? b->copy_in(p->device, LR_QUEUE_COMPUTE, device + at, 0, slot, 0, n, 1, err)
                      : b->copy_out(p->device, LR_QUEUE_COMPUTE, slot, 0, device + at, 0, n, 1, err);
        if (!status) status = b->sync(p->device, err);
        if (!status && to) memcpy(to + at, slot, n);
    }
    return status;
}

llmrun_status lr_place_read(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err) {
    if (p->backend) return carry(p, (uint8_t *)src, dst, NULL, bytes, err);
    memcpy(dst, src, bytes);
    return LLMRUN_OK;
}

llmrun_status lr_place_write(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err) {
    if (p->backend) return carry(p, dst, NULL, src, bytes, err);
    memcpy(dst, src, bytes);
    return LLMRUN_OK;
}

llmrun_status lr_place_copy(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err) {
    if (p->backend) return p->backend->copy_peer(p->device, LR_QUEUE_COMPUTE, dst, p->device, src, bytes, err);
    memcpy(dst, src, bytes);
    return LLMRUN_OK;
}
