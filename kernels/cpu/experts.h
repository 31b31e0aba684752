/* The products of a layer's routed experts, as steps for the CPU's threads.
 *
 * Pairs (token, chosen expert) are sorted by expert and done in waves, so that memory is bounded and an expert's
 * weights are read once for all of its tokens in a wave.  A wave is a few steps; each runs on all threads, with the
 * experts of the wave laid end to end.  What a step computes for an item depends neither on ranges nor on threads.    */
#ifndef LR_EXPERTS_H
#define LR_EXPERTS_H

#include "kernels/kernels.h"

enum { LR_EXPERTS_STEPS = 5 };

/* Consecutive pairs of one expert.                                                                                    */
typedef struct lr_expert_rows {
    int32_t expert;
    int32_t first, n;              /* in the wave */
} lr_expert_rows;

/* One kernel over items of the wave; its args are the lr_experts_run.                                                 */
typedef struct lr_experts_step {
    lr_kernel run;
    int64_t n_items, row_step;     /* as lr_matmul_kernel.row_step */
} lr_experts_step;

typedef struct lr_experts_run {
    const lr_experts_args *a;
    const lr_ops *ops;
    int64_t dim, hidden;
    const int32_t *pairs;          /* (n * k) t * k + rank, sorted by expert */
    int64_t next, wave;            /* first pair of the wave that follows; pairs of a full wave */
    /* the wave at hand */
    int64_t first, n;              /* pairs */
    lr_expert_rows *rows;          /* (n_rows) */
    int32_t n_rows;
    char *in;                      /* packed rows of h, then the outputs of down: a wave of rows */
    float *gate, *up;              /* (wave, hidden); `up` also holds the packed rows that down reads */
    lr_experts_step steps[LR_EXPERTS_STEPS];
} lr_experts_run;

/* Sorts the pairs; a and ops must outlive the run.                                                                    */
void lr_experts_begin(lr_experts_run *r, const lr_ops *ops, const lr_experts_args *a);
/* Sets up the next wave, whose steps are to be run in order; false: all is done.                                      */
bool lr_experts_next(lr_experts_run *r);

#endif
