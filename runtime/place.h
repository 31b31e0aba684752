/* Where parts of a model run: the CPU, or one GPU with its arena, its pinned memory and its events.  The layout of all
 * of it is the plan's; nothing here decides.                                                                          */
#ifndef LR_PLACE_H
#define LR_PLACE_H

#include "runtime/cpu_device.h"
#include "runtime/plan.h"

typedef struct lr_place {
    const lr_device_ops *ops;
    lr_device *device;
    uint8_t *arena;
    const lr_plan_buffers *buffers; /* offsets in the arena */

    /* The rest is of GPUs: NULL and 0 for the CPU.                                                                    */
    const lr_backend *backend;
    const lr_plan_gpu *plan;
    uint8_t *pinned;
    lr_event *header_sent[2];      /* the pinned header may be written again */
    lr_event *x_sent, *hidden_sent; /* so may the boundary buffers */
    lr_event *ready, *taken;       /* x may be read by another GPU; another GPU has read it */
    lr_event *slot_sent[2];        /* the pinned slot has left for the device */
    lr_event *slot_used[LR_N_GROUPS + 1]; /* by lr_stream_part: the device is done with what is there */
    uint64_t up_start;             /* of its slot: where the part of w_up begins */
    lr_event *kv_done[2], *kv_back[2]; /* new rows of the streamed cache are computed; are in pinned memory */
    int header_turn, slot_turn, kv_turn; /* kv_turn: slot of the next streamed cache */
    struct lr_kv_pending {         /* rows in pinned_kv that the host's cache still lacks */
        lr_kv_layer kv;            /* of the host; base NULL: nothing */
        int32_t position;
        int64_t n;
    } pending[2];
} lr_place;

static inline void *lr_place_at(const lr_place *p, uint64_t offset) { return p->arena + offset; }

/* Pinned block and events of a GPU whose device is open and whose arena is there.  [errors: NOMEM DEVICE]             */
llmrun_status lr_place_open(lr_place *p, llmrun_error *err);
void lr_place_close(lr_place *p); /* accepts a zeroed one; the arena and the device with it */

/* Contents of memory of a place, now and synchronously; the host's by memcpy.  Large pieces go through pinned slots.
 * [errors: DEVICE]                                                                                                    */
llmrun_status lr_place_read(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err);
llmrun_status lr_place_write(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err);
llmrun_status lr_place_copy(lr_place *p, void *dst, const void *src, size_t bytes, llmrun_error *err); /* within it */
llmrun_status lr_place_sync(lr_place *p, llmrun_error *err);

#endif
