/* Strings of templates: whole UTF-8 characters, and for each byte whether it is content.  As Python's str.             */
#include <utf8proc.h>

#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

/* ---- building ---- */

static void make_room(lr_jinja *j, lr_jbuffer *b, size_t n) {
    if (n <= b->cap - b->n) return;
    size_t cap = b->cap * 2 > b->n + n ? b->cap * 2 : b->n + n;
    char *s = lr_jinja_alloc(j, cap);
    if (b->n) memcpy(s, b->s, b->n);
    if (b->mark) b->mark = memcpy(lr_jinja_alloc(j, cap), b->mark, b->n);
    b->s = s;
    b->cap = cap;
}

void lr_jinja_append(lr_jinja *j, lr_jbuffer *b, const char *s, size_t n, const char *mark) {
    if (!n) return;
    lr_jinja_step_bytes(j, n);
    make_room(j, b, n);
    memcpy(b->s + b->n, s, n);
    if (mark && !b->mark) b->mark = memset(lr_jinja_alloc(j, b->cap), 0, b->n);
    if (mark)
        memcpy(b->mark + b->n, mark, n);
    else if (b->mark)
        memset(b->mark + b->n, 0, n);
    b->n += n;
}

void lr_jinja_append_value(lr_jinja *j, lr_jbuffer *b, lr_jvalue string) {
    lr_jinja_append(j, b, string.s, string.n, string.mark);
}

void lr_jinja_append_char(lr_jinja *j, lr_jbuffer *b, uint32_t code, bool content) {
    static const char marked[4] = {1, 1, 1, 1};
    char utf8[4];
    lr_jinja_append(j, b, utf8, lr_utf8_put(utf8, code), content ? marked : NULL);
}

lr_jvalue lr_jinja_finish(const lr_jbuffer *b) { return lr_jinja_string(b->s ? b->s : "", b->n, b->mark); }

lr_jvalue lr_jinja_part(lr_jvalue v, size_t from, size_t to) {
    lr_jvalue part = lr_jinja_string(v.s + from, to - from, v.mark ? v.mark + from : NULL);
    part.flags = v.flags;
    return part;
}

/* ---- looking ---- */

size_t lr_jinja_length(lr_jvalue v) {
    size_t n = 0;
    for (uint32_t i = 0; i < v.n; i++) n += ((unsigned char)v.s[i] & 0xc0) != 0x80;
    return n;
}

bool lr_jinja_is_space(uint32_t code) {
    if ((code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85) return true;
    if (code < 0x80) return false;
    utf8proc_category_t c = utf8proc_category((int32_t)code);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

const char *lr_jinja_search(lr_jinja *j, lr_jvalue in, size_t from, lr_jvalue what) {
    lr_jinja_step_bytes(j, in.n - from);
    return memmem(in.s + from, in.n - from, what.s, what.n);
}

/* ---- changing ---- */

static bool is_stripped(const lr_jvalue *characters, const char *s, size_t k) {
    if (!characters) return lr_jinja_is_space(lr_utf8_get(s, &k));
    return memmem(characters->s, characters->n, s, k) != NULL;
}

lr_jvalue lr_jinja_strip(lr_jinja *j, lr_jvalue v, const lr_jvalue *characters, int sides) {
    size_t from = 0, to = v.n, k;
    if (characters) lr_jinja_step(j, (uint64_t)v.n * (characters->n / 64));
    lr_jinja_step_bytes(j, v.n);
    while ((sides & 1) && from < to) {
        lr_utf8_get(v.s + from, &k);
        if (!is_stripped(characters, v.s + from, k)) break;
        from += k;
    }
    while ((sides & 2) && from < to) {
        size_t i = to - 1;
        while (i > from && ((unsigned char)v.s[i] & 0xc0) == 0x80) i--;
        if (!is_stripped(characters, v.s + i, to - i)) break;
        to = i;
    }
    return lr_jinja_part(v, from, to);
}

lr_jvalue lr_jinja_replace(lr_jinja *j, lr_jvalue v, lr_jvalue old, lr_jvalue with, int64_t most) {
    lr_jbuffer b = {0};
    size_t from = 0, at = 0;
    while (most != 0) {
        const char *hit = lr_jinja_search(j, v, at, old);
        if (!hit) break;
        size_t i = (size_t)(hit - v.s);
        lr_jinja_append_value(j, &b, lr_jinja_part(v, from, i));
        lr_jinja_append_value(j, &b, with);
        from = i + old.n;
        at = from;
        if (most > 0) most--;
        if (old.n) continue;
        if (i == v.n) break; /* an empty text stands before every character and at the end */
        lr_utf8_get(v.s + i, &at);
        at += i;
    }
    lr_jinja_append_value(j, &b, lr_jinja_part(v, from, v.n));
    return lr_jinja_finish(&b);
}

/* Full mappings where they are not one character: those that text is likely to hold.                                   */
static void append_upper(lr_jinja *j, lr_jbuffer *b, uint32_t code, bool content) {
    if (code == 0xdf) lr_jinja_append_char(j, b, 'S', content);
    lr_jinja_append_char(j, b, code == 0xdf ? 'S' : (uint32_t)utf8proc_toupper((int32_t)code), content);
}

static void append_lower(lr_jinja *j, lr_jbuffer *b, uint32_t code, bool content) {
    lr_jinja_append_char(j, b, code == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((int32_t)code), content);
    if (code == 0x130) lr_jinja_append_char(j, b, 0x307, content);
}

static bool is_cased(uint32_t code) {
    utf8proc_category_t c = utf8proc_category((int32_t)code);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

lr_jvalue lr_jinja_case(lr_jinja *j, lr_jvalue v, char how) {
    lr_jbuffer b = {0};
    bool inside = false; /* title: of a word; capitalize: not at the start */
    for (size_t i = 0, k; i < v.n; i += k) {
        uint32_t code = lr_utf8_get(v.s + i, &k);
        bool content = v.mark && v.mark[i], up = how == 'u' || ((how == 't' || how == 'c') && !inside);
        (up ? append_upper : append_lower)(j, &b, code, content);
        inside = how == 'c' || is_cased(code);
    }
    lr_jvalue out = lr_jinja_finish(&b);
    out.flags = v.flags;
    return out;
}

lr_jvalue lr_jinja_escape(lr_jinja *j, lr_jvalue v) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    static const char marked[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    lr_jbuffer b = {0};
    if (v.flags & LR_J_SAFE) return v;
    for (size_t i = 0; i < v.n; i++) {
        const char *mark = v.mark && v.mark[i] ? marked : NULL, *special = v.s[i] ? strchr(from, v.s[i]) : NULL;
        if (special)
            lr_jinja_append(j, &b, to[special - from], strlen(to[special - from]), mark);
        else
            lr_jinja_append(j, &b, v.s + i, 1, mark);
    }
    lr_jvalue out = lr_jinja_finish(&b);
    out.flags = LR_J_SAFE;
    return out;
}
