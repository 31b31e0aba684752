/* Values to text: as Python's str and repr, and as json.dumps.                                                         */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

/* ---- numbers ---- */

static void add_int(lr_jinja *j, lr_jbuffer *b, int64_t i) {
    char text[24];
    lr_jinja_append(j, b, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)i), NULL);
}

/* The shortest digits that read back as the same number, written as Python does.                                       */
static void add_float(lr_jinja *j, lr_jbuffer *b, double f) {
    char text[40], digits[24];
    int n = 0, precision = 0;
    if (!isfinite(f)) {
        const char *name = isnan(f) ? "nan" : f < 0 ? "-inf" : "inf";
        lr_jinja_append(j, b, name, strlen(name), NULL);
        return;
    }
    do snprintf(text, sizeof text, "%.*e", precision, f);
    while (strtod(text, NULL) != f && ++precision < 17);
    const char *e = strchr(text, 'e');
    int exponent = atoi(e + 1);
    for (const char *c = text; c < e; c++)
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    if (signbit(f)) lr_jinja_append(j, b, "-", 1, NULL);
    if (exponent < -4 || exponent >= 16) {
        lr_jinja_append(j, b, digits, 1, NULL);
        if (n > 1) lr_jinja_append(j, b, ".", 1, NULL);
        lr_jinja_append(j, b, digits + 1, (size_t)(n - 1), NULL);
        lr_jinja_append(j, b, text, (size_t)snprintf(text, sizeof text, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent)),
                        NULL);
        return;
    }
    if (exponent < 0) lr_jinja_append(j, b, "0.0000", (size_t)(1 - exponent), NULL);
    for (int i = 0; i < n || i <= exponent; i++) {
        lr_jinja_append(j, b, i < n ? &digits[i] : "0", 1, NULL);
        if (i == exponent) lr_jinja_append(j, b, i + 1 < n ? "." : ".0", i + 1 < n ? 1 : 2, NULL);
    }
}

/* ---- str and repr ---- */

static bool is_printable(uint32_t code) {
    switch (utf8proc_category((int32_t)code)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return code == ' ';
    default: return true;
    }
}

static void add_escape(lr_jinja *j, lr_jbuffer *b, const char *format, uint32_t code, bool content) {
    static const char marked[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    char text[16];
    int n = snprintf(text, sizeof text, format, code);
    lr_jinja_append(j, b, text, (size_t)n, content ? marked : NULL);
}

static void add_quoted(lr_jinja *j, lr_jbuffer *b, lr_jvalue v) {
    bool single = v.n && memchr(v.s, '\'', v.n), twice = v.n && memchr(v.s, '"', v.n);
    char quote = single && !twice ? '"' : '\'';
    if (v.flags & LR_J_SAFE) lr_jinja_append(j, b, "Markup(", 7, NULL);
    lr_jinja_append(j, b, &quote, 1, NULL);
    for (size_t i = 0, k; i < v.n; i += k) {
        uint32_t code = lr_utf8_get(v.s + i, &k);
        bool content = v.mark && v.mark[i];
        if (code == (uint32_t)quote || code == '\\')
            add_escape(j, b, "\\%c", code, content);
        else if (code == '\n' || code == '\r' || code == '\t')
            add_escape(j, b, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't', content);
        else if (!is_printable(code))
            add_escape(j, b, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code, content);
        else
            lr_jinja_append_char(j, b, code, content);
    }
    lr_jinja_append(j, b, &quote, 1, NULL);
    if (v.flags & LR_J_SAFE) lr_jinja_append(j, b, ")", 1, NULL);
}

static void add_repr(lr_jinja *j, lr_jbuffer *b, lr_jvalue v);

static void add_list(lr_jinja *j, lr_jbuffer *b, lr_jvalue v) {
    bool tuple = v.flags & LR_J_TUPLE;
    lr_jinja_append(j, b, tuple ? "(" : "[", 1, NULL);
    for (uint32_t i = 0; i < v.n; i++) {
        if (i) lr_jinja_append(j, b, ", ", 2, NULL);
        add_repr(j, b, v.items[i]);
    }
    if (tuple && v.n == 1) lr_jinja_append(j, b, ",", 1, NULL);
    lr_jinja_append(j, b, tuple ? ")" : "]", 1, NULL);
}

static void add_dict(lr_jinja *j, lr_jbuffer *b, const lr_jdict *d) {
    lr_jinja_append(j, b, "{", 1, NULL);
    for (uint32_t i = 0; i < d->n; i++) {
        if (i) lr_jinja_append(j, b, ", ", 2, NULL);
        add_repr(j, b, d->pairs[i].key);
        lr_jinja_append(j, b, ": ", 2, NULL);
        add_repr(j, b, d->pairs[i].value);
    }
    lr_jinja_append(j, b, "}", 1, NULL);
}

static void add_repr(lr_jinja *j, lr_jbuffer *b, lr_jvalue v) {
    lr_jinja_step(j, 0);
    lr_jinja_enter(j);
    switch (v.kind) {
    case LR_J_UNDEFINED: lr_jinja_append(j, b, "Undefined", 9, NULL); break;
    case LR_J_NONE: lr_jinja_append(j, b, "None", 4, NULL); break;
    case LR_J_BOOL: lr_jinja_append(j, b, v.b ? "True" : "False", v.b ? 4 : 5, NULL); break;
    case LR_J_INT: add_int(j, b, v.i); break;
    case LR_J_FLOAT: add_float(j, b, v.f); break;
    case LR_J_STRING: add_quoted(j, b, v); break;
    case LR_J_LIST: add_list(j, b, v); break;
    case LR_J_DICT: add_dict(j, b, v.dict); break;
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "%s cannot be printed", lr_jinja_kind_name(v));
    }
    j->depth--;
}

lr_jvalue lr_jinja_text(lr_jinja *j, lr_jvalue v) {
    lr_jbuffer b = {0};
    if (v.kind == LR_J_STRING) return v;
    if (v.kind != LR_J_UNDEFINED) add_repr(j, &b, v);
    return lr_jinja_finish(&b);
}

/* ---- JSON ---- */

static void dump_string(lr_jinja *j, lr_jbuffer *b, lr_jvalue v, bool ascii) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    lr_jinja_append(j, b, "\"", 1, NULL);
    for (size_t i = 0, k; i < v.n; i += k) {
        uint32_t code = lr_utf8_get(v.s + i, &k);
        bool content = v.mark && v.mark[i];
        const char *special = code && code < 0x80 ? strchr(from, (int)code) : NULL;
        if (special) {
            add_escape(j, b, "\\%c", (uint32_t)to[special - from], content);
        } else if (code >= 0x20 && (code < 0x7f || !ascii)) {
            lr_jinja_append_char(j, b, code, content);
        } else if (code >= 0x10000) {
            add_escape(j, b, "\\u%04x", 0xd800 + ((code - 0x10000) >> 10), content);
            add_escape(j, b, "\\u%04x", 0xdc00 + ((code - 0x10000) & 0x3ff), content);
        } else {
            add_escape(j, b, "\\u%04x", code, content);
        }
    }
    lr_jinja_append(j, b, "\"", 1, NULL);
}

static void dump_line(lr_jinja *j, lr_jbuffer *b, const lr_jdump *how, uint32_t level) {
    if (how->indent < 0) return;
    lr_jinja_append(j, b, "\n", 1, NULL);
    for (int64_t i = 0; i < how->indent * level; i++) lr_jinja_append(j, b, " ", 1, NULL);
}

static void dump(lr_jinja *j, lr_jbuffer *b, lr_jvalue v, const lr_jdump *how, uint32_t level);

static void dump_key(lr_jinja *j, lr_jbuffer *b, lr_jvalue key, const lr_jdump *how) {
    if (key.kind == LR_J_LIST) lr_jinja_fail(j, LLMRUN_FORMAT, "tojson: expected a string as key, got a tuple");
    bool string = key.kind == LR_J_STRING;
    if (!string) lr_jinja_append(j, b, "\"", 1, NULL);
    dump(j, b, key, how, 0);
    if (!string) lr_jinja_append(j, b, "\"", 1, NULL);
    lr_jinja_append_value(j, b, how->key_separator);
}

static int by_key(const void *a, const void *b) {
    const struct lr_jpair *x = a, *y = b;
    int order = memcmp(x->key.s, y->key.s, (size_t)lr_min(x->key.n, y->key.n));
    return order ? order : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

static const lr_jdict *sort_keys(lr_jinja *j, const lr_jdict *d) {
    lr_jdict *sorted = lr_jinja_dict(j);
    sorted->pairs = lr_jinja_alloc(j, d->n * sizeof *d->pairs);
    for (; sorted->n < d->n; sorted->n++) {
        if (d->pairs[sorted->n].key.kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "tojson: sorting other keys than strings");
        sorted->pairs[sorted->n] = d->pairs[sorted->n];
    }
    lr_jinja_step(j, 4 * (uint64_t)d->n);
    if (d->n) qsort(sorted->pairs, d->n, sizeof *sorted->pairs, by_key);
    return sorted;
}

static void dump_items(lr_jinja *j, lr_jbuffer *b, lr_jvalue v, const lr_jdump *how, uint32_t level) {
    bool is_dict = v.kind == LR_J_DICT;
    const lr_jdict *d = is_dict && how->sorted ? sort_keys(j, v.dict) : is_dict ? v.dict : NULL;
    uint32_t n = is_dict ? d->n : v.n;
    lr_jinja_append(j, b, is_dict ? "{" : "[", 1, NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (i) lr_jinja_append_value(j, b, how->item_separator);
        dump_line(j, b, how, level + 1);
        if (is_dict) dump_key(j, b, d->pairs[i].key, how);
        dump(j, b, is_dict ? d->pairs[i].value : v.items[i], how, level + 1);
    }
    if (n) dump_line(j, b, how, level);
    lr_jinja_append(j, b, is_dict ? "}" : "]", 1, NULL);
}

static void dump(lr_jinja *j, lr_jbuffer *b, lr_jvalue v, const lr_jdump *how, uint32_t level) {
    lr_jinja_step(j, 0);
    lr_jinja_enter(j);
    switch (v.kind) {
    case LR_J_NONE: lr_jinja_append(j, b, "null", 4, NULL); break;
    case LR_J_BOOL: lr_jinja_append(j, b, v.b ? "true" : "false", v.b ? 4 : 5, NULL); break;
    case LR_J_INT: add_int(j, b, v.i); break;
    case LR_J_FLOAT: add_float(j, b, v.f); break;
    case LR_J_STRING: dump_string(j, b, v, how->ascii); break;
    case LR_J_LIST:
    case LR_J_DICT:
        if (!(v.kind == LR_J_LIST && (v.flags & LR_J_GENERATOR))) {
            dump_items(j, b, v, how, level);
            break;
        } /* fall through */
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "tojson: %s is no JSON", lr_jinja_kind_name(v));
    }
    j->depth--;
}

lr_jvalue lr_jinja_dump(lr_jinja *j, lr_jvalue v, const lr_jdump *how) {
    lr_jbuffer b = {0};
    dump(j, &b, v, how, 0);
    return lr_jinja_finish(&b);
}
