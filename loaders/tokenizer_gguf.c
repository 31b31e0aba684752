/* The vocabulary in a GGUF's metadata, tokenizer.ggml.*: "llama" (SentencePiece's BPE by scores), "t5" (Unigram), "gpt2"
 * and "gemma4" (BPE by merges).                                                                                       */
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/tokenizer_pre.h"
#include "loaders/tokenizer_vocab.h"

typedef struct reader {
    lr_vocab *v;
    const lr_gguf *g;
    const char *where;
    llmrun_error *err;
    const lr_pre *pre; /* merges only */
} reader;

static const lr_gguf_value *find(const reader *r, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    return lr_gguf_find(r->g, key);
}

static llmrun_status wrong(const reader *r, const char *name, const char *expected) {
    char got[80];
    const lr_gguf_value *v = find(r, name);
    return lr_fail(r->err, LLMRUN_FORMAT, "%s: tokenizer.ggml.%s: expected %s, got %s", r->where, name, expected,
                   v ? lr_gguf_describe(got, sizeof got, v) : "nothing");
}

static bool flag(const reader *r, const char *name, bool fallback) {
    int64_t value;
    const lr_gguf_value *v = find(r, name);
    return v && !v->is_array && lr_gguf_int_at(v, 0, &value) ? value != 0 : fallback;
}

/* A token's id; -1: none.  Ids beyond the vocabulary are seen in real files, for tokens that are never used.          */
static int32_t id_of(const reader *r, const char *name, int32_t fallback) {
    int64_t id;
    const lr_gguf_value *v = find(r, name);
    if (!v || v->is_array || !lr_gguf_int_at(v, 0, &id)) id = fallback;
    return id >= 0 && id < r->v->n_tokens ? (int32_t)id : -1;
}

static bool is_list(const lr_gguf_value *v, lr_gguf_type type) { return v && v->is_array && v->type == type; }

/* ---- tokens ---- */

/* scored: the model needs scores and types.                                                                           */
static llmrun_status read_tokens(const reader *r, bool scored) {
    const lr_gguf_value *tokens = find(r, "tokens"), *scores = find(r, "scores"), *types = find(r, "token_type");
    lr_pieces pieces = {.v = r->v, .where = r->where, .err = r->err};
    lr_gguf_text text;
    uint64_t i = 0;
    llmrun_status status = LLMRUN_OK;
    if (!is_list(tokens, LR_GGUF_STRING)) return wrong(r, "tokens", "an array of strings");
    if (scored && (!scores || !scores->is_array || scores->count < tokens->count))
        return wrong(r, "scores", "one number per token");
    if ((scored || types) && (!types || !types->is_array || types->count < tokens->count))
        return wrong(r, "token_type", "one integer per token");
    for (lr_gguf_strings s = lr_gguf_strings_of(tokens); !status && lr_gguf_next(&s, &text); i++) {
        int64_t type = LR_TYPE_NORMAL;
        if (types && !lr_gguf_int_at(types, i, &type)) status = wrong(r, "token_type", "one integer per token");
        type = type >= LR_TYPE_NORMAL && type <= LR_TYPE_BYTE ? type : 0;
        double score = scored ? lr_gguf_number_at(scores, i) : 0;
        if (!status) status = lr_pieces_add(&pieces, text.text, text.n, score, (lr_token_type)type);
    }
    if (!status) status = lr_pieces_finish(&pieces, true, false);
    lr_pieces_close(&pieces);
    return status;
}

static llmrun_status read_merges(const reader *r) {
    const lr_gguf_value *merges = find(r, "merges");
    lr_gguf_text text;
    lr_text pair = {0};
    size_t cap = 0;
    llmrun_status status = LLMRUN_OK;
    if (!is_list(merges, LR_GGUF_STRING)) return wrong(r, "merges", "an array of strings");
    for (lr_gguf_strings s = lr_gguf_strings_of(merges); !status && lr_gguf_next(&s, &text);) {
        const char *space = text.n > 1 ? memchr(text.text + 1, ' ', text.n - 1) : NULL;
        size_t n_left = space ? (size_t)(space - text.text) : 0;
        char shown[80];
        if (!space || n_left + 1 == text.n) {
            status = lr_fail(r->err, LLMRUN_FORMAT, "%s: tokenizer.ggml.merges: merge %zu \"%s\" is not two tokens",
                             r->where, r->v->n_merges, lr_printable(shown, sizeof shown, text.text, text.n));
            break;
        }
        pair.n = 0;
        lr_text_add_bytes(&pair, text.text, n_left);
        lr_text_add_bytes(&pair, space + 1, text.n - n_left - 1);
        status = pair.failed ? lr_fail_nomem(r->err, r->where, text.n)
                             : lr_vocab_add_merge(r->v, &cap, &pair, n_left, r->where, r->err);
    }
    lr_free(pair.text);
    return status;
}

/* ---- the kinds of models ---- */

/* Scores are of no use by merges, and types only name what is added.                                                  */
static void drop_unused(lr_vocab *v) {
    lr_free(v->scores);
    v->scores = NULL;
}

static llmrun_status find_pre(reader *r, bool gemma4) {
    const lr_gguf_value *pre = find(r, "pre");
    lr_gguf_text name = {"gemma4", 6}, architecture;
    char shown[64];
    if (!gemma4 && pre && !lr_gguf_string(pre, &name)) return wrong(r, "pre", "a string");
    if (!gemma4 && !pre) {
        bool known = lr_gguf_string(lr_gguf_find(r->g, "general.architecture"), &architecture);
        const char *only = known ? lr_pre_of_architecture(architecture.text, architecture.n) : NULL;
        if (!only)
            return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: tokenizer.ggml.pre is missing: the file does not say how "
                           "text is cut; a newer conversion of the model does", r->where);
        name = (lr_gguf_text){only, strlen(only)};
    }
    r->pre = lr_pre_find(name.text, name.n);
    if (r->pre) return LLMRUN_OK;
    return lr_fail(r->err, LLMRUN_UNSUPPORTED, "%s: tokenizer.ggml.pre \"%s\" is not supported", r->where,
                   lr_printable(shown, sizeof shown, name.text, name.n));
}

static llmrun_status add_pre_steps(const reader *r) {
    lr_vocab *v = r->v;
    bool raw = r->pre->flags & LR_PRE_RAW, ok = true;
    if (r->pre->flags & LR_PRE_NFC) ok = lr_steps_add(&v->normalizer, LR_STEP_NFC) != NULL;
    if (!raw) {
        lr_step *bytes = ok ? lr_steps_add(&v->pre_tokenizer, LR_STEP_BYTE_LEVEL) : NULL;
        ok = bytes && lr_steps_add(&v->decoder, LR_STEP_BYTE_LEVEL);
    }
    for (size_t i = 0; ok && i < LR_COUNT(r->pre->patterns) && r->pre->patterns[i]; i++) {
        lr_step *split = lr_steps_add(&v->pre_tokenizer, LR_STEP_SPLIT);
        ok = split && (split->pattern = lr_strdup(r->pre->patterns[i])) != NULL;
        if (split) split->regex = true;
    }
    if (!ok) return lr_fail_nomem(r->err, r->where, sizeof(lr_step));
    return raw ? lr_vocab_add_mark_steps(v, false, false, r->where, r->err) : LLMRUN_OK;
}

static llmrun_status read_by_merges(reader *r, bool gemma4) {
    lr_vocab *v = r->v;
    v->kind = LR_VOCAB_MERGES;
    llmrun_status status = find_pre(r, gemma4);
    if (!status) status = read_tokens(r, false);
    if (!status) status = read_merges(r);
    if (!status) status = add_pre_steps(r);
    if (status) return status;
    drop_unused(v);
    v->ignore_merges = r->pre->flags & LR_PRE_IGNORE_MERGES;
    v->byte_fallback = r->pre->flags & LR_PRE_RAW;
    v->bos = id_of(r, "bos_token_id", -1);
    v->eos = id_of(r, "eos_token_id", -1);
    v->add_bos = flag(r, "add_bos_token", (r->pre->flags & LR_PRE_ADD_BOS) && v->bos >= 0);
    v->add_eos = flag(r, "add_eos_token", false);
    return LLMRUN_OK;
}

/* Phi-3's special tokens take the white space after them; the container has no word for it.                           */
static void strip_after_special(const reader *r) {
    static const char *const others[] = {"<unk>", "<s>", "<|endoftext|>"};
    lr_gguf_text architecture;
    bool known = lr_gguf_string(lr_gguf_find(r->g, "general.architecture"), &architecture);
    if (!known || architecture.n != 4 || memcmp(architecture.text, "phi3", 4)) return;
    for (size_t i = 0; i < r->v->n_added; i++) {
        bool strips = true;
        for (size_t k = 0; k < LR_COUNT(others); k++) strips &= strcmp(r->v->added[i].text, others[k]) != 0;
        r->v->added[i].rstrip = strips;
    }
}

static llmrun_status read_by_scores(reader *r) {
    lr_vocab *v = r->v;
    bool prefix = flag(r, "add_space_prefix", true);
    v->kind = LR_VOCAB_SCORES;
    llmrun_status status = read_tokens(r, true);
    if (!status) status = lr_vocab_add_mark_steps(v, prefix, false, r->where, r->err);
    if (status) return status;
    strip_after_special(r);
    v->byte_fallback = v->fuse_unk = true;
    v->unk = id_of(r, "unknown_token_id", 0);
    v->bos = id_of(r, "bos_token_id", 1);
    v->eos = id_of(r, "eos_token_id", 2);
    v->add_bos = flag(r, "add_bos_token", v->bos >= 0);
    v->add_eos = flag(r, "add_eos_token", false);
    return LLMRUN_OK;
}

static llmrun_status read_unigram(reader *r) {
    lr_vocab *v = r->v;
    const lr_gguf_value *map = find(r, "precompiled_charsmap");
    v->kind = LR_VOCAB_UNIGRAM;
    if (map && !is_list(map, LR_GGUF_U8) && !is_list(map, LR_GGUF_I8))
        return wrong(r, "precompiled_charsmap", "an array of bytes");
    llmrun_status status = read_tokens(r, true);
    if (!status && map) status = lr_charsmap_read(&v->charsmap, map->data, map->count, r->where, r->err);
    if (!status)
        status = lr_vocab_add_mark_steps(v, flag(r, "add_space_prefix", true), flag(r, "remove_extra_whitespaces", true),
                                         r->where, r->err);
    if (status) return status;
    v->unk = id_of(r, "unknown_token_id", 2);
    if (v->unk < 0) return wrong(r, "unknown_token_id", "an id of the vocabulary");
    v->bos = id_of(r, "bos_token_id", -1);
    v->eos = id_of(r, "eos_token_id", 1);
    v->add_bos = flag(r, "add_bos_token", false);
    v->add_eos = flag(r, "add_eos_token", v->eos >= 0);
    return LLMRUN_OK;
}

llmrun_status lr_vocab_read_gguf(lr_vocab *v, const lr_gguf *g, const char *where, llmrun_error *err) {
    reader r = {.v = v, .g = g, .where = where, .err = err};
    lr_gguf_text model;
    char shown[64];
    llmrun_status status;
    v->unk = v->bos = v->eos = v->ends[0] = v->ends[1] = -1;
    if (!lr_gguf_string(find(&r, "model"), &model)) return wrong(&r, "model", "a string");
    lr_printable(shown, sizeof shown, model.text, model.n);
    if (!strcmp(shown, "gpt2") || !strcmp(shown, "gemma4"))
        status = read_by_merges(&r, !strcmp(shown, "gemma4"));
    else if (!strcmp(shown, "llama"))
        status = read_by_scores(&r);
    else if (!strcmp(shown, "t5"))
        status = read_unigram(&r);
    else
        status = lr_fail(err, LLMRUN_UNSUPPORTED, "%s: tokenizer.ggml.model \"%s\" is not supported; llama, gpt2, t5 "
                         "and gemma4 are", where, shown);
    if (status) return status;
    v->ends[0] = id_of(&r, "eot_token_id", -1);
    v->ends[1] = id_of(&r, "eom_token_id", -1);
    return LLMRUN_OK;
}
