/* A pull reader for large JSON tables, and two UTF-8 functions it stands on.  See json_scan.h.                  */
#include "loaders/json_scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"

/* ---- UTF-8 ---- */

size_t lr_utf8_put(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[n] | code);
    return n;
}

uint32_t lr_utf8_get(const char *text, size_t *n) {
    const unsigned char *s = (const unsigned char *)text;
    *n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (*n == 1) return s[0];
    uint32_t code = s[0] & (0x7fu >> *n);
    for (size_t i = 1; i < *n; i++) code = code << 6 | (s[i] & 0x3f);
    return code;
}

/* ---- scanning ---- */

static void skip_space(lr_json_scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) s->at++;
}

bool lr_json_scan_peek(lr_json_scan *s, char c) {
    skip_space(s);
    return s->at < s->end && *s->at == c;
}

bool lr_json_scan_take(lr_json_scan *s, char c) {
    if (!lr_json_scan_peek(s, c)) return false;
    s->at++;
    return true;
}

/* Four hexadecimal digits at p.                                                                                       */
static bool hex4(const char *p, const char *end, uint32_t *out) {
    if (end - p < 4) return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 0x20, digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || (p[i] < '0')) return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* The escape at s->at, just after the backslash.                                                                      */
static bool scan_escape(lr_json_scan *s, lr_text *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) return false;
    if (*s->at != 'u') {
        const char *p = *s->at ? strchr(from, *s->at) : NULL;
        if (!p) return false;
        lr_text_add_bytes(out, to + (p - from), 1);
        s->at++;
        return true;
    }
    uint32_t code, low;
    if (!hex4(s->at + 1, s->end, &code)) return false;
    const char *after = s->at + 5;
    if (code >= 0xdc00 && code < 0xe000) return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (s->end - after < 6 || after[0] != '\\' || after[1] != 'u' || !hex4(after + 2, s->end, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        after += 6;
    }
    char utf8[4];
    lr_text_add_bytes(out, utf8, lr_utf8_put(utf8, code));
    s->at = after;
    return true;
}

bool lr_json_scan_string(lr_json_scan *s, lr_text *out) {
    if (!lr_json_scan_take(s, '"')) return false;
    while (s->at < s->end) {
        const char *run = s->at;
        size_t k;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\') {
            if ((unsigned char)*s->at < 0x20) return false;
            k = lr_utf8_length(s->at, (size_t)(s->end - s->at));
            if (k == 0) return false;
            s->at += k;
        }
        lr_text_add_bytes(out, run, (size_t)(s->at - run));
        if (s->at == s->end || out->failed) return false;
        if (*s->at++ == '"') return true;
        if (!scan_escape(s, out)) return false;
    }
    return false;
}

bool lr_json_scan_int(lr_json_scan *s, int32_t *out) {
    skip_space(s);
    const char *p = s->at;
    bool negative = p < s->end && *p == '-';
    p += negative;
    const char *digits = p;
    int64_t v = 0;
    for (; p < s->end && *p >= '0' && *p <= '9' && v < INT32_MAX; p++) v = v * 10 + (*p - '0');
    if (p == digits || v > INT32_MAX || (*digits == '0' && p - digits > 1)) return false;
    if (p < s->end && *p && strchr(".eE0123456789", *p)) return false;
    *out = (int32_t)(negative ? -v : v);
    s->at = p;
    return true;
}

/* Reads digits into *value while they fit; returns how many did, *n_all counts all of them.                            */
static int scan_digits(lr_json_scan *s, uint64_t *value, int *n_all) {
    int taken = 0, all = 0;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9' && all < 1 << 20; s->at++, all++) {
        uint64_t next;
        bool fits = taken == all && !__builtin_mul_overflow(*value, UINT64_C(10), &next) &&
                    !__builtin_add_overflow(next, (uint64_t)(*s->at - '0'), &next);
        if (!fits) continue;
        *value = next;
        taken++;
    }
    *n_all = all;
    return taken;
}

/* value * 10^exponent with one rounding for each factor.                                                              */
static double scale(uint64_t value, int exponent) {
    double f = (double)value;
    for (; exponent < -308 && f != 0; exponent += 308) f /= 1e308;
    if (f == 0) return 0;
    if (exponent > 308) return INFINITY;
    char power[16];
    snprintf(power, sizeof power, "1e%d", exponent < 0 ? -exponent : exponent);
    return exponent < 0 ? f / strtod(power, NULL) : f * strtod(power, NULL);
}

bool lr_json_scan_number(lr_json_scan *s, double *out) {
    uint64_t value = 0;
    int n_all, taken, exponent = 0;
    bool negative = lr_json_scan_take(s, '-');
    taken = scan_digits(s, &value, &n_all);
    bool full = taken < n_all;
    exponent = n_all - taken;
    if (n_all == 0) return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (full) {
            uint64_t ignored = UINT64_MAX;
            scan_digits(s, &ignored, &n_all);
        } else {
            exponent -= scan_digits(s, &value, &n_all);
        }
        if (n_all == 0) return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        uint64_t power = 0;
        s->at++;
        bool below = s->at < s->end && *s->at == '-';
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        scan_digits(s, &power, &n_all);
        if (n_all == 0) return false;
        if (power > 1 << 20) power = 1 << 20;
        exponent += below ? -(int)power : (int)power;
    }
    *out = scale(value, exponent);
    if (negative) *out = -*out;
    return isfinite(*out);
}

/* Moves past a string without decoding it.                                                                            */
static bool skip_string(lr_json_scan *s) {
    for (s->at++; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            s->at++;
            return true;
        }
        if (*s->at == '\\' && ++s->at == s->end) return false;
    }
    return false;
}

bool lr_json_scan_skip(lr_json_scan *s) {
    char open[LR_JSON_DEPTH];
    int depth = 0;
    do {
        skip_space(s);
        if (s->at == s->end) return false;
        char c = *s->at;
        if (c == '"') {
            if (!skip_string(s)) return false;
        } else if (c == '{' || c == '[') {
            if (depth == LR_JSON_DEPTH) return false;
            open[depth++] = (char)(c == '{' ? '}' : ']');
            s->at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0 || open[--depth] != c) return false;
            s->at++;
        } else if (c == ',' || c == ':') {
            if (depth == 0) return false;
            s->at++;
        } else {
            const char *word = s->at;
            while (s->at < s->end && !strchr(" \n\r\t\"{}[],:", *s->at)) s->at++;
            if (s->at == word) return false;
        }
    } while (depth > 0);
    return true;
}
