/* Text generation: sample, decode, stream.  Text leaves as whole UTF-8 characters and never contains a stop string.   */
#include <string.h>

#include "runtime/session.h"

void llmrun_generate_options_default(llmrun_generate_options *g) {
    if (!g) return;
    *g = (llmrun_generate_options){ .struct_size = sizeof *g, .max_tokens = -1 };
    llmrun_sampling_default(&g->sampling);
}

/* ---- the stream: bytes that came but were not yet handed out ---- */

typedef struct stream {
    const llmrun_generate_options *g;
    lr_text pending;
    bool refused; /* the text callback said stop */
} stream;

static void emit(stream *s, const char *bytes, size_t n) {
    if (n && s->g->text && !s->refused && !s->g->text(s->g->user, bytes, n)) s->refused = true;
}

/* Hands out the first n pending bytes, all but an incomplete character at the end (then U+FFFD if last).  Runs of
 * valid text go out in one piece.                                                                                     */
static void hand_out(stream *s, size_t n, bool last) {
    const char *t = s->pending.text;
    size_t at = 0, from = 0;
    while (at < n) {
        int k = lr_utf8_character(t + at, n - at);
        if (k == 0 && !last) break;
        if (k > 0) {
            at += (size_t)k;
            continue;
        }
        emit(s, t + from, at - from);
        emit(s, "\xef\xbf\xbd", 3);
        at += k == 0 ? n - at : 1;
        from = at;
    }
    emit(s, t + from, at - from);
    if (!s->pending.n) return;
    memmove(s->pending.text, t + at, s->pending.n - at + 1);
    s->pending.n -= at;
}

/* Position of the first stop string in the pending text, or -1; *hold gets how many bytes at the end could still become
 * one.                                                                                                                */
static int64_t find_stop(const stream *s, size_t *hold) {
    int64_t best = -1;
    *hold = 0;
    for (int32_t i = 0; i < s->g->n_stop; i++) {
        const char *stop = s->g->stop[i];
        size_t k = strlen(stop);
        if (k == 0) continue;
        const char *hit = s->pending.n ? memmem(s->pending.text, s->pending.n, stop, k) : NULL;
        if (hit && (best < 0 || hit - s->pending.text < best)) best = hit - s->pending.text;
        for (size_t part = (size_t)lr_min((int64_t)k - 1, (int64_t)s->pending.n); part > *hold; part--)
            if (memcmp(s->pending.text + s->pending.n - part, stop, part) == 0) *hold = part;
    }
    return best;
}

/* Adds the text of one token; true when a stop string is complete.                                                    */
static bool stream_add(stream *s, const char *text, size_t n) {
    lr_text_add_bytes(&s->pending, text, n);
    if (s->pending.failed) return false;
    size_t hold;
    int64_t stop = find_stop(s, &hold);
    if (stop >= 0) {
        hand_out(s, (size_t)stop, true);
        s->pending.n = 0;
        return true;
    }
    hand_out(s, s->pending.n - hold, false);
    return false;
}

/* ---- the loop ---- */

static bool is_end(const llmrun_engine *e, int32_t id) {
    for (int32_t i = 0; i < e->binding.hparams.n_eos; i++)
        if (e->binding.hparams.eos[i] == id) return true;
    return e->tokenizer && llmrun_token_is_end(e->tokenizer, id);
}

/* True while nothing but control tokens came: the next token opens the text.                                          */
static bool opens_text(const llmrun_engine *e, const int32_t *tokens, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        size_t bytes;
        llmrun_token_text(e->tokenizer, tokens[i], false, false, &bytes);
        if (bytes) return false;
    }
    return true;
}

static int32_t choose(const llmrun_session *s, const llmrun_generate_options *g, float *logits, uint64_t *rng) {
    int32_t n_vocab = s->engine->binding.hparams.n_vocab;
    if (g->choose) return g->choose(g->user, logits, n_vocab);
    int32_t n = (int32_t)lr_min(s->position, g->sampling.repeat_last > 0 ? g->sampling.repeat_last : 0);
    return llmrun_sample(logits, n_vocab, &g->sampling, rng, s->tokens + s->position - n, n, NULL);
}

/* Decodes until something ends the text.  The logits of the next token are in `logits`.                               */
static llmrun_status decode(llmrun_session *s, const llmrun_generate_options *g, stream *out, float *logits,
                            llmrun_generate_result *r, llmrun_error *err) {
    const llmrun_engine *e = s->engine;
    uint64_t rng = g->sampling.seed;
    size_t vocab_bytes = (size_t)e->binding.hparams.n_vocab * sizeof *logits;
    bool opening = e->tokenizer && opens_text(e, s->tokens, s->position);
    for (;;) {
        if (g->max_tokens >= 0 && r->n_generated >= g->max_tokens) {
            r->finish = LLMRUN_FINISH_LENGTH;
            return LLMRUN_OK;
        }
        r->logits_hash = lr_hash(LR_HASH_START, logits, lr_min(vocab_bytes, 4096));
        int32_t id = choose(s, g, logits, &rng);
        if (id < 0 || id >= e->binding.hparams.n_vocab) {
            r->finish = LLMRUN_FINISH_CANCELLED;
            return LLMRUN_OK;
        }
        bool end = is_end(e, id);
        if (end && !g->ignore_end) {
            r->finish = LLMRUN_FINISH_END;
            return LLMRUN_OK;
        }
        r->n_generated++;
        if (e->tokenizer) {
            size_t bytes;
            const char *text = llmrun_token_text(e->tokenizer, id, g->special, opening, &bytes);
            opening = opening && bytes == 0;
            bool stopped = stream_add(out, text, bytes);
            if (out->pending.failed) return lr_fail_nomem(err, "generated text", out->pending.n);
            if (stopped || out->refused) {
                r->finish = stopped ? LLMRUN_FINISH_STOP : LLMRUN_FINISH_CANCELLED;
                return LLMRUN_OK;
            }
        }
        if (llmrun_session_room(s) == 0) {
            r->finish = LLMRUN_FINISH_CONTEXT;
            return LLMRUN_OK;
        }
        llmrun_status status = llmrun_session_eval(s, &id, 1, logits, err);
        if (status == LLMRUN_CANCELLED) {
            r->finish = LLMRUN_FINISH_CANCELLED;
            return LLMRUN_OK;
        }
        if (status) return status;
    }
}

llmrun_status llmrun_generate(llmrun_session *s, const int32_t *prompt, int32_t n, const llmrun_generate_options *g,
                              llmrun_generate_result *result, llmrun_error *err) {
    if (!s || !prompt || n < 1 || !g)
        return lr_fail(err, LLMRUN_ARG, "generate: expected a session, a prompt and options");
    if (g->struct_size < sizeof *g || g->n_stop < 0 || (g->n_stop > 0 && !g->stop))
        return lr_fail(err, LLMRUN_ARG, "generate: options were not filled by llmrun_generate_options_default");
    if (result && result->struct_size < sizeof *result)
        return lr_fail(err, LLMRUN_ARG, "generate: result->struct_size is not set");
    llmrun_engine *e = s->engine;
    llmrun_generate_result r = { .struct_size = sizeof r, .n_prompt = n, .finish = LLMRUN_FINISH_ERROR };
    stream out = { .g = g };
    float *logits = (float *)(e->arena + e->plan.buffers.logits) + (size_t)s->slot * (size_t)e->binding.hparams.n_vocab;
    double start = lr_seconds();
    llmrun_status status = llmrun_session_sync(s, prompt, n, logits, &r.n_reused, err);
    double prefilled = lr_seconds();
    r.prefill_seconds = prefilled - start;
    if (status == LLMRUN_CANCELLED) {
        r.finish = LLMRUN_FINISH_CANCELLED;
        status = LLMRUN_OK;
    } else if (!status) {
        status = decode(s, g, &out, logits, &r, err);
        if (!status) hand_out(&out, out.pending.n, true);
        r.decode_seconds = lr_seconds() - prefilled;
    }
    lr_free(out.pending.text);
    if (result) *result = r;
    return status;
}
