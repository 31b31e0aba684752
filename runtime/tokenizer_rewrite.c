/* Normalizers that rewrite by a charsmap: as HF tokenizers' Precompiled does it, and as SentencePiece does it.        */
#include <string.h>
#include <utf8proc.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

/* ---- HF's Precompiled ---- */

/* Bytes of the grapheme cluster at text; *state is utf8proc's, zero at the start of a text.                           */
static size_t grapheme_length(const char *text, size_t n, int32_t *state) {
    size_t k, length;
    int32_t code = (int32_t)lr_utf8_get(text, &length);
    while (length < n) {
        int32_t next = (int32_t)lr_utf8_get(text + length, &k);
        if (utf8proc_grapheme_break_stateful(code, next, state)) break;
        length += k;
        code = next;
    }
    return length;
}

/* A cluster of less than 6 bytes is replaced as a whole if a rule fits its beginning (what follows in it is lost; that
 * is how the models' data was made), else character by character.  The shortest rule counts.                          */
void lr_rewrite_precompiled(const lr_charsmap *map, const char *text, size_t n, lr_text *out) {
    enum { WHOLE = 6 };
    int32_t state = 0;
    for (size_t i = 0, cluster; i < n; i += cluster) {
        const char *to;
        size_t n_to, k;
        cluster = grapheme_length(text + i, n - i, &state);
        if (cluster < WHOLE && lr_charsmap_find(map, text + i, cluster, false, &to, &n_to)) {
            lr_text_add_bytes(out, to, n_to);
            continue;
        }
        for (size_t j = 0; j < cluster; j += k) {
            lr_utf8_get(text + i + j, &k);
            if (lr_charsmap_find(map, text + i + j, k, false, &to, &n_to))
                lr_text_add_bytes(out, to, n_to);
            else
                lr_text_add_bytes(out, text + i + j, k);
        }
    }
}

/* ---- SentencePiece's normalizer ---- */

#define MARK "\xe2\x96\x81" /* U+2581, which stands for a space */

/* What the text begins with becomes *to; returns its length.  User-defined tokens stay as they are.                   */
static size_t rewrite_start(const llmrun_tokenizer *t, const char *text, size_t n, const char **to, size_t *n_to) {
    size_t k = lr_added_longest(&t->user_defined, text, n);
    if (!k) k = lr_charsmap_find(&t->vocab.charsmap, text, n, true, to, n_to);
    else *to = text, *n_to = k;
    if (k) return k;
    lr_utf8_get(text, &k);
    *to = text;
    *n_to = k;
    return k;
}

void lr_rewrite_sentencepiece(const lr_encode *e, const lr_step *step, const char *text, size_t n, lr_text *out) {
    bool prefix = step->prefix == LR_PREFIX_ALWAYS || (step->prefix == LR_PREFIX_FIRST && e->first);
    bool begun = false, after_space = step->trim;
    for (size_t i = 0; i < n;) {
        const char *to;
        size_t n_to;
        i += rewrite_start(e->t, text + i, n - i, &to, &n_to);
        if (!begun && !(step->trim && n_to == 1 && *to == ' ')) {
            begun = true;
            if (prefix) lr_text_add_bytes(out, MARK, 3);
        }
        for (; after_space && n_to && *to == ' '; n_to--) to++;
        if (n_to) after_space = step->trim && to[n_to - 1] == ' ';
        for (size_t k = 0; k < n_to; k++) lr_text_add_bytes(out, to[k] == ' ' ? MARK : to + k, to[k] == ' ' ? 3 : 1);
    }
    while (step->trim && out->n >= 3 && !memcmp(out->text + out->n - 3, MARK, 3)) out->n -= 3;
}
