/* One sequence: its KV cache, its tokens, its position.                                                               */
#ifndef LR_SESSION_H
#define LR_SESSION_H

#include <stdatomic.h>

#include "runtime/engine.h"

struct llmrun_session {
    llmrun_engine *engine;
    int32_t slot;             /* which of the plan's caches */
    int32_t position;         /* tokens in the cache */
    int32_t written;          /* highest position ever written since the last rewind to 0: what a ring still holds */
    int32_t *tokens;          /* (n_ctx) ids behind the cache */
    atomic_bool cancelled;
    llmrun_watch watch;       /* or NULL */
    void *watch_user;
    float *watched;           /* (n_batch, dim) of what is on GPUs while it is watched */
};

/* Where a layer's cache lies.                                                                                         */
lr_place *lr_session_place(const llmrun_session *s, int32_t layer);
/* View of one layer's cache.                                                                                          */
lr_kv_layer lr_session_kv(const llmrun_session *s, int32_t layer);

/* The part of one head's K (which 0) or V (which 1) rows that holds something once `written` positions were written:
 * contiguous from slot 0.                                                                                             */
typedef struct lr_kv_run {
    void *quants, *scales; /* scales NULL where the format has none */
    size_t quants_bytes, scales_bytes;
} lr_kv_run;
lr_kv_run lr_session_run(const llmrun_session *s, int32_t layer, int32_t head, int which, int32_t written);

/* Appends n tokens in chunks.  logits: (n, n_vocab) if all, else (n_vocab) of the last token; or NULL.                 */
llmrun_status lr_session_append(llmrun_session *s, const int32_t *tokens, int32_t n, float *logits, bool all,
                                llmrun_error *err);

#endif
