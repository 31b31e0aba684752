/* A tokenizer as GGUF metadata: "gpt2" for byte-level BPE by merges, "llama" for SentencePiece's BPE by scores and for
 * its form with merges.  What the container cannot say exactly is UNSUPPORTED.                                       */
#include <stdio.h>
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/tokenizer_pre.h"
#include "runtime/quantize.h"
#include "runtime/tokenizer_parts.h"

static llmrun_status unsupported(llmrun_error *err, const char *what) {
    return lr_fail(err, LLMRUN_UNSUPPORTED, "tokenizer: %s cannot be written as GGUF; leave .gguf out for a directory", what);
}

/* ---- tokens ---- */

static lr_token_type type_of(const lr_vocab *v, int32_t id, const lr_added *added) {
    const lr_token *t = id < v->n_tokens ? &v->tokens[id] : NULL;
    unsigned byte;
    int end = 0;
    if (v->types && id < v->n_model) return (lr_token_type)v->types[id];
    if (added) return id == v->unk ? LR_TYPE_UNKNOWN : added->special ? LR_TYPE_CONTROL : LR_TYPE_USER_DEFINED;
    if (!t || t->start == LR_NO_TOKEN) return LR_TYPE_UNUSED;
    if (id == v->unk) return LR_TYPE_UNKNOWN;
    bool is_byte = v->byte_fallback && t->n == 6 && sscanf(v->text + t->start, "<0x%2X>%n", &byte, &end) == 1 && end == 6;
    return is_byte ? LR_TYPE_BYTE : LR_TYPE_NORMAL;
}

/* Texts and types of all ids of the model; ids without a token are filled up.                                         */
static llmrun_status add_tokens(const lr_vocab *v, int32_t n, lr_gguf_meta *m, llmrun_error *err) {
    const lr_added **added = lr_zalloc((size_t)n, sizeof *added);
    if (!added) return lr_fail_nomem(err, "tokenizer", (size_t)n * sizeof *added);
    for (size_t i = 0; i < v->n_added; i++)
        if (v->added[i].id < n) added[v->added[i].id] = &v->added[i];
    lr_gguf_add_array(m, "tokenizer.ggml.tokens", LR_GGUF_STRING, (uint64_t)n);
    for (int32_t id = 0; id < n; id++) {
        const lr_token *t = id < v->n_tokens ? &v->tokens[id] : NULL;
        char pad[24];
        if (added[id])
            lr_gguf_add_element(m, added[id]->text, added[id]->n);
        else if (t && t->start != LR_NO_TOKEN)
            lr_gguf_add_element(m, v->text + t->start, t->n);
        else
            lr_gguf_add_element(m, pad, (size_t)snprintf(pad, sizeof pad, "[PAD%d]", id));
    }
    lr_gguf_add_array(m, "tokenizer.ggml.token_type", LR_GGUF_I32, (uint64_t)n);
    for (int32_t id = 0; id < n; id++) lr_text_add_bytes(&m->bytes, &(int32_t){type_of(v, id, added[id])}, sizeof(int32_t));
    lr_free(added);
    return LLMRUN_OK;
}

static void add_merges(const lr_vocab *v, lr_gguf_meta *m) {
    lr_text pair = {0};
    lr_gguf_add_array(m, "tokenizer.ggml.merges", LR_GGUF_STRING, v->n_merges);
    for (size_t i = 0; i < v->n_merges; i++) {
        const lr_token *left = &v->tokens[v->merges[i].left], *right = &v->tokens[v->merges[i].right];
        pair.n = 0;
        lr_text_add_bytes(&pair, v->text + left->start, left->n);
        lr_text_add_bytes(&pair, " ", 1);
        lr_text_add_bytes(&pair, v->text + right->start, right->n);
        lr_gguf_add_element(m, pair.text, pair.n);
    }
    m->bytes.failed |= pair.failed;
    lr_free(pair.text);
}

/* Scores in the order of the merges: the earlier a token comes about, the higher.  Others never come about.           */
static llmrun_status add_scores(const lr_vocab *v, int32_t n, lr_gguf_meta *m, llmrun_error *err) {
    float *scores = lr_alloc((size_t)n * sizeof *scores);
    if (!scores) return lr_fail_nomem(err, "tokenizer", (size_t)n * sizeof *scores);
    for (int32_t id = 0; id < n; id++) scores[id] = v->scores && id < v->n_model ? (float)v->scores[id] : -1e9f;
    for (size_t i = v->n_merges; !v->scores && i-- > 0;)
        if (v->merges[i].result < n) scores[v->merges[i].result] = -(float)i;
    lr_gguf_add_array(m, "tokenizer.ggml.scores", LR_GGUF_F32, (uint64_t)n);
    lr_text_add_bytes(&m->bytes, scores, (size_t)n * sizeof *scores);
    lr_free(scores);
    return LLMRUN_OK;
}

/* ---- steps ---- */

/* Byte level: the name of the patterns that cut the text.                                                             */
static llmrun_status add_pre(const lr_vocab *v, lr_gguf_meta *m, llmrun_error *err) {
    const char *patterns[LR_STEPS_MAX];
    size_t n = 0;
    bool nfc = v->normalizer.n == 1 && v->normalizer.items[0].kind == LR_STEP_NFC;
    if (v->normalizer.n && !nfc) return unsupported(err, "its normalizer");
    for (size_t i = 0; i < v->pre_tokenizer.n; i++) {
        const lr_step *s = &v->pre_tokenizer.items[i];
        bool bytes = s->kind == LR_STEP_BYTE_LEVEL && s->prefix != LR_PREFIX_ALWAYS;
        if (!bytes && (s->kind != LR_STEP_SPLIT || !s->regex || s->invert || s->behavior != LR_SPLIT_ISOLATED))
            return unsupported(err, "its pre-tokenizer");
        if (!bytes) patterns[n++] = s->pattern;
    }
    const lr_pre *pre = lr_pre_match(patterns, n, (nfc ? LR_PRE_NFC : 0u) | (v->ignore_merges ? LR_PRE_IGNORE_MERGES : 0u));
    if (!pre) return unsupported(err, "the pattern of its pre-tokenizer, which has no name there,");
    lr_gguf_add_string(m, "tokenizer.ggml.pre", pre->names, strcspn(pre->names, " "));
    return LLMRUN_OK;
}

/* Marks for spaces: whether one goes in front.                                                                        */
static llmrun_status add_marks(const lr_vocab *v, lr_gguf_meta *m, llmrun_error *err) {
    bool marks = false, prefix = false;
    const lr_steps *lists[] = {&v->normalizer, &v->pre_tokenizer};
    for (size_t k = 0; k < LR_COUNT(lists); k++)
        for (size_t i = 0; i < lists[k]->n; i++) {
            const lr_step *s = &lists[k]->items[i];
            bool spaces = s->kind == LR_STEP_REPLACE && s->pattern && !strcmp(s->pattern, " ") && s->content && !strcmp(s->content, "\u2581");
            bool whole = s->kind == LR_STEP_METASPACE || (s->kind == LR_STEP_SENTENCEPIECE && !s->trim && !v->charsmap.n_units);
            if (!spaces && !whole && s->kind != LR_STEP_PREPEND) return unsupported(err, "one of its normalizers");
            marks |= spaces || whole;
            prefix |= s->kind == LR_STEP_PREPEND || (whole && s->prefix != LR_PREFIX_NEVER);
        }
    if (!marks) return unsupported(err, "text without marks for spaces");
    lr_gguf_add_bool(m, "tokenizer.ggml.add_space_prefix", prefix);
    return LLMRUN_OK;
}

/* ---- ends ---- */

/* Ids that begin and end a text, of config.json alone where there is no tokenizer.                                     */
static llmrun_status add_ends(const llmrun_engine *e, lr_gguf_meta *m, llmrun_error *err) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    static const lr_vocab none = {.bos = -1, .eos = -1, .unk = -1};
    const lr_vocab *v = e->tokenizer ? &e->tokenizer->vocab : &none;
    const lr_hparams *h = &e->binding.hparams;
    int32_t bos = v->n_prefix ? v->prefix[0] : h->bos >= 0 ? h->bos : v->bos;
    int32_t eos = v->n_suffix ? v->suffix[0] : h->n_eos ? h->eos[0] : v->eos;
    if (v->n_prefix > 1 || v->n_suffix > 1) return unsupported(err, "more than one token put around a text");
    if (bos >= 0) lr_gguf_add_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    if (eos >= 0) lr_gguf_add_u32(m, keys[0], (uint32_t)eos);
    for (int32_t i = 0, k = 1; i < h->n_eos && k < (int32_t)LR_COUNT(keys); i++)
        if (h->eos[i] != eos) lr_gguf_add_u32(m, keys[k++], (uint32_t)h->eos[i]);
    if (!e->tokenizer) return LLMRUN_OK;
    if (v->unk >= 0) lr_gguf_add_u32(m, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk);
    lr_gguf_add_bool(m, "tokenizer.ggml.add_bos_token", v->n_prefix > 0);
    lr_gguf_add_bool(m, "tokenizer.ggml.add_eos_token", v->n_suffix > 0);
    return LLMRUN_OK;
}

llmrun_status lr_quantize_tokenizer(const llmrun_engine *e, lr_gguf_meta *m, llmrun_error *err) {
    if (!e->tokenizer) return add_ends(e, m, err);
    const lr_vocab *v = &e->tokenizer->vocab;
    bool bytes = e->tokenizer->byte_level;
    int32_t n = e->binding.hparams.n_vocab;
    size_t n_template;
    const char *template = lr_chat_template(e, &n_template);
    if (v->kind == LR_VOCAB_UNIGRAM) return unsupported(err, "a Unigram model");
    if (!bytes && v->kind == LR_VOCAB_MERGES && !v->byte_fallback) return unsupported(err, "merges of characters without bytes");
    lr_gguf_add_string(m, "tokenizer.ggml.model", bytes ? "gpt2" : "llama", bytes ? 4 : 5);
    llmrun_status status = bytes ? add_pre(v, m, err) : add_marks(v, m, err);
    if (!status) status = add_tokens(v, n, m, err);
    if (!status && bytes) add_merges(v, m);
    if (!status && !bytes) status = add_scores(v, n, m, err);
    if (!status) status = add_ends(e, m, err);
    if (!status && template) lr_gguf_add_string(m, "tokenizer.chat_template", template, n_template);
    return status;
}
