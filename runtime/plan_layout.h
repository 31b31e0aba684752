/* Inside of the planner.  A plan is found in three steps that share no state: weigh the tensors in a precision
 * (plan_weigh.c), measure what a choice of context and chunk adds (plan_layout.c), choose what fits (plan_choose.c).
 * Only the winner is laid out; sizes and layout come from one table, so they cannot differ.                          */
#ifndef LR_PLAN_LAYOUT_H
#define LR_PLAN_LAYOUT_H

#include "runtime/plan.h"

#define LR_PLAN_MOST ((uint64_t)1 << 60) /* no total may pass it: sums of a few such sizes cannot wrap around */

/* What may be left open, decided.                                                                                     */
typedef struct lr_plan_choice {
    lr_format quant; /* LR_FORMAT_NONE: each matrix in its file's own precision */
    lr_format kv;
    int32_t n_ctx, n_batch;
} lr_plan_choice;

/* All weights in one precision; sizes in bytes.                                                                       */
typedef struct lr_plan_weights {
    uint64_t block;          /* converted tensors */
    uint64_t mapped;         /* used from the file and read by every token */
    uint64_t mapped_rows;    /* used from the file, one row a token */
    uint64_t total, per_token, source; /* source: file bytes of the converted ones */
    uint64_t by_format[LR_N_FORMATS];  /* total by format */
    uint64_t matrix_by_format[LR_N_FORMATS];
    int64_t matmul_cols[LR_N_FORMATS]; /* widest matrix that a matmul reads in that format, 0: none */
    int64_t max_cols;        /* widest matrix of all */
    uint64_t n_params, n_matmul_params;
} lr_plan_weights;

/* One matrix is both embedding and head, under whichever of the two roles the file has it.                            */
bool lr_plan_tied(const lr_plan_input *in);
/* Where a tensor goes in that precision, offset left 0.  False: its size overflows.                                   */
LR_MUST_CHECK bool lr_plan_place(const lr_plan_input *in, bool tied, lr_format quant, const lr_plan_tensor *t,
                                 lr_plan_placement *out);
/* False: a size overflows.                                                                                            */
LR_MUST_CHECK bool lr_plan_weigh(const lr_plan_input *in, lr_format quant, lr_plan_weights *out);

/* Regions after weights and KV, one row each: field of lr_plan_buffers, name.                                         */
#define LR_PLAN_BUFFERS(X) \
    X(x) X(y) X(q) X(k) X(v) X(att) X(gate) X(up) X(act) X(cos_sin) X(partial) X(logits) X(seqs) X(tokens) X(scratch)
enum {
#define LR_X(name) LR_BUFFER_##name,
    LR_PLAN_BUFFERS(LR_X)
#undef LR_X
    LR_N_BUFFERS
};

/* What a choice takes.                                                                                                */
typedef struct lr_plan_sizes {
    int32_t n_batch;                 /* as run: not above n_ctx, not below n_sessions */
    int32_t slots[2];                /* positions a layer keeps: [0] full attention, [1] windowed */
    uint64_t page[2];                /* bytes of its cache */
    uint64_t session, kv;            /* one session's pages, all sessions'; each page rounded up to LR_ALIGN */
    uint64_t buffer[LR_N_BUFFERS];   /* bytes, exact */
    uint64_t scratch_stride;
    uint64_t activations;            /* buffers, each rounded up to LR_ALIGN */
    uint64_t arena, needed;
} lr_plan_sizes;

static inline bool lr_plan_windowed(const lr_hparams *h, int32_t layer) {
    return h->window > 0 && layer >= h->window_from;
}
/* False: a size overflows, or the KV format cannot hold this head_dim.                                                */
LR_MUST_CHECK bool lr_plan_measure(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                                   lr_plan_sizes *out);
/* Allocates and fills the plan's arrays, offsets and totals.  [errors: NOMEM]                                         */
llmrun_status lr_plan_lay_out(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w,
                              const lr_plan_choice *c, const lr_plan_sizes *s, llmrun_error *err);

/* Weights already weighed, by quant + 1.  Tensors, use_mmap and cached are the same for all users of one.             */
typedef struct lr_plan_scale {
    bool done[LR_N_FORMATS + 1], ok[LR_N_FORMATS + 1];
    lr_plan_weights weights[LR_N_FORMATS + 1];
} lr_plan_scale;
const lr_plan_weights *lr_plan_weighed(lr_plan_scale *scale, const lr_plan_input *in, lr_format quant);

/* The outcome of choosing.                                                                                            */
typedef struct lr_plan_found {
    bool fits;
    bool overflows;          /* nothing could even be measured */
    lr_plan_choice choice;   /* fits: the first that does; else the one that needs least */
    lr_plan_sizes sizes;
    lr_format tried[3];      /* precisions that did not fit before it, and what each needs at least */
    uint64_t tried_needs[3];
    int32_t n_tried;
    int32_t n_ctx_full;      /* that auto wanted */
    uint64_t full_needs;     /* where it was lowered: what it would need, 0: too much to count */
} lr_plan_found;
void lr_plan_choose(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_found *out);

/* ARG, UNSUPPORTED or FORMAT with the sentence for an input that no budget can help.                                  */
llmrun_status lr_plan_check(const lr_plan_input *in, llmrun_error *err);
/* lr_plan_remedies with weights already weighed.                                                                      */
int lr_plan_remedies_from(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]);
/* Fills err with the refusal; returns NOMEM.                                                                          */
llmrun_status lr_plan_refuse(lr_plan_scale *scale, const lr_plan_input *in, const lr_plan_found *found,
                             llmrun_error *err);
/* Predicted rates, why, hash.                                                                                         */
void lr_plan_predict(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w);
void lr_plan_explain(lr_plan *plan, const lr_plan_input *in, const lr_plan_found *found);
/* Appends to a NUL-terminated text of that size; what does not fit is cut.                                            */
void lr_plan_say(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t lr_plan_hash(const lr_plan *plan);
/* The command line that repeats the plan.                                                                             */
void lr_plan_command(const lr_plan *plan, const lr_plan_input *in, lr_text *out);

#endif
