/* Template text to tokens, white space control included, as Jinja2's lexer does with trim_blocks and lstrip_blocks.    */
#include <stdlib.h>

#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

typedef struct lexer {
    lr_jinja *j;
    const char *s;
    size_t n, at;
    bool line_starts; /* what was read last ended a line */
} lexer;

static lr_jtoken *add(lexer *l, lr_jtoken_type type, const char *s, size_t n) {
    lr_jinja *j = l->j;
    j->tokens = lr_jinja_grow(j, j->tokens, j->n_tokens, &j->cap_tokens, sizeof *j->tokens);
    lr_jtoken *t = &j->tokens[j->n_tokens++];
    *t = (lr_jtoken){.type = type, .line = j->line, .n = (uint32_t)n, .s = s};
    return t;
}

static bool starts(const lexer *l, const char *text) {
    size_t n = strlen(text);
    return l->n - l->at >= n && memcmp(l->s + l->at, text, n) == 0;
}

static void skip(lexer *l, size_t n) {
    for (size_t i = 0; i < n; i++) l->j->line += l->s[l->at + i] == '\n';
    l->at += n;
    l->line_starts = n && l->s[l->at - 1] == '\n';
}

static bool space_at(const lexer *l, size_t i, size_t *k) {
    *k = 0;
    return i < l->n && lr_jinja_is_space(lr_utf8_get(l->s + i, k));
}

static size_t spaces(const lexer *l, size_t from) {
    size_t k, i = from;
    while (space_at(l, i, &k)) i += k;
    return i - from;
}

/* What ends a tag: `+%}`, `-%}` and the white space after it, or `%}` and the end of the line.  0: something else.     */
static size_t closing(const lexer *l, const char *end, bool trims) {
    char first = l->at < l->n ? l->s[l->at] : 0;
    size_t sign = first == '-' || (first == '+' && trims) ? 1 : 0, after = l->at + sign + 2;
    if (l->n - l->at < sign + 2 || memcmp(l->s + l->at + sign, end, 2) != 0) return 0;
    if (sign && first == '-') return sign + 2 + spaces(l, after);
    return sign + 2 + (!sign && trims && after < l->n && l->s[after] == '\n');
}

/* ---- inside tags ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name_byte(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static size_t digits(const lexer *l, size_t i) {
    size_t from = i;
    while (i < l->n && (is_digit(l->s[i]) || (i > from && l->s[i] == '_' && i + 1 < l->n && is_digit(l->s[i + 1])))) i++;
    return i - from;
}

static void number(lexer *l) {
    char text[80];
    size_t k = 0, n = digits(l, l->at), from = l->at, fraction = 0, power = 0;
    bool member = l->j->n_tokens && l->j->tokens[l->j->n_tokens - 1].op == '.';
    if (!member && from + n < l->n && l->s[from + n] == '.') fraction = digits(l, from + n + 1);
    size_t end = from + n + (fraction ? fraction + 1 : 0);
    if (!member && end < l->n && (l->s[end] | 0x20) == 'e') {
        size_t sign = end + 1 < l->n && (l->s[end + 1] == '-' || l->s[end + 1] == '+');
        if ((power = digits(l, end + 1 + sign))) end += 1 + sign + power;
    }
    bool other_base = end < l->n && is_name_byte(l->s[end]);
    if (other_base || end - from >= sizeof text)
        lr_jinja_fail(l->j, LLMRUN_UNSUPPORTED, "a number that is not decimal, or too long");
    for (size_t i = from; i < end; i++)
        if (l->s[i] != '_') text[k++] = l->s[i];
    text[k] = 0;
    lr_jtoken *t = add(l, fraction || power ? LR_JT_FLOAT : LR_JT_INT, l->s + from, end - from);
    if (t->type == LR_JT_FLOAT) {
        lr_jvalue v = lr_jinja_read_json(l->j, "number", text, k, false);
        lr_jinja_is_number(v, &t->f);
    } else {
        uint64_t v = 0;
        for (size_t i = 0; i < k; i++) {
            if (!lr_mul_u64(v, 10, &v) || !lr_add_u64(v, (uint64_t)(text[i] - '0'), &v) || v > INT64_MAX)
                lr_jinja_fail(l->j, LLMRUN_UNSUPPORTED, "an integer of more than 63 bits");
        }
        t->i = (int64_t)v;
    }
    skip(l, end - from);
}

static uint32_t hex(lexer *l, size_t i, size_t end, int n) {
    uint32_t v = 0;
    for (int k = 0; k < n; k++) {
        char c = i + (size_t)k < end ? l->s[i + (size_t)k] : 0, low = (char)(c | 0x20);
        if (!is_digit(c) && !(low >= 'a' && low <= 'f'))
            lr_jinja_fail(l->j, LLMRUN_FORMAT, "string: expected %d hexadecimal digits", n);
        v = v * 16 + (uint32_t)(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) lr_jinja_fail(l->j, LLMRUN_FORMAT, "string: no such character");
    return v;
}

/* Python's escapes; what is none keeps its backslash.                                                                  */
static void string(lexer *l) {
    static const char from[] = "ntr\\'\"abfv", to[] = "\n\t\r\\'\"\a\b\f\v";
    size_t start = l->at + 1, end = start;
    while (end < l->n && l->s[end] != l->s[l->at]) end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->n) lr_jinja_fail(l->j, LLMRUN_FORMAT, "a string that does not end");
    char *out = lr_jinja_alloc(l->j, end - start);
    size_t k = 0;
    for (size_t i = start; i < end;) {
        char c = l->s[i++];
        if (c != '\\') {
            out[k++] = c;
            continue;
        }
        c = l->s[i++];
        const char *simple = c ? strchr(from, c) : NULL;
        if (simple) {
            out[k++] = to[simple - from];
        } else if (c == 'x' || c == 'u' || c == 'U') {
            int n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
            char utf8[4];
            size_t bytes = lr_utf8_put(utf8, hex(l, i, end, n)); /* never longer than the escape */
            memcpy(out + k, utf8, bytes);
            k += bytes;
            i += (size_t)n;
        } else if (c == 'N' || is_digit(c)) {
            lr_jinja_fail(l->j, LLMRUN_UNSUPPORTED, "string: the escape \\%c", c);
        } else if (c != '\n') {
            out[k++] = '\\';
            out[k++] = c;
        }
    }
    add(l, LR_JT_STRING, out, k);
    skip(l, end + 1 - l->at);
}

static void operation(lexer *l) {
    static const char *const two[] = {"==", "!=", ">=", "<=", "//", "**"};
    for (size_t i = 0; i < LR_COUNT(two); i++)
        if (starts(l, two[i])) {
            add(l, LR_JT_OP, l->s + l->at, 2)->op = LR_JOP(two[i][0], two[i][1]);
            skip(l, 2);
            return;
        }
    if (!strchr("+-*/%~()[]{}<>=.:|,;", l->s[l->at]) || !l->s[l->at]) {
        char shown[8];
        size_t k = lr_utf8_length(l->s + l->at, l->n - l->at);
        lr_jinja_fail(l->j, LLMRUN_FORMAT, "unexpected character '%s'", lr_printable(shown, sizeof shown, l->s + l->at, k));
    }
    add(l, LR_JT_OP, l->s + l->at, 1)->op = (uint8_t)l->s[l->at];
    skip(l, 1);
}

/* Keeps the stack of open brackets: within them, %} and }} are operators.                                              */
static void bracket(lexer *l, char *open, size_t *n_open) {
    char c = l->s[l->at];
    const char *pair = c ? strchr("()[]{}", c) : NULL;
    if (!pair) return;
    if (strchr("([{", c)) {
        if (*n_open == LR_JINJA_DEPTH) lr_jinja_fail(l->j, LLMRUN_UNSUPPORTED, "brackets nested deeper than %d", LR_JINJA_DEPTH);
        open[(*n_open)++] = pair[1];
    } else if (*n_open == 0 || open[--*n_open] != c) {
        lr_jinja_fail(l->j, LLMRUN_FORMAT, "unexpected '%c'", c);
    }
}

static void tag(lexer *l, const char *end, bool trims, lr_jtoken_type open_type, lr_jtoken_type close_type) {
    char open[LR_JINJA_DEPTH];
    size_t n_open = 0, k;
    add(l, open_type, l->s + l->at, 2);
    skip(l, 2);
    if (l->at < l->n && (l->s[l->at] == '-' || l->s[l->at] == '+')) skip(l, 1);
    for (;;) {
        skip(l, spaces(l, l->at));
        if (l->at == l->n) lr_jinja_fail(l->j, LLMRUN_FORMAT, "unexpected end of the template, expected '%s'", end);
        if (n_open == 0 && (k = closing(l, end, trims))) break;
        char c = l->s[l->at];
        if (is_digit(c)) {
            number(l);
        } else if (is_name_byte(c)) {
            size_t n = 0;
            while (l->at + n < l->n && is_name_byte(l->s[l->at + n])) n++;
            add(l, LR_JT_NAME, l->s + l->at, n);
            skip(l, n);
        } else if (c == '\'' || c == '"') {
            string(l);
        } else {
            bracket(l, open, &n_open);
            operation(l);
        }
    }
    add(l, close_type, l->s + l->at, k);
    skip(l, k);
}

/* ---- text between tags ---- */

/* Bytes of `{% raw %}` or, name "endraw", what ends it; 0: not there.                                                  */
static size_t raw_tag(const lexer *l, const char *name) {
    lexer at = *l;
    size_t sign = at.at + 2 < at.n && (at.s[at.at + 2] == '-' || at.s[at.at + 2] == '+'), n_name = strlen(name);
    if (!starts(l, "{%")) return 0;
    at.at += 2 + sign;
    at.at += spaces(&at, at.at);
    if (!starts(&at, name)) return 0;
    at.at += n_name;
    at.at += spaces(&at, at.at);
    bool opens = strcmp(name, "raw") == 0;
    if (opens && (at.at >= at.n || at.s[at.at] == '+')) return 0;
    size_t k = closing(&at, "%}", !opens);
    return k ? at.at + k - l->at : 0;
}

/* Text up to the tag at end: `-` there takes all white space before it, a tag that begins its line (no `+`, no print)
 * the white space of that line.                                                                                        */
static void data(lexer *l, size_t end, char sign, bool prints) {
    size_t from = l->at, to = end;
    const char *newline = end > from ? memrchr(l->s + from, '\n', end - from) : NULL;
    size_t line = newline ? (size_t)(newline - l->s) + 1 : from;
    bool line_starts = newline || l->line_starts;
    if (sign == '-') {
        for (size_t i = end; i > from;) {
            do i--;
            while (i > from && ((unsigned char)l->s[i] & 0xc0) == 0x80);
            size_t k;
            if (!space_at(l, i, &k)) break;
            to = i;
        }
    } else if (sign != '+' && !prints && line_starts && line < end && line + spaces(l, line) >= end) {
        to = line;
    }
    if (to > from) add(l, LR_JT_DATA, l->s + from, to - from);
    skip(l, end - from);
}

static char sign_at(const lexer *l, size_t i) { return i < l->n ? l->s[i] : 0; }

static void raw(lexer *l) {
    skip(l, raw_tag(l, "raw"));
    lexer at = *l;
    size_t k = 0;
    for (; at.at < at.n && !(k = raw_tag(&at, "endraw")); at.at++) continue;
    if (!k) lr_jinja_fail(l->j, LLMRUN_FORMAT, "a raw block that does not end");
    data(l, at.at, sign_at(l, at.at + 2), false);
    skip(l, k);
}

static void comment(lexer *l) {
    char sign = sign_at(l, l->at + 2);
    skip(l, 2 + (sign == '-' || sign == '+'));
    size_t k = 0;
    lexer at = *l;
    for (; at.at < at.n && !(k = closing(&at, "#}", true)); at.at++) continue;
    if (!k) lr_jinja_fail(l->j, LLMRUN_FORMAT, "a comment that does not end");
    skip(l, at.at + k - l->at);
}

/* Line ends become \n, and one at the very end goes.                                                                   */
static const char *read_source(lr_jinja *j, size_t *n_out) {
    const char *s = j->job->source;
    size_t n = j->job->n_source, k = 0;
    char *copy = lr_jinja_alloc(j, n + 1);
    for (size_t i = 0, width; i < n; i += width) {
        if (!(width = lr_utf8_length(s + i, n - i))) lr_jinja_fail(j, LLMRUN_FORMAT, "invalid UTF-8 at byte %zu", i);
        if (s[i] == '\r') {
            if (i + 1 < n && s[i + 1] == '\n') continue;
            copy[k++] = '\n';
        } else {
            memcpy(copy + k, s + i, width);
            k += width;
        }
    }
    if (k && copy[k - 1] == '\n') k--;
    *n_out = k;
    return copy;
}

void lr_jinja_lex(lr_jinja *j) {
    lexer l = {.j = j, .line_starts = true};
    l.s = read_source(j, &l.n);
    while (l.at < l.n) {
        size_t i = l.at;
        while (i + 1 < l.n && !(l.s[i] == '{' && l.s[i + 1] && strchr("{%#", l.s[i + 1]))) i++;
        bool found = i + 1 < l.n;
        bool prints = found && l.s[i + 1] == '{';
        data(&l, found ? i : l.n, found ? sign_at(&l, i + 2) : '+', prints);
        if (!found) break;
        if (raw_tag(&l, "raw"))
            raw(&l);
        else if (l.s[i + 1] == '#')
            comment(&l);
        else if (prints)
            tag(&l, "}}", false, LR_JT_OPEN_PRINT, LR_JT_CLOSE_PRINT);
        else
            tag(&l, "%}", true, LR_JT_OPEN_TAG, LR_JT_CLOSE_TAG);
    }
    add(&l, LR_JT_END, l.s + l.n, 0);
}
