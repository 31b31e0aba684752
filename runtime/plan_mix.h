/* Planner, mixed precision: which tensor gets how many bits, by what they cost and what they buy.  Each tensor may run in
 * q4_k, Q6_K, q8_0 or its file's precision.  From all in the least of these, what lowers the divergence most a byte is
 * raised next, as long as the bytes last: the best there is for what it takes, but for the last step.                  */
#ifndef LR_PLAN_MIX_H
#define LR_PLAN_MIX_H

#include "runtime/plan_layout.h"

/* Tensors share a format with others that one kernel reads: up with gate.  Index of the first of them (in->tensors lists
 * a layer's gate in front of its up), which stands for all.                                                          */
size_t lr_plan_mix_unit(const lr_plan_input *in, size_t tensor);

/* One tensor, or all of a unit, on one rung.                                                                          */
typedef struct lr_plan_point {
    uint64_t bytes;
    double kl;
} lr_plan_point;

typedef struct lr_plan_step {
    uint32_t unit;
    uint8_t from, to;     /* rungs */
    uint64_t bytes;       /* that it takes more */
    double gain;          /* KL that it saves a byte */
} lr_plan_step;

typedef struct lr_plan_mix {
    lr_plan_input in;     /* the caller's, formats: those below */
    lr_format *formats;   /* (n_tensors) */
    lr_plan_scale scale;  /* of `in`: weights of quant LR_FORMAT_NONE */
    double bits, kl;      /* bound that they were chosen under, and their costs */
    uint64_t bytes;       /* all weights on the host */
    lr_plan_sizes sizes;  /* of the choice that was raised */

    uint64_t least, most, n_params; /* private */
    lr_plan_point (*points)[LR_N_RUNGS]; /* (n_tensors) of units */
    uint32_t *units;      /* (n_tensors) */
    uint8_t *rungs;       /* (n_tensors) of units: chosen */
    uint8_t *lowest;      /* (n_tensors) of units */
    lr_plan_step *steps;  /* (n_steps) best first; those of one unit in their order */
    size_t n_steps;
} lr_plan_mix;

/* in->costs must be there, in->formats NULL; both must outlive the mix.                                [errors: NOMEM] */
llmrun_status lr_plan_mix_open(lr_plan_mix *m, const lr_plan_input *in, llmrun_error *err);
void lr_plan_mix_close(lr_plan_mix *m); /* accepts a zeroed one */
/* Chooses formats for that many bits a weight, all tensors counted.  False: not even the fewest are so few; the formats
 * are those then.  Cost: a pass over the steps.                                                                       */
bool lr_plan_mix_fill(lr_plan_mix *m, double bits);
/* Raises a choice that fits (all of it on GPUs, or on the CPU) as far as the budgets allow, in eighths of a bit a weight:
 * a budget that is a little different next time gives the same formats, whose conversion is in the cache then.  True:
 * the result costs less than the uniform precision; found->choice becomes it.  False: found stays.
 * Cost: plans for some 8 numbers of bits, about 1 ms for 100 layers.                                                 */
bool lr_plan_mix_raise(lr_plan_mix *m, lr_plan_found *found);

/* Where the input has formats, the plan gets a copy of them.                                           [errors: NOMEM] */
llmrun_status lr_plan_keep_formats(lr_plan *plan, const lr_plan_input *in, llmrun_error *err);
/* How a plan's JSON calls what a tensor was asked to run in: "q4_k", or "file".                                       */
const char *lr_plan_asked_name(lr_format f);

#endif
