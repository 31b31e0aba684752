/* Layers that stay in host memory but are computed by a GPU: a long pass sends each group of weights through one of two
 * slots, while the GPU computes on the other.  The order is that of the pass, the slots are the plan's.               */
#ifndef LR_STREAM_H
#define LR_STREAM_H

#include "runtime/engine.h"

/* Queues the weights of a host group towards place p and fills *out (a copy of the engine's layer) with where they will
 * be; p's compute queue waits for them.  [errors: DEVICE]                                                             */
llmrun_status lr_stream_fetch(llmrun_engine *e, lr_place *p, int32_t layer, lr_group g, lr_layer *out,
                              llmrun_error *err);
/* After the group's ops were queued: the slot may be filled again once they are done.                                 */
llmrun_status lr_stream_release(lr_place *p, llmrun_error *err);

/* The cache of a streamed layer: rows before position go to the device before attention, n new ones come back after it.
 * turn: which of the two slots.  Positions in the host's cache kv are those of lr_kv_layer.                           */
llmrun_status lr_stream_fetch_kv(lr_place *p, int turn, const lr_kv_layer *kv, int32_t position, llmrun_error *err);
llmrun_status lr_stream_return_kv(lr_place *p, int turn, const lr_kv_layer *kv, int32_t position, int64_t n,
                                  llmrun_error *err);
/* Waits until the host's caches have all rows.                                                                        */
llmrun_status lr_stream_drain(lr_place *p, llmrun_error *err);

#endif
