/* A model as GGUF: names and permutation by the families' tables, hyperparameters as metadata.  Of a model that is GGUF
 * already the metadata is taken over as it is.                                                                       */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/path.h"
#include "runtime/quantize.h"

/* Rows that the blocks of the format do not divide.                                                                   */
static lr_format fallback(lr_format want, int64_t cols) {
    const lr_format order[] = {want, lr_formats[want].bits == 4 ? LR_BLOCK_IQ4_NL : LR_BLOCK_Q8_0, LR_BLOCK_Q8_0};
    for (size_t i = 0; i < LR_COUNT(order); i++)
        if (cols % lr_formats[order[i]].block == 0) return order[i];
    return LR_F16;
}

static const lr_tensor_row *find_row(const lr_family *family, lr_role role) {
    for (size_t i = 0; i < family->n_tensors; i++)
        if (family->tensors[i].role == role && family->tensors[i].gguf) return &family->tensors[i];
    return NULL;
}

/* The family whose GGUF files hold this one: itself, or where it has no architecture of its own, Llama.               */
static const lr_family *written_family(const lr_family *family) {
    return family->gguf_architectures[0] ? family : lr_family_find_gguf("llama", false);
}

static llmrun_status list_tensors(lr_quantize *q, bool from_gguf) {
    const lr_binding *b = &q->e->binding;
    const lr_family *family = written_family(b->family);
    bool only_head = lr_binding_find(b, LR_EMBED, -1) < 0, tied = only_head || lr_binding_find(b, LR_HEAD, -1) < 0;
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < b->n && !status; i++) {
        const lr_plan_tensor *p = &b->tensors[i];
        const lr_tensor *t = b->sources[i].tensor;
        const lr_tensor_row *row = find_row(family, only_head && p->role == LR_HEAD ? LR_EMBED : p->role);
        bool rotates = p->role == LR_WQ || p->role == LR_WK || p->role == LR_BQ || p->role == LR_BK;
        bool shared = tied && (p->role == LR_EMBED || p->role == LR_HEAD); /* as the head it is worth 8 bits: plan_weigh.c */
        lr_format want = shared && lr_formats[q->format].bits == 4 ? LR_BLOCK_Q8_0 : q->format;
        lr_quantize_item item = {.src = t, .format = p->cols > 1 ? fallback(want, p->cols) : LR_F32, .rows = p->rows,
                                 .cols = p->cols,
                                 .head_rows = !from_gguf && family->gguf_adjacent && rotates ? b->hparams.head_dim : 0};
        char name[160];
        status = lr_quantize_check_source(q, i, true);
        if (status) return status;
        if (!row)
            return lr_fail(q->err, LLMRUN_UNSUPPORTED, "tensor \"%s\": GGUF files of %s have none such", t->name, family->name);
        snprintf(name, sizeof name, row->gguf, p->layer);
        status = lr_quantize_add_item(q, from_gguf ? t->name : name, &item);
    }
    if (!status && from_gguf && b->rope_factors)
        status = lr_quantize_add_ready(q, b->rope_factors->name, LR_DT_F32, (uint64_t)b->hparams.n_rot / 2, b->rope_factors->data);
    return status;
}

/* Divisors of the rotation's frequencies: the container has no other word for the scaling of Llama 3.                 */
static llmrun_status add_rope_factors(lr_quantize *q) {
    lr_hparams plain = q->e->binding.hparams;
    double scaled[LR_MAX_ROT / 2], freq[LR_MAX_ROT / 2];
    float factors[LR_MAX_ROT / 2];
    if (plain.rope[0].scaling != LR_ROPE_LLAMA3) return LLMRUN_OK;
    lr_rope_frequencies(&plain, 0, 0, scaled);
    plain.rope[0].scaling = LR_ROPE_NONE;
    lr_rope_frequencies(&plain, 0, 0, freq);
    for (int32_t i = 0; i < plain.n_rot / 2; i++) factors[i] = (float)(freq[i] / scaled[i]);
    return lr_quantize_add_ready(q, "rope_freqs.weight", LR_DT_F32, (uint64_t)plain.n_rot / 2, factors);
}

/* ---- metadata ---- */

static uint32_t file_type(lr_format format) {
    switch (format) {
    case LR_F32: return 0;
    case LR_BLOCK_Q4_0: return 2;
    case LR_BLOCK_Q8_0: return 7;
    case LR_BLOCK_Q4_K: return 14;
    case LR_BLOCK_IQ4_NL: return 25;
    case LR_BF16: return 32;
    default: return 1;
    }
}

typedef struct keys {
    lr_gguf_meta *meta;
    const char *arch;
    char key[128];
} keys;

static const char *key_of(keys *k, const char *name) {
    snprintf(k->key, sizeof k->key, "%s.%s", k->arch, name);
    return k->key;
}

static void add_text(lr_gguf_meta *m, const char *key, const char *text) { lr_gguf_add_string(m, key, text, strlen(text)); }

static void add_rope(keys *k, const lr_hparams *h) {
    const lr_rope *r = &h->rope[0];
    lr_gguf_add_u32(k->meta, key_of(k, "rope.dimension_count"), (uint32_t)h->n_rot);
    lr_gguf_add_f32(k->meta, key_of(k, "rope.freq_base"), r->theta);
    if (r->scaling != LR_ROPE_LINEAR && r->scaling != LR_ROPE_YARN) return;
    bool yarn = r->scaling == LR_ROPE_YARN;
    add_text(k->meta, key_of(k, "rope.scaling.type"), yarn ? "yarn" : "linear");
    lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.factor"), r->factor);
    if (!yarn) return;
    float usual = (float)(0.1 * log((double)r->factor) + 1); /* what readers multiply with anyway */
    lr_gguf_add_u32(k->meta, key_of(k, "rope.scaling.original_context_length"), (uint32_t)r->n_ctx_orig);
    if (r->attn_factor != usual)
        lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.attn_factor"), r->attn_factor / usual);
    if (r->beta_fast != 32) lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.yarn_beta_fast"), r->beta_fast);
    if (r->beta_slow != 1) lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.yarn_beta_slow"), r->beta_slow);
}

static llmrun_status add_hparams(lr_quantize *q, lr_gguf_meta *m) {
    const lr_binding *b = &q->e->binding;
    const lr_hparams *h = &b->hparams;
    const lr_family *family = written_family(b->family);
    keys k = {.meta = m, .arch = family->gguf_architectures[0]};
    bool some_full = false;
    for (int32_t l = 0; l < h->n_layers; l++) some_full |= !lr_layer_windowed(h, l);
    if (h->window && (some_full || family->window_needs_flag))
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: GGUF has no word for a sliding window of %s", q->e->checkpoint.dir, b->family->name);
    if (family->gguf_adjacent && h->n_rot != h->head_dim)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: GGUF has no word for heads of %s that rotate in part", q->e->checkpoint.dir,
                       b->family->name);
    if (h->kv_rank || h->layer_norm || h->parallel || h->n_ropes > 1 || h->rope[0].scaling == LR_ROPE_LONG || h->attn_softcap > 0)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: writing %s as GGUF is not supported; give a directory's name",
                       q->e->checkpoint.dir, b->family->name);
    add_text(m, "general.architecture", k.arch);
    add_text(m, "general.type", "model");
    add_text(m, "general.name", lr_path_base(q->e->checkpoint.dir));
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        int32_t value = *(const int32_t *)((const char *)h + row->offset);
        if (value) lr_gguf_add_u32(m, key_of(&k, row->gguf), (uint32_t)value);
    }
    lr_gguf_add_u32(m, key_of(&k, "attention.value_length"), (uint32_t)h->head_dim);
    lr_gguf_add_f32(m, key_of(&k, "attention.layer_norm_rms_epsilon"), h->norm_eps);
    if (h->window) lr_gguf_add_u32(m, key_of(&k, "attention.sliding_window"), (uint32_t)h->window);
    add_rope(&k, h);
    return lr_quantize_tokenizer(q->e, m, q->err);
}

/* Everything but what the writer says itself.                                                                         */
static void copy_values(const lr_gguf *g, lr_gguf_meta *m) {
    static const char *const own[] = {"general.file_type", "general.quantization_version", "general.alignment", "split.no",
                                      "split.count", "split.tensors.count"};
    for (size_t i = 0; i < g->n_values; i++) {
        bool skip = false;
        for (size_t k = 0; k < LR_COUNT(own); k++)
            skip |= g->values[i].key.n == strlen(own[k]) && !memcmp(g->values[i].key.text, own[k], strlen(own[k]));
        if (!skip) lr_gguf_add_value(m, &g->values[i]);
    }
}

llmrun_status lr_quantize_list_gguf(lr_quantize *q, lr_gguf_meta *meta) {
    const lr_gguf *g = &q->e->checkpoint.gguf;
    bool from_gguf = g->n_values > 0;
    llmrun_status status = list_tensors(q, from_gguf);
    if (!status && !from_gguf) status = add_rope_factors(q);
    if (!status && !from_gguf) status = add_hparams(q, meta);
    if (from_gguf) copy_values(g, meta);
    lr_gguf_add_u32(meta, "general.file_type", file_type(q->format));
    lr_gguf_add_u32(meta, "general.quantization_version", 2);
    return status;
}
