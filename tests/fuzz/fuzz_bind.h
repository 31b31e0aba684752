/* Reading a whole model: what lr_bind accepts is decoded, first and last values of every tensor, and every flag of its
 * numbers looked at.                                                                                                  */
#ifndef TESTS_FUZZ_BIND_H
#define TESTS_FUZZ_BIND_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/bind.h"

static volatile float sunk;

/* Values of a source: all of them where there are few, else those at both ends, in whole blocks.                       */
static void read_source(const lr_source *s) {
    enum { MOST = 1024 };
    float x[MOST];
    int64_t n = s->rows * s->cols, some = n < MOST ? n : MOST;
    if (lr_source_is_packed(s)) {
        int64_t cols = s->cols < MOST ? s->cols : MOST, rows = s->rows < MOST / cols ? s->rows : MOST / cols;
        lr_source_packed_floats(s, x, cols, 0, rows, 0, cols);
        lr_source_packed_floats(s, x, cols, s->rows - rows, rows, s->cols - cols, cols);
        sunk = x[0];
        return;
    }
    const int64_t block = lr_dtypes[s->tensor->dtype].block;
    some = some / block * block;
    for (int64_t at = 0; some > 0; at = n - some) {
        if (!lr_source_floats(s, x, at, some)) abort(); /* bind.c has checked its type */
        sunk = x[some - 1];
        if (at == n - some) break;
    }
}

/* False: refused, with a sentence.                                                                                     */
static bool bind_and_read(const lr_checkpoint *c) {
    lr_binding b;
    llmrun_error err = { 0 };
    double *freq;
    llmrun_status status = lr_bind(&b, c, &err);
    if (status != LLMRUN_OK && status != LLMRUN_FORMAT && status != LLMRUN_UNSUPPORTED) abort();
    if (status) {
        if (strlen(err.message) < 10) abort();
        return false;
    }
    if (lr_hparams_check(&b.hparams)) abort();
    for (size_t i = 0; i < b.n; i++) {
        const lr_plan_tensor *t = &b.tensors[i];
        if (t->rows < 1 || t->cols < 1 || t->role < 0 || t->role >= LR_N_ROLES) abort();
        if (b.sources[i].tensor) read_source(&b.sources[i]);
    }
    for (int32_t i = 0; i < b.hparams.n_ropes && b.hparams.n_rot > 0; i++) {
        freq = malloc((size_t)b.hparams.n_rot / 2 * sizeof *freq);
        if (!freq) break;
        lr_rope_frequencies(&b.hparams, i, b.hparams.n_ctx_train, freq);
        lr_binding_scale_rope(&b, freq);
        for (int32_t k = 0; k < b.hparams.n_rot / 2; k++)
            if (!isfinite(freq[k])) abort();
        free(freq);
    }
    lr_binding_close(&b);
    return true;
}

#endif
