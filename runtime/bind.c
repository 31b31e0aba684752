/* Tensor table of the family x tensor directory of the files -> what each tensor is.  Every shape, type and name error
 * of a checkpoint is born here.                                                                                      */
#include "runtime/bind.h"

#include <stdio.h>
#include <string.h>

/* Tensors that older converters left in files; they hold no weights.                                                  */
static bool is_buffer(const char *name) {
    static const char *const ends[] = { ".rotary_emb.inv_freq", ".self_attn.bias", ".self_attn.masked_bias" };
    size_t n = strlen(name);
    for (size_t i = 0; i < LR_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n >= k && strcmp(name + n - k, ends[i]) == 0) return true;
    }
    return false;
}

static const char *shape_text(char *buf, size_t size, const lr_tensor *t) {
    size_t n = 0;
    for (int32_t i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(buf + n, size - n, "%s%llu", i ? "," : "", (unsigned long long)t->shape[i]);
    if (t->n_dims == 0) buf[0] = 0;
    return buf;
}

static llmrun_status check_shape(const lr_checkpoint *c, const lr_tensor *t, int64_t rows, int64_t cols,
                                 llmrun_error *err) {
    bool vector = cols == 1;
    bool fits = vector ? t->n_dims == 1 && t->shape[0] == (uint64_t)rows
                       : t->n_dims == 2 && t->shape[0] == (uint64_t)rows && t->shape[1] == (uint64_t)cols;
    char got[200], want[64], name[120];
    const char *path = c->files[t->file].path;
    lr_format format = t->dtype >= 0 ? lr_format_of_dtype(t->dtype) : LR_FORMAT_NONE;
    lr_printable(name, sizeof name, t->name, strlen(t->name));
    if (format == LR_FORMAT_NONE || (vector && !lr_format_is_plain(format)))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s: type %s is not supported for %s; expected F32, F16 or BF16%s", path,
                       name, t->dtype >= 0 ? lr_dtypes[t->dtype].name : "unknown", vector ? "vectors" : "weights",
                       c->gguf.n_values && !vector ? ", Q2_K to Q8_0, IQ4_NL, IQ4_XS or MXFP4" : "");
    if (fits) return LLMRUN_OK;
    snprintf(want, sizeof want, vector ? "%lld" : "%lld,%lld", (long long)rows, (long long)cols);
    return lr_fail(err, LLMRUN_FORMAT, "%s: %s: expected shape [%s] from %s, got [%s]", path, name, want,
                   c->gguf.n_values ? "the metadata" : "config.json", shape_text(got, sizeof got, t));
}

/* Format of a bare config.json: what the published weights have.                                                      */
static lr_format config_format(const lr_config *c) {
    const char *type = lr_config_string(c, "torch_dtype");
    if (!type) type = lr_config_string(c, "dtype");
    if (type && strcmp(type, "float32") == 0) return LR_F32;
    if (type && strcmp(type, "bfloat16") == 0) return LR_BF16;
    return LR_F16;
}

typedef struct binder {
    lr_binding *b;
    const lr_checkpoint *c;
    llmrun_error *err;
    size_t cap_tensors, cap_files, n_used;
    bool tied;
} binder;

/* In the container at hand; NULL: it never has the tensor.                                                            */
static const char *row_name(const lr_checkpoint *c, const lr_tensor_row *row) {
    return c->gguf.n_values ? row->gguf : row->hf;
}

static llmrun_status add(binder *k, const lr_tensor_row *row, int32_t layer) {
    lr_binding *b = k->b;
    char name[160];
    /* The format is a literal of the family's table with at most one %d. */
    snprintf(name, sizeof name, row_name(k->c, row), layer);
    int64_t rows = lr_dim_value(&b->hparams, row->rows), cols = lr_dim_value(&b->hparams, row->cols);
    const lr_tensor *t = lr_checkpoint_find(k->c, name);
    if (!t && !k->c->config_only) {
        if (row->optional) return LLMRUN_OK;
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: tensor \"%s\" is missing; %s needs it", k->c->dir, name,
                       b->family->name);
    }
    if (!t && row->optional && row->role != LR_EMBED && (row->role != LR_HEAD || k->tied)) return LLMRUN_OK;
    if (t) {
        llmrun_status status = check_shape(k->c, t, rows, cols, k->err);
        if (status) return status;
        k->n_used++;
        bool copy = row->role == LR_HEAD && k->tied && lr_binding_find(b, LR_EMBED, -1) >= 0;
        if (copy) return LLMRUN_OK; /* some files store the tied matrix twice */
    }
    if (!lr_grow(&b->tensors, &k->cap_tensors, b->n + 1, sizeof *b->tensors) ||
        !lr_grow(&b->files, &k->cap_files, b->n + 1, sizeof *b->files))
        return lr_fail_nomem(k->err, "tensor table", (b->n + 1) * sizeof *b->tensors);
    lr_format format = t ? lr_format_of_dtype(t->dtype) : config_format(&k->c->config);
    size_t element = lr_format_is_plain(format) ? (size_t)lr_formats[format].quant_bytes : 1;
    b->tensors[b->n] = (lr_plan_tensor){ .role = row->role,
                                         .layer = layer,
                                         .rows = rows,
                                         .cols = cols,
                                         .file_format = format,
                                         .aligned = !t || (uintptr_t)t->data % element == 0 };
    b->files[b->n++] = t;
    uint64_t values;
    if (!lr_mul_u64((uint64_t)rows, (uint64_t)cols, &values) || !lr_add_u64(b->n_params, values, &b->n_params))
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: parameter count overflows 64 bits", k->c->config.path);
    return LLMRUN_OK;
}

/* A tensor that nobody uses means that the model is not what its config says: running it would give wrong text.      */
static llmrun_status check_unused(const binder *k) {
    if (k->c->config_only || k->n_used == k->c->n_tensors) return LLMRUN_OK;
    for (size_t i = 0; i < k->c->n_tensors; i++) {
        const lr_tensor *t = &k->c->tensors[i];
        bool used = is_buffer(t->name) || t == k->b->rope_factors || (k->tied && strcmp(t->name, "lm_head.weight") == 0);
        for (size_t j = 0; j < k->b->n && !used; j++) used = k->b->files[j] == t;
        char shown[120];
        if (!used)
            return lr_fail(k->err, LLMRUN_UNSUPPORTED, "%s: tensor \"%s\" is not part of %s with %d layers",
                           k->c->files[t->file].path, lr_printable(shown, sizeof shown, t->name, strlen(t->name)),
                           k->b->family->name, k->b->hparams.n_layers);
    }
    return LLMRUN_OK;
}

/* One matrix serves as embedding and head where the model is tied, whichever of the two names the file has.           */
static llmrun_status check_tied(binder *k) {
    lr_binding *b = k->b;
    int64_t embed = lr_binding_find(b, LR_EMBED, -1), head = lr_binding_find(b, LR_HEAD, -1);
    if (embed < 0 && head < 0)
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: neither \"%s\" nor \"%s\" is there", k->c->dir,
                       k->c->gguf.n_values ? "token_embd.weight" : "model.embed_tokens.weight",
                       k->c->gguf.n_values ? "output.weight" : "lm_head.weight");
    if (!k->tied && (embed < 0 || head < 0) && lr_config_find(&k->c->config, "tie_word_embeddings"))
        return lr_fail(k->err, LLMRUN_FORMAT, "%s: \"%s\" is missing, and config.json says tie_word_embeddings false",
                       k->c->dir, embed < 0 ? "model.embed_tokens.weight" : "lm_head.weight");
    return LLMRUN_OK;
}

/* Divisors of the rotation's frequencies: Llama 3.1 and later as GGUF.                                                */
static llmrun_status find_rope_factors(lr_binding *b, const lr_checkpoint *c, llmrun_error *err) {
    const lr_tensor *t = c->gguf.n_values ? lr_checkpoint_find(c, "rope_freqs.weight") : NULL;
    b->rope_factors = t;
    if (!t) return LLMRUN_OK;
    llmrun_status status = check_shape(c, t, b->hparams.n_rot / 2, 1, err);
    for (int32_t i = 0; i < b->hparams.n_rot / 2 && !status; i++) {
        float x;
        memcpy(&x, t->data + (size_t)i * sizeof x, sizeof x);
        if (t->dtype != LR_DT_F32 || !(x > 0 && x < 1e6f))
            status = lr_fail(err, LLMRUN_FORMAT, "%s: %s: expected F32 values above 0, element %d is not",
                             c->files[t->file].path, t->name, i);
    }
    return status;
}

llmrun_status lr_bind(lr_binding *b, const lr_checkpoint *c, llmrun_error *err) {
    *b = (lr_binding){ 0 };
    bool gguf = c->gguf.n_values > 0;
    binder k = { .b = b, .c = c, .err = err };
    k.tied = gguf ? !lr_checkpoint_find(c, "output.weight") : lr_config_bool(&c->config, "tie_word_embeddings", false);
    llmrun_status status = gguf ? lr_hparams_read_gguf(&b->hparams, &b->family, c, err)
                                : lr_hparams_read(&b->hparams, &b->family, &c->config, &c->generation, err);
    if (!status) status = find_rope_factors(b, c, err);
    for (int32_t l = -1; !status && l < b->hparams.n_layers; l++)
        for (size_t i = 0; !status && i < b->family->n_tensors; i++) {
            const lr_tensor_row *row = &b->family->tensors[i];
            const char *name = row_name(c, row);
            if (name && (strstr(name, "%d") != NULL) == (l >= 0)) status = add(&k, row, l);
        }
    if (!status) status = check_tied(&k);
    if (!status) status = check_unused(&k);
    if (status) lr_binding_close(b);
    return status;
}

void lr_binding_close(lr_binding *b) {
    lr_free(b->tensors);
    lr_free(b->files);
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
