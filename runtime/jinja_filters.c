/* Filters on single values.                                                                                            */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "loaders/json.h"
#include "runtime/jinja_parts.h"

static lr_jvalue default_value(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "default_value boolean");
    const lr_jvalue *other = lr_jinja_argument(c, 0, "default_value");
    bool use = v.kind == LR_J_UNDEFINED || (lr_jinja_flag(c, 1, "boolean", false) && !lr_jinja_true(v));
    return !use ? v : other ? *other : lr_jinja_literal("");
}

static lr_jvalue to_json(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 4, "ensure_ascii indent separators sort_keys");
    const lr_jvalue *indent = lr_jinja_argument(c, 1, "indent"), *separators = lr_jinja_argument(c, 2, "separators");
    lr_jdump how = {.indent = -1, .ascii = lr_jinja_flag(c, 0, "ensure_ascii", false), .key_separator = lr_jinja_literal(": "),
                    .sorted = lr_jinja_flag(c, 3, "sort_keys", false)};
    if (indent && indent->kind != LR_J_NONE) how.indent = lr_jinja_number(j, c, 1, "indent", 0);
    if (indent && indent->kind != LR_J_NONE && how.indent < 0) how.indent = 0;
    how.item_separator = lr_jinja_literal(how.indent < 0 ? ", " : ",");
    if (separators && separators->kind != LR_J_NONE) {
        bool two = separators->kind == LR_J_LIST && separators->n == 2 && separators->items[0].kind == LR_J_STRING &&
                   separators->items[1].kind == LR_J_STRING;
        if (!two) lr_jinja_fail(j, LLMRUN_FORMAT, "tojson: expected two strings as separators");
        how.item_separator = separators->items[0];
        how.key_separator = separators->items[1];
    }
    return lr_jinja_dump(j, v, &how);
}

static lr_jvalue trim(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "chars");
    const lr_jvalue *characters = lr_jinja_argument(c, 0, "chars");
    if (characters && characters->kind != LR_J_STRING) characters = NULL;
    return lr_jinja_strip(j, lr_jinja_text(j, v), characters, 3);
}

static lr_jvalue upper(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    return lr_jinja_case(j, lr_jinja_text(j, v), 'u');
}

static lr_jvalue lower(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    return lr_jinja_case(j, lr_jinja_text(j, v), 'l');
}

static lr_jvalue capitalize(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    return lr_jinja_case(j, lr_jinja_text(j, v), 'c');
}

/* As Jinja2's filter, which begins words after white space and ( [ { < - only.                                         */
static lr_jvalue title(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jbuffer b = {0};
    (void)c;
    v = lr_jinja_text(j, v);
    for (size_t from = 0, i = 0; i < v.n; i++) {
        bool cuts = strchr("([{<- \t\n\r\f\v", v.s[i]) != NULL && v.s[i];
        if (!cuts && i + 1 < v.n) continue;
        lr_jinja_append_value(j, &b, lr_jinja_case(j, lr_jinja_part(v, from, i + 1), 'c'));
        from = i + 1;
    }
    return lr_jinja_finish(&b);
}

static lr_jvalue string(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    return lr_jinja_text(j, v);
}

static lr_jvalue safe(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    v = lr_jinja_text(j, v);
    v.flags = LR_J_SAFE;
    return v;
}

static lr_jvalue escape(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    (void)c;
    return lr_jinja_escape(j, lr_jinja_text(j, v));
}

static lr_jvalue replace(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 3, "old new count");
    const lr_jvalue *old = lr_jinja_argument(c, 0, "old"), *with = lr_jinja_argument(c, 1, "new");
    if (!old || !with) lr_jinja_fail(j, LLMRUN_FORMAT, "replace: expected what to replace, and with what");
    return lr_jinja_replace(j, lr_jinja_text(j, v), lr_jinja_text(j, *old), lr_jinja_text(j, *with),
                            lr_jinja_number(j, c, 2, "count", -1));
}

static lr_jvalue indent(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 3, "width first blank");
    const lr_jvalue *width = lr_jinja_argument(c, 0, "width");
    bool first = lr_jinja_flag(c, 1, "first", false), blank = lr_jinja_flag(c, 2, "blank", false);
    lr_jbuffer pad = {0}, b = {0};
    if (width && width->kind == LR_J_STRING)
        lr_jinja_append_value(j, &pad, *width);
    else
        for (int64_t i = lr_jinja_number(j, c, 0, "width", 4); i > 0; i--) lr_jinja_append(j, &pad, " ", 1, NULL);
    if (v.kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_FORMAT, "indent: expected a string, got %s", lr_jinja_kind_name(v));
    for (size_t from = 0; from <= v.n;) {
        const char *newline = v.n > from ? memchr(v.s + from, '\n', v.n - from) : NULL;
        size_t to = newline ? (size_t)(newline - v.s) : v.n;
        bool padded = from == 0 ? first : blank || to > from;
        if (padded) lr_jinja_append_value(j, &b, lr_jinja_finish(&pad));
        lr_jinja_append_value(j, &b, lr_jinja_part(v, from, to + (newline != NULL)));
        from = to + 1;
    }
    return lr_jinja_finish(&b);
}

/* A text as a number: false if it is none.                                                                             */
static bool parse_number(lr_jinja *j, lr_jvalue v, bool whole, lr_jvalue *out) {
    char text[64];
    v = lr_jinja_strip(j, v, NULL, 3);
    if (v.n && v.s[0] == '+') v = lr_jinja_part(v, 1, v.n);
    while (v.n > 1 && v.s[0] == '0' && v.s[1] >= '0' && v.s[1] <= '9') v = lr_jinja_part(v, 1, v.n);
    if (!v.n || v.n > LR_JSON_NUMBER || !strchr("-0123456789", v.s[0])) return false;
    memcpy(text, v.s, v.n);
    text[v.n] = 0;
    if (lr_json_check(text, v.n, "number", NULL) || (whole && strcspn(text, ".eE") < v.n)) return false;
    *out = lr_jinja_read_json(j, "number", text, v.n, false);
    return true;
}

static lr_jvalue to_int(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "default base");
    int64_t fallback = lr_jinja_number(j, c, 0, "default", 0), i;
    if (lr_jinja_number(j, c, 1, "base", 10) != 10) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "int: another base than 10");
    lr_jvalue number = v;
    if (v.kind == LR_J_UNDEFINED) lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it is no int", v.s);
    if (v.kind == LR_J_STRING && !parse_number(j, v, true, &number) && !parse_number(j, v, false, &number))
        return lr_jinja_int(fallback);
    if (number.kind == LR_J_FLOAT && !(fabs(number.f) < 9e18))
        lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "int: an integer of more than 64 bits");
    if (number.kind == LR_J_FLOAT) return lr_jinja_int((int64_t)number.f);
    return lr_jinja_int(lr_jinja_is_int(number, &i) ? i : fallback);
}

static lr_jvalue to_float(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "default");
    const lr_jvalue *other = lr_jinja_argument(c, 0, "default");
    double f;
    if (v.kind == LR_J_UNDEFINED) lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it is no float", v.s);
    if (v.kind == LR_J_STRING && !parse_number(j, v, false, &v)) return other ? *other : lr_jinja_float(0);
    if (lr_jinja_is_number(v, &f)) return lr_jinja_float(f);
    return other ? *other : lr_jinja_float(0);
}

static lr_jvalue absolute(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    int64_t i;
    (void)c;
    if (v.kind == LR_J_FLOAT) return lr_jinja_float(fabs(v.f));
    if (!lr_jinja_is_int(v, &i) || i == INT64_MIN)
        lr_jinja_fail(j, LLMRUN_FORMAT, "abs: expected a number, got %s", lr_jinja_kind_name(v));
    return lr_jinja_int(i < 0 ? -i : i);
}

static lr_jvalue round_number(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    double f;
    char text[400];
    int64_t digits = lr_jinja_number(j, c, 0, "precision", 0);
    lr_jinja_check(j, c, 1, "precision");
    if (!lr_jinja_is_number(v, &f)) lr_jinja_fail(j, LLMRUN_FORMAT, "round: expected a number, got %s", lr_jinja_kind_name(v));
    if (digits < 0 || digits > 30) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "round: expected 0 to 30 digits");
    snprintf(text, sizeof text, "%.*f", (int)digits, f);
    if (v.kind == LR_J_FLOAT) return lr_jinja_float(strtod(text, NULL));
    return v.kind == LR_J_BOOL ? lr_jinja_int(v.b) : v;
}

static const struct { const char *name; lr_jfilter *run; } filters[] = {
    {"abs", absolute}, {"capitalize", capitalize}, {"d", default_value}, {"default", default_value}, {"e", escape},
    {"escape", escape}, {"float", to_float}, {"indent", indent}, {"int", to_int}, {"lower", lower}, {"replace", replace},
    {"round", round_number}, {"safe", safe}, {"string", string}, {"title", title}, {"tojson", to_json}, {"trim", trim},
    {"upper", upper},
};

lr_jvalue lr_jinja_filter(lr_jinja *j, const char *name, lr_jvalue v, const lr_jcall *c) {
    lr_jfilter *run = lr_jinja_list_filter(name);
    for (size_t i = 0; i < LR_COUNT(filters) && !run; i++)
        if (strcmp(filters[i].name, name) == 0) run = filters[i].run;
    if (!run) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the filter %.60s is not supported", name);
    return run(j, v, c);
}
