/* The pre-tokenizer: cuts normalized text into the pieces that merges never cross.  Stages nest: a piece of one stage
 * is the text of the next, and the pieces of the last go to the merges, so no list of pieces is ever held.            */
#include <string.h>

#include "runtime/tokenizer_parts.h"

static llmrun_status run_stage(lr_encode *e, size_t stage, const char *text, size_t n, bool first);

/* A stretch of text on its way out of a split.                                                                        */
typedef struct span {
    size_t start, end;
    bool match, empty;
} span;

typedef struct splitter {
    lr_encode *e;
    size_t stage;
    const char *text;
    bool first;
    lr_split_behavior behavior;
    span held; /* not yet given on: the next stretch may join it */
} splitter;

static llmrun_status give(splitter *s, size_t start, size_t end) {
    if (start == end) return LLMRUN_OK;
    return run_stage(s->e, s->stage + 1, s->text + start, end - start, s->first && start == 0);
}

/* Takes the next stretch and decides whether it joins the one held.                                                   */
static llmrun_status put(splitter *s, size_t start, size_t end, bool match) {
    if (start == end) return LLMRUN_OK;
    span *held = &s->held;
    bool joins = false;
    switch (s->behavior) {
    case LR_SPLIT_ISOLATED: return give(s, start, end);
    case LR_SPLIT_REMOVED: return match ? LLMRUN_OK : give(s, start, end);
    case LR_SPLIT_CONTIGUOUS: joins = match == held->match; break;
    case LR_SPLIT_WITH_PREVIOUS: joins = match && !held->match; break;
    case LR_SPLIT_WITH_NEXT: joins = !match && held->match; break;
    }
    if (joins && !held->empty) {
        held->end = end;
        held->match = match;
        return LLMRUN_OK;
    }
    span ready = *held;
    *held = (span){start, end, match, false};
    return ready.empty ? LLMRUN_OK : give(s, ready.start, ready.end);
}

static llmrun_status split(lr_encode *e, size_t stage, const lr_pattern *pattern, bool invert, splitter *s, size_t n) {
    llmrun_status status = LLMRUN_OK;
    s->e = e;
    s->stage = stage;
    s->held.empty = true;
    for (size_t from = 0; from < n && !status;) {
        size_t start, end;
        status = lr_pattern_next(pattern, e, s->text, n, from, &start, &end);
        if (!status) status = put(s, from, start, invert);
        if (!status) status = put(s, start, end, !invert);
        from = end;
    }
    if (!status && !s->held.empty) status = give(s, s->held.start, s->held.end);
    return status;
}

/* Spaces become the replacement, one is put in front where the scheme says so, and each opens a piece.                */
static llmrun_status run_metaspace(lr_encode *e, size_t stage, const char *text, size_t n, bool first) {
    const lr_stage *s = &e->t->pre_tokenizer.items[stage];
    const char *mark = s->step->content;
    size_t n_mark = strlen(mark);
    lr_text *to = &e->staged[stage];
    bool marked = text[0] == ' ' || (n >= n_mark && !memcmp(text, mark, n_mark));
    to->n = 0;
    if (!marked && (s->step->prefix == LR_PREFIX_ALWAYS || (s->step->prefix == LR_PREFIX_FIRST && first)))
        lr_text_add_bytes(to, mark, n_mark);
    for (size_t i = 0; i < n;) {
        const char *space = memchr(text + i, ' ', n - i);
        size_t run = space ? (size_t)(space - text) - i : n - i;
        lr_text_add_bytes(to, text + i, run);
        if (space) lr_text_add_bytes(to, mark, n_mark);
        i += run + (space != NULL);
    }
    if (to->failed) return lr_fail_nomem(e->err, "tokenizer", to->n);
    if (!s->pattern) return run_stage(e, stage + 1, to->text, to->n, first);
    return split(e, stage, s->pattern, false, &(splitter){.text = to->text, .first = first, .behavior = LR_SPLIT_WITH_NEXT},
                 to->n);
}

static llmrun_status run_byte_level(lr_encode *e, size_t stage, const char *text, size_t n, bool first) {
    lr_text *to = &e->staged[stage];
    if (e->t->pre_tokenizer.items[stage].step->prefix == LR_PREFIX_NEVER || text[0] == ' ')
        return run_stage(e, stage + 1, text, n, first);
    to->n = 0;
    lr_text_add_bytes(to, " ", 1);
    lr_text_add_bytes(to, text, n);
    if (to->failed) return lr_fail_nomem(e->err, "tokenizer", n);
    return run_stage(e, stage + 1, to->text, to->n, first);
}

/* Runs one stage and, through it, the ones after it: as deep as there are stages, at most LR_STEPS_MAX.               */
static llmrun_status run_stage(lr_encode *e, size_t stage, const char *text, size_t n, bool first) {
    if (stage == e->t->pre_tokenizer.n) return lr_model_run(e, text, n);
    const lr_stage *s = &e->t->pre_tokenizer.items[stage];
    if (s->step->kind == LR_STEP_METASPACE) return run_metaspace(e, stage, text, n, first);
    if (s->step->kind == LR_STEP_BYTE_LEVEL) return run_byte_level(e, stage, text, n, first);
    splitter to = {.text = text, .first = first, .behavior = s->step->behavior};
    return split(e, stage, s->pattern, s->step->invert, &to, n);
}

llmrun_status lr_split_run(lr_encode *e, const char *text, size_t n, bool first) {
    return n ? run_stage(e, 0, text, n, first) : LLMRUN_OK;
}
