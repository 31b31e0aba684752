/* The decoder, run once at open: the bytes that each id prints.  What it does across tokens is only to join them and to
 * drop a space at the very start, so a stream of ids decodes one id at a time.                                        */
#include <string.h>

#include "loaders/json_scan.h"
#include "runtime/tokenizer_parts.h"

/* ---- the byte-level alphabet ---- */

static bool stands_for_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The other 68 bytes, in rising order, are U+0100, U+0101, ...: 0..0x20 first, then 0x7f..0xa0, then 0xad.            */
size_t lr_decode_byte_text(unsigned byte, char *out) {
    uint32_t code = stands_for_itself(byte) ? byte
                    : byte <= 0x20          ? 0x100 + byte
                    : byte <= 0xa0          ? 0x121 + (byte - 0x7f)
                                            : 0x143;
    return lr_utf8_put(out, code);
}

static int byte_of(uint32_t code) {
    if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7f);
    return code == 0x143 ? 0xad : -1;
}

/* Text with a character outside the alphabet stays as it is.                                                          */
static void decode_byte_level(const char *text, size_t n, lr_text *to) {
    size_t k;
    for (size_t i = 0; i < n; i += k) {
        int byte = byte_of(lr_utf8_get(text + i, &k));
        if (byte < 0) {
            to->n = 0;
            lr_text_add_bytes(to, text, n);
            return;
        }
        lr_text_add_bytes(to, &(char){(char)byte}, 1);
    }
}

/* ---- the other steps ---- */

int lr_decode_byte_token(const char *text, size_t n) {
    int value = 0;
    if (n != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        int c = (unsigned char)text[i], lower = c | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

static void replace(const char *text, size_t n, const char *pattern, const char *content, lr_text *to) {
    size_t n_pattern = strlen(pattern);
    for (size_t i = 0; i < n;) {
        const char *hit = memmem(text + i, n - i, pattern, n_pattern);
        size_t run = hit ? (size_t)(hit - text) - i : n - i;
        lr_text_add_bytes(to, text + i, run);
        if (hit) lr_text_add_bytes(to, content, strlen(content));
        i += run + (hit ? n_pattern : 0);
    }
}

/* One step on one token's text.                                                                                       */
static void run_step(const lr_step *step, bool fused, const char *text, size_t n, lr_text *to) {
    int byte = step->kind == LR_STEP_BYTE_FALLBACK ? lr_decode_byte_token(text, n) : -1;
    size_t n_content = step->content ? strlen(step->content) : 0;
    bool strips = step->kind == LR_STEP_STRIP && step->left && !fused;
    if (step->kind == LR_STEP_BYTE_LEVEL)
        decode_byte_level(text, n, to);
    else if (step->kind == LR_STEP_REPLACE)
        replace(text, n, step->pattern, step->content, to);
    else if (step->kind == LR_STEP_METASPACE)
        replace(text, n, step->content, " ", to);
    else if (byte >= 0)
        lr_text_add_bytes(to, &(char){(char)byte}, 1);
    else if (strips && n >= n_content && !memcmp(text, step->content, n_content))
        lr_text_add_bytes(to, text + n_content, n - n_content);
    else
        lr_text_add_bytes(to, text, n);
}

/* ---- open ---- */

/* What joining the tokens can change beyond the start is not supported.                                               */
static llmrun_status check_steps(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_steps *steps = &t->vocab.decoder;
    bool fused = false, byte_level = steps->n == 1 && steps->items[0].kind == LR_STEP_BYTE_LEVEL;
    if (steps->n == 0) return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: no decoder: not supported", where);
    if (byte_level != t->byte_level)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: %s: not supported", where, byte_level
                       ? "decoder ByteLevel without a ByteLevel pre_tokenizer" : "pre_tokenizer ByteLevel with another decoder");
    for (size_t i = 0; i < steps->n; i++) {
        const lr_step *step = &steps->items[i];
        const char *wrong = NULL, *strip = NULL;
        size_t k;
        if (step->kind == LR_STEP_BYTE_LEVEL && steps->n > 1) wrong = "ByteLevel in a Sequence";
        if (step->kind == LR_STEP_METASPACE && steps->n > 1) wrong = "Metaspace in a Sequence";
        if (step->kind == LR_STEP_REPLACE && fused && (lr_utf8_get(step->pattern, &k), step->pattern[k]))
            wrong = "Replace of several characters after Fuse";
        if (step->kind == LR_STEP_STRIP && step->left && fused) strip = step->content;
        if (step->kind == LR_STEP_METASPACE && step->prefix != LR_PREFIX_NEVER) strip = " ";
        if (strip && t->strip) wrong = "a second Strip after Fuse";
        if (wrong) return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: decoder with %s: not supported", where, wrong);
        if (strip) t->strip = lr_strdup(strip);
        if (strip && !t->strip) return lr_fail_nomem(err, where, strlen(strip));
        t->strip_all |= step->kind == LR_STEP_METASPACE;
        fused |= step->kind == LR_STEP_FUSE;
    }
    return LLMRUN_OK;
}

/* Byte tokens must be well-formed wherever the model or the decoder reads them as bytes.                              */
static llmrun_status check_byte_token(const llmrun_tokenizer *t, const char *text, size_t n, const char *where,
                                      llmrun_error *err) {
    bool fallback = t->vocab.byte_fallback;
    for (size_t i = 0; i < t->vocab.decoder.n; i++) fallback |= t->vocab.decoder.items[i].kind == LR_STEP_BYTE_FALLBACK;
    char shown[32];
    if (!fallback || n != 6 || memcmp(text, "<0x", 3) || text[5] != '>' || lr_decode_byte_token(text, n) >= 0) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_FORMAT, "%s: byte token \"%s\" is malformed", where, lr_printable(shown, sizeof shown, text, n));
}

static void run_steps(const llmrun_tokenizer *t, const char *text, size_t n, lr_text buffer[2], lr_text *pool) {
    bool fused = false;
    for (size_t i = 0; i < t->vocab.decoder.n; i++) {
        const lr_step *step = &t->vocab.decoder.items[i];
        lr_text *to = &buffer[i & 1];
        to->n = 0;
        run_step(step, fused, text, n, to);
        fused |= step->kind == LR_STEP_FUSE;
        text = to->text;
        n = to->n;
        pool->failed |= to->failed;
    }
    lr_text_add_bytes(pool, text, n);
}

llmrun_status lr_decode_open(llmrun_tokenizer *t, const char *where, llmrun_error *err) {
    const lr_vocab *v = &t->vocab;
    lr_text pool = {0}, buffer[2] = {{0}};
    llmrun_status status = check_steps(t, where, err);
    t->out_of = lr_zalloc((size_t)v->n_tokens, sizeof *t->out_of);
    if (!status && !t->out_of) status = lr_fail_nomem(err, where, (size_t)v->n_tokens * sizeof *t->out_of);
    for (int32_t id = 0; id < v->n_tokens && !status; id++) {
        lr_token token = v->tokens[id];
        if (token.start == LR_NO_TOKEN) continue;
        status = check_byte_token(t, v->text + token.start, token.n, where, err);
        t->out_of[id].start = (uint32_t)pool.n;
        if (!status) run_steps(t, v->text + token.start, token.n, buffer, &pool);
        t->out_of[id].n = (uint32_t)pool.n - t->out_of[id].start;
        if (pool.n > UINT32_MAX / 2) status = lr_fail(err, LLMRUN_FORMAT, "%s: tokens print over 2 GiB", where);
    }
    for (size_t i = 0; i < v->n_added && !status; i++) {
        lr_token *out = &t->out_of[v->added[i].id];
        if (v->tokens[v->added[i].id].n) continue; /* the model's own table has it */
        out->start = (uint32_t)pool.n;
        run_steps(t, v->added[i].text, v->added[i].n, buffer, &pool);
        out->n = (uint32_t)pool.n - out->start;
    }
    if (!status && pool.failed) status = lr_fail_nomem(err, where, pool.cap);
    char *exact = pool.text ? lr_realloc(pool.text, pool.n + 1) : NULL;
    t->out = exact ? exact : pool.text;
    t->n_out = pool.n;
    lr_free(buffer[0].text);
    lr_free(buffer[1].text);
    return status;
}
