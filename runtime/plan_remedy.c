/* Planner, refusal: what is needed, what there is, and the smallest changes of the command line that would fit.  Each
 * is proved: the changed input goes through the same choice as a real plan.                                          */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

enum { CTX_REMEDY_LEAST = 64 }; /* a shorter context helps nobody */

static int bits_of(const lr_plan_input *in) {
    if (in->quant_bits) return in->quant_bits;
    if (in->formats) return 5; /* mixed: 4-bit is fewer */
    return in->quant == LR_FORMAT_NONE ? 4 : lr_formats[in->quant].bits; /* auto has tried 4-bit already */
}

/* Pins the largest context below `most` that fits.  Needs grow with the context.                                     */
static bool shorten(lr_plan_scale *scale, lr_plan_input *in, int32_t most) {
    int32_t lo = CTX_REMEDY_LEAST, hi = most - 1, best = 0;
    while (lo <= hi) {
        in->n_ctx = lo + (hi - lo) / 2;
        if (lr_plan_can_fit(scale, in)) {
            best = in->n_ctx;
            lo = in->n_ctx + 1;
        } else {
            hi = in->n_ctx - 1;
        }
    }
    in->n_ctx = best;
    return best > 0;
}

typedef struct remedies {
    lr_plan_scale *scale;
    const lr_plan_input *in;
    int32_t n_ctx;      /* that was refused */
    lr_plan_remedy *out;
    int n;
} remedies;

/* The next remedy, to be changed; it counts once it is proved.                                                       */
static lr_plan_remedy *begin(remedies *r) {
    lr_plan_remedy *x = &r->out[r->n];
    x->input = *r->in;
    return x;
}

static bool prove(remedies *r) {
    lr_plan_remedy *x = &r->out[r->n];
    lr_plan_found found;
    lr_plan_choose(r->scale, &x->input, &found);
    if (!found.fits) return false;
    x->needed_bytes = found.sizes.needed;
    x->decode_tokens_per_s = lr_plan_decode_rate(&x->input, lr_plan_weighed(r->scale, &x->input, found.choice.quant),
                                                 &found.choice, &found.sizes);
    r->n++;
    return true;
}

enum { CHANGE_KV = 1, CHANGE_CTX = 2 };

/* Adds the remedy of fewer bits (0: as asked) with the changes of the set, if it fits.                               */
static bool add(remedies *r, int bits, unsigned changes) {
    lr_plan_remedy *x = begin(r);
    char quant[24] = "", kv[24] = "", ctx[24] = "";
    if (bits) {
        x->input.quant_bits = bits;
        x->input.quant = LR_FORMAT_NONE;
        x->input.formats = NULL;
        x->input.mixed = false;
        snprintf(quant, sizeof quant, " --quant %dbit", bits);
    }
    if (changes & CHANGE_KV) {
        lr_format now = r->in->kv == LR_FORMAT_NONE ? LR_F16 : r->in->kv;
        x->input.kv = r->in->model->head_dim % lr_formats[LR_Q8_0].block ? LR_F16 : LR_Q8_0;
        if (lr_formats[x->input.kv].bits >= lr_formats[now].bits) return false;
        snprintf(kv, sizeof kv, " --kv %s", lr_kv_name(x->input.kv));
    }
    if (changes & CHANGE_CTX) {
        if (!shorten(r->scale, &x->input, r->n_ctx)) return false;
        snprintf(ctx, sizeof ctx, " -c %d", x->input.n_ctx);
    }
    snprintf(x->words, sizeof x->words, "%s%s%s", quant, kv, ctx);
    memmove(x->words, x->words + 1, strlen(x->words));
    return prove(r);
}

/* The least budget, the same for each GPU, that works.                                                               */
static void add_vram(remedies *r) {
    lr_plan_remedy *x = begin(r);
    memcpy(x->gpus, r->in->gpus, (size_t)r->in->n_gpus * sizeof *x->gpus);
    x->input.gpus = x->gpus;
    uint64_t lo = 0, hi = LR_PLAN_MOST; /* lo does not fit; hi is not tried unless nothing below does */
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        for (int i = 0; i < r->in->n_gpus; i++) x->gpus[i].budget_bytes = mid;
        *(lr_plan_can_fit(r->scale, &x->input) ? &hi : &lo) = mid;
    }
    for (int i = 0; i < r->in->n_gpus; i++) x->gpus[i].budget_bytes = hi;
    snprintf(x->words, sizeof x->words, "--vram %llu", (unsigned long long)hi);
    if (hi < LR_PLAN_MOST) prove(r);
}

/* Without the GPUs that are too small for a layer: 0 bytes of them.                                                  */
static void add_fewer_gpus(remedies *r) {
    lr_plan_remedy *x = begin(r);
    uint64_t budgets[LR_PLAN_MAX_GPUS];
    int n = 0;
    for (int i = 0; i < r->in->n_gpus; i++) budgets[i] = r->in->gpus[i].budget_bytes;
    do { /* drops the smallest that is left */
        int smallest = -1;
        for (int i = 0; i < r->in->n_gpus; i++)
            if (budgets[i] && (smallest < 0 || budgets[i] < budgets[smallest])) smallest = i;
        if (smallest < 0) return;
        budgets[smallest] = 0;
        n = 0;
        for (int i = 0; i < r->in->n_gpus; i++)
            if (budgets[i]) x->gpus[n++] = r->in->gpus[i];
        if (!n) return;
        x->input.gpus = x->gpus;
        x->input.n_gpus = n;
    } while (!lr_plan_can_fit(r->scale, &x->input));
    snprintf(x->words, sizeof x->words, "--vram");
    for (int i = 0; i < r->in->n_gpus; i++)
        lr_plan_say(x->words, sizeof x->words, "%s%llu", i ? "," : " ", (unsigned long long)budgets[i]);
    if (strlen(x->words) + 1 < sizeof x->words) prove(r);
}

/* Other devices, more memory.                                                                                        */
static void add_devices(remedies *r, const lr_plan_found *found) {
    if (r->in->n_gpus) {
        if (r->in->n_gpus > 1 && found->sizes.short_gpu >= 0) add_fewer_gpus(r);
        add_vram(r);
        lr_plan_remedy *cpu = begin(r);
        cpu->input.n_gpus = 0;
        snprintf(cpu->words, sizeof cpu->words, "--device cpu");
        prove(r);
    }
    if (found->sizes.short_gpu >= 0) return;
    if (!r->in->disk) {
        lr_plan_remedy *disk = begin(r);
        disk->input.disk = true;
        snprintf(disk->words, sizeof disk->words, "--disk");
        prove(r);
    }
    lr_plan_remedy *ram = begin(r);
    ram->input.host.budget_bytes = found->sizes.needed;
    snprintf(ram->words, sizeof ram->words, "--ram %llu", (unsigned long long)found->sizes.needed);
    prove(r);
}

/* Single changes first; two and three at once only where none of them is enough.                                     */
int lr_plan_remedies_from(lr_plan_scale *scale, const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]) {
    lr_plan_found found;
    lr_plan_choose(scale, in, &found);
    if (found.fits || found.overflows) return 0;
    remedies r = { .scale = scale, .in = in, .n_ctx = found.choice.n_ctx, .out = out };
    int bits = bits_of(in), fewer = bits > 4 ? 4 : 0;

    if (!(bits > 8 && add(&r, 8, 0)) && fewer) add(&r, fewer, 0);
    add(&r, 0, CHANGE_CTX);
    add(&r, 0, CHANGE_KV);
    if (r.n == 0) {
        if (!(bits > 8 && add(&r, 8, CHANGE_KV)) && fewer) add(&r, fewer, CHANGE_KV);
        if (fewer) add(&r, fewer, CHANGE_CTX);
        if (r.n == 0) add(&r, fewer, CHANGE_KV | CHANGE_CTX);
    }
    add_devices(&r, &found);
    return r.n;
}

int lr_plan_remedies(const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]) {
    lr_plan_scale scale = { 0 };
    int n = lr_plan_check(in, NULL) == LLMRUN_OK ? lr_plan_remedies_from(&scale, in, out) : 0;
    lr_plan_scale_close(&scale);
    return n;
}

/* ---- the refusal ---- */

typedef struct refusal {
    char text[sizeof((llmrun_error *)0)->message];
} refusal;

#define SAY(...) lr_plan_say(r->text, sizeof r->text, __VA_ARGS__)

static void say_size(refusal *r, const char *what, uint64_t bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void say_size(refusal *r, const char *what, uint64_t bytes, const char *format, ...) {
    char gb[32], gib[32], how[80];
    va_list ap;
    va_start(ap, format);
    vsnprintf(how, sizeof how, format, ap);
    va_end(ap);
    SAY("\n  %-12s %9s  %9s  %s", what, lr_size_gb(gb, bytes), lr_size_gib(gib, bytes), how);
}

static void say_needs(refusal *r, const char *what, uint64_t needed, uint64_t budget, const char *option) {
    char need[32], have[32];
    SAY("plan: %s needs %s (%llu bytes), available %s (%llu bytes, %s)", what, lr_size_gib(need, needed),
        (unsigned long long)needed, lr_size_gib(have, budget), (unsigned long long)budget, option);
}

static const char *quant_words(const lr_plan_choice *c) {
    return c->quant == LR_FORMAT_NONE ? "as in the file" : lr_formats[c->quant].name;
}

static void say_gpu(refusal *r, const lr_plan_input *in, const lr_plan_choice *c, const lr_plan_sizes *s) {
    const lr_plan_device *d = &in->gpus[s->short_gpu];
    char what[80];
    snprintf(what, sizeof what, "%.*s: one layer", 60, d->name);
    say_needs(r, what, s->short_needs, d->budget_bytes, "--vram");
    say_size(r, "weights", s->short_weights, "%s, one layer of %d", quant_words(c), in->model->n_layers);
    say_size(r, "KV cache", s->short_kv, "%s, %d tokens, one layer", lr_kv_name(c->kv), c->n_ctx);
    say_size(r, "activations", s->short_buffers, "chunks of %d tokens", s->n_batch);
    say_size(r, "overhead", d->overhead_bytes, "context, libraries");
}

static void say_host(refusal *r, const lr_plan_input *in, const lr_plan_choice *c, const lr_plan_sizes *s) {
    uint64_t weights = s->host.weights + s->host.mapped - s->disk;
    char sessions[32] = "";
    if (in->n_sessions > 1) snprintf(sessions, sizeof sessions, " x %d sessions", in->n_sessions);
    say_needs(r, "host memory:", s->needed, in->host.budget_bytes, "--ram");
    say_size(r, "weights", weights, "%s", quant_words(c));
    say_size(r, "KV cache", s->host.kv, "%s, %d tokens%s", lr_kv_name(c->kv), c->n_ctx, sessions);
    say_size(r, "activations", s->activations, "chunks of %d tokens", s->n_batch);
    if (s->pinned) say_size(r, "pinned", s->pinned, "between the host and GPUs");
    say_size(r, "overhead", s->needed - weights - s->host.kv - s->activations - s->pinned,
             "tokenizer, directory, threads");
}

llmrun_status lr_plan_refuse(lr_plan_scale *scale, const lr_plan_input *in, const lr_plan_found *found,
                             llmrun_error *err) {
    lr_plan_remedy remedy[LR_PLAN_MAX_REMEDIES];
    refusal text = { "" }, *r = &text;
    bool gpu = found->sizes.short_gpu >= 0;
    if (gpu) say_gpu(r, in, &found->choice, &found->sizes);
    else say_host(r, in, &found->choice, &found->sizes);
    int n = lr_plan_remedies_from(scale, in, remedy);
    if (n) SAY("\nEach of these changes would make it fit (checked by planning again):");
    else SAY("\nNo single change of the options makes it fit.");
    for (int i = 0; i < n; i++) {
        char gib[32];
        SAY("\n  %-28s needs %s", remedy[i].words, lr_size_gib(gib, remedy[i].needed_bytes));
        double speed = remedy[i].decode_tokens_per_s;
        if (speed > 0) SAY(", %.*f tokens/s", speed < 10 ? 2 : speed < 100 ? 1 : 0, speed);
    }
    return lr_fail(err, gpu ? LLMRUN_VRAM : LLMRUN_NOMEM, "%s", r->text);
}
