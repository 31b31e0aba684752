/* The functions of templates, and how functions, filters, tests and methods read their arguments.                      */
#include <stdio.h>
#include <time.h>

#include "runtime/jinja_parts.h"

/* ---- arguments ---- */

const lr_jvalue *lr_jinja_argument(const lr_jcall *c, uint32_t position, const char *name) {
    if (position < c->n) return &c->items[position];
    for (uint32_t i = 0; i < c->n_named; i++)
        if (strcmp(c->names[i], name) == 0) return &c->items[c->n + i];
    return NULL;
}

void lr_jinja_check(lr_jinja *j, const lr_jcall *c, uint32_t max, const char *names) {
    if (c->n + c->n_named > max) lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected at most %u arguments", c->what, max);
    for (uint32_t i = 0; i < c->n_named; i++) {
        size_t n = strlen(c->names[i]);
        const char *hit = names;
        while ((hit = strstr(hit, c->names[i])) && ((hit > names && hit[-1] != ' ') || (hit[n] && hit[n] != ' '))) hit++;
        if (!hit) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "%.60s: the argument %.60s is not supported", c->what, c->names[i]);
    }
}

bool lr_jinja_flag(const lr_jcall *c, uint32_t position, const char *name, bool fallback) {
    const lr_jvalue *v = lr_jinja_argument(c, position, name);
    return v ? lr_jinja_true(*v) : fallback;
}

int64_t lr_jinja_number(lr_jinja *j, const lr_jcall *c, uint32_t position, const char *name, int64_t fallback) {
    const lr_jvalue *v = lr_jinja_argument(c, position, name);
    int64_t i = fallback;
    if (v && v->kind != LR_J_NONE && !lr_jinja_is_int(*v, &i))
        lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected an int, got %s", c->what, lr_jinja_kind_name(*v));
    return i;
}

/* ---- functions ---- */

static lr_jvalue make_namespace(lr_jinja *j, const lr_jcall *c) {
    lr_jdict *d = lr_jinja_dict(j);
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->items[i].kind != LR_J_DICT) lr_jinja_fail(j, LLMRUN_FORMAT, "%s: expected named values", c->what);
        for (uint32_t k = 0; k < c->items[i].dict->n; k++)
            lr_jinja_put(j, d, c->items[i].dict->pairs[k].key, c->items[i].dict->pairs[k].value);
    }
    for (uint32_t i = 0; i < c->n_named; i++) lr_jinja_put(j, d, lr_jinja_literal(c->names[i]), c->items[c->n + i]);
    return lr_jinja_dict_value(d, strcmp(c->what, "dict") == 0 ? LR_J_DICT : LR_J_NAMESPACE);
}

static lr_jvalue range(lr_jinja *j, const lr_jcall *c) {
    enum { MOST = 100000 }; /* as Jinja2's sandbox */
    int64_t from = 0, to = lr_jinja_number(j, c, 0, "", 0), step = lr_jinja_number(j, c, 2, "", 1);
    lr_jinja_check(j, c, 3, "");
    if (!c->n || step == 0 || step == INT64_MIN) lr_jinja_fail(j, LLMRUN_FORMAT, "range: expected where it ends, and a step that is not 0");
    if (c->n > 1) {
        from = to;
        to = lr_jinja_number(j, c, 1, "", 0);
    }
    bool empty = step > 0 ? to <= from : to >= from;
    uint64_t distance = step > 0 ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
    uint64_t n = empty ? 0 : (distance - 1) / (uint64_t)(step > 0 ? step : -step) + 1;
    if (n > MOST) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "range: more than %d values", MOST);
    lr_jvalue *items = lr_jinja_alloc(j, n * sizeof *items);
    lr_jinja_step(j, n / 16);
    for (uint64_t i = 0; i < n; i++) items[i] = lr_jinja_int(from + (int64_t)i * step);
    return lr_jinja_list(items, n, 0);
}

static lr_jvalue raise_exception(lr_jinja *j, const lr_jcall *c) {
    lr_jvalue text = c->n ? lr_jinja_text(j, c->items[0]) : lr_jinja_literal("");
    char shown[400];
    lr_jinja_fail(j, LLMRUN_ARG, "%s", lr_printable(shown, sizeof shown, text.s, text.n));
}

/* strftime in English whatever the locale.                                                                             */
static lr_jvalue strftime_now(lr_jinja *j, const lr_jcall *c) {
    static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July", "August",
                                         "September", "October", "November", "December"};
    time_t now = (time_t)j->job->unix_time;
    struct tm t;
    char text[32];
    lr_jbuffer b = {0};
    if (!c->n || c->items[0].kind != LR_J_STRING || !localtime_r(&now, &t))
        lr_jinja_fail(j, LLMRUN_FORMAT, "strftime_now: expected a format");
    lr_jvalue format = c->items[0];
    for (uint32_t i = 0; i < format.n; i++) {
        bool bare = format.s[i] == '%' && i + 2 < format.n && format.s[i + 1] == '-'; /* no leading zero */
        if (format.s[i] != '%' || i + 1 == format.n) {
            lr_jinja_append_value(j, &b, lr_jinja_part(format, i, i + 1));
            continue;
        }
        i += bare ? 2 : 1;
        int width = bare ? 1 : 2, hour = (t.tm_hour + 11) % 12 + 1;
        switch (format.s[i]) {
        case 'Y': snprintf(text, sizeof text, "%d", t.tm_year + 1900); break;
        case 'y': snprintf(text, sizeof text, "%0*d", width, t.tm_year % 100); break;
        case 'm': snprintf(text, sizeof text, "%0*d", width, t.tm_mon + 1); break;
        case 'd': snprintf(text, sizeof text, "%0*d", width, t.tm_mday); break;
        case 'e': snprintf(text, sizeof text, "%2d", t.tm_mday); break;
        case 'B': snprintf(text, sizeof text, "%s", months[t.tm_mon]); break;
        case 'b': snprintf(text, sizeof text, "%.3s", months[t.tm_mon]); break;
        case 'A': snprintf(text, sizeof text, "%s", days[t.tm_wday]); break;
        case 'a': snprintf(text, sizeof text, "%.3s", days[t.tm_wday]); break;
        case 'H': snprintf(text, sizeof text, "%0*d", width, t.tm_hour); break;
        case 'I': snprintf(text, sizeof text, "%0*d", width, hour); break;
        case 'M': snprintf(text, sizeof text, "%0*d", width, t.tm_min); break;
        case 'S': snprintf(text, sizeof text, "%0*d", width, t.tm_sec); break;
        case 'p': snprintf(text, sizeof text, "%s", t.tm_hour < 12 ? "AM" : "PM"); break;
        case 'j': snprintf(text, sizeof text, "%0*d", bare ? 1 : 3, t.tm_yday + 1); break;
        case '%': snprintf(text, sizeof text, "%%"); break;
        default: lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "strftime_now: %%%c is not supported", format.s[i]);
        }
        lr_jinja_append(j, &b, text, strlen(text), NULL);
    }
    return lr_jinja_finish(&b);
}

const lr_jfunction *lr_jinja_function(const char *name) {
    static const lr_jfunction functions[] = {{"namespace", make_namespace}, {"dict", make_namespace}, {"range", range},
                                             {"raise_exception", raise_exception}, {"strftime_now", strftime_now}};
    for (size_t i = 0; i < LR_COUNT(functions); i++)
        if (strcmp(functions[i].name, name) == 0) return &functions[i];
    return NULL;
}
