/* See sensitivity.h.  The model is open in plain floats, all of it in the arena, so a matrix is rounded in place: each value
 * through its format and back.  Only the 4-bit error is measured that way, for it stands out; what more bits cost a
 * matrix follows from how much smaller the squared error of its weights is then, for the divergence grows with the square of a
 * small error.  All are scaled so that all matrices together cost what the whole model in that format was measured to,
 * in the kernels that really run it.                                                                                  */
#include "runtime/sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/plan_mix.h"
#include "runtime/upload.h"

enum { WINDOW = 512, TOKENS = 2048, LEAST_TOKENS = 16, PIECE = 1024 };
#define MOST_LOGITS ((size_t)64 << 20)  /* floats of the reference that are kept */
#define CHUNK_LOGITS ((size_t)8 << 20)  /* floats of one pass */

typedef struct bench {
    llmrun_options options;   /* of the engines that are opened */
    llmrun_engine *e;
    llmrun_session *session;
    int32_t *ids;             /* (n_ids) windows one after another, each with its begin token */
    size_t n_ids, window;
    float *reference;         /* (n_ids, n_vocab) */
    float *logits;            /* (step, n_vocab) */
    double *kl;               /* (step) */
    size_t step, n_vocab;
    uint8_t (*like)[LR_RUNG_FILE]; /* (tensors) the rung whose format that rung has after fallbacks */
    double done, total;       /* passes over the text, for progress */
    llmrun_error *err;
} bench;

/* ---- the text ---- */

/* Windows spread over the text, so that a short measurement sees all of it.                                           */
static llmrun_status cut_text(bench *b, const llmrun_engine *e, const char *text) {
    const lr_hparams *h = &e->binding.hparams;
    size_t bytes = strlen(text), n = 0, most = lr_min((int64_t)TOKENS, (int64_t)(MOST_LOGITS / (size_t)h->n_vocab));
    if (!e->tokenizer)
        return lr_fail(b->err, LLMRUN_UNSUPPORTED, "%s: has no tokenizer, so a text cannot show what matters", e->checkpoint.dir);
    LR_TRY(llmrun_tokenize(e->tokenizer, text, bytes, 0, NULL, 0, &n, b->err));
    if (n < LEAST_TOKENS)
        return lr_fail(b->err, LLMRUN_ARG, "sensitivity: expected a text of at least %d tokens, got %zu", LEAST_TOKENS, n);
    int32_t *all = lr_alloc(n * sizeof *all);
    size_t begin = h->bos >= 0, fresh = b->window - begin; /* text tokens of a window */
    size_t used = n < most ? n : most, n_windows = (used + fresh - 1) / fresh;
    b->ids = lr_alloc((used + n_windows) * sizeof *b->ids);
    llmrun_status status = all && b->ids ? LLMRUN_OK : lr_fail_nomem(b->err, "sensitivity", n * sizeof *all);
    if (!status) status = llmrun_tokenize(e->tokenizer, text, bytes, 0, all, n, &n, b->err);
    for (size_t i = 0, left = used; i < n_windows && !status; i++) {
        size_t take = left < fresh ? left : fresh, from = i * fresh;
        if (n_windows > 1) from = (n - take) / (n_windows - 1) * i;
        if (begin) b->ids[b->n_ids++] = h->bos;
        memcpy(b->ids + b->n_ids, all + from, take * sizeof *all);
        b->n_ids += take;
        left -= take;
    }
    lr_free(all);
    return status;
}

/* ---- running it ---- */

typedef struct rows {
    const float *p, *q;
    double *kl;
    size_t n_vocab;
} rows;

/* KL(p || q) of each row, as ln of the mean of exp(d) under p less the mean of d, d = q - p: exact for small d too.     */
static void diverge(const void *args, int64_t i0, int64_t i1, void *scratch) {
    (void)scratch;
    const rows *r = args;
    for (int64_t i = i0; i < i1; i++) {
        const float *p = r->p + (size_t)i * r->n_vocab, *q = r->q + (size_t)i * r->n_vocab;
        float most = p[0];
        double weights = 0, mean = 0, grown = 0;
        for (size_t v = 1; v < r->n_vocab; v++)
            if (p[v] > most) most = p[v];
        for (size_t v = 0; v < r->n_vocab; v++) {
            double w = (double)expf(p[v] - most), d = (double)q[v] - (double)p[v];
            weights += w;
            mean += w * d;
            grown += w * expm1(d);
        }
        r->kl[i] = log1p(grown / weights) - mean / weights;
    }
}

/* Runs the text.  kl NULL: the logits become the reference; else *kl gets the mean divergence from it.                */
static llmrun_status run_text(bench *b, double *kl) {
    double sum = 0;
    llmrun_status status = LLMRUN_OK;
    for (size_t start = 0, end; start < b->n_ids && !status; start = end) {
        end = (size_t)lr_min((int64_t)(start + b->window), (int64_t)b->n_ids);
        status = llmrun_session_rewind(b->session, 0, b->err);
        for (size_t at = start, n; at < end && !status; at += n) {
            n = (size_t)lr_min((int64_t)b->step, (int64_t)(end - at));
            float *to = kl ? b->logits : b->reference + at * b->n_vocab;
            double done = (b->done + (double)at / (double)b->n_ids) / b->total;
            if (!lr_progress(&b->e->report, "sensitivity", done))
                status = lr_fail(b->err, LLMRUN_CANCELLED, "sensitivity: cancelled");
            else
                status = llmrun_session_eval_all(b->session, b->ids + at, (int32_t)n, to, b->err);
            if (!kl || status) continue;
            rows r = { b->reference + at * b->n_vocab, b->logits, b->kl, b->n_vocab };
            lr_threads_run(b->e->threads, diverge, &r, (int64_t)n, 1);
            for (size_t i = 0; i < n; i++) sum += b->kl[i];
        }
    }
    b->done++;
    if (status || !kl) return status;
    *kl = sum / (double)b->n_ids;
    if (isfinite(*kl)) return LLMRUN_OK;
    return lr_fail(b->err, LLMRUN_UNSUPPORTED, "sensitivity: a logit is not finite");
}

static llmrun_status open_engine(bench *b, const char *quant, const char *kv) {
    b->options.quant = quant;
    b->options.kv = kv;
    llmrun_status status = llmrun_engine_open(&b->e, &b->options, b->err);
    return status ? status : llmrun_session_open(&b->session, b->e, b->err);
}

static void close_engine(bench *b) {
    llmrun_session_close(b->session);
    llmrun_engine_close(b->e);
    b->session = NULL;
    b->e = NULL;
}

/* ---- rounding a matrix ---- */

typedef struct rounding {
    const lr_source *source;
    lr_format plain, as;      /* that it lies in; that it is rounded to, LR_FORMAT_NONE: to nothing less */
    int64_t cols;
    uint8_t *dst;             /* rows in `plain`, or NULL: only look at the error */
    double *errors;           /* (rows) squared error */
} rounding;

static void round_rows(const void *args, int64_t r0, int64_t r1, void *scratch) {
    const rounding *a = args;
    float *x = scratch, *y = x + PIECE;
    uint8_t *quants = (uint8_t *)(y + PIECE), *scales = quants + 2 * PIECE;
    size_t stride = (size_t)a->cols * (size_t)lr_formats[a->plain].quant_bytes;
    for (int64_t r = r0; r < r1; r++) {
        double sum = 0;
        for (int64_t c = 0; c < a->cols; c += PIECE) {
            int64_t n = lr_min(PIECE, a->cols - c);
            const float *from = x;
            if (!lr_source_floats(a->source, x, r * a->cols + c, n)) memset(x, 0, (size_t)n * sizeof *x);
            if (a->as != LR_FORMAT_NONE) {
                lr_formats[a->as].encode(quants, scales, x, n);
                lr_formats[a->as].decode(y, quants, scales, n);
                for (int64_t i = 0; i < n; i++) sum += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
                from = y;
            }
            if (a->dst)
                lr_formats[a->plain].encode(a->dst + (size_t)r * stride + (size_t)c * (size_t)lr_formats[a->plain].quant_bytes,
                                            NULL, from, n);
        }
        a->errors[r] = sum;
    }
}
_Static_assert(PIECE * (2 * sizeof(float) + 2 + 1) <= LR_UPLOAD_SCRATCH_BYTES, "a piece, rounded, and its planes fit");

/* What a matrix is asked to run in on each rung, after fallbacks.                                                     */
typedef struct rungs {
    lr_format as[LR_N_RUNGS];
} rungs;

static llmrun_status find_rungs(const llmrun_engine *e, size_t i, rungs *out) {
    lr_plan_input in = e->plan_input;
    lr_plan_placement p;
    in.use_mmap = true; /* as models mostly run: a table that stays in the file has one rung */
    in.formats = NULL;
    for (int r = 0; r < LR_N_RUNGS; r++) {
        if (!lr_plan_place(&in, lr_plan_tied(&in), lr_plan_rungs[r], &in.tensors[i], false, &p)) return LLMRUN_INTERNAL;
        out->as[r] = p.format;
    }
    return LLMRUN_OK;
}

static bool has_rungs(const rungs *r) { return r->as[0] != r->as[LR_N_RUNGS - 1]; }

/* Rounds matrix i to a format, in place or not; adds its squared error.                                               */
static llmrun_status round_matrix(bench *b, size_t i, lr_format as, bool in_place, double *error) {
    llmrun_engine *e = b->e;
    const lr_plan_placement *p = &e->plan.placements[i];
    const lr_plan_tensor *t = &e->binding.tensors[i];
    double *errors = lr_zalloc((size_t)t->rows, sizeof *errors);
    if (!errors) return lr_fail_nomem(b->err, "sensitivity", (size_t)t->rows * sizeof *errors);
    rounding a = { .source = &e->binding.sources[i], .plain = p->format, .as = as, .cols = t->cols,
                   .dst = in_place ? e->arena + p->offset : NULL, .errors = errors };
    lr_threads_run(e->threads, round_rows, &a, t->rows, 1);
    for (int64_t r = 0; r < t->rows && error; r++) *error += errors[r];
    lr_free(errors);
    return LLMRUN_OK;
}

/* ---- the measurement ---- */

/* What the matrices of a unit cost together in 4 bits; the squared errors of their weights on each rung.               */
static llmrun_status measure_unit(bench *b, size_t unit, double *kl, double errors[LR_RUNG_FILE]) {
    const lr_plan_input *in = &b->e->plan_input;
    llmrun_status status = LLMRUN_OK;
    rungs r;
    size_t end = unit; /* members follow in the same layer */
    while (end < in->n_tensors && in->tensors[end].layer == in->tensors[unit].layer) end++;
    for (size_t i = unit; i < end && !status; i++) {
        if (lr_plan_mix_unit(in, i) != unit || (status = find_rungs(b->e, i, &r)) || !has_rungs(&r)) continue;
        for (int k = 0; k < LR_RUNG_FILE && !status; k++)
            if (r.as[k] != r.as[LR_RUNG_FILE]) status = round_matrix(b, i, r.as[k], k == LR_RUNG_Q4_K, &errors[k]);
    }
    if (!status) status = run_text(b, kl);
    for (size_t i = unit; i < end && !status; i++)
        if (lr_plan_mix_unit(in, i) == unit && !(status = find_rungs(b->e, i, &r)) && has_rungs(&r))
            status = round_matrix(b, i, LR_FORMAT_NONE, true, NULL);
    return status;
}

/* All units; costs get their divergence in 4 bits, and those in more that follow from it.                             */
static llmrun_status measure_units(bench *b, lr_sensitivity *s) {
    const lr_plan_input *in = &b->e->plan_input;
    llmrun_status status = LLMRUN_OK;
    rungs r;
    for (size_t i = 0; i < in->n_tensors && !status; i++) {
        status = find_rungs(b->e, i, &r);
        if (!status && has_rungs(&r) && b->e->plan.placements[i].place == LR_PLACE_HOST && lr_source_is_packed(&b->e->binding.sources[i]))
            return lr_fail(b->err, LLMRUN_UNSUPPORTED, "sensitivity: these weights were packed by a quantizer; they run as they are");
        b->total += !status && has_rungs(&r) && lr_plan_mix_unit(in, i) == i;
    }
    if (!status) status = run_text(b, NULL);
    for (size_t i = 0; i < in->n_tensors && !status; i++) {
        double kl = 0, errors[LR_RUNG_FILE] = { 0 };
        status = find_rungs(b->e, i, &r);
        if (status || !has_rungs(&r) || lr_plan_mix_unit(in, i) != i) continue;
        status = measure_unit(b, i, &kl, errors);
        for (int k = 0; k < LR_RUNG_FILE; k++) {
            s->costs[i].kl[k] = errors[0] > 0 ? kl * (errors[k] / errors[0]) : 0;
            b->like[i][k] = (uint8_t)k;
            for (int l = 0; l < LR_N_RUNGS; l++)
                if (r.as[k] == (l < LR_RUNG_FILE ? lr_plan_rungs[l] : r.as[l])) b->like[i][k] = (uint8_t)l;
        }
        s->alone += kl;
    }
    return status;
}

/* The whole model in a format.                                                                                        */
static llmrun_status measure_uniform(bench *b, const char *quant, const char *kv, double *kl) {
    llmrun_status status = open_engine(b, quant, kv);
    if (!status) status = run_text(b, kl);
    close_engine(b);
    return status;
}

/* Scales the costs to the sums that were measured, most bits first: where a rung's format is that of another, it costs
 * the same.                                                                                                           */
static void scale_costs(const bench *b, lr_sensitivity *s) {
    for (int k = LR_RUNG_FILE - 1; k >= 0; k--) {
        double sum = 0, fixed = 0;
        for (size_t i = 0; i < s->n; i++) {
            double *kl = s->costs[i].kl;
            int like = b->like[i][k];
            if (like != k) fixed += kl[k] = like < LR_RUNG_FILE ? kl[like] : 0;
            else sum += kl[k];
        }
        double rest = fmax(s->all[k] - fixed, s->all[k] / 2), times = sum > 0 ? rest / sum : 1;
        for (size_t i = 0; i < s->n; i++)
            if (b->like[i][k] == k) s->costs[i].kl[k] *= times;
    }
}

/* Opens the reference: f32, else the file's precision; nothing used in place, so that it can be changed.               */
static llmrun_status open_reference(bench *b, const llmrun_options *o, lr_sensitivity *s) {
    b->options = *o;
    b->options.device = "cpu";
    b->options.n_vram = 0;
    b->options.sim_gpus = NULL;
    b->options.plan_json = NULL;
    b->options.prefer = "quality";
    b->options.n_ctx = WINDOW;
    b->options.n_sessions = 1;
    b->options.n_batch = 0;
    b->options.use_mmap = false;
    b->options.mlock = b->options.disk = b->options.random_weights = false;
    b->options.cache_dir = "";
    llmrun_status status = open_engine(b, "f32", "f32");
    if (status == LLMRUN_NOMEM) {
        close_engine(b);
        status = open_engine(b, "auto", "f16");
        if (!status && !b->e->plan.quant_kept)
            status = lr_fail(b->err, LLMRUN_NOMEM, "sensitivity: needs the model in its file's precision, which does not fit; "
                             "measure on a larger machine and copy the file");
    }
    if (!status) snprintf(s->reference, sizeof s->reference, "%s", lr_formats[b->e->plan.quant].name);
    return status;
}

static llmrun_status take_memory(bench *b) {
    const lr_plan *p = &b->e->plan;
    b->n_vocab = (size_t)b->e->binding.hparams.n_vocab;
    b->window = (size_t)lr_min(p->n_ctx, b->e->binding.hparams.n_ctx_train);
    b->step = (size_t)lr_max(1, lr_min(p->n_batch, (int64_t)(CHUNK_LOGITS / b->n_vocab)));
    return b->window > 1 ? LLMRUN_OK : lr_fail(b->err, LLMRUN_UNSUPPORTED, "sensitivity: a context of one token predicts nothing");
}

static llmrun_status take_logits(bench *b) {
    size_t bytes = (b->n_ids + b->step) * b->n_vocab * sizeof *b->logits;
    b->reference = lr_alloc(b->n_ids * b->n_vocab * sizeof *b->reference);
    b->logits = lr_alloc(b->step * b->n_vocab * sizeof *b->logits);
    b->kl = lr_alloc(b->step * sizeof *b->kl);
    return b->reference && b->logits && b->kl ? LLMRUN_OK : lr_fail_nomem(b->err, "sensitivity", bytes);
}

llmrun_status lr_sensitivity_measure(lr_sensitivity *s, const llmrun_options *o, const char *text, llmrun_error *err) {
    bench b = { .err = err, .total = 1 + LR_RUNG_FILE }; /* the reference, and the whole model on each rung */
    *s = (lr_sensitivity){ 0 };
    llmrun_status status = open_reference(&b, o, s);
    const char *kv = status ? "" : lr_kv_name(b.e->plan.kv);
    if (!status) status = take_memory(&b);
    if (!status) status = cut_text(&b, b.e, text);
    if (!status) status = take_logits(&b);
    if (!status) {
        s->n = b.e->binding.n;
        s->n_tokens = (int32_t)b.n_ids;
        s->costs = lr_zalloc(s->n, sizeof *s->costs);
        b.like = lr_zalloc(s->n, sizeof *b.like);
        status = s->costs && b.like ? measure_units(&b, s) : lr_fail_nomem(err, "sensitivity", s->n * sizeof *s->costs);
    }
    close_engine(&b);
    b.options.use_mmap = o->use_mmap;
    for (int k = 0; k < LR_RUNG_FILE && !status; k++)
        status = measure_uniform(&b, lr_formats[lr_plan_rungs[k]].name, kv, &s->all[k]);
    if (!status) scale_costs(&b, s);
    if (!status) lr_progress(&(lr_report){ o->log, o->progress, o->user }, "sensitivity", 1);
    lr_free(b.ids);
    lr_free(b.reference);
    lr_free(b.logits);
    lr_free(b.kl);
    lr_free(b.like);
    if (status) lr_sensitivity_close(s);
    return status;
}

void lr_sensitivity_close(lr_sensitivity *s) {
    lr_free(s->costs);
    *s = (lr_sensitivity){ 0 };
}
