/* Planner, choice: precision, context and chunk, where the caller left them open.  The order is the one that plan.h
 * promises; nothing that was pinned changes.                                                                          */
#include "runtime/plan_layout.h"

enum {
    CTX_USEFUL = 4096, /* precision gives way before the context falls below this */
    CTX_LEAST = 512,   /* auto refuses rather than go lower */
    CTX_STEP = 256,    /* a lowered context is a multiple of this */
    CHUNK_MOST = 512,
    CHUNK_LOWERED = 128, /* where the context had to be lowered, it gets the memory of larger chunks */
    CHUNK_LEAST = 32,
};

/* One step of the order: a precision and the range of contexts allowed with it.                                       */
typedef struct stage {
    lr_format quant;
    int32_t lo, hi;
} stage;

static int precisions(const lr_plan_input *in, lr_format quants[3]) {
    if (in->quant_bits == 8 || in->quant_bits == 4) {
        quants[0] = in->quant_bits == 8 ? LR_Q8_0 : LR_Q4_K;
        return 1;
    }
    quants[0] = in->quant != LR_FORMAT_NONE ? in->quant : in->prefer == LR_PREFER_SPEED ? LR_Q4_K : LR_FORMAT_NONE;
    quants[1] = LR_Q8_0;
    quants[2] = LR_Q4_K;
    return in->quant != LR_FORMAT_NONE || in->prefer == LR_PREFER_SPEED ? 1 : 3;
}

/* Context that auto wants, and the full range it may use.                                                             */
static int32_t full_context(const lr_plan_input *in) {
    int32_t full = in->model->n_ctx_train;
    return in->n_ctx_most > 0 && in->n_ctx_most < full ? in->n_ctx_most : full;
}

/* Measures a choice and keeps it if it fits, or if it needs less than any before it.                                  */
static bool try_choice(lr_plan_found *found, const lr_plan_input *in, const lr_plan_weights *w, lr_plan_choice c) {
    lr_plan_sizes s;
    if (!lr_plan_measure(in, w, &c, &s)) return false;
    bool fits = s.needed <= in->host.budget_bytes;
    if (fits || found->overflows || s.needed < found->sizes.needed) {
        found->choice = c;
        found->sizes = s;
        found->overflows = false;
    }
    return fits;
}

/* Largest multiple of CTX_STEP in [lo, hi) that fits; needs grow with the context.                                    */
static bool try_lower_contexts(lr_plan_found *found, const lr_plan_input *in, const lr_plan_weights *w,
                               lr_plan_choice c, stage g) {
    if (g.lo == g.hi) return false;
    int32_t lo = (g.lo + CTX_STEP - 1) / CTX_STEP, hi = (g.hi - 1) / CTX_STEP;
    bool fits = false;
    while (lo <= hi) {
        int32_t mid = lo + (hi - lo) / 2;
        c.n_ctx = mid * CTX_STEP;
        if (try_choice(found, in, w, c)) {
            fits = true;
            lo = mid + 1;
        } else {
            hi = mid - 1;
        }
    }
    return fits;
}

/* Full context first, then lower ones; each with chunks from large to small, or the pinned one.                       */
static bool try_stage(lr_plan_found *found, const lr_plan_input *in, const lr_plan_weights *w, stage g) {
    lr_plan_choice c = { .quant = g.quant, .kv = in->kv == LR_FORMAT_NONE ? LR_F16 : in->kv };
    int32_t least = in->n_batch ? in->n_batch : CHUNK_LEAST;
    c.n_ctx = g.hi;
    for (c.n_batch = in->n_batch ? in->n_batch : CHUNK_MOST; c.n_batch >= least; c.n_batch /= 2)
        if (try_choice(found, in, w, c)) return true;
    for (c.n_batch = in->n_batch ? in->n_batch : CHUNK_LOWERED; c.n_batch >= least; c.n_batch /= 2)
        if (try_lower_contexts(found, in, w, c, g)) return true;
    c.n_ctx = g.lo;
    c.n_batch = least;
    return try_choice(found, in, w, c);
}

void lr_plan_choose(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_found *out) {
    lr_format quants[3];
    int n_quants = precisions(in, quants), n_stages = 0;
    stage stages[4];
    bool pinned = in->n_ctx > 0;
    int32_t full = pinned ? in->n_ctx : full_context(in);
    int32_t useful = pinned ? full : (int32_t)lr_min(full, CTX_USEFUL);
    for (int i = 0; i < n_quants; i++) stages[n_stages++] = (stage){ quants[i], useful, full };
    if (!pinned && useful > CTX_LEAST) stages[n_stages++] = (stage){ quants[n_quants - 1], CTX_LEAST, useful };

    *out = (lr_plan_found){ .overflows = true, .n_ctx_full = full };
    for (int i = 0; i < n_stages && !out->fits; i++) {
        const lr_plan_weights *w = lr_plan_weighed(scale, in, stages[i].quant);
        lr_plan_found stage_found = { .overflows = true };
        if (w) stage_found.fits = try_stage(&stage_found, in, w, stages[i]);
        if (stage_found.overflows) continue;
        if (stage_found.fits || out->overflows || stage_found.sizes.needed < out->sizes.needed) {
            out->choice = stage_found.choice;
            out->sizes = stage_found.sizes;
            out->fits = stage_found.fits;
            out->overflows = false;
        }
        if (!stage_found.fits && i < n_quants) {
            out->tried[out->n_tried] = stages[i].quant;
            out->tried_needs[out->n_tried++] = stage_found.sizes.needed;
        }
    }
    if (!out->fits || out->choice.n_ctx == full) return;
    lr_plan_choice whole = out->choice;
    lr_plan_sizes sizes;
    whole.n_ctx = full;
    if (lr_plan_measure(in, lr_plan_weighed(scale, in, whole.quant), &whole, &sizes)) out->full_needs = sizes.needed;
}
