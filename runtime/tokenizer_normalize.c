/* The normalizer: a list of steps, each from one buffer to the other.  Unicode data from utf8proc; the reordering of
 * combining marks is done here, because utf8proc's is quadratic in a run of them.                                     */
#include <string.h>
#include <utf8proc.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

enum { MAX_NORMAL = 1 << 30 }; /* bytes: positions are 32 bits, also where a space becomes three */

/* ---- Unicode normal forms ---- */

static unsigned combining_class(int32_t code) { return utf8proc_get_property(code)->combining_class; }

/* Stable counting sort of a run of marks by class; spare has room for n.                                              */
static void sort_run(int32_t *run, size_t n, int32_t *spare) {
    uint32_t count[257] = {0};
    for (size_t i = 0; i < n; i++) count[combining_class(run[i]) + 1]++;
    for (int c = 0; c < 256; c++) count[c + 1] += count[c];
    memcpy(spare, run, n * sizeof *run);
    for (size_t i = 0; i < n; i++) run[count[combining_class(spare[i])]++] = spare[i];
}

static void sort_marks(int32_t *code, size_t n, int32_t *spare) {
    for (size_t i = 0; i < n;) {
        size_t j = i;
        bool sorted = true;
        unsigned previous = 0, c;
        for (; j < n && (c = combining_class(code[j])) != 0; j++) {
            sorted &= c >= previous;
            previous = c;
        }
        if (!sorted) sort_run(code + i, j - i, spare);
        i = j + 1;
    }
}

/* Text below this code point is in the normal form already.                                                           */
static bool is_plain(const char *text, size_t n, lr_step_kind kind) {
    unsigned char below = kind == LR_STEP_NFC ? 0xcc : 0x80; /* U+0300; the lead byte of it in UTF-8 */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= below) return false;
    return true;
}

static llmrun_status normal_form(lr_encode *e, lr_step_kind kind, const char *text, size_t n, lr_text *out) {
    bool compat = kind == LR_STEP_NFKC || kind == LR_STEP_NFKD, compose = kind == LR_STEP_NFC || kind == LR_STEP_NFKC;
    int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compat ? UTF8PROC_COMPAT : 0);
    size_t n_code = 0, k;
    int boundary = 0;
    for (size_t i = 0; i < n; i += k) {
        int32_t character = (int32_t)lr_utf8_get(text + i, &k);
        enum { LONGEST = 32 }; /* one character decomposes into at most 18 */
        if (!lr_grow(&e->code, &e->code_cap, n_code + LONGEST, sizeof *e->code))
            return lr_fail_nomem(e->err, "tokenizer", n_code * sizeof *e->code);
        utf8proc_ssize_t got = utf8proc_decompose_char(character, e->code + n_code, LONGEST, options, &boundary);
        if (got < 0 || got > LONGEST) return lr_fail(e->err, LLMRUN_INTERNAL, "tokenizer: U+%04X does not decompose", character);
        n_code += (size_t)got;
    }
    if (!lr_grow(&e->code, &e->code_cap, 2 * n_code, sizeof *e->code))
        return lr_fail_nomem(e->err, "tokenizer", 2 * n_code * sizeof *e->code);
    sort_marks(e->code, n_code, e->code + n_code);
    if (compose) n_code = (size_t)utf8proc_normalize_utf32(e->code, (utf8proc_ssize_t)n_code, options);
    for (size_t i = 0; i < n_code; i++) {
        char utf8[4];
        lr_text_add_bytes(out, utf8, lr_utf8_put(utf8, (uint32_t)e->code[i]));
    }
    return LLMRUN_OK;
}

/* ---- the other steps ---- */

/* As Rust's char::to_lowercase: simple mappings, and the one character whose lower case is two.                       */
static void lower_case(const char *text, size_t n, lr_text *out) {
    size_t k;
    for (size_t i = 0; i < n; i += k) {
        uint32_t code = lr_utf8_get(text + i, &k);
        char utf8[4];
        if (code == 0x130)
            lr_text_add_bytes(out, "i\xcc\x87", 3);
        else
            lr_text_add_bytes(out, utf8, lr_utf8_put(utf8, (uint32_t)utf8proc_tolower((int32_t)code)));
    }
}

static bool is_space(uint32_t code) {
    if ((code >= 9 && code <= 13) || code == 0x85) return true;
    utf8proc_category_t c = utf8proc_category((int32_t)code);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

size_t lr_normalize_skip_space(const char *text, size_t n) {
    size_t i = 0, k;
    while (i < n && is_space(lr_utf8_get(text + i, &k))) i += k;
    return i;
}

size_t lr_normalize_trim_space(const char *text, size_t n) {
    while (n > 0) {
        size_t i = n - 1, k;
        while (i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80) i--;
        if (!is_space(lr_utf8_get(text + i, &k))) break;
        n = i;
    }
    return n;
}

static llmrun_status replace(lr_encode *e, const lr_stage *stage, const char *text, size_t n, lr_text *out) {
    size_t from = 0, start, end, n_content = strlen(stage->step->content);
    size_t n_pattern = strlen(stage->step->pattern);
    while (from < n) {
        if (stage->pattern) {
            llmrun_status status = lr_pattern_next(stage->pattern, e, text, n, from, &start, &end);
            if (status) return status;
        } else {
            const char *hit = memmem(text + from, n - from, stage->step->pattern, n_pattern);
            start = hit ? (size_t)(hit - text) : n;
            end = hit ? start + n_pattern : n;
        }
        lr_text_add_bytes(out, text + from, start - from);
        if (start < end) lr_text_add_bytes(out, stage->step->content, n_content);
        from = end;
    }
    return LLMRUN_OK;
}

llmrun_status lr_normalize_run(lr_encode *e, const char *text, size_t n, const char **out, size_t *n_out) {
    const lr_stages *stages = &e->t->normalizer;
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < stages->n && n > 0 && !status; i++) {
        const lr_step *step = stages->items[i].step;
        lr_text *to = &e->normal[text == e->normal[0].text];
        to->n = 0;
        switch (step->kind) {
        case LR_STEP_STRIP:
            if (step->right) n = lr_normalize_trim_space(text, n);
            if (step->left) {
                size_t skip = lr_normalize_skip_space(text, n);
                text += skip;
                n -= skip;
            }
            if (n == 0) continue;
            lr_text_add_bytes(to, text, n);
            break;
        case LR_STEP_PREPEND:
            lr_text_add_bytes(to, step->content, strlen(step->content));
            lr_text_add_bytes(to, text, n);
            break;
        case LR_STEP_REPLACE: status = replace(e, &stages->items[i], text, n, to); break;
        case LR_STEP_PRECOMPILED: lr_rewrite_precompiled(&e->t->vocab.charsmap, text, n, to); break;
        case LR_STEP_SENTENCEPIECE: lr_rewrite_sentencepiece(e, step, text, n, to); break;
        case LR_STEP_LOWERCASE: lower_case(text, n, to); break;
        default:
            if (is_plain(text, n, step->kind)) continue;
            status = normal_form(e, step->kind, text, n, to);
        }
        if (to->failed) status = lr_fail_nomem(e->err, "tokenizer", n);
        if (!status && to->n > MAX_NORMAL)
            status = lr_fail(e->err, LLMRUN_ARG, "tokenizer: text has %zu bytes when normalized, at most %d", to->n, MAX_NORMAL);
        text = to->text;
        n = to->n;
    }
    *out = text;
    *n_out = n;
    return status;
}
