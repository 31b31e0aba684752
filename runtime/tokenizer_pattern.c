/* Regular expressions of tokenizer.json on PCRE2.  The files are written for Oniguruma (Ruby syntax, Unicode); the
 * translation keeps to the constructs both read alike, spells out the classes they define differently, and refuses the
 * rest by name.  A match runs in a window that grows: whatever the pattern, the work is bounded by the text's length.
 * Character classes are those of the PCRE2 that is linked: what Unicode assigned after it was made is in none of them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_parts.h"

enum { MAX_GROUPS = 32, MAX_REPEAT = 1000, FIRST_WINDOW = 64, STEPS_PER_BYTE = 64 };

struct lr_pattern {
    pcre2_code *code;
};

/* White_Space and \w as Oniguruma has them, as the inside of a class: PCRE2's own differ in a few characters.  Outside
 * of a class, Oniguruma's \w also has the superscripts and fractions of Latin-1.                                      */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
#define WORD                                                                                                           \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define LATIN_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

/* ---- translation ---- */

typedef struct translator {
    const char *at;
    lr_text out;
    int depth;
    bool unbounded[MAX_GROUPS + 1]; /* per open group: holds a repeat without upper bound */
    bool closed_unbounded;          /* the atom just read is a group that does */
    bool atom;                      /* there is something to repeat */
    const char *refused;            /* why the pattern is not supported */
} translator;

static bool refuse(translator *p, const char *why) {
    if (!p->refused) p->refused = why;
    return false;
}

static bool is_one_of(char c, const char *set) { return c && strchr(set, c); }

static bool is_hex(char c) { return is_one_of(c, "0123456789abcdefABCDEF"); }

/* \p{Name}, \P{Name}, \p{^Name}: general categories have one or two letters, all else is taken as a script.           */
static bool translate_property(translator *p) {
    bool negated = *p->at == 'P';
    const char *name = p->at + 2;
    if (p->at[1] != '{') return refuse(p, "\\p without braces");
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
    if (n == 0 || n > 40 || name[n] != '}') return refuse(p, "a property name");
    lr_text_add(&p->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', n > 2 ? "sc:" : "", (int)n, name);
    p->at = name + n + 1;
    return true;
}

/* \xHH, \x{H...}, \uHHHH                                                                                              */
static bool translate_code(translator *p) {
    const char *digits = p->at + 1;
    size_t n = 0, want = *p->at == 'u' ? 4 : 2;
    bool braces = *p->at == 'x' && *digits == '{';
    digits += braces;
    while (is_hex(digits[n]) && n < (braces ? 6u : want)) n++;
    if (n == 0 || (*p->at == 'u' && n != 4) || (braces && digits[n] != '}')) return refuse(p, "a malformed code point");
    lr_text_add(&p->out, "\\x{%.*s}", (int)n, digits);
    p->at = digits + n + braces;
    return true;
}

/* An escape, p->at after the backslash.                                                                               */
static bool translate_escape(translator *p, bool in_class) {
    char c = *p->at;
    if (c == 0) return refuse(p, "a backslash at the end");
    if (c == 'p' || c == 'P') return translate_property(p);
    if (c == 'x' || c == 'u') return translate_code(p);
    if (in_class && (c == 's' || c == 'w'))
        lr_text_add(&p->out, "%s", c == 's' ? SPACE : WORD);
    else if (!in_class && is_one_of(c, "sSwW"))
        lr_text_add(&p->out, "[%s%s]", c < 'a' ? "^" : "", (c | 0x20) == 's' ? SPACE : WORD LATIN_WORD);
    else if (c == 'v')
        lr_text_add(&p->out, "\\x{0b}");
    else if (is_one_of(c, "rntfdD"))
        lr_text_add(&p->out, "\\%c", c);
    else if (((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c < 0x20)
        return refuse(p, in_class ? "an escape in a class" : "an escape");
    else
        lr_text_add(&p->out, "\\%c", c);
    p->at++;
    return true;
}

/* [...], p->at after the bracket.  Nested classes and intersections mean something else in PCRE2.                     */
static bool translate_class(translator *p) {
    lr_text_add(&p->out, "[");
    if (*p->at == '^') lr_text_add(&p->out, "%c", *p->at++);
    if (*p->at == ']') return refuse(p, "an empty class");
    while (*p->at && *p->at != ']') {
        if (*p->at == '[') return refuse(p, "a class in a class");
        if (p->at[0] == '&' && p->at[1] == '&') return refuse(p, "an intersection of classes");
        if (*p->at == '\\') {
            p->at++;
            if (!translate_escape(p, true)) return false;
        } else {
            lr_text_add(&p->out, "%c", *p->at++);
        }
    }
    if (!*p->at) return refuse(p, "a class that does not end");
    lr_text_add(&p->out, "%c", *p->at++);
    return true;
}

/* (...), p->at after the parenthesis.  Captures are not needed.                                                       */
static bool translate_group(translator *p) {
    static const char *const kinds[] = {"?:", "?i:", "?=", "?!", "?<=", "?<!", "?>"};
    if (p->depth == MAX_GROUPS) return refuse(p, "groups nested deeper than 32");
    p->unbounded[++p->depth] = false;
    size_t i = 0;
    while (i < LR_COUNT(kinds) && strncmp(p->at, kinds[i], strlen(kinds[i]))) i++;
    if (i == LR_COUNT(kinds) && *p->at == '?') return refuse(p, "a kind of group");
    if (i == LR_COUNT(kinds)) {
        lr_text_add(&p->out, "(?:");
    } else {
        lr_text_add(&p->out, "(%s", kinds[i]);
        p->at += strlen(kinds[i]);
    }
    return true;
}

/* Reads {m}, {m,}, {,n} or {m,n}; false if the brace is just a brace.                                                 */
static bool read_bounds(const char **at, long *low, long *high) {
    char *p;
    const char *begin = *at + 1;
    *low = strtol(begin, &p, 10);
    if (*begin != ',' && !(*begin >= '0' && *begin <= '9')) return false;
    *high = *low;
    if (*p == ',') {
        const char *second = p + 1;
        bool given = *second >= '0' && *second <= '9';
        if (!given && *begin == ',') return false;
        *high = given ? strtol(second, &p, 10) : -1;
        if (!given) p = (char *)second;
    }
    if (*p != '}') return false;
    *at = p + 1;
    return true;
}

/* * + ? {m,n} after an atom.  A repeat of something that holds an unbounded repeat is where time becomes exponential. */
static bool translate_repeat(translator *p) {
    long low = *p->at == '+', high = *p->at == '?' ? 1 : -1;
    char sign = *p->at;
    bool braces = sign == '{';
    if (!p->atom) return refuse(p, "nested repeat");
    if (braces && !read_bounds(&p->at, &low, &high)) return refuse(p, "a brace");
    if (!braces) p->at++;
    if (low > MAX_REPEAT || high > MAX_REPEAT) return refuse(p, "a repeat of more than 1000");
    if (p->closed_unbounded && high != 1) return refuse(p, "nested repeat");
    if (braces && high >= 0)
        lr_text_add(&p->out, "{%ld,%ld}", low, high);
    else if (braces)
        lr_text_add(&p->out, "{%ld,}", low);
    else
        lr_text_add(&p->out, "%c", sign);
    if (is_one_of(*p->at, "?+")) {
        if (braces) return refuse(p, "a lazy or possessive {m,n}");
        lr_text_add(&p->out, "%c", *p->at++);
    }
    if (high < 0) p->unbounded[p->depth] = true;
    p->atom = p->closed_unbounded = false;
    return true;
}

static bool translate_one(translator *p) {
    char c = *p->at;
    if (is_one_of(c, "*+?{")) return translate_repeat(p);
    p->closed_unbounded = false;
    p->atom = !is_one_of(c, "(|^$");
    if (c == ')') {
        if (p->depth == 0) return refuse(p, "an unmatched parenthesis");
        p->closed_unbounded = p->unbounded[p->depth--];
        p->unbounded[p->depth] |= p->closed_unbounded;
    }
    p->at++;
    if (c == '\\') return translate_escape(p, false);
    if (c == '[') return translate_class(p);
    if (c == '(') return translate_group(p);
    lr_text_add(&p->out, is_one_of(c, "}]") ? "\\%c" : "%c", c);
    return true;
}

static void translate(translator *p, bool regex) {
    for (bool ok = true; ok && *p->at;) {
        if (regex)
            ok = translate_one(p);
        else
            lr_text_add(&p->out, is_one_of(*p->at, "\\^$.[]|()?*+{}") ? "\\%c" : "%c", *p->at), p->at++;
    }
    if (p->depth && !p->refused) refuse(p, "an unmatched parenthesis");
}

/* ---- compiling ---- */

static void *take(PCRE2_SIZE size, void *user) {
    (void)user;
    return lr_alloc(size);
}

static void give(void *p, void *user) {
    (void)user;
    lr_free(p);
}

static llmrun_status compile(lr_pattern *r, const lr_text *text, const char *pattern, const char *where,
                             llmrun_error *err) {
    int error;
    PCRE2_SIZE at;
    char shown[160];
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    llmrun_status status = LLMRUN_OK;
    if (!context) {
        status = lr_fail_nomem(err, where, sizeof *r);
    } else {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        r->code = pcre2_compile((PCRE2_SPTR)text->text, text->n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &at,
                                context);
        uint32_t can_be_empty = 0;
        if (r->code) pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &can_be_empty);
        lr_printable(shown, sizeof shown, pattern, strlen(pattern));
        if (!r->code && error == PCRE2_ERROR_HEAP_FAILED) {
            status = lr_fail_nomem(err, where, text->n);
        } else if (!r->code) {
            PCRE2_UCHAR why[120] = "";
            pcre2_get_error_message(error, why, sizeof why);
            status = lr_fail(err, LLMRUN_UNSUPPORTED, "%s: pattern \"%s\" is not supported (%s)", where, shown, why);
        } else if (can_be_empty) {
            status = lr_fail(err, LLMRUN_UNSUPPORTED, "%s: pattern \"%s\" is not supported (it can match nothing)",
                             where, shown);
        } else {
            pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD); /* without it, it is only slower */
        }
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return status;
}

llmrun_status lr_pattern_open(lr_pattern **out, const char *pattern, bool regex, const char *where, llmrun_error *err) {
    translator p = {.at = pattern};
    char shown[160];
    *out = NULL;
    translate(&p, regex);
    llmrun_status status = LLMRUN_OK;
    lr_pattern *r = lr_zalloc(1, sizeof *r);
    if (p.refused)
        status = lr_fail(err, LLMRUN_UNSUPPORTED, "%s: pattern \"%s\" is not supported (%s)", where,
                         lr_printable(shown, sizeof shown, pattern, strlen(pattern)), p.refused);
    else if (p.out.failed || !r)
        status = lr_fail_nomem(err, where, p.out.cap);
    else
        status = compile(r, &p.out, pattern, where, err);
    lr_free(p.out.text);
    if (status)
        lr_pattern_close(r);
    else
        *out = r;
    return status;
}

void lr_pattern_close(lr_pattern *p) {
    if (p) pcre2_code_free(p->code);
    lr_free(p);
}

/* ---- matching ---- */

static llmrun_status prepare(lr_encode *e) {
    if (e->match) return LLMRUN_OK;
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    if (general) {
        e->match = pcre2_match_data_create(1, general);
        e->match_context = pcre2_match_context_create(general);
    }
    pcre2_general_context_free(general);
    return e->match && e->match_context ? LLMRUN_OK : lr_fail_nomem(e->err, "tokenizer", 1024);
}

void lr_pattern_release(lr_encode *e) {
    pcre2_match_data_free(e->match);
    pcre2_match_context_free(e->match_context);
    e->match = e->match_context = NULL;
}

/* One attempt.  A hard partial match means that more text could change the answer.                                    */
static int attempt(const lr_pattern *p, lr_encode *e, const char *text, size_t stop, size_t from, bool whole) {
    uint32_t options = PCRE2_NO_UTF_CHECK | (whole ? 0 : PCRE2_PARTIAL_HARD);
    pcre2_set_match_limit(e->match_context, (uint32_t)lr_min(1000 + STEPS_PER_BYTE * (int64_t)(stop - from), UINT32_MAX));
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, stop, from, options, e->match, e->match_context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, stop, from, options | PCRE2_NO_JIT, e->match, e->match_context);
    return rc;
}

llmrun_status lr_pattern_next(const lr_pattern *p, lr_encode *e, const char *text, size_t n, size_t from, size_t *start,
                              size_t *end) {
    llmrun_status status = prepare(e);
    size_t window = FIRST_WINDOW;
    *start = *end = n;
    while (!status && from < n) {
        size_t stop = n - from > window ? from + window : n;
        while (stop < n && ((unsigned char)text[stop] & 0xc0) == 0x80) stop++;
        e->work += stop - from;
        if (window > FIRST_WINDOW) {
            if (stop - from > e->budget) break;
            e->budget -= stop - from;
        }
        int rc = attempt(p, e, text, stop, from, stop == n);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(e->match);
        if (rc >= 0) {
            *start = span[0];
            *end = span[1];
            return LLMRUN_OK;
        }
        if (rc == PCRE2_ERROR_PARTIAL) {
            from = span[0];
            window *= 4;
        } else if (rc == PCRE2_ERROR_NOMATCH) {
            from = stop;
            window = FIRST_WINDOW;
        } else if (rc == PCRE2_ERROR_NOMEMORY || rc == PCRE2_ERROR_HEAPLIMIT) {
            return lr_fail_nomem(e->err, "tokenizer", window);
        } else {
            break;
        }
    }
    if (status || from >= n) return status;
    return lr_fail(e->err, LLMRUN_UNSUPPORTED, "tokenizer: a pattern of the model takes too many steps on this text; is "
                                               "its tokenizer.json genuine?");
}
