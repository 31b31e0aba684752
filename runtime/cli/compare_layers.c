/* The error of each layer by itself.  The reference's stream after the embedding and after each layer is kept for a few
 * tokens.  A mode then runs the same tokens, but every layer is given what the reference had before it: how far what it
 * adds to the stream is from what the reference's layer adds, relative to that, is the layer's error.                  */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/compare.h"

enum { MOST_TOKENS = 64, LEAST_TOKENS = 4 };
#define MOST_BYTES ((size_t)32 << 20)

typedef struct watcher {
    layer_streams *streams;
    float *errors; /* NULL: the reference's streams are kept */
} watcher;

static void watch(void *user, int32_t layer, float *x, int32_t n, int32_t dim) {
    const watcher *w = user;
    const layer_streams *s = w->streams;
    size_t size = (size_t)s->n * (size_t)s->dim;
    if (n != s->n || dim != s->dim || layer >= s->n_layers) return;
    float *after = s->x + (size_t)(layer + 1) * size;
    if (w->errors && layer >= 0) {
        const float *before = after - size;
        double error = 0, added = 0;
        for (size_t i = 0; i < size; i++) {
            double e = (double)x[i] - (double)after[i], a = (double)after[i] - (double)before[i];
            error += e * e;
            added += a * a;
        }
        w->errors[layer] = (float)(added > 0 ? sqrt(error / added) : error > 0);
    }
    memcpy(w->errors ? x : after, w->errors ? after : x, size * sizeof *x);
}

/* Memory for the reference's streams of as many tokens as fit; without it nothing is measured.                        */
static void take_memory(compare_state *s, const llmrun_model_info *info) {
    layer_streams *l = &s->streams;
    size_t row = (size_t)(info->n_layers + 1) * (size_t)info->dim * sizeof *l->x, n = MOST_BYTES / row;
    if (n > MOST_TOKENS) n = MOST_TOKENS;
    if (n > (size_t)info->n_batch) n = (size_t)info->n_batch;
    if (n > (size_t)s->report.window) n = (size_t)s->report.window;
    if (n > s->n_ids) n = s->n_ids;
    if (info->n_layers > MOST_COMPARE_LAYERS || n < LEAST_TOKENS) return;
    free(l->x);
    *l = (layer_streams){ .n_layers = info->n_layers, .n = (int32_t)n, .dim = info->dim, .x = malloc(n * row) };
    if (!l->x) *l = (layer_streams){ 0 };
    s->report.n_layers = l->n_layers;
    s->report.layer_tokens = l->n;
}

llmrun_status compare_layers(compare_state *s, llmrun_session *session, const llmrun_model_info *info, bool reference,
                             float *logits, float *errors, llmrun_error *err) {
    watcher w = { .streams = &s->streams, .errors = reference ? NULL : errors };
    if (reference) take_memory(s, info);
    if (!s->streams.x || info->n_batch < s->streams.n) return LLMRUN_OK;
    llmrun_status status = llmrun_session_rewind(session, 0, err);
    if (!status) status = llmrun_session_watch(session, watch, &w, err);
    if (!status) status = llmrun_session_eval(session, s->ids, s->streams.n, logits, err);
    llmrun_session_watch(session, NULL, NULL, NULL);
    return status;
}
