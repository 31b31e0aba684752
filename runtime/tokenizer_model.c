/* What the models share: which byte is which token, and where a long piece may be cut into words.                     */
#include <string.h>

#include "runtime/tokenizer_parts.h"

#define MARK "\xe2\x96\x81" /* U+2581, which stands for a space */

static bool starts_with_mark(const char *text, size_t n) { return n >= 3 && !memcmp(text, MARK, 3); }

/* Length of the first word: up to a mark that follows something else.                                                 */
static size_t word_length(const char *piece, size_t n) {
    size_t i = 0;
    while (starts_with_mark(piece + i, n - i)) i += 3;
    const char *next = memmem(piece + i, n - i, MARK, 3);
    return next ? (size_t)(next - piece) : n;
}

size_t lr_model_word_length(const llmrun_tokenizer *t, const char *piece, size_t n) {
    return t->cut_words ? word_length(piece, n) : n;
}

/* True if no merge puts a mark behind anything but a mark.                                                            */
static bool merges_stay_in_words(const lr_vocab *v) {
    for (size_t i = 0; i < v->n_merges; i++) {
        lr_token left = v->tokens[v->merges[i].left], right = v->tokens[v->merges[i].right];
        if (!starts_with_mark(v->text + right.start, right.n)) continue;
        if (left.n < 3 || !starts_with_mark(v->text + left.start + left.n - 3, 3)) return false;
    }
    return true;
}

static bool tokens_stay_in_words(const lr_vocab *v) {
    for (int32_t id = 0; id < v->n_model; id++) {
        lr_token token = v->tokens[id];
        if (token.start == LR_NO_TOKEN || token.n == 0) continue;
        if (word_length(v->text + token.start, token.n) < token.n) return false;
    }
    return true;
}

/* The token of a byte: by its type where the file has types, else by its text.                                        */
static void find_bytes(llmrun_tokenizer *t) {
    static const char hex[] = "0123456789ABCDEF";
    const lr_vocab *v = &t->vocab;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
        size_t n = t->byte_level ? lr_decode_byte_text(byte, text) : 6;
        t->byte_id[byte] = v->types && !t->byte_level ? -1 : lr_vocab_find(v, text, n);
        if (byte < 128) t->ascii_id[byte] = lr_vocab_find(v, &(char){(char)byte}, 1);
    }
    for (int32_t id = 0; v->types && id < v->n_model; id++) {
        lr_token token = v->tokens[id];
        int byte = v->types[id] == LR_TYPE_BYTE ? lr_decode_byte_token(v->text + token.start, token.n) : -1;
        if (byte >= 0) t->byte_id[byte] = id;
    }
}

llmrun_status lr_model_open(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    find_bytes(t);
    /* Then a piece may be cut where a word starts: SentencePiece models hand over whole prompts as one piece. */
    if (!t->byte_level && !v->ignore_merges && lr_vocab_find(v, MARK, 3) >= 0)
        t->cut_words = v->kind == LR_VOCAB_MERGES ? merges_stay_in_words(v) : tokens_stay_in_words(v);
    switch (v->kind) {
    case LR_VOCAB_UNIGRAM: return lr_unigram_open(t, where, err);
    case LR_VOCAB_SCORES: return lr_scores_open(t, where, err);
    case LR_VOCAB_MERGES: break;
    }
    return lr_bpe_open(t, where, err);
}

llmrun_status lr_model_run(lr_encode *e, const char *piece, size_t n) {
    switch (e->t->vocab.kind) {
    case LR_VOCAB_UNIGRAM: return lr_unigram_run(e, piece, n);
    case LR_VOCAB_SCORES: return lr_scores_run(e, piece, n);
    case LR_VOCAB_MERGES: break;
    }
    return lr_bpe_run(e, piece, n);
}
