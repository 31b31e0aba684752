/* Planner, refusal: what is needed, what there is, and the smallest changes of the command line that would fit.  Each
 * is proved: the changed input goes through the same choice as a real plan.                                           */
#include <stdio.h>
#include <string.h>

#include "runtime/plan_layout.h"

enum { CTX_REMEDY_LEAST = 64 }; /* a shorter context helps nobody */

static bool fits(lr_plan_scale *scale, const lr_plan_input *in, uint64_t *needed) {
    lr_plan_found found;
    lr_plan_choose(scale, in, &found);
    *needed = found.sizes.needed;
    return found.fits;
}

static int bits_of(const lr_plan_input *in) {
    if (in->quant_bits) return in->quant_bits;
    return in->quant == LR_FORMAT_NONE ? 4 : lr_formats[in->quant].bits; /* auto has tried 4-bit already */
}

/* Pins the largest context below `most` that fits.  Needs grow with the context.                                      */
static bool shorten(lr_plan_scale *scale, lr_plan_input *in, int32_t most) {
    uint64_t needed;
    int32_t lo = CTX_REMEDY_LEAST, hi = most - 1, best = 0;
    while (lo <= hi) {
        in->n_ctx = lo + (hi - lo) / 2;
        if (fits(scale, in, &needed)) {
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

enum { CHANGE_KV = 1, CHANGE_CTX = 2 };

/* Adds the remedy of fewer bits (0: as asked) with the changes of the set, if it fits.                                */
static bool add(remedies *r, int bits, unsigned changes) {
    lr_plan_remedy *x = &r->out[r->n];
    char quant[24] = "", kv[24] = "", ctx[24] = "";
    x->input = *r->in;
    if (bits) {
        x->input.quant_bits = bits;
        x->input.quant = LR_FORMAT_NONE;
        snprintf(quant, sizeof quant, " --quant %dbit", bits);
    }
    if (changes & CHANGE_KV) {
        lr_format now = r->in->kv == LR_FORMAT_NONE ? LR_F16 : r->in->kv;
        x->input.kv = r->in->model->head_dim % lr_formats[LR_Q8_0].block ? LR_F16 : LR_Q8_0;
        if (lr_formats[x->input.kv].bits >= lr_formats[now].bits) return false;
        snprintf(kv, sizeof kv, " --kv %s", lr_formats[x->input.kv].name);
    }
    if (changes & CHANGE_CTX) {
        if (!shorten(r->scale, &x->input, r->n_ctx)) return false;
        snprintf(ctx, sizeof ctx, " -c %d", x->input.n_ctx);
    }
    if (!fits(r->scale, &x->input, &x->needed_bytes)) return false;
    snprintf(x->words, sizeof x->words, "%s%s%s", quant, kv, ctx);
    memmove(x->words, x->words + 1, strlen(x->words));
    r->n++;
    return true;
}

/* Single changes first; two and three at once only where none of them is enough.                                      */
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
    if (in->n_gpus) {
        lr_plan_remedy *cpu = &out[r.n];
        cpu->input = *in;
        cpu->input.n_gpus = 0;
        snprintf(cpu->words, sizeof cpu->words, "--device cpu");
        if (fits(scale, &cpu->input, &cpu->needed_bytes)) r.n++;
    }
    if (found.sizes.short_gpu >= 0) return r.n;
    lr_plan_remedy *ram = &out[r.n];
    ram->input = *in;
    ram->input.host.budget_bytes = found.sizes.needed;
    if (fits(scale, &ram->input, &ram->needed_bytes)) {
        snprintf(ram->words, sizeof ram->words, "--ram %llu", (unsigned long long)found.sizes.needed);
        r.n++;
    }
    return r.n;
}

int lr_plan_remedies(const lr_plan_input *in, lr_plan_remedy out[LR_PLAN_MAX_REMEDIES]) {
    lr_plan_scale scale = { 0 };
    int n = lr_plan_check(in, NULL) == LLMRUN_OK ? lr_plan_remedies_from(&scale, in, out) : 0;
    lr_plan_scale_close(&scale);
    return n;
}

/* ---- the refusal ---- */

#define SAY(...) lr_plan_say(text, sizeof text, __VA_ARGS__)
#define SAY_SIZE(what, bytes)                                                                                          \
    do {                                                                                                               \
        SAY("\n  %-12s %9s", what, lr_size_gb(gib, bytes));                                                            \
        SAY("  %9s  ", lr_size_gib(gib, bytes));                                                                       \
    } while (0)

llmrun_status lr_plan_refuse(lr_plan_scale *scale, const lr_plan_input *in, const lr_plan_found *found,
                             llmrun_error *err) {
    const lr_plan_choice *c = &found->choice;
    const lr_plan_sizes *s = &found->sizes;
    const lr_plan_weights *w = lr_plan_weighed(scale, in, c->quant);
    char gib[32], text[sizeof err->message] = "";
    lr_plan_remedy remedy[LR_PLAN_MAX_REMEDIES];
    uint64_t weights = w->block + w->mapped;
    if (s->short_gpu >= 0) {
        const lr_plan_device *d = &in->gpus[s->short_gpu];
        SAY("plan: %s: one layer needs %s", d->name, lr_size_gib(gib, s->short_needs));
        SAY(" (%llu bytes), available %s", (unsigned long long)s->short_needs, lr_size_gib(gib, d->budget_bytes));
        SAY(" (%llu bytes, --vram)", (unsigned long long)d->budget_bytes);
        goto remedies;
    }
    SAY("plan: host memory: needs %s", lr_size_gib(gib, s->needed));
    SAY(" (%llu bytes), available %s", (unsigned long long)s->needed, lr_size_gib(gib, in->host.budget_bytes));
    SAY(" (%llu bytes, --ram)", (unsigned long long)in->host.budget_bytes);
    SAY_SIZE("weights", weights);
    SAY("%s", c->quant == LR_FORMAT_NONE ? "as in the file" : lr_formats[c->quant].name);
    SAY_SIZE("KV cache", s->host.kv);
    SAY("%s, %d tokens", lr_formats[c->kv].name, c->n_ctx);
    if (in->n_sessions > 1) SAY(" x %d sessions", in->n_sessions);
    SAY_SIZE("activations", s->activations);
    SAY("chunks of %d tokens", s->n_batch);
    SAY_SIZE("overhead", s->needed - weights - s->host.kv - s->activations);
    SAY("tokenizer, directory, threads");
remedies:
    SAY("\nEach of these changes would make it fit (checked by planning again):");
    int n = lr_plan_remedies_from(scale, in, remedy);
    for (int i = 0; i < n; i++)
        SAY("\n  %-28s needs %s", remedy[i].words, lr_size_gib(gib, remedy[i].needed_bytes));
    return lr_fail(err, s->short_gpu >= 0 ? LLMRUN_VRAM : LLMRUN_NOMEM, "%s", text);
}
