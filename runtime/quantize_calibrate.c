/* Importance of columns: a text runs through the model, and every product's activations are looked at on their way.  The
 * error of a product is the sum of (error of a weight)^2 (its activation)^2, as far as errors are independent, so the mean
 * square of a column's activations is the weight that its errors deserve.                                             */
#include <string.h>

#include "runtime/quantize.h"

enum { WINDOW = 512, MOST_LOGITS = 8 << 20 }; /* tokens that see each other; floats of logits at a time */

/* The CPU as a device that looks on.                                                                                  */
typedef struct observer {
    lr_cpu_device cpu; /* first: serves the ops as their device */
    const llmrun_engine *e;
    double **sums;     /* (n) of each tensor: (cols), or NULL where columns do not count */
    float *row;        /* (widest input) */
    size_t n;
} observer;

static void read_row(float *x, const lr_act *a, int64_t t) {
    const uint16_t *half = (const uint16_t *)a->values + t * a->cols;
    const int8_t *q = (const int8_t *)a->values + t * a->cols;
    for (int64_t i = 0; i < a->cols; i++) switch (a->format) {
        case LR_ACT_BF16: x[i] = lr_bf16_to_f32(half[i]); break;
        case LR_ACT_F16: x[i] = a->d[t] * lr_f16_to_f32(half[i]); break;
        case LR_ACT_Q8: x[i] = a->d[(t * a->cols + i) / 32] * (float)q[i]; break;
        default: x[i] = ((const float *)a->values)[t * a->cols + i];
        }
}

static void look(observer *o, const lr_matmul_args *m) {
    double *sum = NULL;
    for (size_t i = 0; i < o->n && !sum; i++)
        if (o->sums[i] && lr_engine_tensor(o->e, i).quants == m->w.quants) sum = o->sums[i];
    for (int64_t t = 0; t < m->x.n && sum; t++) {
        read_row(o->row, &m->x, t);
        for (int64_t c = 0; c < m->x.cols; c++) sum[m->w.perm ? m->w.perm[c] : c] += (double)o->row[c] * (double)o->row[c];
    }
}

static llmrun_status matmul(lr_device *d, const lr_matmul_args *m, int count, llmrun_error *err) {
    for (int i = 0; i < count; i++) look((observer *)d, &m[i]);
    return lr_cpu_device_ops.matmul(d, m, count, err);
}

static llmrun_status matmul_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out, llmrun_error *err) {
    for (int i = 0; i < 2; i++) look((observer *)d, &m[i]);
    return lr_cpu_device_ops.matmul_glu(d, m, act, out, err);
}

static llmrun_status take_sums(observer *o) {
    const lr_binding *b = &o->e->binding;
    int64_t widest = 1;
    o->n = b->n;
    o->sums = lr_zalloc(b->n, sizeof *o->sums);
    if (!o->sums) return LLMRUN_NOMEM;
    for (size_t i = 0; i < b->n; i++) {
        if (b->tensors[i].cols < 2) continue;
        widest = lr_max(widest, b->tensors[i].cols);
        o->sums[i] = lr_zalloc((size_t)b->tensors[i].cols, sizeof **o->sums);
        if (!o->sums[i]) return LLMRUN_NOMEM;
    }
    o->row = lr_alloc((size_t)widest * sizeof *o->row);
    return o->row ? LLMRUN_OK : LLMRUN_NOMEM;
}

static llmrun_status tokenize(const llmrun_engine *e, const char *text, int32_t **ids, size_t *n, llmrun_error *err) {
    size_t bytes = strlen(text);
    *ids = NULL;
    if (!e->tokenizer)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: has no tokenizer, so a text cannot show what matters", e->checkpoint.dir);
    LR_TRY(llmrun_tokenize(e->tokenizer, text, bytes, 0, NULL, 0, n, err));
    if (!*n) return lr_fail(err, LLMRUN_ARG, "calibrate: the text is empty");
    *ids = lr_alloc(*n * sizeof **ids);
    if (!*ids) return lr_fail_nomem(err, "calibrate", *n * sizeof **ids);
    return llmrun_tokenize(e->tokenizer, text, bytes, 0, *ids, *n, n, err);
}

/* Window by window; each opens with the begin token where there is one.                                               */
static llmrun_status run_text(llmrun_engine *e, const int32_t *ids, size_t n, llmrun_error *err) {
    llmrun_session *s = NULL;
    llmrun_status status = llmrun_session_open(&s, e, err);
    int32_t bos = e->binding.hparams.bos, n_vocab = e->binding.hparams.n_vocab, room = e->plan.n_ctx;
    int32_t step = (int32_t)lr_max(lr_min(MOST_LOGITS / n_vocab, e->plan.n_batch), 1);
    float *logits = lr_alloc((size_t)step * (size_t)n_vocab * sizeof *logits); /* so that the head is looked at, too */
    if (!status && !logits) status = lr_fail_nomem(err, "calibrate", (size_t)step * (size_t)n_vocab * sizeof *logits);
    for (size_t at = 0; at < n && !status;) {
        status = llmrun_session_rewind(s, 0, err);
        if (!status && bos >= 0 && room > 1) status = llmrun_session_eval(s, &bos, 1, NULL, err);
        while (!status && at < n && llmrun_session_room(s) > 0) {
            int32_t k = (int32_t)lr_min(lr_min(step, llmrun_session_room(s)), (int64_t)(n - at));
            if (!lr_progress(&e->report, "calibrate", (double)at / (double)n))
                status = lr_fail(err, LLMRUN_CANCELLED, "calibrate: cancelled");
            else
                status = llmrun_session_eval_all(s, ids + at, k, logits, err);
            at += (size_t)k;
        }
    }
    if (!status) lr_progress(&e->report, "calibrate", 1);
    lr_free(logits);
    llmrun_session_close(s);
    return status;
}

/* Means of 1; a column that the text left at 0 still counts a little.                                                 */
static llmrun_status take_means(lr_importance *m, const observer *o) {
    const lr_binding *b = &o->e->binding;
    for (size_t i = 0; i < o->n; i++) {
        double total = 0;
        int64_t cols = b->tensors[i].cols;
        for (int64_t c = 0; c < cols && o->sums[i]; c++) total += o->sums[i][c];
        if (!(total > 0) || !(total < 1e300)) continue;
        m->columns[i] = lr_alloc((size_t)cols * sizeof **m->columns);
        if (!m->columns[i]) return LLMRUN_NOMEM;
        for (int64_t c = 0; c < cols; c++) m->columns[i][c] = (float)(0.999 * o->sums[i][c] * (double)cols / total + 0.001);
    }
    return LLMRUN_OK;
}

llmrun_status lr_importance_measure(lr_importance *m, const llmrun_engine *like, const llmrun_options *o, llmrun_error *err) {
    llmrun_options open = *o;
    llmrun_engine *e = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    observer ob = { 0 };
    open.quant = "auto";
    open.prefer = "quality";
    open.device = "cpu";
    open.kv = "f16";
    open.n_ctx = WINDOW;
    open.disk = true;
    *m = (lr_importance){ .columns = lr_zalloc(like->binding.n, sizeof *m->columns), .n = like->binding.n };
    if (!m->columns) return lr_fail_nomem(err, "calibrate", m->n * sizeof *m->columns);
    llmrun_status status = tokenize(like, o->calibrate, &ids, &n, err);
    if (!status) status = llmrun_engine_open(&e, &open, err);
    if (!status && e->binding.n != m->n) status = lr_fail(err, LLMRUN_IO, "%s: changed while it was read", o->model);
    if (!status) {
        lr_device_ops ops = lr_cpu_device_ops;
        ops.matmul = matmul;
        ops.matmul_glu = matmul_glu;
        ob.cpu = e->cpu;
        ob.e = e;
        e->host.ops = &ops;
        e->host.device = (lr_device *)&ob;
        status = take_sums(&ob);
        if (!status) status = run_text(e, ids, n, err);
        if (!status) status = take_means(m, &ob);
        if (status == LLMRUN_NOMEM) lr_fail_nomem(err, "calibrate", ob.n * sizeof *ob.sums);
        e->host.ops = &lr_cpu_device_ops;
        e->host.device = (lr_device *)&e->cpu;
    }
    for (size_t i = 0; i < ob.n && ob.sums; i++) lr_free(ob.sums[i]);
    lr_free(ob.sums);
    lr_free(ob.row);
    lr_free(ids);
    llmrun_engine_close(e);
    return status;
}

void lr_importance_close(lr_importance *m) {
    for (size_t i = 0; i < m->n && m->columns; i++) lr_free(m->columns[i]);
    lr_free(m->columns);
    *m = (lr_importance){ 0 };
}
