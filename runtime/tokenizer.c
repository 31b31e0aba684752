/* The tokenizer: open and close, the order in which the parts run, and the public functions.  See tokenizer_parts.h.  */
#include "runtime/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

enum { MAX_TEXT = 1 << 28, BUDGET_PER_BYTE = 64, BUDGET_FLOOR = 1 << 20 };

/* ---- open ---- */

static llmrun_status open_stages(lr_stages *stages, const lr_steps *steps, const char *where, const char *list,
                                 llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    char place[600];
    snprintf(place, sizeof place, "%.500s: %s", where, list);
    stages->items = lr_zalloc(steps->n, sizeof *stages->items);
    if (!stages->items) return lr_fail_nomem(err, where, steps->n * sizeof *stages->items);
    for (size_t i = 0; i < steps->n && !status; i++) {
        const lr_step *step = &steps->items[i];
        lr_stage *stage = &stages->items[stages->n++];
        stage->step = step;
        if (step->kind == LR_STEP_SPLIT || (step->kind == LR_STEP_REPLACE && step->regex))
            status = lr_pattern_open(&stage->pattern, step->pattern, step->regex, place, err);
        else if (step->kind == LR_STEP_METASPACE && step->split)
            status = lr_pattern_open(&stage->pattern, step->content, false, place, err);
    }
    return status;
}

static void close_stages(lr_stages *stages) {
    for (size_t i = 0; i < stages->n; i++) lr_pattern_close(stages->items[i].pattern);
    lr_free(stages->items);
}

/* Which piece is the first of the text is a question of where it stood before it was normalized.  Where the answer is
 * not simply "the first piece", the file is refused.                                                                  */
static llmrun_status check_first_prefix(const lr_vocab *v, const char *where, llmrun_error *err) {
    for (size_t i = 0; i < v->pre_tokenizer.n; i++) {
        const lr_step *metaspace = &v->pre_tokenizer.items[i];
        if (metaspace->kind != LR_STEP_METASPACE || metaspace->prefix != LR_PREFIX_FIRST) continue;
        for (size_t k = 0; k < v->normalizer.n; k++) {
            const lr_step *step = &v->normalizer.items[k];
            bool moves = (step->kind == LR_STEP_STRIP && step->left) || step->kind == LR_STEP_PRECOMPILED || (step->kind == LR_STEP_REPLACE && !*step->content);
            if (moves || i > 0)
                return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: pre_tokenizer Metaspace with prepend_scheme first %s is not "
                               "supported", where, moves ? "after a normalizer that removes text" : "after a split");
        }
    }
    return LLMRUN_OK;
}

/* Id of a text, added tokens included; -1 if there is none.                                                           */
static int32_t find_token(const llmrun_tokenizer *t, const char *text) {
    for (size_t i = 0; i < t->vocab.n_added; i++)
        if (!strcmp(t->vocab.added[i].text, text)) return t->vocab.added[i].id;
    return lr_vocab_find(&t->vocab, text, strlen(text));
}

/* bos_token and eos_token are a string, or an object with content.                                                    */
static int32_t config_token(const llmrun_tokenizer *t, const lr_config *config, const char *key) {
    char inner[64];
    snprintf(inner, sizeof inner, "%s.content", key);
    const char *text = lr_config_string(config, key);
    if (!text) text = lr_config_string(config, inner);
    return text ? find_token(t, text) : -1;
}

/* BOS and EOS of a file without a template, from tokenizer_config.json.                                               */
static llmrun_status take_config(llmrun_tokenizer *t, const lr_config *config, llmrun_error *err) {
    const struct {
        const char *flag, *token;
        int32_t **ids;
        size_t *n;
    } side[] = {{"add_bos_token", "bos_token", &t->vocab.prefix, &t->vocab.n_prefix},
                {"add_eos_token", "eos_token", &t->vocab.suffix, &t->vocab.n_suffix}};
    for (size_t i = 0; i < LR_COUNT(side) && !t->vocab.has_template; i++) {
        if (!lr_config_bool(config, side[i].flag, false)) continue;
        int32_t id = config_token(t, config, side[i].token);
        if (id < 0)
            return lr_fail(err, LLMRUN_FORMAT, "%s: %s is set, but %s is not in the vocabulary", config->path, side[i].flag,
                           side[i].token);
        *side[i].ids = lr_alloc(sizeof(int32_t));
        if (!*side[i].ids) return lr_fail_nomem(err, "tokenizer", sizeof(int32_t));
        **side[i].ids = id;
        *side[i].n = 1;
    }
    return LLMRUN_OK;
}

static void mark_end(llmrun_tokenizer *t, int32_t id) {
    if (id >= 0 && id < t->vocab.n_tokens) t->traits[id] |= LR_TOKEN_END;
}

/* Where a turn or a text ends, by name.  With <|return|> among them, <|end|> only ends a part of a turn (gpt-oss).     */
static void mark_ends(llmrun_tokenizer *t, const lr_config *config, const int32_t *eos, int32_t n_eos) {
    static const char *const names[] = {
        "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|im_end|>",
        "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<|end_of_turn|>", "<|return|>", "<|call|>", "<|end_story|>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>"};
    for (int32_t i = 0; i < n_eos; i++) mark_end(t, eos[i]);
    if (config) mark_end(t, config_token(t, config, "eos_token"));
    for (size_t i = 0; i < LR_COUNT(names); i++) mark_end(t, find_token(t, names[i]));
    if (find_token(t, "<|return|>") < 0) mark_end(t, find_token(t, "<|end|>"));
}

llmrun_status lr_tokenizer_parse(llmrun_tokenizer **out, const char *json, size_t n, const char *where,
                                 const lr_config *config, const int32_t *eos, int32_t n_eos, llmrun_error *err) {
    *out = NULL;
    llmrun_tokenizer *t = lr_zalloc(1, sizeof *t);
    if (!t) return lr_fail_nomem(err, where, sizeof *t);
    llmrun_status status = lr_vocab_parse(&t->vocab, json, n, where, err);
    const lr_steps *pre = &t->vocab.pre_tokenizer;
    for (size_t i = 0; i < pre->n; i++) t->byte_level |= pre->items[i].kind == LR_STEP_BYTE_LEVEL;
    if (!status) status = check_first_prefix(&t->vocab, where, err);
    if (!status) status = open_stages(&t->normalizer, &t->vocab.normalizer, where, "normalizer", err);
    if (!status) status = open_stages(&t->pre_tokenizer, pre, where, "pre_tokenizer", err);
    if (!status) status = lr_model_open(t, where, err);
    if (!status) status = lr_decode_open(t, where, err);
    if (!status) status = lr_added_open(&t->raw, t, false, err);
    if (!status) status = lr_added_open(&t->normalized, t, true, err);
    if (!status && config) status = take_config(t, config, err);
    if (!status && !(t->traits = lr_zalloc((size_t)t->vocab.n_tokens, 1)))
        status = lr_fail_nomem(err, where, (size_t)t->vocab.n_tokens);
    if (status) {
        llmrun_tokenizer_close(t);
        return status;
    }
    for (size_t i = 0; i < t->vocab.n_added; i++)
        if (t->vocab.added[i].special) t->traits[t->vocab.added[i].id] |= LR_TOKEN_CONTROL;
    mark_ends(t, config, eos, n_eos);
    *out = t;
    return LLMRUN_OK;
}

llmrun_status lr_tokenizer_open(llmrun_tokenizer **out, const char *path, const lr_config *config, const int32_t *eos,
                                int32_t n_eos, llmrun_error *err) {
    lr_map map = {0};
    *out = NULL;
    llmrun_status status = lr_map_open(&map, path, false, err);
    if (!status)
        status = lr_tokenizer_parse(out, (const char *)map.data, map.size, path, config, eos, n_eos, err);
    lr_map_close(&map);
    return status;
}

llmrun_status llmrun_tokenizer_open(llmrun_tokenizer **out, const char *path, llmrun_error *err) {
    if (!out) return lr_fail(err, LLMRUN_ARG, "llmrun_tokenizer_open: out is NULL");
    *out = NULL;
    if (!path) return lr_fail(err, LLMRUN_ARG, "llmrun_tokenizer_open: path is NULL");
    struct stat info;
    bool directory = !stat(path, &info) && S_ISDIR(info.st_mode);
    const char *slash = strrchr(path, '/');
    size_t n_dir = directory ? strlen(path) : slash ? (size_t)(slash - path) : 0;
    lr_text file = {0}, beside = {0};
    lr_config config = {0};
    llmrun_status status = LLMRUN_OK;
    lr_text_add(&file, directory ? "%s/tokenizer.json" : "%s", path);
    lr_text_add(&beside, "%.*s%stokenizer_config.json", (int)n_dir, path, directory || slash ? "/" : "");
    if (file.failed || beside.failed) status = lr_fail_nomem(err, "llmrun_tokenizer_open", strlen(path));
    if (!status && !access(beside.text, F_OK)) status = lr_config_read(&config, beside.text, err);
    if (!status) status = lr_tokenizer_open(out, file.text, config.values ? &config : NULL, NULL, 0, err);
    lr_config_close(&config);
    lr_free(file.text);
    lr_free(beside.text);
    return status;
}

void llmrun_tokenizer_close(llmrun_tokenizer *t) {
    if (!t) return;
    close_stages(&t->normalizer);
    close_stages(&t->pre_tokenizer);
    lr_added_close(&t->raw);
    lr_added_close(&t->normalized);
    lr_free(t->merge_slots);
    lr_free(t->trie.nodes);
    lr_free(t->out);
    lr_free(t->out_of);
    lr_free(t->strip);
    lr_free(t->traits);
    lr_vocab_close(&t->vocab);
    lr_free(t);
}

size_t lr_tokenizer_bytes(const llmrun_tokenizer *t) {
    const lr_vocab *v = &t->vocab;
    size_t n = (size_t)v->n_tokens;
    return sizeof *t + v->n_text + t->n_out + n * (2 * sizeof(lr_token) + 1) + v->n_slots * sizeof *v->slots +
           v->n_merges * sizeof *v->merges + lr_unigram_bytes(t) + t->n_merge_slots * sizeof *t->merge_slots +
           v->n_added * (sizeof *v->added + sizeof *t->raw.items);
}

int32_t lr_tokenizer_bos(const llmrun_tokenizer *t) { return t->vocab.n_prefix ? t->vocab.prefix[0] : -1; }

/* ---- encode ---- */

/* Length of what is replaced by one U+FFFD: the longest start of a valid sequence, at least one byte.                 */
static size_t invalid_length(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    size_t want = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 1, k = 1;
    unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (want == 1 || n < 2 || s[1] < low || s[1] > high) return 1;
    while (k + 1 < want && k < n && (s[k] & 0xc0) == 0x80) k++;
    return k;
}

/* Valid text stays where it is; else *copy gets it with U+FFFD for what is not.                                       */
static bool make_valid(const char **text, size_t *n, lr_text *copy) {
    size_t good = 0;
    for (size_t i = 0; i < *n;) {
        size_t k = lr_utf8_length(*text + i, *n - i);
        if (!k) {
            lr_text_add_bytes(copy, *text + good, i - good);
            lr_text_add_bytes(copy, "\xef\xbf\xbd", 3);
            i += invalid_length(*text + i, *n - i);
            good = i;
        }
        i += k;
    }
    if (!copy->n) return !copy->failed;
    lr_text_add_bytes(copy, *text + good, *n - good);
    *text = copy->text;
    *n = copy->n;
    return !copy->failed;
}

/* Text without raw added tokens.  first: it opens the whole text.                                                     */
static llmrun_status encode_section(lr_encode *e, const char *text, size_t n, bool first) {
    llmrun_status status = lr_normalize_run(e, text, n, &text, &n);
    for (size_t from = 0, start, end; from < n && !status; from = end) {
        int32_t id;
        lr_added_next(&e->t->normalized, e, text, n, from, &start, &end, &id);
        status = lr_split_run(e, text + from, start - from, first && from == 0);
        if (!status && id >= 0) lr_encode_emit(e, id);
    }
    return status;
}

llmrun_status lr_encode_run(lr_encode *e, const char *text, size_t n) {
    const lr_vocab *v = &e->t->vocab;
    llmrun_status status = LLMRUN_OK;
    lr_text copy = {0};
    if (n > MAX_TEXT) return lr_fail(e->err, LLMRUN_ARG, "tokenizer: text has %zu bytes, at most %d", n, MAX_TEXT);
    if (!make_valid(&text, &n, &copy)) status = lr_fail_nomem(e->err, "tokenizer", n);
    e->budget = BUDGET_FLOOR + BUDGET_PER_BYTE * (uint64_t)n;
    bool special = e->flags & LLMRUN_ADD_SPECIAL;
    for (size_t i = 0; special && i < v->n_prefix; i++) lr_encode_emit(e, v->prefix[i]);
    for (size_t from = 0, start, end; from < n && !status; from = end) {
        int32_t id;
        lr_added_next(&e->t->raw, e, text, n, from, &start, &end, &id);
        status = encode_section(e, text + from, start - from, from == 0 && !e->inside);
        if (!status && id >= 0) lr_encode_emit(e, id);
    }
    for (size_t i = 0; special && i < v->n_suffix; i++) lr_encode_emit(e, v->suffix[i]);
    lr_free(copy.text);
    return status;
}

void lr_encode_close(lr_encode *e) {
    lr_pattern_release(e);
    lr_free(e->normal[0].text);
    lr_free(e->normal[1].text);
    for (size_t i = 0; i < LR_COUNT(e->staged); i++) lr_free(e->staged[i].text);
    lr_free(e->mapped);
    lr_free(e->symbols);
    lr_free(e->heap);
    lr_free(e->best);
    lr_free(e->code);
}

llmrun_status llmrun_tokenize(const llmrun_tokenizer *t, const char *text, size_t n_bytes, unsigned flags, int32_t *ids,
                              size_t max, size_t *n_ids, llmrun_error *err) {
    if (!t || (!text && n_bytes) || (!ids && max) || !n_ids)
        return lr_fail(err, LLMRUN_ARG, "llmrun_tokenize: a pointer is NULL");
    lr_encode e = {.t = t, .flags = flags, .ids = ids, .max = max, .err = err};
    llmrun_status status = lr_encode_run(&e, text, n_bytes);
    if (!status) *n_ids = e.n_ids;
    lr_encode_close(&e);
    return status;
}

/* ---- decode ---- */

const char *llmrun_token_text(const llmrun_tokenizer *t, int32_t id, bool special, bool first, size_t *n_bytes) {
    *n_bytes = 0;
    if (id < 0 || id >= t->vocab.n_tokens || (!special && (t->traits[id] & LR_TOKEN_CONTROL))) return "";
    const char *text = t->out + t->out_of[id].start;
    size_t n = t->out_of[id].n, n_strip = t->strip ? strlen(t->strip) : 0;
    for (bool more = first && n_strip; more && n >= n_strip && !memcmp(text, t->strip, n_strip); more = t->strip_all) {
        text += n_strip;
        n -= n_strip;
    }
    *n_bytes = n;
    return text;
}

bool llmrun_token_is_end(const llmrun_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->vocab.n_tokens && (t->traits[id] & LR_TOKEN_END);
}

int32_t llmrun_token_count(const llmrun_tokenizer *t) { return t->vocab.n_tokens; }
