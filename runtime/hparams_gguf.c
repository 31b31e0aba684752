/* GGUF metadata -> numbers.  The integers are a table in models/; the rest, which needs a decision, is here.         */
#include "runtime/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"

typedef struct source {
    const lr_config *c;
    const char *arch;
    char key[128]; /* of the value at hand */
    llmrun_error *err;
} source;

static const char *key_of(source *s, const char *name) {
    snprintf(s->key, sizeof s->key, "%s.%s", s->arch, name);
    return s->key;
}

static llmrun_status find_family(const lr_family **family, source *s) {
    char known[512], shown[80];
    s->arch = lr_config_string(s->c, "general.architecture");
    if (!s->arch)
        return lr_fail(s->err, LLMRUN_FORMAT, "%s: expected \"general.architecture\", found none", s->c->path);
    *family = lr_family_find_gguf(s->arch, lr_config_find(s->c, key_of(s, "expert_count")) != NULL);
    if (*family) return LLMRUN_OK;
    return lr_fail(s->err, LLMRUN_UNSUPPORTED, "%s: architecture \"%s\" is not supported; known: %s", s->c->path,
                   lr_printable(shown, sizeof shown, s->arch, strlen(s->arch)),
                   lr_hparams_families(known, sizeof known));
}

/* The key, or where a value for each layer is given instead and all are equal, that of the first.                    */
static llmrun_status find_scalar(source *s, const char *name) {
    char first[160];
    const lr_value *v = lr_config_find(s->c, key_of(s, name));
    if (!v || v->type != LR_VALUE_ARRAY) return LLMRUN_OK;
    snprintf(first, sizeof first, "%s.0", s->key);
    const lr_value *one = lr_config_find(s->c, first);
    for (int i = 1; one && i < (int)v->number; i++) {
        char item[160];
        snprintf(item, sizeof item, "%s.%d", s->key, i);
        const lr_value *other = lr_config_find(s->c, item);
        if (other && other->type == one->type && other->number == one->number) continue;
        return lr_fail(s->err, LLMRUN_UNSUPPORTED, "%s: \"%s\": layers that differ are not supported", s->c->path, s->key);
    }
    snprintf(s->key, sizeof s->key, "%.127s", first);
    return LLMRUN_OK;
}

static llmrun_status read_integers(lr_hparams *h, const lr_family *family, source *s) {
    for (size_t i = 0; i < lr_n_hparam_rows; i++) {
        const lr_hparam_row *row = &lr_hparam_rows[i];
        int64_t fallback = lr_family_fallback(family, row, h), value;
        const lr_value *tokens = lr_config_find(s->c, "tokenizer.ggml.tokens");
        llmrun_status status = find_scalar(s, row->gguf);
        if (status) return status;
        if (row->fallback == LR_FROM_DIM && !lr_config_find(s->c, s->key) && fallback == h->dim / h->n_heads &&
            h->dim % h->n_heads != 0)
            return lr_fail(s->err, LLMRUN_FORMAT, "%s: embedding_length %d is not a multiple of attention.head_count %d",
                           s->c->path, h->dim, h->n_heads);
        if (row->offset == offsetof(lr_hparams, n_vocab) && tokens && tokens->type == LR_VALUE_ARRAY)
            fallback = (int64_t)fmin(tokens->number, (double)row->hi); /* many files leave it out */
        status = lr_config_int(s->c, s->key, row->lo, row->hi, fallback, &value, s->err);
        if (status) return status;
        *(int32_t *)((char *)h + row->offset) = (int32_t)value;
    }
    int64_t n_next;
    llmrun_status status = lr_config_int(s->c, key_of(s, "nextn_predict_layers"), 0, h->n_layers - 1, 0, &n_next, s->err);
    h->n_next = (int32_t)n_next;
    h->n_layers -= h->n_next; /* the container counts them */
    return status;
}

/* A positive number; absent: fallback.                                                                               */
static llmrun_status number(source *s, const char *name, double fallback, float *out) {
    double v = fallback;
    llmrun_status status = lr_config_number(s->c, key_of(s, name), fallback, &v, s->err);
    *out = (float)v;
    return status;
}

static llmrun_status read_numbers(lr_hparams *h, source *s) {
    for (size_t i = 0; i < lr_n_number_rows; i++) {
        const lr_number_row *row = &lr_number_rows[i];
        const char *name = row->gguf[0];
        for (size_t k = 0; k < LR_COUNT(row->gguf) && row->gguf[k]; k++)
            if (lr_config_find(s->c, key_of(s, row->gguf[k]))) name = row->gguf[k];
        float *out = (float *)((char *)h + row->offset);
        *out = (float)row->fallback;
        if (!lr_config_find(s->c, key_of(s, name))) continue;
        llmrun_status status = number(s, name, 1, out);
        if (status) return status;
    }
    return LLMRUN_OK;
}

static llmrun_status read_scaling(lr_rope *r, source *s) {
    const char *type = lr_config_string(s->c, key_of(s, "rope.scaling.type"));
    char shown[40];
    float old = 1;
    llmrun_status status = number(s, "rope.scale_linear", 1, &old);
    if (!status) status = number(s, "rope.scaling.factor", (double)old, &r->factor);
    if (status) return status;
    if (!type) type = r->factor != 1 ? "linear" : "none"; /* as files from before the key */
    if (strcmp(type, "none") == 0 || strcmp(type, "longrope") == 0) /* tensors have the divisors */
        r->scaling = LR_ROPE_NONE;
    else if (strcmp(type, "linear") == 0)
        r->scaling = LR_ROPE_LINEAR;
    else if (strcmp(type, "yarn") == 0)
        r->scaling = LR_ROPE_YARN;
    else
        return lr_fail(s->err, LLMRUN_UNSUPPORTED, "%s: %s.rope.scaling.type \"%s\" is not supported; known: none, linear, "
                       "yarn", s->c->path, s->arch, lr_printable(shown, sizeof shown, type, strlen(type)));
    return LLMRUN_OK;
}

static llmrun_status read_rope(lr_hparams *h, const lr_family *family, source *s) {
    int64_t rotated, original;
    lr_rope *r = &h->rope[0];
    llmrun_status status = lr_config_int(s->c, key_of(s, "rope.dimension_count"), 1, LR_MAX_ROT, h->head_dim, &rotated,
                                         s->err);
    if (!status) h->n_rot = (int32_t)rotated;
    if (!status) status = number(s, "rope.freq_base", family->theta > 0 ? (double)family->theta : 10000, &r->theta);
    if (!status) status = read_scaling(r, s);
    if (!status) status = number(s, "rope.scaling.attn_factor", 1, &r->attn_factor);
    if (!status) status = number(s, "rope.scaling.yarn_beta_fast", 32, &r->beta_fast);
    if (!status) status = number(s, "rope.scaling.yarn_beta_slow", 1, &r->beta_slow);
    if (!status)
        status = lr_config_int(s->c, key_of(s, "rope.scaling.original_context_length"), 1, 1 << 30, h->n_ctx_train,
                               &original, s->err);
    if (status) return status;
    r->n_ctx_orig = (int32_t)original;
    r->sharp = family->sharp;
    bool even = lr_config_find(s->c, key_of(s, "rope.scaling.yarn_log_multiplier")); /* angles keep their length */
    if (r->scaling == LR_ROPE_YARN && !even) r->attn_factor *= (float)(0.1 * log(r->factor) + 1);
    bool grows = lr_config_find(s->c, key_of(s, "attention.temperature_scale")); /* see lr_hparams_read_rope */
    if (grows) h->n_ctx_train = (int32_t)lr_min(h->n_ctx_train, original);
    h->n_ropes = family->local_theta > 0 ? 2 : 1;
    h->rope[1] = (lr_rope){ .theta = family->local_theta, .attn_factor = 1 };
    return number(s, "rope.freq_base_swa", (double)family->local_theta, &h->rope[1].theta);
}

/* Sizes of latent attention: newer files give those of heads as the cache has them, and apart those of the model.      */
static llmrun_status read_latent(lr_hparams *h, source *s) {
    static const char *const keys[2][2] = { { "attention.key_length_mla", "attention.key_length" },
                                            { "attention.value_length_mla", "attention.value_length" } };
    lr_rope *r = &h->rope[0];
    int64_t length[2];
    float factor;
    llmrun_status status = LLMRUN_OK;
    for (int i = 0; i < 2 && !status; i++) {
        const char *name = lr_config_find(s->c, key_of(s, keys[i][0])) ? keys[i][0] : keys[i][1];
        status = lr_config_int(s->c, key_of(s, name), 1, LR_MAX_ROT, 0, &length[i], s->err);
    }
    if (!status) status = number(s, "rope.scaling.yarn_log_multiplier", 0, &factor);
    if (status) return status;
    if (!h->kv_rank || length[0] <= h->n_rot)
        return lr_fail(s->err, LLMRUN_FORMAT, "%s: expected %s.attention.kv_lora_rank above 0 and heads of more than the %d "
                       "rotated values", s->c->path, s->arch, h->n_rot);
    h->n_nope = (int32_t)length[0] - h->n_rot;
    h->v_dim = (int32_t)length[1];
    if (r->scaling != LR_ROPE_YARN) return LLMRUN_OK;
    r->attn_factor = 1; /* scores have the factor instead */
    r->score_factor = (float)pow(1 + (double)factor * log(r->factor), 2);
    return LLMRUN_OK;
}

/* Where the container does not say, the family's rule does.                                                           */
static llmrun_status read_layers(lr_hparams *h, const lr_family *family, source *s) {
    int64_t window = 0, every = family->full_every;
    llmrun_status status = lr_config_int(s->c, key_of(s, "attention.sliding_window"), 0, 1 << 30, 0, &window, s->err);
    if (status) return status;
    if (family->no_window && window > 0)
        return lr_fail(s->err, LLMRUN_UNSUPPORTED, "%s: \"%s\": sliding windows are not supported for %s", s->c->path, s->key,
                       family->name);
    h->window = family->window_needs_flag ? 0 : (int32_t)window; /* the flag is not in GGUF, and hardly ever set */
    for (int32_t l = 0; l < h->n_layers; l++) {
        if (every > 0 && (l + 1) % every == 0) h->layer_flags[l] |= LR_LAYER_FULL;
        if (family->rope_in_window && h->window && h->layer_flags[l] & LR_LAYER_FULL) h->layer_flags[l] |= LR_LAYER_NO_ROPE;
        if (family->no_rope_every > 0 && (l + 1) % family->no_rope_every == 0) h->layer_flags[l] |= LR_LAYER_NO_ROPE;
    }
    return LLMRUN_OK;
}

static llmrun_status outside(const char *key, int64_t id, const lr_hparams *h, const char *path, llmrun_error *err) {
    return lr_fail(err, LLMRUN_FORMAT, "%s: %s %lld outside vocabulary 0..%d", path, key, (long long)id, h->n_vocab - 1);
}

/* Where texts begin and end.  Ends: the ids that the metadata names, and control tokens whose text says so; files often
 * name one of several.                                                                                                */
static llmrun_status read_special(lr_hparams *h, const lr_gguf *g, const char *path, llmrun_error *err) {
    static const char bos[] = "tokenizer.ggml.bos_token_id";
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    static const char *const texts[] = { "<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|call|>",
                                         "<end_of_turn>", "<|endoftext|>" };
    enum { NORMAL = 1 };
    int64_t id, type;
    for (size_t i = 0; i < LR_COUNT(keys); i++) {
        if (!lr_gguf_int_at(lr_gguf_find(g, keys[i]), 0, &id)) continue;
        if (id < 0 || id >= h->n_vocab) return outside(keys[i], id, h, path, err);
        lr_hparams_add_end(h, (double)id);
    }
    const lr_gguf_value *types = lr_gguf_find(g, "tokenizer.ggml.token_type");
    lr_gguf_strings tokens = lr_gguf_strings_of(lr_gguf_find(g, "tokenizer.ggml.tokens"));
    lr_gguf_text t;
    for (uint64_t k = 0; lr_gguf_next(&tokens, &t); k++) {
        if (t.n < 2 || t.text[0] != '<' || (lr_gguf_int_at(types, k, &type) && type == NORMAL)) continue;
        for (size_t i = 0; i < LR_COUNT(texts); i++)
            if (t.n == strlen(texts[i]) && memcmp(t.text, texts[i], t.n) == 0) lr_hparams_add_end(h, (double)k);
    }
    if (!lr_gguf_int_at(lr_gguf_find(g, bos), 0, &id)) return LLMRUN_OK;
    h->bos = id >= 0 && id < h->n_vocab ? (int32_t)id : -1;
    return h->bos == id ? LLMRUN_OK : outside(bos, id, h, path, err);
}

llmrun_status lr_hparams_read_gguf(lr_hparams *h, const lr_family **family, const lr_checkpoint *c, llmrun_error *err) {
    source s = { .c = &c->config, .err = err };
    *h = (lr_hparams){ .bos = -1, .rope = { { .low_freq = 1, .high_freq = 4 } } };
    llmrun_status status = find_family(family, &s);
    if (!status) status = read_integers(h, *family, &s);
    if (!status) status = read_numbers(h, &s);
    if (!status) status = read_rope(h, *family, &s);
    if (!status && (*family)->latent) status = read_latent(h, &s);
    if (!status) status = read_layers(h, *family, &s);
    if (!status) status = lr_hparams_read_experts_gguf(h, *family, s.arch, s.c, err);
    if (status) return status;
    if (isnan(h->attn_scale) && h->n_layers == (*family)->wide_scale_layers)
        h->attn_scale = sqrtf((float)h->n_heads / (float)h->dim);
    h->act = (*family)->act;
    h->parallel = lr_config_bool(&c->config, key_of(&s, "use_parallel_residual"), (*family)->parallel);
    h->rope_adjacent = (*family)->gguf_adjacent;
    lr_hparams_settle(h, *family);
    const char *wrong = lr_hparams_check(h);
    if (wrong) return lr_fail(err, LLMRUN_FORMAT, "%s: %s", s.c->path, wrong);
    return read_special(h, &c->gguf, s.c->path, err);
}
