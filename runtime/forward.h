/* One pass over a batch of tokens of one or several sessions.                                                         */
#ifndef LR_FORWARD_H
#define LR_FORWARD_H

#include "runtime/session.h"

typedef struct lr_pass {
    const int32_t *ids;              /* (n) */
    int32_t n;                       /* 1 .. plan.n_batch */
    llmrun_session *const *sessions; /* (n_sessions) in the order of their rows */
    const int32_t *counts;           /* (n_sessions) rows of each, sum n; NULL: one each */
    int32_t n_sessions;              /* 1 .. plan.n_sessions */
    int32_t logits_from;             /* first row whose logits are wanted; n: none */
    float *logits;                   /* (n - logits_from, n_vocab) */
} lr_pass;

/* Writes K and V behind each session's position; does not move the positions.  The caller holds the engine's lock.
 * Without logits GPUs may still be at work when it returns: the next pass follows behind, so that chunks of a prompt are
 * in several GPUs at once.  Allocates nothing.  [errors: CANCELLED DEVICE]                                             */
llmrun_status lr_forward(llmrun_engine *e, const lr_pass *p, llmrun_error *err);

/* Records the steps that a decoded token takes on each GPU, so that one launch runs them all.  Called once, when arenas
 * and weights' addresses are known.  [errors: NOMEM DEVICE]                                                            */
llmrun_status lr_forward_record(llmrun_engine *e, llmrun_error *err);

#endif
