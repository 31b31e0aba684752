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

/* The first that a model of these numbers has.                                                                        */
static const lr_tensor_row *find_row(const lr_family *family, const lr_hparams *h, lr_role role) {
    for (size_t i = 0; i < family->n_tensors; i++) {
        const lr_tensor_row *row = &family->tensors[i];
        if (row->role == role && row->gguf && lr_dim_value(h, row->rows) && lr_dim_value(h, row->cols)) return row;
    }
    return NULL;
}

/* The family whose GGUF files hold this one: itself, or where it has no architecture of its own, Llama.               */
static const lr_family *written_family(const lr_family *family) {
    return family->gguf_architectures[0] ? family : lr_family_find_gguf("llama", false);
}

/* Kept as it is: routers and tables are small, and readers expect them so.                                            */
static bool stays_f32(const lr_plan_tensor *p) {
    return p->cols == 1 || p->role == LR_ROUTER || p->role == LR_SHARED_GATE || p->role == LR_POSITIONS;
}

/* The tensor of that name that was listed last, or NULL.                                                              */
static lr_out_tensor *find_open(const lr_quantize *q, const char *name) {
    for (size_t i = q->n_tensors; i > 0 && i + 64 > q->n_tensors; i--)
        if (strcmp(q->tensors[i - 1].name, name) == 0) return &q->tensors[i - 1];
    return NULL;
}

/* Rows behind those of others of a fused tensor, which the binding lists in the order of the file.                     */
static llmrun_status append(lr_quantize *q, lr_out_tensor *t, const lr_slice *slice, lr_quantize_item *item) {
    const lr_hparams *h = &q->e->binding.hparams;
    int64_t before = lr_dim_value(h, slice->before[0]) + lr_dim_value(h, slice->before[1]);
    if (slice->run || slice->transposed || t->n_dims > 2 || t->shape[0] != (uint64_t)before)
        return lr_fail(q->err, LLMRUN_INTERNAL, "tensor \"%s\": its parts are not one behind the other", t->name);
    item->out = (size_t)(t - q->tensors);
    item->offset = t->bytes;
    t->shape[0] += (uint64_t)item->rows;
    t->bytes += lr_dtype_bytes(t->dtype, (uint64_t)item->rows * (uint64_t)item->cols);
    return lr_quantize_append(q, item);
}

static llmrun_status list_tensor(lr_quantize *q, size_t i, const lr_family *family, bool from_gguf, bool tied, bool only_head) {
    const lr_binding *b = &q->e->binding;
    const lr_plan_tensor *p = &b->tensors[i];
    const lr_tensor_row *row = find_row(family, &b->hparams, only_head && p->role == LR_HEAD ? LR_EMBED : p->role);
    bool rotates = p->role == LR_WQ || p->role == LR_WK || p->role == LR_BQ || p->role == LR_BK;
    bool shared = tied && (p->role == LR_EMBED || p->role == LR_HEAD); /* as the head it is worth 8 bits: plan_weigh.c */
    lr_format want = shared && lr_formats[q->format].bits == 4 ? LR_BLOCK_Q8_0 : q->format;
    lr_quantize_item item = {.src = b->sources[i], .format = stays_f32(p) ? LR_F32 : fallback(want, p->cols),
                             .rows = p->rows, .cols = p->cols,
                             .head_rows = !from_gguf && family->gguf_adjacent && !family->adjacent && rotates ? b->hparams.head_dim : 0,
                             .weights = q->importance.n ? q->importance.columns[i] : NULL};
    char name[160];
    if (!row)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "tensor \"%s\": GGUF files of %s have none such", item.src.tensor->name, family->name);
    if (p->role == LR_OUT_NORM || p->role == LR_B_OUT_NORM) item.src.times = 1; /* the scale of logits has a word of its own */
    snprintf(name, sizeof name, row->gguf, p->layer);
    const char *out = from_gguf ? item.src.tensor->name : name;
    lr_out_tensor *open = find_open(q, out);
    if (open) return append(q, open, &row->in_gguf, &item);
    int32_t n_dims = 0, parts = p->role == LR_WK_B || p->role == LR_WV_B ? b->hparams.n_heads : p->experts;
    uint64_t shape[3];
    if (parts) shape[n_dims++] = (uint64_t)parts;
    if (p->rows > 1) shape[n_dims++] = (uint64_t)(p->rows / lr_max(parts, 1));
    if (p->cols > 1 || n_dims == 0) shape[n_dims++] = (uint64_t)p->cols;
    return lr_quantize_add_item(q, out, &item, n_dims, shape);
}

static llmrun_status list_tensors(lr_quantize *q, bool from_gguf) {
    const lr_binding *b = &q->e->binding;
    const lr_family *family = written_family(b->family);
    bool only_head = lr_binding_find(b, LR_EMBED, -1) < 0, tied = only_head || lr_binding_find(b, LR_HEAD, -1) < 0;
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < b->n && !status; i++) status = list_tensor(q, i, family, from_gguf, tied, only_head);
    if (!status && from_gguf && b->rope_factors)
        status = lr_quantize_add_ready(q, b->rope_factors->name, LR_DT_F32, (uint64_t)b->hparams.n_rot / 2, b->rope_factors->data);
    return status;
}

/* Divisors of the rotation's frequencies: the container has no other word for the scaling of Llama 3 and of Phi-3.     */
static llmrun_status add_rope_factors(lr_quantize *q) {
    lr_hparams plain = q->e->binding.hparams;
    double scaled[LR_MAX_ROT / 2], freq[LR_MAX_ROT / 2];
    float factors[LR_MAX_ROT / 2];
    uint64_t n = (uint64_t)plain.n_rot / 2;
    if (plain.rope[0].scaling == LR_ROPE_LONG) {
        llmrun_status status = lr_quantize_add_ready(q, "rope_factors_short.weight", LR_DT_F32, n, plain.rope_divisors[0]);
        return status ? status : lr_quantize_add_ready(q, "rope_factors_long.weight", LR_DT_F32, n, plain.rope_divisors[1]);
    }
    if (plain.rope[0].scaling != LR_ROPE_LLAMA3) return LLMRUN_OK;
    lr_rope_frequencies(&plain, 0, 0, scaled);
    plain.rope[0].scaling = LR_ROPE_NONE;
    lr_rope_frequencies(&plain, 0, 0, freq);
    for (uint64_t i = 0; i < n; i++) factors[i] = (float)(freq[i] / scaled[i]);
    return lr_quantize_add_ready(q, "rope_freqs.weight", LR_DT_F32, n, factors);
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
    bool yarn = r->scaling == LR_ROPE_YARN, longer = r->scaling == LR_ROPE_LONG;
    if (!h->n_rot) return;
    lr_gguf_add_u32(k->meta, key_of(k, "rope.dimension_count"), (uint32_t)h->n_rot);
    lr_gguf_add_f32(k->meta, key_of(k, "rope.freq_base"), r->theta);
    if (h->n_ropes > 1) lr_gguf_add_f32(k->meta, key_of(k, "rope.freq_base_swa"), h->rope[1].theta);
    if (yarn || longer) lr_gguf_add_u32(k->meta, key_of(k, "rope.scaling.original_context_length"), (uint32_t)r->n_ctx_orig);
    if (longer) lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.attn_factor"), r->attn_factor);
    if (yarn && h->kv_rank && r->score_factor > 0)
        lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.yarn_log_multiplier"), (sqrtf(r->score_factor) - 1) / logf(r->factor));
    if (!yarn && r->scaling != LR_ROPE_LINEAR) return;
    add_text(k->meta, key_of(k, "rope.scaling.type"), yarn ? "yarn" : "linear");
    lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.factor"), r->factor);
    if (!yarn) return;
    float usual = (float)(0.1 * log((double)r->factor) + 1); /* what readers multiply with anyway */
    if (r->attn_factor != usual && !h->kv_rank)
        lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.attn_factor"), r->attn_factor / usual);
    if (r->beta_fast != 32) lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.yarn_beta_fast"), r->beta_fast);
    if (r->beta_slow != 1) lr_gguf_add_f32(k->meta, key_of(k, "rope.scaling.yarn_beta_slow"), r->beta_slow);
}

/* The numbers that are not what a reader takes where there are none.  What follows from the shape (fallback NaN) is said
 * only where config.json says it.                                                                                     */
static void add_numbers(keys *k, const lr_hparams *h, const lr_config *config, bool logits_times) {
    lr_gguf_add_f32(k->meta, key_of(k, h->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"), h->norm_eps);
    for (size_t i = 0; i < lr_n_number_rows; i++) {
        const lr_number_row *row = &lr_number_rows[i];
        float value = *(const float *)((const char *)h + row->offset);
        if (logits_times && row->offset == offsetof(lr_hparams, logit_scale)) value = 1 / value;
        bool said = !isnan(row->fallback) && value != (float)row->fallback;
        for (size_t n = 0; n < LR_COUNT(row->keys) && row->keys[n]; n++) said |= isnan(row->fallback) && lr_config_has(config, row->keys[n]);
        if (said && row->offset != offsetof(lr_hparams, norm_eps)) lr_gguf_add_f32(k->meta, key_of(k, row->gguf[0]), value);
    }
}

static llmrun_status add_hparams(lr_quantize *q, lr_gguf_meta *m) {
    const lr_binding *b = &q->e->binding;
    const lr_hparams *h = &b->hparams;
    const lr_family *family = written_family(b->family);
    keys k = {.meta = m, .arch = family->gguf_architectures[0]};
    if (family->gguf_adjacent && !family->adjacent && h->n_rot != h->head_dim)
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: GGUF has no word for heads of %s that rotate in part", q->e->checkpoint.dir,
                       b->family->name);
    add_text(m, "general.architecture", k.arch);
    add_text(m, "general.type", "model");
    add_text(m, "general.name", lr_path_base(q->e->checkpoint.dir));
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        int32_t value = *(const int32_t *)((const char *)h + row->offset);
        bool experts = row->offset >= offsetof(lr_hparams, n_experts) && row->offset <= offsetof(lr_hparams, expert_every);
        if (value && (!experts || h->n_experts)) lr_gguf_add_u32(m, key_of(&k, row->gguf), (uint32_t)value);
    }
    lr_gguf_add_u32(m, key_of(&k, "attention.value_length"), (uint32_t)lr_v_dim(h));
    if (h->kv_rank) lr_gguf_add_u32(m, key_of(&k, "attention.key_length_mla"), (uint32_t)(h->n_nope + h->n_rot));
    if (family->sigmoid && h->n_experts) { /* elsewhere readers know it */
        lr_gguf_add_u32(m, key_of(&k, "expert_gating_func"), h->sigmoid ? 2 : 1);
        lr_gguf_add_bool(m, key_of(&k, "expert_weights_norm"), h->among_chosen);
    }
    add_numbers(&k, h, &q->e->checkpoint.config, family->logits_times);
    if (h->layer_norm) lr_gguf_add_bool(m, key_of(&k, "use_parallel_residual"), h->parallel);
    if (h->window) lr_gguf_add_u32(m, key_of(&k, "attention.sliding_window"), (uint32_t)h->window);
    add_rope(&k, h);
    llmrun_status status = lr_quantize_verify(q, m);
    return status ? status : lr_quantize_tokenizer(q->e, m, q->err);
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
    if (from_gguf && lr_checkpoint_find(&q->e->checkpoint, "blk.0.attn_kv_b.weight"))
        return lr_fail(q->err, LLMRUN_UNSUPPORTED, "%s: writing GGUF files of the older form of %s again is not supported",
                       q->e->checkpoint.dir, q->e->binding.family->name);
    llmrun_status status = list_tensors(q, from_gguf);
    if (!status && (!from_gguf || !q->e->binding.rope_factors)) status = add_rope_factors(q);
    if (!status && !from_gguf) status = add_hparams(q, meta);
    if (from_gguf) copy_values(g, meta);
    lr_gguf_add_u32(meta, "general.file_type", file_type(q->format));
    lr_gguf_add_u32(meta, "general.quantization_version", 2);
    return status;
}
