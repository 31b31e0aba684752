/* JSON to values.  Numbers keep their kind: 1 is an int, 1.0 a float.                                                  */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "loaders/json.h"
#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

typedef struct reader {
    lr_jinja *j;
    lr_json_scan scan;
    const char *what;
    bool content;
} reader;

static lr_jvalue read_value(reader *r);

static lr_jvalue read_string(reader *r) {
    lr_text *text = &r->j->scratch;
    text->n = 0;
    if (!lr_json_scan_string(&r->scan, text)) {
        if (text->failed) r->j->status = lr_fail_nomem(r->j->err, r->what, text->n);
        if (text->failed) longjmp(r->j->leave, 1);
        lr_jinja_fail(r->j, LLMRUN_FORMAT, "%s: expected a string", r->what);
    }
    char *s = lr_jinja_alloc(r->j, text->n), *mark = NULL;
    if (text->n) memcpy(s, text->text, text->n);
    if (r->content) mark = memset(lr_jinja_alloc(r->j, text->n), 1, text->n);
    return lr_jinja_string(s, text->n, mark);
}

static lr_jvalue read_list(reader *r) {
    lr_jvalue *items = NULL;
    size_t n = 0, cap = 0;
    lr_json_scan_take(&r->scan, '[');
    while (!lr_json_scan_take(&r->scan, ']')) {
        if (n) lr_json_scan_take(&r->scan, ',');
        items = lr_jinja_grow(r->j, items, n, &cap, sizeof *items);
        items[n++] = read_value(r);
    }
    return lr_jinja_list(items, n, 0);
}

static lr_jvalue read_dict(reader *r) {
    lr_jdict *d = lr_jinja_dict(r->j);
    lr_json_scan_take(&r->scan, '{');
    while (!lr_json_scan_take(&r->scan, '}')) {
        if (d->n) lr_json_scan_take(&r->scan, ',');
        lr_jvalue key = read_string(r);
        lr_json_scan_take(&r->scan, ':');
        lr_jinja_put(r->j, d, key, read_value(r));
    }
    return lr_jinja_dict_value(d, LR_J_DICT);
}

static lr_jvalue read_number(reader *r, const char *from, size_t n) {
    char text[LR_JSON_NUMBER + 1], *end;
    memcpy(text, from, n); /* lr_json_check has limited its length */
    text[n] = 0;
    if (strcspn(text, ".eE") == n) {
        int64_t i = 0;
        bool negative = text[0] == '-', fits = true;
        for (size_t k = negative; k < n && fits; k++)
            fits = !__builtin_mul_overflow(i, 10, &i) && !__builtin_sub_overflow(i, text[k] - '0', &i);
        if (!fits || (!negative && i == INT64_MIN))
            lr_jinja_fail(r->j, LLMRUN_UNSUPPORTED, "%s: an integer of more than 64 bits: %s", r->what, text);
        return lr_jinja_int(negative ? i : -i);
    }
    char *dot = strchr(text, '.');
    if (dot) *dot = *localeconv()->decimal_point;
    return lr_jinja_float(strtod(text, &end));
}

/* As deep as lr_json_check lets documents be.                                                                          */
static lr_jvalue read_value(reader *r) {
    lr_jinja_step(r->j, 0);
    if (lr_json_scan_peek(&r->scan, '{')) return read_dict(r);
    if (lr_json_scan_peek(&r->scan, '[')) return read_list(r);
    if (lr_json_scan_peek(&r->scan, '"')) return read_string(r);
    const char *from = r->scan.at;
    lr_json_scan_skip(&r->scan);
    if (*from == 't' || *from == 'f') return lr_jinja_bool(*from == 't');
    if (*from == 'n') return (lr_jvalue){.kind = LR_J_NONE};
    return read_number(r, from, (size_t)(r->scan.at - from));
}

lr_jvalue lr_jinja_read_json(lr_jinja *j, const char *what, const char *text, size_t n, bool content) {
    reader r = {.j = j, .scan = {text, text, text + n}, .what = what, .content = content};
    j->status = lr_json_check(text, n, what, j->err);
    if (j->status) longjmp(j->leave, 1);
    return read_value(&r);
}
