/* Added tokens of a tokenizer.model, from the files beside it: added_tokens_decoder {id: {content, ...}} in
 * tokenizer_config.json, and added_tokens.json {content: id}.                                                         */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/loader.h"
#include "loaders/tokenizer_vocab.h"

static int compare_added(const void *a, const void *b) {
    return strcmp(((const lr_added *)a)->text, ((const lr_added *)b)->text);
}

static lr_added *find_added(const lr_vocab *v, const char *text) {
    for (size_t i = 0; i < v->n_added; i++)
        if (!strcmp(v->added[i].text, text)) return &v->added[i];
    return NULL;
}

/* A token that the model's pieces may have too; then with the same id.                                                */
static llmrun_status add(lr_vocab *v, const lr_added *token, const char *where, llmrun_error *err) {
    char shown[80];
    lr_added *known = find_added(v, token->text);
    lr_token piece = token->id < v->n_tokens ? v->tokens[token->id] : (lr_token){LR_NO_TOKEN, 0};
    bool equal = piece.start != LR_NO_TOKEN && piece.n == token->n && !memcmp(v->text + piece.start, token->text, token->n);
    lr_printable(shown, sizeof shown, token->text, token->n);
    if (token->n == 0 || token->n > LR_ADDED_MAX_BYTES)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token %d \"%s\" has %u bytes, expected 1..%d", where, (int)token->id,
                       shown, token->n, LR_ADDED_MAX_BYTES);
    if (known && known->id != token->id)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\": id %d, but elsewhere it is %d", where, shown,
                       (int)token->id, (int)known->id);
    if (!known && piece.start != LR_NO_TOKEN && !equal)
        return lr_fail(err, LLMRUN_FORMAT, "%s: added token \"%s\": id %d belongs to another token", where, shown,
                       (int)token->id);
    llmrun_status status = lr_vocab_reserve(v, token->id, err);
    if (status || known) {
        if (known) known->lstrip |= token->lstrip, known->rstrip |= token->rstrip;
        return status;
    }
    lr_added *grown = lr_realloc(v->added, (v->n_added + 1) * sizeof *grown);
    if (!grown) return lr_fail_nomem(err, where, (v->n_added + 1) * sizeof *grown);
    v->added = grown;
    grown[v->n_added] = *token;
    grown[v->n_added].text = lr_strndup(token->text, token->n);
    if (!grown[v->n_added].text) return lr_fail_nomem(err, where, token->n);
    v->n_added++;
    if (!equal) v->tokens[token->id] = (lr_token){0, 0};
    return LLMRUN_OK;
}

/* The flag of the token with this id.                                                                                 */
static bool flag(const lr_config *c, int32_t id, const char *name, bool fallback) {
    char key[80];
    snprintf(key, sizeof key, "added_tokens_decoder.%d.%s", (int)id, name);
    return lr_config_bool(c, key, fallback);
}

llmrun_status lr_vocab_add_beside(lr_vocab *v, const lr_config *c, bool bare, llmrun_error *err) {
    static const char prefix[] = "added_tokens_decoder.";
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < c->n_values && !status; i++) {
        const lr_value *value = &c->values[i];
        char *end = "";
        const char *digits = value->key + sizeof prefix - 1;
        bool decoder = !bare && !strncmp(value->key, prefix, sizeof prefix - 1) && value->type == LR_VALUE_STRING;
        double id = decoder ? (double)strtol(digits, &end, 10) : value->number;
        if (decoder ? end == digits || strcmp(end, ".content") : !bare) continue;
        if (id < 0 || id >= LR_VOCAB_MAX || id != (double)(int32_t)id || (bare && value->type != LR_VALUE_NUMBER))
            return lr_fail(err, LLMRUN_FORMAT, "%s: \"%.80s\": expected an id in 0..%d", c->path, value->key,
                           LR_VOCAB_MAX - 1);
        char *text = bare ? value->key : value->string;
        lr_added token = {.id = (int32_t)id, .text = text, .n = (uint32_t)strlen(text), .special = bare};
        if (decoder) {
            token.special = flag(c, token.id, "special", false);
            token.lstrip = flag(c, token.id, "lstrip", false);
            token.rstrip = flag(c, token.id, "rstrip", false);
            token.single_word = flag(c, token.id, "single_word", false);
        }
        status = add(v, &token, c->path, err);
    }
    if (v->n_added) qsort(v->added, v->n_added, sizeof *v->added, compare_added);
    return status;
}
