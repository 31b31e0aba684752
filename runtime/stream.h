/* Layers that stay in host memory but are computed by a GPU: a long pass sends each group of weights to the slot of its
 * kind, while the GPU computes on the others.  The order is that of the pass, the slots are the plan's.               */
#ifndef LR_STREAM_H
#define LR_STREAM_H

#include "runtime/engine.h"

/* The cache of a streamed layer: the rows before position go to the device with the weights of its attention, new ones
 * come back afterwards.                                                                                               */
typedef struct lr_stream_kv {
    lr_kv_layer layer; /* in host memory */
    int turn;          /* which of the two slots */
    int32_t position;
} lr_stream_kv;

/* What is sent, used and released as one.  Gate and up each have a part of their slot, so that the next layer's gate
 * comes while up is used: the largest slot would be empty too long.                                                    */
typedef enum lr_stream_part {
    LR_STREAM_ATTN = LR_GROUP_ATTN,
    LR_STREAM_GATE = LR_GROUP_GATE_UP, /* the group without up */
    LR_STREAM_DOWN = LR_GROUP_DOWN,
    LR_STREAM_UP
} lr_stream_part;

/* Queues weights of a host group towards place p and fills *out (a copy of the engine's layer) with where they will be;
 * p's compute queue waits for them.  kv: with attention, else NULL.  [errors: DEVICE]                                  */
llmrun_status lr_stream_fetch(llmrun_engine *e, lr_place *p, int32_t layer, lr_stream_part part, lr_layer *out,
                              const lr_stream_kv *kv, llmrun_error *err);
/* After the ops that use them were queued: the slot may be filled again once they are done.                           */
llmrun_status lr_stream_release(lr_place *p, lr_stream_part part, llmrun_error *err);
/* After attention was queued: n new rows are on their way to the host's cache, and the next one is for the other slot. */
llmrun_status lr_stream_return_kv(lr_place *p, const lr_stream_kv *kv, int64_t n, llmrun_error *err);
/* Waits until the host's caches have all rows.  Between streamed passes of one prompt that is not needed.             */
llmrun_status lr_stream_drain(lr_place *p, llmrun_error *err);

/* Weights that the host reads from disk for every token: starts reading those of a layer, so that they are there when
 * the pass comes to it.                                                                                               */
void lr_stream_read_ahead(const llmrun_engine *e, int32_t layer);

#endif
