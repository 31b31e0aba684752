/* Planner, choice: precision, context and chunk, where the caller left them open, and how GPUs are used.  The order is
 * the one that plan.h promises; nothing that was pinned changes.                                                     */
#include "runtime/plan_layout.h"

enum {
    CTX_USEFUL = 4096, /* precision gives way before the context falls below this */
    CTX_LEAST = 512,   /* auto refuses rather than go lower */
    CTX_STEP = 256,    /* a lowered context is a multiple of this */
    CHUNK_MOST = 512,
    CHUNK_LOWERED = 128, /* where the context had to be lowered, it gets the memory of larger chunks */
    CHUNK_LEAST = 32,
};

/* One step of the order: a precision, the range of contexts allowed with it, and whether GPUs must hold everything.  */
typedef struct stage {
    lr_format quant;
    int32_t lo, hi;
    bool whole, disk;
} stage;

enum { MOST_STAGES = 10 };

static int precisions(const lr_plan_input *in, lr_format quants[3]) {
    if (in->formats) {
        quants[0] = LR_FORMAT_NONE;
        return 1;
    }
    if (in->mixed) {
        quants[0] = LR_Q8_0;
        quants[1] = LR_Q4_K;
        return 2;
    }
    if (in->quant_bits == 8 || in->quant_bits == 4) {
        quants[0] = in->quant_bits == 8 ? LR_Q8_0 : LR_Q4_K;
        return 1;
    }
    quants[0] = in->quant != LR_FORMAT_NONE ? in->quant : in->prefer == LR_PREFER_SPEED ? LR_Q4_K : LR_FORMAT_NONE;
    quants[1] = LR_Q8_0;
    quants[2] = LR_Q4_K;
    return in->quant != LR_FORMAT_NONE || in->prefer == LR_PREFER_SPEED ? 1 : 3;
}

/* Context that auto wants, and the full range it may use.                                                            */
static int32_t full_context(const lr_plan_input *in) {
    int32_t full = in->model->n_ctx_train;
    return in->n_ctx_most > 0 && in->n_ctx_most < full ? in->n_ctx_most : full;
}

/* Beside layers on the CPU a context longer than the useful one would push more of them there: it stays at that.
 * Reading weights from disk for every token comes after everything else, fewest bits first.                          */
static int list_stages(const lr_plan_input *in, stage *stages, int32_t full) {
    lr_format quants[3];
    bool pinned = in->n_ctx > 0, gpus = in->n_gpus > 0;
    int32_t useful = pinned ? full : (int32_t)lr_min(full, CTX_USEFUL);
    int n_quants = precisions(in, quants), n = 0;
    for (int i = 0; i < n_quants; i++) {
        stages[n++] = (stage){ .quant = quants[i], .lo = useful, .hi = full, .whole = gpus };
        if (gpus && (i == n_quants - 1 || in->prefer == LR_PREFER_QUALITY))
            stages[n++] = (stage){ .quant = quants[i], .lo = useful, .hi = useful };
    }
    if (!pinned && useful > CTX_LEAST)
        stages[n++] = (stage){ .quant = quants[n_quants - 1], .lo = CTX_LEAST, .hi = useful };
    for (int i = n_quants; i-- > 0 && in->disk;)
        stages[n++] = (stage){ .quant = quants[i], .lo = pinned ? full : (int32_t)lr_min(full, CTX_LEAST), .hi = useful,
                               .disk = true };
    return n;
}

typedef struct search {
    lr_plan_scale *scale;
    const lr_plan_input *in;
    const lr_plan_weights *w;
    stage g;
    lr_plan_found found;
    lr_plan_sizes sizes; /* of the choice in trial */
} search;

/* Of two refused choices the one that is nearer: GPUs with a layer each, then the fewest bytes.                      */
static bool nearer(const lr_plan_sizes *a, const lr_plan_sizes *b) {
    if ((a->short_gpu < 0) != (b->short_gpu < 0)) return a->short_gpu < 0;
    return a->short_gpu < 0 ? a->needed < b->needed : a->short_needs < b->short_needs;
}

static bool measure(search *k, const lr_plan_choice *c) {
    return lr_plan_measure(k->in, k->w, c, &k->scale->places, &k->sizes);
}

/* Weights and caches that all GPUs together must hold where nothing is left to the CPU.                              */
static uint64_t gpu_bytes(const search *k, const lr_plan_sizes *s) {
    return k->w->gpu_total + s->session * (uint64_t)k->in->n_sessions;
}

static bool may_be_whole(search *k, const lr_plan_choice *c) {
    uint64_t room = 0;
    for (int i = 0; i < k->in->n_gpus; i++) room += lr_plan_capacity(&k->in->gpus[i]);
    return lr_plan_measure_kv(k->in, c, &k->sizes) && gpu_bytes(k, &k->sizes) <= room;
}

/* Measures a choice and keeps it if it fits (faster: and takes less time than the one kept), or if it is nearer to
 * fitting than any before it.                                                                                        */
static bool try_choice(search *k, lr_plan_choice c, bool faster) {
    lr_plan_found *found = &k->found;
    if ((k->g.whole && !may_be_whole(k, &c)) || !measure(k, &c)) return false;
    const lr_plan_sizes *s = &k->sizes;
    bool pays = c.stream == LR_PLACE_HOST || s->stream_from > 0;
    bool fits = s->short_gpu < 0 && s->needed <= k->in->host.budget_bytes && (!k->g.whole || !s->n_left_out) && pays;
    bool keep = fits ? !found->fits || !faster || s->seconds < found->sizes.seconds
                     : !found->fits && !k->g.whole && pays && (found->overflows || nearer(s, &found->sizes));
    if (keep) {
        found->choice = c;
        found->sizes = *s;
        found->overflows = false;
    }
    found->fits |= fits;
    return fits;
}

/* Largest multiple of CTX_STEP in [lo, hi) that fits; needs grow with the context.                                   */
static bool try_lower_contexts(search *k, lr_plan_choice c) {
    if (k->g.lo == k->g.hi) return false;
    int32_t lo = (k->g.lo + CTX_STEP - 1) / CTX_STEP, hi = (k->g.hi - 1) / CTX_STEP;
    bool fits = false;
    while (lo <= hi) {
        int32_t mid = lo + (hi - lo) / 2;
        c.n_ctx = mid * CTX_STEP;
        if (try_choice(k, c, false)) {
            fits = true;
            lo = mid + 1;
        } else {
            hi = mid - 1;
        }
    }
    return fits;
}

/* All ways to use GPUs at one context: chunk, streaming, head or layers first.  The fastest is kept.                 */
static bool try_ways(search *k, lr_plan_choice c, int32_t most, int32_t least) {
    bool split = !k->g.whole;
    for (c.n_batch = most; c.n_batch >= least; c.n_batch /= 2)
        for (int way = 0; way < (split ? 4 : 1); way++) {
            c.stream = way & 2 ? lr_plan_stream_gpu(k->in) : LR_PLACE_HOST;
            c.layers_first = way & 1;
            bool fits = try_choice(k, c, true);
            if (fits && k->g.whole && k->in->n_gpus == 1) return true; /* smaller chunks are not faster */
            if (fits && !k->sizes.n_left_out) break;
        }
    return k->found.fits;
}

static lr_plan_choice first_choice(const search *k) {
    return (lr_plan_choice){ .quant = k->g.quant, .kv = k->in->kv == LR_FORMAT_NONE ? LR_F16 : k->in->kv,
                             .stream = LR_PLACE_HOST, .disk = k->g.disk };
}

/* The choice of a stage that asks least.                                                                             */
static bool try_least(search *k, lr_plan_choice c) {
    c.n_ctx = k->g.lo;
    c.n_batch = k->in->n_batch ? k->in->n_batch : CHUNK_LEAST;
    bool fits = try_choice(k, c, false);
    c.layers_first = true;
    return fits || (k->in->n_gpus && try_choice(k, c, false));
}

/* Full context first, then lower ones; each with chunks from large to small, or the pinned one.                      */
static bool try_stage(search *k) {
    const lr_plan_input *in = k->in;
    lr_plan_choice c = first_choice(k);
    int32_t most = in->n_batch ? in->n_batch : CHUNK_MOST, least = in->n_batch ? in->n_batch : CHUNK_LEAST;
    c.n_ctx = k->g.hi;
    if (in->n_gpus && try_ways(k, c, most, least)) return true;
    for (c.n_batch = most; !in->n_gpus && c.n_batch >= least; c.n_batch /= 2)
        if (try_choice(k, c, false)) return true;
    for (c.n_batch = in->n_batch ? in->n_batch : CHUNK_LOWERED; c.n_batch >= least; c.n_batch /= 2)
        if (try_lower_contexts(k, c)) {
            c.n_ctx = k->found.choice.n_ctx;
            if (in->n_gpus) try_ways(k, c, most, least);
            return true;
        }
    return try_least(k, c);
}

/* What a precision is said to need: of the host, or of all GPUs for weights and cache.                               */
static uint64_t needs(const search *k, const lr_plan_sizes *s) {
    return k->in->n_gpus ? gpu_bytes(k, s) : s->needed;
}

/* Keeps what the precision of a failed stage would have needed.                                                      */
static void note_tried(search *k, lr_plan_found *out) {
    lr_plan_choice c = first_choice(k);
    c.n_ctx = k->g.lo;
    c.n_batch = CHUNK_LEAST;
    if (k->in->n_gpus && !lr_plan_measure_kv(k->in, &c, &k->sizes)) return;
    if (!k->in->n_gpus && k->found.overflows) return;
    out->tried[out->n_tried] = k->g.quant;
    out->tried_needs[out->n_tried++] = needs(k, k->in->n_gpus ? &k->sizes : &k->found.sizes);
}

void lr_plan_choose(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_found *out) {
    stage stages[MOST_STAGES];
    int32_t full = in->n_ctx > 0 ? in->n_ctx : full_context(in);
    int n_stages = list_stages(in, stages, full);
    search k = { .scale = scale, .in = in };
    *out = (lr_plan_found){ .overflows = true, .n_ctx_full = full };
    for (int i = 0; i < n_stages && !out->fits; i++) {
        bool new_precision = !stages[i].disk && (i == 0 || stages[i - 1].quant != stages[i].quant);
        k.g = stages[i];
        k.w = lr_plan_weighed(scale, in, k.g.quant);
        k.found = (lr_plan_found){ .overflows = true };
        if (!k.w) continue;
        if (!try_stage(&k) && new_precision) note_tried(&k, out);
        if (k.found.overflows) continue;
        if (k.found.fits || out->overflows || nearer(&k.found.sizes, &out->sizes)) {
            out->choice = k.found.choice;
            out->sizes = k.found.sizes;
            out->fits = k.found.fits;
            out->overflows = false;
        }
    }
    if (!out->fits || out->choice.n_ctx == full) return;
    lr_plan_choice whole = out->choice;
    whole.n_ctx = full;
    k.w = lr_plan_weighed(scale, in, whole.quant);
    if (measure(&k, &whole)) out->full_needs = needs(&k, &k.sizes);
}

bool lr_plan_can_fit(lr_plan_scale *scale, const lr_plan_input *in) {
    lr_plan_found found;
    if (!in->n_gpus) {
        lr_plan_choose(scale, in, &found);
        return found.fits;
    }
    stage stages[MOST_STAGES];
    int n = list_stages(in, stages, in->n_ctx > 0 ? in->n_ctx : full_context(in));
    search k = { .scale = scale, .in = in, .g = stages[n - 1], .found = { .overflows = true } };
    k.w = lr_plan_weighed(scale, in, k.g.quant);
    return k.w && try_least(&k, first_choice(&k));
}
