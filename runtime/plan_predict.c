/* Planner, prediction: how long passes take.
 *
 * A place takes the longer of reading its weights and of computing with them; on GPUs the activations that kernels
 * read and write count too.  Reading caches, and activations that cross between places, are added.  A decoded token
 * goes through all places in turn.  A prompt goes through in chunks, each place at work on another one.  Streamed
 * groups take the longer of copying and computing.
 *
 * Choices that fit are compared by a reference job: a prompt of 512 tokens and 128 decoded ones, caches read as when
 * the context is half full.  Where a rate is unknown the comparison assumes one of a middling machine: main memory
 * 40 GB/s, CPU 0.6 TFLOP/s, GPU memory 400 GB/s, GPU 40 TFLOP/s, link 20 GB/s, disk 2 GB/s.  Predictions are only made
 * from known rates.                                                                                                  */
#include "runtime/plan_layout.h"

enum { PROMPT = 512, DECODED = 128 };

typedef struct rates {
    double read, flops, link;
} rates;

static double or_else(double rate, double assumed) { return rate > 0 ? rate : assumed; }

static rates host_rates(const lr_plan_input *in) {
    return (rates){ or_else(in->host.read_bytes_per_s, 40e9), or_else(in->host.flops_per_s, 0.6e12), 0 };
}

static rates gpu_rates(const lr_plan_input *in, int gpu) {
    const lr_plan_device *d = &in->gpus[gpu];
    return (rates){ or_else(d->read_bytes_per_s, 400e9), or_else(d->flops_per_s, 40e12),
                    or_else(d->link_bytes_per_s, 20e9) };
}

int8_t lr_plan_stream_gpu(const lr_plan_input *in) {
    int best = 0;
    for (int i = 1; i < in->n_gpus; i++)
        if (gpu_rates(in, i).link > gpu_rates(in, best).link) best = i;
    return (int8_t)best;
}

static double longer(double a, double b) { return a > b ? a : b; }

/* ---- one pass ---- */

/* A pass of n tokens behind `seen` others; streams: it is long enough for that.                                      */
typedef struct pass {
    const lr_plan_input *in;
    const lr_plan_choice *c;
    const lr_plan_sizes *s;
    double n, seen;
    bool streams, logits;
} pass;

/* Positions that the pass reads from the cache of a full or a windowed layer, and that a token sees on average. */
static double read_by(const pass *p, int windowed) {
    double read = p->seen + p->n, most = p->in->model->window + p->n - 1;
    return windowed && read > most ? most : read;
}
static double seen_by(const pass *p, int windowed) {
    double seen = p->seen + (p->n + 1) / 2;
    return windowed && seen > p->in->model->window ? p->in->model->window : seen;
}

static double kv_row_bytes(const pass *p) {
    const lr_format_traits *kv = &lr_formats[p->c->kv];
    return (p->in->model->kv_rank ? 1.0 : 2.0) * p->in->model->n_kv_heads * (p->in->model->head_dim / kv->block) * (kv->quant_bytes + kv->scale_bytes);
}

static double q_dim(const lr_hparams *h) { return (double)h->n_heads * h->head_dim; }

/* Of a gated delta net's state, read and written.                                                                    */
static double state_bytes(const lr_hparams *h) { return 2.0 * sizeof(float) * (double)lr_delta_state(h); }

/* Scores and values: two operations each, a token, position and value of q; the cache is read once for all.  States:
 * three products and sums a token and value.                                                                               */
static double attention_seconds(const pass *p, const lr_plan_load *l, rates r) {
    const lr_hparams *h = p->in->model;
    double full = l->n_layers[LR_CACHE_FULL], windowed = l->n_layers[LR_CACHE_WINDOW];
    double states = l->n_layers[LR_CACHE_STATE];
    double read = (full * read_by(p, 0) + windowed * read_by(p, 1)) * kv_row_bytes(p) + states * state_bytes(h);
    double flops = 4 * p->n * q_dim(h) * (full * seen_by(p, 0) + windowed * seen_by(p, 1)) +
                   6 * p->n * states * (double)lr_delta_state(h);
    return longer(read / r.read, flops / r.flops);
}

/* Weights that the pass reads: of experts those that any of its tokens chose, which may be all.                      */
static double weights_read(const pass *p, const lr_plan_load *l) {
    const lr_hparams *h = p->in->model;
    if (!l->experts_read) return (double)l->read;
    double most = (double)h->n_experts / h->n_experts_used;
    return (double)l->read + (double)l->experts_read * ((p->n < most ? p->n : most) - 1);
}

static double matmul_seconds(const pass *p, const lr_plan_load *l, rates r) {
    return longer(weights_read(p, l) / r.read, 2 * p->n * (double)l->params / r.flops);
}

/* Bytes of a value of packed activations: those of the formats that most of the weights there want.                  */
static double act_bytes(const pass *p, const lr_plan_load *l) {
    enum { COLS = 1024 };
    if (!l->widths) return 4;
    lr_format f = (lr_format)(lr_plan_first_width(l->widths) / LR_PLAN_WIDTHS);
    lr_act_format act = lr_gpu_act(f, (int64_t)p->n);
    return act == LR_ACT_NONE ? 4 : (double)lr_act_bytes(act, 1, COLS) / COLS;
}

/* Bytes of rows that routing a token and a layer's experts move on a GPU, packed values being of a bytes.            */
static double experts_rows(const pass *p, double a) {
    const lr_hparams *h = p->in->model;
    double k = h->n_experts_used, dim = h->dim, hidden = h->expert_dim, pack = (4 + a) * dim, sum = 8 * dim;
    double router = (a < 4 ? pack : 0) + a * dim + 8.0 * h->n_experts + 8 * k;
    if (p->n <= LR_GPU_FEW) return router + pack + a * dim + 2 * k * a * hidden + sum;
    return router + pack + 16 * k + k * (2 * (a * dim + 4 * hidden) + (8 + 2 * a) * hidden + 8 * dim) + sum;
}

/* A GPU's kernels for a load.  Beside weights and caches, products read packed inputs and write float rows; norms,
 * rotation, merging of split attention and, in long passes, the product of gate and up pass over rows of their own.  */
static double kernel_seconds(const pass *p, const lr_plan_load *l, rates r) {
    const lr_hparams *h = p->in->model;
    double q = q_dim(h), kv = (double)h->n_kv_heads * h->head_dim, dim = h->dim, hidden = lr_hidden_most(h);
    double a = act_bytes(p, l), n_attn = l->n_groups[LR_GROUP_ATTN], n_up = l->n_groups[LR_GROUP_GATE_UP];
    double n_down = l->n_groups[LR_GROUP_DOWN] - l->n_experts;
    bool few = p->n <= LR_GPU_FEW;
    double splits = few ? lr_gpu_attention_splits(h->n_kv_heads, p->c->n_ctx) : 0;
    double norm = 4 * dim + a * dim, glu = few ? 0 : 12 * hidden + a * hidden;
    double in3 = few ? 1 : 3, in2 = few ? 1 : 2; /* times that products of the same input read it */
    double products = n_attn * (a * (in3 * dim + q) + 4 * (q + 2 * kv) + 8 * dim) +
                      (hidden > 0 ? n_up : 0) * (in2 * a * dim + (few ? a : 8) * hidden) + n_down * (a * hidden + 8 * dim);
    double rows =
        n_attn * (norm + 8 * q + 12 * kv + 8 * q + (splits > 1 ? q * (4 * splits + a) : 0)) + n_up * (norm + glu);
    products += l->n_experts * experts_rows(p, a);
    double t = longer((weights_read(p, l) + p->n * products) / r.read, 2 * p->n * (double)l->params / r.flops);
    return t + p->n * rows / r.read + attention_seconds(p, l, r);
}

/* Of one row.                                                                                                        */
static double head_seconds(const pass *p, uint64_t bytes, rates r) {
    return longer((double)bytes / r.read, 2.0 * p->in->model->n_vocab * p->in->model->dim / r.flops);
}

/* Copies of a streamed load: weights, the cache so far, and its new rows back.                                       */
static double copy_seconds(const pass *p, const lr_plan_load *l, rates r) {
    double rows = (l->n_layers[LR_CACHE_FULL] + l->n_layers[LR_CACHE_WINDOW]) * (p->seen + p->n);
    return ((double)l->weights + rows * kv_row_bytes(p)) / r.link;
}

/* Kernels and copies of the streamed groups.  The slots are filled while the GPU is busy with each stretch of layers of
 * its own, the last of the chunk before among them; the first copy of a prompt nothing hides.  Where kernels and copies
 * take about the same time, slots for one layer keep either waiting for the other now and then: 6 % at most.         */
static double streamed_seconds(const pass *p, const lr_plan_gpu_sizes *g, double own_seconds, rates r) {
    bool first = p->n == 1 || p->seen == 0;
    double slots = (double)(g->slot[0] + g->slot[1] + g->slot[2]) / r.link, hidden = 0;
    double stretch = g->stretches ? own_seconds / g->stretches : 0;
    for (int32_t i = first && g->last_stretch; i < g->stretches; i++) hidden += stretch < slots ? stretch : slots;
    double kernels = kernel_seconds(p, &g->streamed, r) + (first ? (double)g->slot[LR_GROUP_ATTN] / r.link : 0);
    double copies = copy_seconds(p, &g->streamed, r) - hidden, rest = longer(kernels, copies) + own_seconds;
    double shorter = kernels + copies + 2 * own_seconds - rest;
    return rest - own_seconds + 0.3 * longer(0, shorter - 0.8 * rest);
}

static double gpu_seconds(const pass *p, int gpu) {
    const lr_plan_gpu_sizes *g = &p->s->gpu[gpu];
    const lr_hparams *h = p->in->model;
    rates r = gpu_rates(p->in, gpu);
    const lr_plan_crossings *c = &g->crossings[p->streams];
    double t = kernel_seconds(p, &g->own, r);
    double crossing = 4 * p->n * ((double)(c->x_host + c->x_peer) * h->dim + (double)(c->hidden_host + c->hidden_peer) *
                                  (double)lr_plan_cut_width(h));
    crossing += (double)g->buffer[LR_BUFFER_seqs] + 4 * p->n * h->n_rot;
    if (p->streams && g->streamed.kinds) t += streamed_seconds(p, g, t, r);
    if (p->s->embed_place == gpu) t += p->n * 6 * h->dim / r.read; /* f16 in, floats out */
    if (p->logits && g->own.head_read) {
        t += head_seconds(p, g->own.head_read, r);
        crossing += 4.0 * h->n_vocab;
    }
    return t + crossing / r.link;
}

/* What the CPU computes of the pass.                                                                                 */
static double host_seconds(const pass *p) {
    rates r = host_rates(p->in);
    lr_plan_load rest = p->s->host;
    for (int i = 0; i < p->in->n_gpus && p->streams; i++) {
        const lr_plan_load *streamed = &p->s->gpu[i].streamed;
        rest.read -= streamed->read;
        rest.experts_read -= streamed->experts_read;
        rest.params -= streamed->params;
        for (int k = 0; k < LR_N_CACHE_KINDS; k++) rest.n_layers[k] -= streamed->n_layers[k];
    }
    double t = matmul_seconds(p, &rest, r) + attention_seconds(p, &rest, r);
    if (p->s->disk) /* streamed or not; instead of reading it from RAM */
        t += (double)p->s->disk_read * (1 / or_else(p->in->disk_bytes_per_s, 2e9) - (p->streams ? 0 : 1 / r.read));
    return t + (p->logits && rest.head_read ? head_seconds(p, rest.head_read, r) : 0);
}

/* ---- prompts and tokens ---- */

/* Chunk follows chunk through the places; the CPU and the GPUs that it waits for count as one.                       */
static double prompt_seconds(pass p, double n_prompt) {
    double done[1 + LR_PLAN_MAX_GPUS] = { 0 };
    for (double at = 0; at < n_prompt; at += p.n) {
        p.n = p.s->n_batch < n_prompt - at ? p.s->n_batch : n_prompt - at;
        p.seen = at;
        p.streams = p.s->stream_from > 0 && p.n >= p.s->stream_from;
        p.logits = at + p.n >= n_prompt;
        double host = host_seconds(&p), gpu[LR_PLAN_MAX_GPUS];
        for (int i = 0; i < p.in->n_gpus; i++) {
            gpu[i] = gpu_seconds(&p, i);
            if (!p.s->gpu[i].back_to_host) continue;
            host += gpu[i];
            gpu[i] = 0;
        }
        done[0] += host;
        for (int i = 0; i < p.in->n_gpus; i++) done[i + 1] = longer(done[i], done[i + 1]) + gpu[i];
    }
    return done[p.in->n_gpus];
}

static double token_seconds(pass p) {
    p.n = 1;
    p.seen = p.c->n_ctx / 2;
    p.streams = p.s->stream_from == 1; /* a link faster than the CPU's memory */
    p.logits = true;
    double t = host_seconds(&p);
    for (int i = 0; i < p.in->n_gpus; i++) t += gpu_seconds(&p, i);
    return t;
}

/* ---- from how many tokens on a pass is better streamed ---- */

static bool streaming_pays(pass p, int32_t n) {
    p.n = n;
    double host = host_seconds(&p), streamed = 0;
    p.streams = true;
    streamed = host_seconds(&p);
    for (int i = 0; i < p.in->n_gpus; i++) {
        const lr_plan_load *l = &p.s->gpu[i].streamed;
        rates r = gpu_rates(p.in, i);
        if (l->kinds) streamed += longer(kernel_seconds(&p, l, r), copy_seconds(&p, l, r));
    }
    return streamed < host;
}

/* The CPU's time grows with n, the copies' does not: there is one crossing, or none.                                 */
static int32_t crossover(pass p) {
    int32_t lo = 1, hi = p.s->n_batch;
    if (!streaming_pays(p, hi)) return 0;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (streaming_pays(p, mid)) hi = mid;
        else lo = mid + 1;
    }
    return lo;
}

static bool streams_any(const lr_plan_input *in, const lr_plan_sizes *s) {
    for (int i = 0; i < in->n_gpus; i++)
        if (s->gpu[i].streamed.kinds) return true;
    return false;
}

void lr_plan_estimate(const lr_plan_input *in, const lr_plan_choice *c, lr_plan_sizes *s) {
    pass p = { .in = in, .c = c, .s = s };
    if (!streams_any(in, s)) s->stream_from = 0;
    else if (!s->stream_from) s->stream_from = crossover(p);
    s->seconds = prompt_seconds(p, (double)lr_min(PROMPT, c->n_ctx)) + DECODED * token_seconds(p);
}

/* ---- for the plan ---- */

/* Of the caches when the context is half full.                                                                       */
static double half_cache_bytes(const pass *p) {
    const lr_hparams *h = p->in->model;
    double sum = 0;
    for (int32_t i = 0; i < h->n_layers; i++) {
        int64_t seen = lr_max(1, p->c->n_ctx / 2);
        lr_cache_kind cache = lr_layer_cache(h, i);
        if (cache == LR_CACHE_STATE) sum += state_bytes(h);
        else sum += (double)(cache == LR_CACHE_WINDOW ? lr_min(seen, h->window) : seen) * kv_row_bytes(p);
    }
    return sum;
}

static bool rates_known(const lr_plan_input *in, const lr_plan_sizes *s) {
    for (int i = 0; i < in->n_gpus; i++) {
        const lr_plan_device *d = &in->gpus[i];
        if (d->read_bytes_per_s <= 0 || d->flops_per_s <= 0 || d->link_bytes_per_s <= 0) return false;
    }
    if (s->disk && in->disk_bytes_per_s <= 0) return false;
    return s->n_left_out == 0 || (in->host.read_bytes_per_s > 0 && in->host.flops_per_s > 0);
}

static double disk_seconds(const lr_plan_input *in, const lr_plan_sizes *s) {
    return s->disk ? (double)s->disk_read / in->disk_bytes_per_s : 0;
}

double lr_plan_decode_rate(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                           const lr_plan_sizes *s) {
    pass p = { .in = in, .c = c, .s = s };
    if (in->n_gpus) return rates_known(in, s) ? 1 / token_seconds(p) : 0;
    if (in->host.read_bytes_per_s <= 0 || (s->disk && in->disk_bytes_per_s <= 0)) return 0;
    double bytes = (double)(w->per_token - s->disk_read) + half_cache_bytes(&p);
    return 1 / (bytes / in->host.read_bytes_per_s + disk_seconds(in, s));
}

/* On the CPU alone two operations a weight.                                                                          */
static double prefill_rate(const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                           const lr_plan_sizes *s) {
    double n = (double)lr_min(PROMPT, c->n_ctx);
    if (in->n_gpus) return rates_known(in, s) ? n / prompt_seconds((pass){ .in = in, .c = c, .s = s }, n) : 0;
    if (in->host.flops_per_s <= 0 || !w->n_matmul_params || (s->disk && in->disk_bytes_per_s <= 0)) return 0;
    return 1 / (2 * (double)w->n_matmul_params / in->host.flops_per_s + disk_seconds(in, s) / s->n_batch);
}

void lr_plan_predict(lr_plan *plan, const lr_plan_input *in, const lr_plan_weights *w, const lr_plan_choice *c,
                     const lr_plan_sizes *s) {
    if (in->convert_bytes_per_s > 0 && !in->cached) plan->load_seconds = (double)w->source / in->convert_bytes_per_s;
    plan->decode_tokens_per_s = lr_plan_decode_rate(in, w, c, s);
    plan->prefill_tokens_per_s = prefill_rate(in, w, c, s);
}
