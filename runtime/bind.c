/* Tensor table of the family x tensor directory of the files -> what each tensor is.  Every shape, type and name error
 * of a checkpoint is born here.                                                                                      */
#include "runtime/bind.h"

#include <stdio.h>
#include <string.h>

/* Tensors of the part that sees pictures, beside the language model.                                                  */
static bool is_vision(const char *name) {
    static const char *const starts[] = { "vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                                          "model.multi_modal_projector.", "visual.", "model.visual.",
                                          "mm_projector." };
    for (size_t i = 0; i < LR_COUNT(starts); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

/* Tensors that hold no weights: what older converters left in files.                                                  */
static bool is_leftover(const char *name) {
    static const char *const ends[] = { ".rotary_emb.inv_freq", ".attn.bias", ".self_attn.bias", ".masked_bias",
                                        ".attention.bias", ".k_scale", ".v_scale" };
    size_t n = strlen(name);
    for (size_t i = 0; i < LR_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n >= k && strcmp(name + n - k, ends[i]) == 0) return true;
    }
    return false;
}

/* Tensors that guess further tokens: layers behind the last one, or a part of their own.                              */
static bool is_next(const char *name, const lr_hparams *h) {
    static const char *const layers[] = { "model.layers.", "blk." }, *const starts[] = { "mtp.", "model.mtp_" };
    for (size_t i = 0; i < LR_COUNT(starts); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return true;
    for (size_t i = 0; i < LR_COUNT(layers); i++) {
        int layer = -1;
        if (strncmp(name, layers[i], strlen(layers[i])) != 0) continue;
        if (sscanf(name + strlen(layers[i]), "%6d", &layer) == 1) return layer >= h->n_layers && layer < h->n_layers + h->n_next;
    }
    return false;
}

typedef struct binder {
    lr_binding *b;
    const lr_checkpoint *c;
    llmrun_error *err;
    size_t cap_tensors, cap_sources, cap_packed, n_parts;
    bool *used; /* (c->n_tensors) */
    bool tied;
} binder;

static const char *shape_text(char *buf, size_t size, const lr_tensor *t) {
    size_t n = 0;
    for (int32_t i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(buf + n, size - n, "%s%llu", i ? "," : "", (unsigned long long)t->shape[i]);
    if (t->n_dims == 0) buf[0] = 0;
    return buf;
}

/* Is the tensor what holds these rows?  depth: of a tensor with one more dimension in front, else 0.                  */
static llmrun_status check_shape(const binder *k, const lr_tensor *t, const lr_slice *slice, int32_t depth, int64_t rows,
                                 int64_t cols) {
    bool vector = cols == 1;
    int64_t shape[2];
    lr_slice_shape(&k->b->hparams, slice, rows, cols, shape);
    const uint64_t *got_shape = t->shape + (depth > 0);
    int32_t n_dims = t->n_dims - (depth > 0);
    bool fits = n_dims == (vector ? 1 : 2) && (!depth || t->shape[0] == (uint64_t)depth) &&
                got_shape[0] == (uint64_t)shape[0] && (vector || got_shape[1] == (uint64_t)shape[1]);
    fits |= !depth && rows == 1 && t->n_dims == 1 && t->shape[0] == (uint64_t)cols; /* one row without its dimension */
    fits |= vector && !depth && t->n_dims == 2 && t->shape[0] * t->shape[1] == (uint64_t)shape[0];
    fits |= vector && !depth && t->n_dims == 3 && t->shape[1] == 1 && t->shape[0] * t->shape[2] == (uint64_t)shape[0]; /* taps */
    fits |= !depth && t->n_dims == 3 && !slice->run && t->shape[0] * t->shape[1] == (uint64_t)shape[0] &&
            t->shape[2] == (uint64_t)shape[1]; /* rows of heads, head after head */
    char got[200], want[64], name[120];
    const char *path = k->c->files[t->file].path;
    lr_format format = t->dtype >= 0 ? lr_format_of_dtype(t->dtype) : LR_FORMAT_NONE;
    lr_printable(name, sizeof name, t->name, strlen(t->name));
    if (format == LR_FORMAT_NONE || (vector && !lr_format_is_plain(format)))
        return lr_fail(k->err, LLMRUN_UNSUPPORTED, "%s: %s: type %s is not supported for %s; expected F32, F16 or BF16%s",
                       path, name, t->dtype >= 0 ? lr_dtypes[t->dtype].name : "unknown", vector ? "vectors" : "weights",
                       k->c->gguf.n_values && !vector ? ", Q2_K to Q8_0, IQ1_S to IQ4_XS, MXFP4 or NVFP4" : "");
    if (fits) return LLMRUN_OK;
    int n = depth ? snprintf(want, sizeof want, "%d,", depth) : 0;
    if (vector) snprintf(want + n, sizeof want - (size_t)n, "%lld", (long long)shape[0]);
    else snprintf(want + n, sizeof want - (size_t)n, "%lld,%lld", (long long)shape[0], (long long)shape[1]);
    return lr_fail(k->err, LLMRUN_FORMAT, "%s: %s: expected shape [%s] from %s, got [%s]", path, name, want,
                   k->c->gguf.n_values ? "the metadata" : "config.json", shape_text(got, sizeof got, t));
}

/* Format of a bare config.json: what the published weights have.                                                      */
static lr_format config_format(const lr_config *c) {
    const char *type = lr_config_string(c, "torch_dtype");
    if (!type) type = lr_config_string(c, "dtype");
    if (type && strcmp(type, "float32") == 0) return LR_F32;
    if (type && strcmp(type, "bfloat16") == 0) return LR_BF16;
    return LR_F16;
}

/* Experts that gpt-oss keeps in MXFP4.                                                                                */
static bool is_mxfp4(const binder *k, const lr_tensor_row *row) {
    const char *method = k->b->packing.method;
    return lr_role_is_experts(row->role) && row->cols != LR_D_ONE && method && strcmp(method, "mxfp4") == 0;
}

/* Of one matrix: quantizers leave embedding, head and routers alone.                                                  */
static lr_format planned_format(const binder *k, const lr_tensor_row *row, int32_t layer) {
    if (is_mxfp4(k, row)) return LR_BLOCK_MXFP4;
    lr_format packed = k->b->packing.format;
    int64_t cols = lr_dim_value(&k->b->hparams, row->cols);
    bool linear = layer >= 0 && cols > 1 && row->role != LR_ROUTER && packed != LR_FORMAT_NONE;
    return linear && cols % lr_formats[packed].block == 0 ? packed : config_format(&k->c->config);
}

/* In the container at hand; NULL: it never has the tensor.                                                            */
static const char *row_name(const lr_checkpoint *c, const lr_tensor_row *row) {
    return c->gguf.n_values ? row->gguf : row->hf;
}

static const lr_slice *row_slice(const lr_checkpoint *c, const lr_tensor_row *row) {
    return c->gguf.n_values ? &row->in_gguf : &row->in_hf;
}

/* Names that a tensor may have: models with a vision part keep the language model behind another prefix, GPT-2 comes with
 * and without one.  False: there is no i-th.                                                                          */
static bool other_name(char *other, size_t size, const char *name, size_t i) {
    static const struct { const char *from, *to; } prefixes[] = {
        { "", "" }, { "", "language_model." }, { "model.", "model.language_model." }, { "", "transformer." }
    };
    if (i >= LR_COUNT(prefixes)) return false;
    size_t n = strlen(prefixes[i].from);
    snprintf(other, size, "%s%s", prefixes[i].to, strncmp(name, prefixes[i].from, n) == 0 ? name + n : name);
    return true;
}

static const lr_tensor *find_tensor(const lr_checkpoint *c, const char *name) {
    char other[200];
    const lr_tensor *t = NULL;
    for (size_t i = 0; !t && other_name(other, sizeof other, name, i); i++) t = lr_checkpoint_find(c, other);
    return t;
}

/* What is said of a packed matrix's activations is not needed: names that begin as tensor i's, which are sorted.      */
static void use_all_of(const binder *k, size_t i, const char *stem, size_t n) {
    while (i > 0 && strncmp(k->c->tensors[i - 1].name, stem, n) == 0) i--;
    for (; i < k->c->n_tensors && strncmp(k->c->tensors[i].name, stem, n) == 0; i++) {
        const char *end = k->c->tensors[i].name + n;
        if (strncmp(end, "input_", 6) == 0 || strncmp(end, "output_", 7) == 0) k->used[i] = true;
    }
}

/* The matrix of that name where it is packed, else *out stays NULL.  It belongs to the binding.                       */
static llmrun_status find_packed(binder *k, const char *name, int64_t rows, int64_t cols, const lr_packed **out) {
    lr_binding *b = k->b;
    char other[200];
    bool found = false;
    lr_packed p;
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; !status && !found && other_name(other, sizeof other, name, i); i++)
        status = lr_packed_open(&p, &found, &b->packing, k->c, other, rows, cols, k->err);
    if (status || !found) return status;
    lr_packed *kept = lr_alloc(sizeof *kept);
    if (!kept || !lr_grow(&b->packed, &k->cap_packed, b->n_packed + 1, sizeof *b->packed)) {
        lr_free(kept);
        lr_packed_close(&p);
        return lr_fail_nomem(k->err, "packed matrix", sizeof *kept);
    }
    *kept = p;
    *out = b->packed[b->n_packed++] = kept;
    for (size_t i = 0; i < LR_COUNT(p.t); i++)
        if (p.t[i]) k->used[p.t[i] - k->c->tensors] = true;
    use_all_of(k, (size_t)(p.t[LR_PACKED_CODES] - k->c->tensors), other, strlen(other) - strlen("weight"));
    return LLMRUN_OK;
}

/* Where the rows of a slice are in the file's tensor.                                                                 */
static lr_source source_of(const lr_hparams *h, const lr_tensor *t, const lr_tensor_row *row, const lr_slice *slice,
                           int64_t rows, int64_t cols) {
    lr_source s = lr_source_of(t, rows, cols);
    s.plus = slice->plus;
    if (row->role == LR_OUT_NORM || row->role == LR_B_OUT_NORM) s.times = 1 / h->logit_scale;
    int64_t shape[2], before = lr_dim_value(h, slice->before[0]) + lr_dim_value(h, slice->before[1]);
    lr_slice_shape(h, slice, rows, cols, shape);
    if (slice->run) {
        s.run = lr_dim_value(h, slice->run);
        s.stride = shape[0] / (rows / s.run);
    }
    if (slice->transposed) s.pitch = shape[1];
    if (slice->turns) s.step = slice->turns;
    if (slice->transposed && !slice->run) s.shift = slice->turns ? slice->turn : before;
    else s.first = before;
    return s;
}

/* NAME_blocks (experts, rows, blocks, 16) and NAME_scales (experts, rows, blocks), where rows may take turns.           */
static llmrun_status find_mxfp4(binder *k, const lr_tensor_row *row, const char *name, lr_source *out) {
    const lr_hparams *h = &k->b->hparams;
    const lr_slice *slice = row_slice(k->c, row);
    int64_t rows = lr_dim_value(h, row->rows), cols = lr_dim_value(h, row->cols), turns = lr_max(1, slice->turns);
    const uint64_t want[] = { (uint64_t)h->n_experts, (uint64_t)(rows * turns), (uint64_t)cols / 32, 16 };
    char full[2][180];
    const lr_tensor *t[2];
    for (int i = 0; i < 2; i++) {
        snprintf(full[i], sizeof full[i], "%s_%s", name, i ? "scales" : "blocks");
        t[i] = find_tensor(k->c, full[i]);
        if (!t[i])
            return lr_fail(k->err, LLMRUN_FORMAT, "%s: tensor \"%s\" is missing; %s needs it", k->c->dir, full[i],
                           k->b->family->name);
        bool fits = t[i]->dtype == LR_DT_U8 && cols % 32 == 0 && t[i]->n_dims == (i ? 3 : 4);
        for (int d = 0; d < (i ? 3 : 4) && fits; d++) fits = t[i]->shape[d] == want[d];
        if (!fits)
            return lr_fail(k->err, LLMRUN_FORMAT, "%s: %s: expected U8 [%llu,%llu,%llu%s]", k->c->files[t[i]->file].path,
                           full[i], (unsigned long long)want[0], (unsigned long long)want[1],
                           (unsigned long long)want[2], i ? "" : ",16");
        k->used[t[i] - k->c->tensors] = true;
    }
    *out = lr_source_of(t[0], rows * h->n_experts, cols);
    out->exponents = t[1];
    if (turns == 1) return LLMRUN_OK;
    out->run = 1;
    out->stride = turns;
    out->first = slice->turn;
    return LLMRUN_OK;
}

/* The tensor of that name, checked; *out without a tensor: it is not there and need not be.  depth: see check_shape.  */
static llmrun_status find(binder *k, const lr_tensor_row *row, const char *name, int32_t depth, lr_source *out) {
    const lr_hparams *h = &k->b->hparams;
    const lr_slice *slice = row_slice(k->c, row);
    int64_t rows = lr_dim_value(h, row->rows), cols = lr_dim_value(h, row->cols);
    const lr_packed *packed = NULL;
    llmrun_status status = LLMRUN_OK;
    int64_t shape[2];
    *out = (lr_source){ 0 };
    lr_slice_shape(h, slice, rows, cols, shape);
    if (!slice->transposed && (!depth || k->c->gguf.n_values)) /* GGUF: experts one below the other */
        status = find_packed(k, name, shape[0] * lr_max(1, depth), cols, &packed);
    if (status) return status;
    const lr_tensor *t = packed ? packed->t[LR_PACKED_CODES] : find_tensor(k->c, name);
    if (!t && !k->c->config_only && !row->optional)
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: tensor \"%s\" is missing; %s needs it", k->c->dir, name,
                       k->b->family->name);
    if (!t) return LLMRUN_OK;
    k->used[t - k->c->tensors] = true;
    *out = source_of(h, t, row, slice, rows, cols);
    out->packed = packed;
    return packed ? LLMRUN_OK : check_shape(k, t, slice, depth, rows, cols);
}

/* How many: experts, or heads whose norms are tensors of their own.                                                   */
static int32_t count_parts(const lr_hparams *h, const lr_tensor_row *row) {
    return lr_role_is_experts(row->role) ? h->n_experts : row->role == LR_Q_NORM ? h->n_heads : h->n_kv_heads;
}

/* Parts that are tensors of their own, or experts of one tensor that have to be transposed.                           */
static llmrun_status stack(binder *k, const lr_tensor_row *row, int32_t layer, lr_source *out) {
    const lr_hparams *h = &k->b->hparams;
    const char *format = row_name(k->c, row);
    bool each = strstr(strstr(format, "%d") + 2, "%d") != NULL;
    lr_source *parts = k->b->parts + k->n_parts;
    lr_tensor_row part = *row;
    int32_t n = count_parts(h, row);
    if (!lr_role_is_experts(row->role)) part.rows = LR_D_HEAD;
    for (int32_t i = 0; i < n; i++) {
        char name[160];
        lr_source *s = &parts[i];
        snprintf(name, sizeof name, format, layer, i);
        llmrun_status status = find(k, &part, name, each ? 0 : n, s);
        if (status) return status;
        if (!s->tensor) return LLMRUN_OK;
        if (i && (s->tensor->dtype != parts->tensor->dtype || lr_source_packed_format(s) != lr_source_packed_format(parts)))
            return lr_fail(k->err, LLMRUN_UNSUPPORTED, "%s: %s: experts of several types are not supported",
                           k->c->files[s->tensor->file].path, s->tensor->name);
        if (!each) s->offset = i * (int64_t)(s->tensor->shape[1] * s->tensor->shape[2]);
    }
    k->n_parts += (size_t)n;
    *out = lr_source_stacked(parts, n);
    return LLMRUN_OK;
}

/* All experts in one tensor, matrix after matrix, from the source of the first one.                                   */
static lr_source all_experts(const lr_hparams *h, const lr_slice *slice, lr_source s) {
    int64_t shape[2], rows = s.rows;
    lr_slice_shape(h, slice, rows, s.cols, shape);
    s.rows = rows * h->n_experts;
    if (slice->run) return s; /* the runs of one expert follow those of another */
    s.run = shape[0] == rows ? s.rows : rows;
    s.stride = shape[0] == rows ? s.rows : shape[0];
    return s;
}

/* In rows that are made of parts the experts' numbers have a place in the name, or the parts are transposed.          */
static bool has_parts(const binder *k, const lr_tensor_row *row) {
    const char *layer = row_name(k->c, row) ? strstr(row_name(k->c, row), "%d") : NULL;
    bool columns = lr_role_is_experts(row->role) && row_slice(k->c, row)->transposed && !is_mxfp4(k, row);
    return layer && (strstr(layer + 2, "%d") || columns);
}

static llmrun_status locate(binder *k, const lr_tensor_row *row, int32_t layer, lr_source *out) {
    const lr_hparams *h = &k->b->hparams;
    bool experts = lr_role_is_experts(row->role);
    char name[160];
    *out = (lr_source){ 0 };
    if (k->c->config_only) return LLMRUN_OK;
    if (has_parts(k, row)) return stack(k, row, layer, out);
    /* The format is a literal of the family's table with at most one %d. */
    snprintf(name, sizeof name, row_name(k->c, row), layer);
    if (is_mxfp4(k, row)) return find_mxfp4(k, row, name, out);
    llmrun_status status = find(k, row, name, experts ? h->n_experts : 0, out);
    if (!status && out->tensor && experts) *out = all_experts(h, row_slice(k->c, row), *out);
    return status;
}

const int32_t *lr_binding_order(const lr_source *s, int32_t part) {
    const lr_packed *packed = s->parts ? s->parts[part].packed : s->packed;
    return packed ? packed->perm : NULL;
}

static bool is_permuted(const lr_source *s) {
    bool any = false;
    for (int32_t i = 0; i < lr_max(1, s->n_parts); i++) any |= lr_binding_order(s, i) != NULL;
    return any;
}

/* Run format of the file's rows.  A table's go into x, and must be in the model's order.                              */
static lr_format file_format(const lr_source *s, bool is_table) {
    if (is_table && is_permuted(s)) return LR_FORMAT_NONE;
    if (lr_source_is_packed(s)) return lr_source_packed_format(s);
    lr_format format = lr_format_of_dtype(s->tensor->dtype);
    bool columns = s->pitch && format != LR_FORMAT_NONE && !lr_format_is_plain(format); /* of blocks: no blocks */
    return columns ? LR_FORMAT_NONE : format;
}

/* Can the file's bytes be used in place?                                                                              */
static bool is_aligned(const lr_source *s, lr_format format) {
    size_t element = format != LR_FORMAT_NONE && lr_format_is_plain(format) ? (size_t)lr_formats[format].quant_bytes : 1;
    for (int32_t i = 0; i < s->n_parts; i++)
        if (!is_aligned(&s->parts[i], format)) return false;
    const uint8_t *bytes = lr_source_bytes(s);
    return s->parts || (bytes && (uintptr_t)bytes % element == 0);
}

/* Did an earlier row of the table have it?                                                                            */
static bool is_bound(const lr_binding *b, lr_role role, int32_t layer) {
    for (size_t i = b->n; i-- > 0 && b->tensors[i].layer == layer;)
        if (b->tensors[i].role == role) return true;
    return false;
}

static llmrun_status add(binder *k, const lr_tensor_row *row, int32_t layer) {
    lr_binding *b = k->b;
    lr_source source;
    if (is_bound(b, row->role, layer)) return LLMRUN_OK;
    if (lr_dim_value(&b->hparams, row->rows) == 0 || lr_dim_value(&b->hparams, row->cols) == 0) return LLMRUN_OK;
    llmrun_status status = locate(k, row, layer, &source);
    const lr_tensor *t = source.tensor;
    if (status) return status;
    if (!t && row->optional && (!k->c->config_only || (row->role != LR_EMBED && (row->role != LR_HEAD || k->tied))))
        return LLMRUN_OK;
    bool copy = t && row->role == LR_HEAD && k->tied && lr_binding_find(b, LR_EMBED, -1) >= 0;
    if (copy) return LLMRUN_OK; /* some files store the tied matrix twice */
    if (!lr_grow(&b->tensors, &k->cap_tensors, b->n + 1, sizeof *b->tensors) ||
        !lr_grow(&b->sources, &k->cap_sources, b->n + 1, sizeof *b->sources))
        return lr_fail_nomem(k->err, "tensor table", (b->n + 1) * sizeof *b->tensors);
    int32_t experts = lr_role_is_experts(row->role) ? b->hparams.n_experts : 0;
    int64_t rows = lr_dim_value(&b->hparams, row->rows) * lr_max(1, experts);
    bool is_table = row->role == LR_EMBED || row->role == LR_POSITIONS || (row->role == LR_HEAD && k->tied);
    lr_format format = t ? file_format(&source, is_table) : planned_format(k, row, layer);
    b->tensors[b->n] = (lr_plan_tensor){ .role = row->role,
                                         .layer = layer,
                                         .rows = rows,
                                         .cols = lr_dim_value(&b->hparams, row->cols),
                                         .experts = experts,
                                         .file_format = format,
                                         .aligned = t ? is_aligned(&source, format) : lr_format_is_plain(format),
                                         .permuted = is_permuted(&source) };
    uint64_t values, cols = (uint64_t)b->tensors[b->n].cols;
    b->sources[b->n++] = source;
    if (!lr_mul_u64((uint64_t)rows, cols, &values) || !lr_add_u64(b->n_params, values, &b->n_params))
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: parameter count overflows 64 bits", k->c->config.path);
    return LLMRUN_OK;
}

/* Gate and up of an expert read one packed input: where their orders of columns differ they are converted.            */
static void settle_orders(lr_binding *b) {
    for (size_t up = 0; up < b->n; up++) {
        int64_t gate = b->tensors[up].role == LR_W_UP_EXPERTS ? lr_binding_find(b, LR_W_GATE_EXPERTS, b->tensors[up].layer) : -1;
        bool same = true;
        for (int32_t i = 0; gate >= 0 && i < b->tensors[up].experts; i++) {
            const int32_t *one = lr_binding_order(&b->sources[gate], i), *other = lr_binding_order(&b->sources[up], i);
            same &= one == other || (one && other && memcmp(one, other, (size_t)b->tensors[up].cols * sizeof *one) == 0);
        }
        if (same) continue;
        b->tensors[up].file_format = b->tensors[gate].file_format = LR_FORMAT_NONE;
        b->tensors[up].permuted = b->tensors[gate].permuted = false;
    }
}

/* Room for what experts are made of.                                                                                  */
static llmrun_status allocate_parts(binder *k) {
    const lr_binding *b = k->b;
    size_t n = 0;
    for (int32_t l = 0; l < b->hparams.n_layers && !k->c->config_only; l++)
        for (size_t i = 0; i < b->family->n_tensors; i++) {
            const lr_tensor_row *row = &b->family->tensors[i];
            if (lr_layer_has(&b->hparams, l, row->role) && has_parts(k, row)) n += (size_t)count_parts(&b->hparams, row);
        }
    k->b->parts = n ? lr_zalloc(n, sizeof *b->parts) : NULL;
    return n && !b->parts ? lr_fail_nomem(k->err, "tensor table", n * sizeof *b->parts) : LLMRUN_OK;
}

/* A tensor that nobody uses means that the model is not what its config says: running it would give wrong text.      */
static llmrun_status check_unused(const binder *k) {
    for (size_t i = 0; i < k->c->n_tensors && !k->c->config_only; i++) {
        const lr_tensor *t = &k->c->tensors[i];
        char shown[120];
        if (!k->used[i] && is_vision(t->name))
            k->b->n_vision++;
        else if (!k->used[i] && is_next(t->name, &k->b->hparams))
            k->b->n_next++;
        else if (!k->used[i] && !is_leftover(t->name) && !(k->tied && strcmp(t->name, "lm_head.weight") == 0))
            return lr_fail(k->err, LLMRUN_UNSUPPORTED, "%s: tensor \"%s\" is not part of %s with %d layers",
                           k->c->files[t->file].path, lr_printable(shown, sizeof shown, t->name, strlen(t->name)),
                           k->b->family->name, k->b->hparams.n_layers);
    }
    return LLMRUN_OK;
}

static const char *name_of_role(const binder *k, lr_role role) {
    for (size_t i = 0; i < k->b->family->n_tensors; i++)
        if (k->b->family->tensors[i].role == role) return row_name(k->c, &k->b->family->tensors[i]);
    return "lm_head.weight";
}

/* One matrix serves as embedding and head where the model is tied, whichever of the two names the file has.           */
static llmrun_status check_tied(binder *k) {
    lr_binding *b = k->b;
    int64_t embed = lr_binding_find(b, LR_EMBED, -1), head = lr_binding_find(b, LR_HEAD, -1);
    if (embed < 0 && head < 0)
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: neither \"%s\" nor \"%s\" is there", k->c->dir,
                       name_of_role(k, LR_EMBED), name_of_role(k, LR_HEAD));
    if (!k->tied && (embed < 0 || head < 0) && lr_config_find(&k->c->config, "tie_word_embeddings"))
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: \"%s\" is missing, and config.json says tie_word_embeddings false",
                       k->c->dir, name_of_role(k, embed < 0 ? LR_EMBED : LR_HEAD));
    return LLMRUN_OK;
}

/* A list of divisors of the rotation's frequencies in a GGUF file, NULL: it has none of that name.                    */
static llmrun_status find_divisors(const binder *k, const char *name, const lr_tensor **out) {
    const lr_tensor *t = k->c->gguf.n_values ? lr_checkpoint_find(k->c, name) : NULL;
    int32_t n = k->b->hparams.n_rot / 2;
    *out = t;
    if (!t) return LLMRUN_OK;
    k->used[t - k->c->tensors] = true;
    llmrun_status status = check_shape(k, t, &(lr_slice){ 0 }, 0, n, 1);
    for (int32_t i = 0; i < n && !status; i++) {
        float x;
        memcpy(&x, t->data + (size_t)i * sizeof x, sizeof x);
        if (t->dtype != LR_DT_F32 || !(x > 0 && x < 1e6f))
            status = lr_fail(k->err, LLMRUN_FORMAT, "%s: %s: expected F32 values above 0, element %d is not",
                             k->c->files[t->file].path, t->name, i);
    }
    return status;
}

/* Llama 3.1 and later as GGUF have one list, Phi-3 one for short and one for long contexts.                           */
static llmrun_status find_rope_divisors(binder *k) {
    static const char *const names[] = { "rope_factors_short.weight", "rope_factors_long.weight" };
    lr_hparams *h = &k->b->hparams;
    llmrun_status status = find_divisors(k, "rope_freqs.weight", &k->b->rope_factors);
    for (size_t i = 0; i < LR_COUNT(names) && !status; i++) {
        const lr_tensor *t;
        status = find_divisors(k, names[i], &t);
        if (status || !t) continue;
        memcpy(h->rope_divisors[i], t->data, (size_t)h->n_rot / 2 * sizeof(float));
        h->rope[0].scaling = LR_ROPE_LONG;
    }
    return status;
}

llmrun_status lr_bind(lr_binding *b, const lr_checkpoint *c, llmrun_error *err) {
    *b = (lr_binding){ .packing.format = LR_FORMAT_NONE };
    bool gguf = c->gguf.n_values > 0;
    binder k = { .b = b, .c = c, .err = err };
    k.tied = gguf && !lr_checkpoint_find(c, "output.weight");
    k.used = lr_zalloc(c->n_tensors + 1, sizeof *k.used);
    if (!k.used) return lr_fail_nomem(err, "tensor table", c->n_tensors);
    llmrun_status status = gguf ? lr_hparams_read_gguf(&b->hparams, &b->family, c, err)
                                : lr_hparams_read(&b->hparams, &b->family, &c->config, &c->generation, err);
    if (!status && !gguf) status = lr_packing_read(&b->packing, &c->config, err);
    if (!status && !gguf) k.tied = lr_config_bool(&c->config, "tie_word_embeddings", b->family->tied);
    if (!status) status = find_rope_divisors(&k);
    if (!status) status = allocate_parts(&k);
    for (int32_t l = -1; !status && l < b->hparams.n_layers; l++)
        for (size_t i = 0; !status && i < b->family->n_tensors; i++) {
            const lr_tensor_row *row = &b->family->tensors[i];
            const char *name = row_name(c, row);
            bool here = name && (strstr(name, "%d") != NULL) == (l >= 0) && lr_layer_has(&b->hparams, l, row->role);
            if (here) status = add(&k, row, l);
        }
    if (!status) status = check_tied(&k);
    if (!status) settle_orders(b);
    if (!status) status = check_unused(&k);
    lr_free(k.used);
    if (status) lr_binding_close(b);
    return status;
}

void lr_binding_close(lr_binding *b) {
    for (size_t i = 0; i < b->n_packed; i++) {
        lr_packed_close(b->packed[i]);
        lr_free(b->packed[i]);
    }
    lr_free(b->packed);
    lr_free(b->tensors);
    lr_free(b->sources);
    lr_free(b->parts);
    *b = (lr_binding){ 0 };
}

void lr_binding_scale_rope(const lr_binding *b, double *freq) {
    float factor;
    for (int32_t i = 0; b->rope_factors && i < b->hparams.n_rot / 2; i++) {
        memcpy(&factor, b->rope_factors->data + (size_t)i * sizeof factor, sizeof factor);
        freq[i] /= (double)factor;
    }
}

int64_t lr_binding_find(const lr_binding *b, lr_role role, int32_t layer) {
    for (size_t i = 0; i < b->n; i++)
        if (b->tensors[i].role == role && b->tensors[i].layer == layer) return (int64_t)i;
    return -1;
}
