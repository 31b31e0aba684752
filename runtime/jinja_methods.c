/* Methods of strings and dicts, as Python has them.  Those that change a value in place are refused, as the sandbox that
 * renders chat templates elsewhere does.                                                                               */
#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

typedef lr_jvalue method(lr_jinja *j, lr_jvalue self, const lr_jcall *c);

/* A string argument; NULL if it is not given, or none.                                                                 */
static const lr_jvalue *text_argument(lr_jinja *j, const lr_jcall *c, uint32_t position, const char *name) {
    const lr_jvalue *v = lr_jinja_argument(c, position, name);
    if (!v || v->kind == LR_J_NONE) return NULL;
    if (v->kind != LR_J_STRING)
        lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected a string, got %s", c->what, lr_jinja_kind_name(*v));
    return v;
}

static const lr_jvalue *need_text(lr_jinja *j, const lr_jcall *c, uint32_t position) {
    const lr_jvalue *v = text_argument(j, c, position, "");
    if (!v) lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected a string", c->what);
    return v;
}

/* ---- strings ---- */

static lr_jvalue strip_sides(lr_jinja *j, lr_jvalue s, const lr_jcall *c, int sides) {
    lr_jinja_check(j, c, 1, "");
    return lr_jinja_strip(j, s, text_argument(j, c, 0, ""), sides);
}
static lr_jvalue strip(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return strip_sides(j, s, c, 3); }
static lr_jvalue lstrip(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return strip_sides(j, s, c, 1); }
static lr_jvalue rstrip(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return strip_sides(j, s, c, 2); }

static void add(lr_jinja *j, lr_jvalue **items, size_t *n, size_t *cap, lr_jvalue v) {
    *items = lr_jinja_grow(j, *items, *n, cap, sizeof **items);
    (*items)[(*n)++] = v;
}

/* Without a separator: at white space, no empty parts.                                                                 */
static lr_jvalue split(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "sep maxsplit");
    const lr_jvalue *separator = text_argument(j, c, 0, "sep");
    int64_t most = lr_jinja_number(j, c, 1, "maxsplit", -1);
    lr_jvalue *items = NULL;
    size_t n = 0, cap = 0, from = 0, k;
    if (separator && !separator->n) lr_jinja_fail(j, LLMRUN_FORMAT, "split: expected a separator that is not empty");
    while (separator && most != 0) {
        const char *hit = lr_jinja_search(j, s, from, *separator);
        if (!hit) break;
        add(j, &items, &n, &cap, lr_jinja_part(s, from, (size_t)(hit - s.s)));
        from = (size_t)(hit - s.s) + separator->n;
        if (most > 0) most--;
    }
    if (separator) add(j, &items, &n, &cap, lr_jinja_part(s, from, s.n));
    while (!separator) {
        while (from < s.n && lr_jinja_is_space(lr_utf8_get(s.s + from, &k))) from += k;
        if (from == s.n) break;
        size_t to = from;
        while (most != 0 && to < s.n && !lr_jinja_is_space(lr_utf8_get(s.s + to, &k))) to += k;
        add(j, &items, &n, &cap, most ? lr_jinja_part(s, from, to) : lr_jinja_strip(j, lr_jinja_part(s, from, s.n), NULL, 2));
        if (most-- == 0) break;
        from = to;
    }
    return lr_jinja_list(items, n, 0);
}

/* Where the last occurrence begins; NULL: there is none.                                                               */
static const char *last_hit(lr_jinja *j, lr_jvalue s, lr_jvalue what) {
    lr_jinja_step(j, (uint64_t)s.n / 64 * (what.n / 64 + 1));
    for (size_t i = s.n >= what.n ? s.n - what.n + 1 : 0; i-- > 0;)
        if (memcmp(s.s + i, what.s, what.n) == 0) return s.s + i;
    return NULL;
}

static lr_jvalue rsplit(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "sep maxsplit");
    const lr_jvalue *separator = need_text(j, c, 0);
    int64_t most = lr_jinja_number(j, c, 1, "maxsplit", -1);
    lr_jvalue *items = NULL;
    size_t n = 0, cap = 0;
    if (!separator->n) lr_jinja_fail(j, LLMRUN_FORMAT, "rsplit: expected a separator that is not empty");
    while (most != 0) {
        const char *hit = last_hit(j, s, *separator);
        if (!hit) break;
        size_t at = (size_t)(hit - s.s);
        add(j, &items, &n, &cap, lr_jinja_part(s, at + separator->n, s.n));
        s = lr_jinja_part(s, 0, at);
        if (most > 0) most--;
    }
    add(j, &items, &n, &cap, s);
    for (size_t i = 0; i < n / 2; i++) {
        lr_jvalue swap = items[i];
        items[i] = items[n - 1 - i];
        items[n - 1 - i] = swap;
    }
    return lr_jinja_list(items, n, 0);
}

static bool has_affix(lr_jvalue s, lr_jvalue affix, bool at_end) {
    return affix.n <= s.n && memcmp(s.s + (at_end ? s.n - affix.n : 0), affix.s, affix.n) == 0;
}

/* One text, or any of a tuple.                                                                                         */
static lr_jvalue test_affix(lr_jinja *j, lr_jvalue s, const lr_jcall *c, bool at_end) {
    lr_jinja_check(j, c, 1, "");
    const lr_jvalue *v = lr_jinja_argument(c, 0, "");
    if (!v || v->kind != LR_J_LIST) return lr_jinja_bool(has_affix(s, *need_text(j, c, 0), at_end));
    bool any = false;
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->items[i].kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_FORMAT, "%s: expected strings", c->what);
        any |= has_affix(s, v->items[i], at_end);
    }
    return lr_jinja_bool(any);
}
static lr_jvalue startswith(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return test_affix(j, s, c, false); }
static lr_jvalue endswith(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return test_affix(j, s, c, true); }

static lr_jvalue removeprefix(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    const lr_jvalue *v = need_text(j, c, 0);
    return has_affix(s, *v, false) ? lr_jinja_part(s, v->n, s.n) : s;
}
static lr_jvalue removesuffix(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    const lr_jvalue *v = need_text(j, c, 0);
    return has_affix(s, *v, true) ? lr_jinja_part(s, 0, s.n - v->n) : s;
}

static lr_jvalue replace(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 3, "count");
    return lr_jinja_replace(j, s, *need_text(j, c, 0), *need_text(j, c, 1), lr_jinja_number(j, c, 2, "count", -1));
}

static lr_jvalue upper(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, lr_jinja_case(j, s, 'u'); }
static lr_jvalue lower(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, lr_jinja_case(j, s, 'l'); }
static lr_jvalue title(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, lr_jinja_case(j, s, 't'); }
static lr_jvalue capitalize(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, lr_jinja_case(j, s, 'c'); }

static lr_jvalue find(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "");
    const char *hit = lr_jinja_search(j, s, 0, *need_text(j, c, 0));
    return lr_jinja_int(hit ? (int64_t)lr_jinja_length(lr_jinja_part(s, 0, (size_t)(hit - s.s))) : -1);
}

static lr_jvalue rfind(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "");
    const char *hit = last_hit(j, s, *need_text(j, c, 0));
    return lr_jinja_int(hit ? (int64_t)lr_jinja_length(lr_jinja_part(s, 0, (size_t)(hit - s.s))) : -1);
}

static lr_jvalue count(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "");
    const lr_jvalue *what = need_text(j, c, 0);
    int64_t n = 0;
    size_t from = 0;
    if (!what->n) return lr_jinja_int((int64_t)lr_jinja_length(s) + 1);
    for (const char *hit; (hit = lr_jinja_search(j, s, from, *what)); n++) from = (size_t)(hit - s.s) + what->n;
    return lr_jinja_int(n);
}

static lr_jvalue join(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 1, "");
    if (!c->n) lr_jinja_fail(j, LLMRUN_FORMAT, "join: expected what to join");
    lr_jvalue all = lr_jinja_iterate(j, c->items[0]);
    lr_jbuffer b = {0};
    for (uint32_t i = 0; i < all.n; i++) {
        if (all.items[i].kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_FORMAT, "join: expected strings");
        if (i) lr_jinja_append_value(j, &b, s);
        lr_jinja_append_value(j, &b, all.items[i]);
    }
    return lr_jinja_finish(&b);
}

static lr_jvalue splitlines(lr_jinja *j, lr_jvalue s, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    lr_jvalue *items = NULL;
    size_t n = 0, cap = 0, to;
    lr_jinja_step_bytes(j, s.n);
    for (size_t from = 0; from < s.n; from = to) {
        for (to = from; to < s.n && s.s[to] != '\n' && s.s[to] != '\r';) to++;
        add(j, &items, &n, &cap, lr_jinja_part(s, from, to));
        if (to < s.n) to += 1 + (s.s[to] == '\r' && to + 1 < s.n && s.s[to + 1] == '\n');
    }
    return lr_jinja_list(items, n, 0);
}

/* All characters are of a kind, and there are some.                                                                    */
static lr_jvalue all_are(lr_jinja *j, lr_jvalue s, bool (*is)(uint32_t code)) {
    bool all = s.n > 0;
    lr_jinja_step_bytes(j, s.n);
    for (size_t i = 0, k; i < s.n && all; i += k) all = is(lr_utf8_get(s.s + i, &k));
    return lr_jinja_bool(all);
}
static bool is_digit(uint32_t code) { return code >= '0' && code <= '9'; }
static lr_jvalue isdigit_(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, all_are(j, s, is_digit); }
static lr_jvalue isspace_(lr_jinja *j, lr_jvalue s, const lr_jcall *c) { return (void)c, all_are(j, s, lr_jinja_is_space); }

/* ---- dicts ---- */

static lr_jvalue get(lr_jinja *j, lr_jvalue d, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "");
    if (!c->n) lr_jinja_fail(j, LLMRUN_FORMAT, "get: expected a key");
    const lr_jvalue *found = lr_jinja_find(j, d.dict, c->items[0]);
    return found ? *found : c->n > 1 ? c->items[1] : (lr_jvalue){.kind = LR_J_NONE};
}

static lr_jvalue keys(lr_jinja *j, lr_jvalue d, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    return lr_jinja_iterate(j, d);
}

static lr_jvalue values(lr_jinja *j, lr_jvalue d, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    lr_jvalue *items = lr_jinja_alloc(j, d.dict->n * sizeof *items);
    for (uint32_t i = 0; i < d.dict->n; i++) items[i] = d.dict->pairs[i].value;
    return lr_jinja_list(items, d.dict->n, 0);
}

static lr_jvalue items(lr_jinja *j, lr_jvalue d, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    lr_jvalue *pairs = lr_jinja_alloc(j, d.dict->n * sizeof *pairs);
    for (uint32_t i = 0; i < d.dict->n; i++) pairs[i] = lr_jinja_pair(j, d.dict->pairs[i].key, d.dict->pairs[i].value);
    return lr_jinja_list(pairs, d.dict->n, 0);
}

/* ---- by name ---- */

/* What Python has but templates may not or need not call has no function: it is there, and calling it says so.         */
static const struct { const char *name; lr_jkind kind; method *run; } methods[] = {
    {"capitalize", LR_J_STRING, capitalize}, {"count", LR_J_STRING, count}, {"endswith", LR_J_STRING, endswith},
    {"find", LR_J_STRING, find}, {"isdigit", LR_J_STRING, isdigit_}, {"isspace", LR_J_STRING, isspace_},
    {"join", LR_J_STRING, join}, {"lower", LR_J_STRING, lower}, {"lstrip", LR_J_STRING, lstrip},
    {"removeprefix", LR_J_STRING, removeprefix}, {"removesuffix", LR_J_STRING, removesuffix},
    {"replace", LR_J_STRING, replace}, {"rfind", LR_J_STRING, rfind}, {"rsplit", LR_J_STRING, rsplit},
    {"rstrip", LR_J_STRING, rstrip}, {"split", LR_J_STRING, split}, {"splitlines", LR_J_STRING, splitlines},
    {"startswith", LR_J_STRING, startswith}, {"strip", LR_J_STRING, strip}, {"title", LR_J_STRING, title},
    {"upper", LR_J_STRING, upper}, {"casefold", LR_J_STRING, NULL}, {"center", LR_J_STRING, NULL},
    {"encode", LR_J_STRING, NULL}, {"expandtabs", LR_J_STRING, NULL}, {"format", LR_J_STRING, NULL},
    {"index", LR_J_STRING, NULL}, {"isalnum", LR_J_STRING, NULL}, {"isalpha", LR_J_STRING, NULL},
    {"islower", LR_J_STRING, NULL}, {"isupper", LR_J_STRING, NULL}, {"ljust", LR_J_STRING, NULL},
    {"partition", LR_J_STRING, NULL}, {"rjust", LR_J_STRING, NULL}, {"rpartition", LR_J_STRING, NULL},
    {"swapcase", LR_J_STRING, NULL}, {"zfill", LR_J_STRING, NULL},
    {"get", LR_J_DICT, get}, {"items", LR_J_DICT, items}, {"keys", LR_J_DICT, keys}, {"values", LR_J_DICT, values},
    {"copy", LR_J_DICT, NULL}, {"clear", LR_J_DICT, NULL}, {"pop", LR_J_DICT, NULL}, {"popitem", LR_J_DICT, NULL},
    {"setdefault", LR_J_DICT, NULL}, {"update", LR_J_DICT, NULL},
    {"append", LR_J_LIST, NULL}, {"clear", LR_J_LIST, NULL}, {"copy", LR_J_LIST, NULL}, {"count", LR_J_LIST, NULL},
    {"extend", LR_J_LIST, NULL}, {"index", LR_J_LIST, NULL}, {"insert", LR_J_LIST, NULL}, {"pop", LR_J_LIST, NULL},
    {"remove", LR_J_LIST, NULL}, {"reverse", LR_J_LIST, NULL}, {"sort", LR_J_LIST, NULL},
};

bool lr_jinja_has_method(lr_jvalue v, const char *name) {
    for (size_t i = 0; i < LR_COUNT(methods); i++)
        if (methods[i].kind == v.kind && strcmp(methods[i].name, name) == 0) return true;
    return false;
}

lr_jvalue lr_jinja_call_method(lr_jinja *j, lr_jvalue self, const char *name, const lr_jcall *c) {
    for (size_t i = 0; i < LR_COUNT(methods); i++)
        if (methods[i].kind == self.kind && methods[i].run && strcmp(methods[i].name, name) == 0)
            return methods[i].run(j, self, c);
    lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the method %.60s of %s is not supported", name, lr_jinja_kind_name(self));
}
