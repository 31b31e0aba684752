/* llmrun_quantize: reads a model piece by piece, converts each piece on all threads and puts it where the layout of the
 * new file says.  Memory is bounded by the piece; the source's pages are let go once they are converted.             */
#include "runtime/quantize.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/path.h"
#include "runtime/upload.h"

#define PIECE_BYTES (8 << 20)
enum { NF4_BLOCK = 64, NF4_BYTES = 32 };

typedef struct target {
    const char *names; /* with blanks between them */
    lr_format format;
    bool gguf, directory;
} target;

static const target targets[] = {
    {"f16", LR_F16, true, true},           {"bf16", LR_BF16, true, true},
    {"f32", LR_F32, true, true},           {"q8_0 8bit", LR_BLOCK_Q8_0, true, false},
    {"q4_k 4bit", LR_BLOCK_Q4_K, true, false}, {"q4_0", LR_BLOCK_Q4_0, true, false},
    {"iq4_nl", LR_BLOCK_IQ4_NL, true, false},  {"nf4 4bit", LR_NF4, false, true},
};

static bool has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *at = words; n && (at = strstr(at, word)); at++)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return true;
    return false;
}

static llmrun_status find_format(lr_format *format, const char *quant, bool gguf, const char *out, llmrun_error *err) {
    bool known = false;
    char shown[40];
    for (size_t i = 0; i < LR_COUNT(targets); i++) {
        if (!has_word(targets[i].names, quant)) continue;
        known = true;
        *format = targets[i].format;
        if (gguf ? targets[i].gguf : targets[i].directory) return LLMRUN_OK;
    }
    if (known && gguf)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: GGUF has no %s; leave .gguf out for a directory of safetensors", out, quant);
    if (known)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s is written as GGUF only; give a name that ends in .gguf", out, quant);
    return lr_fail(err, LLMRUN_ARG, "--quant \"%s\": expected f16, bf16, f32, q8_0, q4_k, q4_0, iq4_nl (GGUF), nf4 (directory), "
                   "8bit or 4bit", lr_printable(shown, sizeof shown, quant, strlen(quant)));
}

/* ---- the list of tensors ---- */

static llmrun_status add(lr_quantize *q, const char *name, lr_dtype dtype, int32_t n_dims, const uint64_t *shape,
                         uint64_t bytes) {
    if (!lr_grow(&q->tensors, &q->cap_tensors, q->n_tensors + 1, sizeof *q->tensors))
        return lr_fail_nomem(q->err, "tensor table", (q->n_tensors + 1) * sizeof *q->tensors);
    lr_out_tensor *t = &q->tensors[q->n_tensors];
    *t = (lr_out_tensor){.name = lr_strdup(name), .dtype = dtype, .n_dims = n_dims, .bytes = bytes};
    memcpy(t->shape, shape, (size_t)n_dims * sizeof *shape);
    if (!t->name) return lr_fail_nomem(q->err, "tensor table", strlen(name));
    q->n_tensors++;
    return LLMRUN_OK;
}

llmrun_status lr_quantize_append(lr_quantize *q, const lr_quantize_item *item) {
    if (!lr_grow(&q->items, &q->cap_items, q->n_items + 1, sizeof *q->items))
        return lr_fail_nomem(q->err, "tensor table", (q->n_items + 1) * sizeof *q->items);
    q->items[q->n_items++] = *item;
    return LLMRUN_OK;
}

static llmrun_status add_item(lr_quantize *q, lr_quantize_item item) {
    item.out = q->n_tensors;
    return lr_quantize_append(q, &item);
}

static lr_dtype dtype_of(lr_format format) {
    for (int d = 0; d < LR_N_DTYPES; d++)
        if (lr_format_of_dtype((lr_dtype)d) == format) return (lr_dtype)d;
    return LR_DT_UNKNOWN;
}

/* Codes, and their scales under the name that bitsandbytes gives them.                                                */
static llmrun_status add_nf4(lr_quantize *q, const char *name, uint64_t n) {
    char scales[256];
    uint64_t codes = n / 2 + n % 2, blocks = n / NF4_BLOCK + (n % NF4_BLOCK != 0);
    snprintf(scales, sizeof scales, "%s.absmax", name);
    llmrun_status status = add(q, name, LR_DT_U8, 2, (uint64_t[]){codes, 1}, codes);
    return status ? status : add(q, scales, LR_DT_F32, 1, &blocks, blocks * sizeof(float));
}

llmrun_status lr_quantize_add_item(lr_quantize *q, const char *name, const lr_quantize_item *item, int32_t n_dims,
                                   const uint64_t *shape) {
    lr_dtype dtype = dtype_of(item->format);
    uint64_t n = 1; /* bind.c has checked the product */
    for (int32_t d = 0; d < n_dims; d++) n *= shape[d];
    llmrun_status status = add_item(q, *item);
    if (!status && item->format == LR_NF4) return add_nf4(q, name, n);
    return status ? status : add(q, name, dtype, n_dims, shape, lr_dtype_bytes(dtype, n));
}

llmrun_status lr_quantize_add_ready(lr_quantize *q, const char *name, lr_dtype dtype, uint64_t n, const void *bytes) {
    llmrun_status status = add_item(q, (lr_quantize_item){.ready = q->ready.n});
    uint64_t size = lr_dtype_bytes(dtype, n);
    lr_text_add_bytes(&q->ready, bytes, size);
    if (!status && q->ready.failed) status = lr_fail_nomem(q->err, name, size);
    return status ? status : add(q, name, dtype, 1, &n, size);
}

/* ---- conversion ---- */

typedef struct converter {
    lr_quantize *q;
    lr_output *out;
    const lr_report *report;
    lr_threads *threads;
    uint8_t *scratch, *planes, *moved; /* of the threads; a piece; the same in the order of the file */
    uint64_t n_values, n_done;
    llmrun_error *err;
} converter;

/* nf4 is made of runs of a block, whatever the rows are.  Packed matrices come by their own rows, which blocks divide.  */
static void view(const lr_quantize_item *item, int64_t *rows, int64_t *cols) {
    bool nf4 = item->format == LR_NF4 && !lr_source_is_packed(&item->src);
    *rows = nf4 ? item->rows * item->cols / NF4_BLOCK : item->rows;
    *cols = nf4 ? NF4_BLOCK : item->cols;
}

static uint64_t row_bytes(lr_format format, int64_t cols) {
    return (uint64_t)(cols / lr_formats[format].block) * (uint64_t)lr_formats[format].quant_bytes;
}

/* Rows that are converted at a time.                                                                                  */
static int64_t piece_rows(const lr_quantize_item *item) {
    int64_t rows, cols, unit = item->head_rows ? item->head_rows : 1;
    view(item, &rows, &cols);
    int64_t n = (int64_t)(PIECE_BYTES / row_bytes(item->format, cols)) / unit * unit;
    return lr_min(lr_max(n, unit), rows);
}

static void reorder_heads(uint8_t *to, const uint8_t *from, int64_t rows, int32_t head, size_t bytes) {
    for (int64_t first = 0; first < rows; first += head)
        for (int32_t i = 0; i < head; i++) {
            int64_t source = first + i % 2 * (head / 2) + i / 2;
            memcpy(to + (size_t)(first + i) * bytes, from + (size_t)source * bytes, bytes);
        }
}

/* Our order of nibbles to that of bitsandbytes: neighbours share a byte, the first one high.                          */
static void reorder_nibbles(uint8_t *to, const uint8_t *from, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++, to += NF4_BYTES, from += NF4_BYTES)
        for (int t = 0; t < NF4_BYTES; t++) {
            int e = 2 * t % NF4_BYTES, shift = t < NF4_BYTES / 2 ? 0 : 4;
            to[t] = (uint8_t)((from[e] >> shift & 15) << 4 | (from[e + 1] >> shift & 15));
        }
}

/* Values behind the last whole block of nf4.                                                                          */
static llmrun_status convert_rest(converter *c, const lr_quantize_item *item) {
    const lr_tensor *src = item->src.tensor;
    uint64_t n = (uint64_t)(item->rows * item->cols), whole = n / NF4_BLOCK;
    float x[NF4_BLOCK] = {0}, scale;
    uint8_t codes[NF4_BYTES], moved[NF4_BYTES];
    if (n % NF4_BLOCK == 0) return LLMRUN_OK;
    llmrun_status status = lr_upload_vector(x, src->name, src->data + lr_dtype_bytes(src->dtype, whole * NF4_BLOCK), src->dtype,
                                            (int64_t)(n % NF4_BLOCK), c->err);
    if (status) return status;
    lr_formats[LR_NF4].encode(codes, &scale, x, NF4_BLOCK);
    reorder_nibbles(moved, codes, 1);
    const lr_out_tensor *t = &c->q->tensors[item->out];
    status = lr_output_write(c->out, moved, (n % NF4_BLOCK + 1) / 2, t->offset + whole * NF4_BYTES, c->err);
    return status ? status : lr_output_write(c->out, &scale, sizeof scale, t[1].offset + whole * sizeof scale, c->err);
}

static llmrun_status write_piece(converter *c, const lr_quantize_item *item, const lr_matrix *m, int64_t first) {
    const lr_out_tensor *t = &c->q->tensors[item->out];
    uint64_t row = row_bytes(item->format, m->cols), bytes = (uint64_t)m->rows * row;
    uint64_t at = (uint64_t)first;
    const uint8_t *from = m->quants;
    if (item->head_rows) reorder_heads(c->moved, from, m->rows, item->head_rows, row);
    if (item->format == LR_NF4) reorder_nibbles(c->moved, from, m->rows * m->cols / NF4_BLOCK);
    bool moved = item->head_rows || item->format == LR_NF4;
    llmrun_status status = lr_output_write(c->out, moved ? c->moved : from, bytes, t->offset + item->offset + at * row, c->err);
    if (status || item->format != LR_NF4) return status;
    return lr_output_write(c->out, m->scales, (uint64_t)m->rows * m->scales_stride, t[1].offset + at * m->scales_stride, c->err);
}

static llmrun_status convert(converter *c, const lr_quantize_item *item) {
    const lr_source *src = &item->src;
    const lr_tensor *t = src->tensor;
    const uint8_t *bytes = lr_source_bytes(src);
    bool weighted = item->weights && item->cols % lr_formats[item->format].block == 0;
    lr_report quiet = {.log = c->report->log, .user = c->report->user};
    int64_t rows, cols, step = piece_rows(item);
    view(item, &rows, &cols);
    llmrun_status status = LLMRUN_OK;
    for (int64_t first = 0; first < rows && !status; first += step) {
        lr_upload_job job = {.name = t->name, .source = bytes ? NULL : src,
                             .src = bytes ? bytes + lr_dtype_bytes(t->dtype, (uint64_t)(first * cols)) : NULL,
                             .dtype = t->dtype, .rows = lr_min(step, rows - first), .cols = cols, .first_row = first,
                             .format = item->format, .from_file = !c->q->e->checkpoint.files[t->file].heap, .dst = c->planes,
                             .weights = weighted ? item->weights : NULL, .n_weights = item->cols};
        if (!lr_progress(c->report, "quantize", (double)c->n_done / (double)c->n_values))
            return lr_fail(c->err, LLMRUN_CANCELLED, "quantize: cancelled");
        status = lr_upload(&job, 1, c->threads, &quiet, c->err);
        lr_matrix m = lr_matrix_at(item->format, job.rows, cols, c->planes);
        if (!status) status = write_piece(c, item, &m, first);
        c->n_done += (uint64_t)(job.rows * cols);
    }
    return status || item->format != LR_NF4 ? status : convert_rest(c, item);
}

static llmrun_status convert_all(lr_quantize *q, const llmrun_options *o, lr_output *out, llmrun_error *err) {
    converter c = {.q = q, .out = out, .report = &q->e->report, .err = err};
    uint64_t most = LR_ALIGN;
    for (size_t i = 0; i < q->n_items; i++) {
        const lr_quantize_item *item = &q->items[i];
        int64_t rows, cols;
        lr_format_size size;
        if (!item->src.tensor) continue;
        view(item, &rows, &cols);
        c.n_values += (uint64_t)(rows * cols);
        if (!lr_format_measure(item->format, (uint64_t)piece_rows(item), (uint64_t)cols, &size))
            return lr_fail(err, LLMRUN_INTERNAL, "tensor \"%s\" does not fit its format", item->src.tensor->name);
        if (size.bytes > most) most = size.bytes;
    }
    llmrun_status status = lr_threads_open(&c.threads, o->n_threads, err);
    if (status) return status;
    size_t n_scratch = (size_t)lr_threads_count(c.threads) * LR_UPLOAD_SCRATCH_BYTES;
    c.scratch = lr_alloc_aligned(n_scratch);
    c.planes = lr_alloc_aligned(most);
    c.moved = lr_alloc_aligned(most);
    if (!c.scratch || !c.planes || !c.moved)
        status = lr_fail_nomem(err, "quantize", n_scratch + 2 * most);
    else
        lr_threads_set_scratch(c.threads, c.scratch, LR_UPLOAD_SCRATCH_BYTES);
    for (size_t i = 0; i < q->n_items && !status; i++) {
        const lr_quantize_item *item = &q->items[i];
        const lr_out_tensor *t = &q->tensors[item->out];
        status = item->src.tensor ? convert(&c, item) : lr_output_write(out, q->ready.text + item->ready, t->bytes, t->offset, err);
    }
    if (!status) lr_progress(c.report, "quantize", 1);
    lr_threads_close(c.threads);
    lr_free_aligned(c.scratch);
    lr_free_aligned(c.planes);
    lr_free_aligned(c.moved);
    return status;
}

/* ---- the whole ---- */

/* The output must not be a file of the model, nor its directory.                                                      */
static llmrun_status check_input(const lr_checkpoint *c, const char *out, bool gguf, llmrun_error *err) {
    struct stat target_st, st;
    if (stat(out, &target_st)) return LLMRUN_OK;
    for (size_t i = 0; i <= c->n_files; i++) {
        const char *path = i < c->n_files ? c->files[i].path : c->dir;
        if ((i == c->n_files && gguf) || stat(path, &st)) continue;
        if (st.st_dev == target_st.st_dev && st.st_ino == target_st.st_ino)
            return lr_fail(err, LLMRUN_ARG, "%s: the output is the model itself; give another name", out);
    }
    return LLMRUN_OK;
}

static llmrun_status calibrate(lr_quantize *q, const llmrun_options *o, llmrun_error *err) {
    if (lr_formats[q->format].bits != 4)
        return lr_fail(err, LLMRUN_ARG, "--calibrate: %s has no use for it; it is for q4_k, q4_0, iq4_nl and nf4", o->quant);
    return lr_importance_measure(&q->importance, q->e, o, err);
}

static uint64_t total_bytes(const lr_quantize *q) {
    uint64_t sum = 0;
    for (size_t i = 0; i < q->n_tensors; i++) sum += q->tensors[i].bytes;
    return sum;
}

static llmrun_status write_all(lr_quantize *q, const llmrun_options *o, const char *path, bool gguf, uint64_t *file_bytes,
                               llmrun_error *err) {
    lr_gguf_meta meta = {0};
    lr_text header = {0};
    lr_output out = {.parent = -1, .lock = -1, .fd = -1};
    uint64_t bytes = 0;
    llmrun_status status = gguf ? lr_quantize_list_gguf(q, &meta) : lr_quantize_list_hf(q);
    if (!status && gguf) status = lr_gguf_layout(q->tensors, q->n_tensors, &meta, &header, &bytes, err);
    if (!status && !gguf) status = lr_safetensors_layout(q->tensors, q->n_tensors, &header, &bytes, err);
    if (!status) status = check_input(&q->e->checkpoint, path, gguf, err);
    if (!status) status = lr_output_open(&out, path, !gguf, bytes, err);
    if (!status) status = lr_output_begin(&out, gguf ? NULL : "model.safetensors", bytes, err);
    if (!status) status = lr_output_write(&out, header.text, header.n, 0, err);
    if (!status) status = convert_all(q, o, &out, err);
    if (!status) status = lr_output_end(&out, err);
    if (!status && !gguf) status = lr_quantize_copy_hf(q, &out);
    if (!status) status = lr_output_commit(&out, err);
    lr_output_close(&out);
    lr_free(meta.bytes.text);
    lr_free(header.text);
    *file_bytes = bytes;
    return status;
}

llmrun_status llmrun_quantize(const llmrun_options *o, const char *out, llmrun_quantize_result *result, llmrun_error *err) {
    double start = lr_seconds();
    if (!o || !o->model || !out || !*out) return lr_fail(err, LLMRUN_ARG, "quantize: expected a model and a name for the output");
    bool gguf = lr_path_ends_with(out, ".gguf");
    lr_quantize q = {.err = err};
    uint64_t bytes = 0;
    llmrun_status status = find_format(&q.format, o->quant ? o->quant : "", gguf, out, err);
    if (status) return status;
    llmrun_engine *e = lr_zalloc(1, sizeof *e);
    if (!e) return lr_fail_nomem(err, "quantize", sizeof *e);
    llmrun_options open = *o;
    open.quant = "auto"; /* that of the output is no run format */
    q.e = e;
    status = lr_engine_prepare(e, &open, err);
    if (!status && e->checkpoint.config_only)
        status = lr_fail(err, LLMRUN_UNSUPPORTED, "%s: a bare config.json has no weights to write", o->model);
    if (!status && o->calibrate) status = calibrate(&q, o, err);
    if (!status) status = write_all(&q, o, out, gguf, &bytes, err);
    if (!status && result) {
        uint64_t source = 0;
        for (size_t i = 0; i < e->checkpoint.n_files; i++) source += e->checkpoint.files[i].size;
        *result = (llmrun_quantize_result){.struct_size = sizeof *result, .n_params = e->binding.n_params,
            .n_tensors = (int32_t)q.n_tensors, .source_bytes = source, .file_bytes = bytes, .seconds = lr_seconds() - start,
            .bits_per_weight = 8.0 * (double)total_bytes(&q) / (double)e->binding.n_params};
    }
    for (size_t i = 0; i < q.n_tensors; i++) lr_free(q.tensors[i].name);
    lr_free(q.tensors);
    lr_free(q.items);
    lr_free(q.ready.text);
    lr_importance_close(&q.importance);
    lr_engine_free(e);
    return status;
}
