/* The "precompiled charsmap" of SentencePiece: text rewriting rules (NFKC and more) as a double-array trie in the layout
 * of Darts-clone.  A unit is 32 bits: the byte that leads to it, an offset to its children, and whether a rule ends here;
 * then its child 0 holds the value.  Files are untrusted: every index is checked at every step of a look-up.          */
#include "loaders/tokenizer_vocab.h"

#include <string.h>

enum { KEY_MAX = 256, TEXT_MAX = 1024 }; /* bytes: of a left side looked for; of a right side */

/* ---- units ---- */

static uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xff); } /* a value has bit 31: it equals no byte */
static bool ends_rule(uint32_t unit) { return unit >> 8 & 1; }
static uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }
static uint32_t value(uint32_t unit) { return unit & ~(1u << 31); }

/* ---- open ---- */

static uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Valid UTF-8, and no string is so long that a few characters would become a flood.                                   */
static bool strings_are_sound(const char *text, size_t n) {
    size_t run = 0;
    for (size_t i = 0, k; i < n; i += k) {
        k = lr_utf8_length(text + i, n - i);
        run = text[i] ? run + k : 0;
        if (!k || run > TEXT_MAX) return false;
    }
    return true;
}

llmrun_status lr_charsmap_read(lr_charsmap *m, const void *bytes, size_t n, const char *where, llmrun_error *err) {
    const uint8_t *p = bytes;
    if (n == 0) return LLMRUN_OK; /* no rules */
    size_t n_trie = n < 4 ? 0 : get_u32(p);
    if (n < 4 || n_trie > n - 4 || n_trie % 4 || n_trie == 0)
        return lr_fail(err, LLMRUN_FORMAT, "%s: precompiled charsmap: %zu bytes with a trie of %zu: not well-formed", where,
                       n, n_trie);
    size_t n_text = n - 4 - n_trie;
    m->units = lr_alloc(n_trie);
    m->text = lr_strndup((const char *)p + 4 + n_trie, n_text);
    if (!m->units || !m->text) return lr_fail_nomem(err, where, n);
    m->n_units = n_trie / 4;
    m->n_text = n_text;
    for (size_t i = 0; i < m->n_units; i++) m->units[i] = get_u32(p + 4 + 4 * i);
    if (!strings_are_sound(m->text, n_text))
        return lr_fail(err, LLMRUN_FORMAT, "%s: precompiled charsmap: expected strings in UTF-8 of at most %d bytes", where,
                       TEXT_MAX);
    return LLMRUN_OK;
}

/* -1: no digit of base 64.                                                                                            */
static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

llmrun_status lr_charsmap_read_base64(lr_charsmap *m, const char *text, const char *where, llmrun_error *err) {
    size_t n = strlen(text), n_digits = n, n_bytes = 0;
    while (n_digits && n - n_digits < 2 && text[n_digits - 1] == '=') n_digits--;
    uint8_t *bytes = lr_alloc(n / 4 * 3 + 3);
    bool ok = n % 4 == 0;
    if (!bytes) return lr_fail_nomem(err, where, n);
    uint32_t group = 0;
    for (size_t i = 0; i < n_digits && ok; i++) {
        int digit = digit_of(text[i]);
        ok = digit >= 0;
        group = group << 6 | (uint32_t)(digit & 63);
        if (i % 4) bytes[n_bytes++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    llmrun_status status = ok ? lr_charsmap_read(m, bytes, n_bytes, where, err)
                              : lr_fail(err, LLMRUN_FORMAT, "%s: precompiled charsmap: malformed base 64", where);
    lr_free(bytes);
    return status;
}

void lr_charsmap_close(lr_charsmap *m) {
    lr_free(m->units);
    lr_free(m->text);
    *m = (lr_charsmap){0};
}

/* ---- look-up ---- */

static bool is_boundary(const char *text, size_t n, size_t at) {
    return at >= n || ((unsigned char)text[at] & 0xc0) != 0x80;
}

size_t lr_charsmap_find(const lr_charsmap *m, const char *text, size_t n, bool longest, const char **to, size_t *n_to) {
    size_t found = 0;
    if (!m->n_units) return 0;
    uint32_t node = offset(m->units[0]);
    for (size_t i = 0; i < n && i < KEY_MAX && text[i]; i++) {
        uint32_t byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= m->n_units || label(m->units[node]) != byte) break;
        uint32_t unit = m->units[node];
        node ^= offset(unit);
        if (!ends_rule(unit) || node >= m->n_units) continue;
        uint32_t at = value(m->units[node]);
        if (at >= m->n_text || !is_boundary(m->text, m->n_text, at) || !is_boundary(text, n, i + 1)) continue;
        found = i + 1;
        *to = m->text + at;
        *n_to = strlen(*to);
        if (!longest) break;
    }
    return found;
}
