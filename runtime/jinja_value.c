/* Values of templates: making, finding, comparing, going through.  The rules are Python's.                             */
#include "runtime/jinja_parts.h"

#include <math.h>

#include "loaders/json_scan.h"

/* ---- making ---- */

lr_jvalue lr_jinja_undefined(const char *name) { return (lr_jvalue){.kind = LR_J_UNDEFINED, .s = name}; }
lr_jvalue lr_jinja_bool(bool b) { return (lr_jvalue){.kind = LR_J_BOOL, .b = b}; }
lr_jvalue lr_jinja_int(int64_t i) { return (lr_jvalue){.kind = LR_J_INT, .i = i}; }
lr_jvalue lr_jinja_float(double f) { return (lr_jvalue){.kind = LR_J_FLOAT, .f = f}; }
lr_jvalue lr_jinja_string(const char *s, size_t n, const char *mark) {
    return (lr_jvalue){.kind = LR_J_STRING, .n = (uint32_t)n, .s = s, .mark = mark};
}
lr_jvalue lr_jinja_literal(const char *s) { return lr_jinja_string(s, strlen(s), NULL); }
lr_jvalue lr_jinja_list(const lr_jvalue *items, size_t n, unsigned flags) {
    return (lr_jvalue){.kind = LR_J_LIST, .flags = (uint8_t)flags, .n = (uint32_t)n, .items = items};
}

lr_jvalue lr_jinja_pair(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    lr_jvalue *items = lr_jinja_alloc(j, 2 * sizeof *items);
    items[0] = a;
    items[1] = b;
    return lr_jinja_list(items, 2, LR_J_TUPLE);
}

lr_jdict *lr_jinja_dict(lr_jinja *j) {
    lr_jdict *d = lr_jinja_alloc(j, sizeof *d);
    *d = (lr_jdict){0};
    return d;
}

lr_jvalue lr_jinja_dict_value(lr_jdict *d, lr_jkind kind) { return (lr_jvalue){.kind = (uint8_t)kind, .dict = d}; }

static struct lr_jpair *find(lr_jinja *j, const lr_jdict *d, lr_jvalue key) {
    lr_jinja_step(j, d->n / 16);
    if (key.kind == LR_J_LIST && !(key.flags & LR_J_TUPLE)) lr_jinja_fail(j, LLMRUN_FORMAT, "a list is no key");
    for (uint32_t i = 0; i < d->n; i++) {
        const lr_jvalue *have = &d->pairs[i].key;
        bool strings = have->kind == LR_J_STRING && key.kind == LR_J_STRING;
        if (strings ? have->n == key.n && memcmp(have->s, key.s, key.n) == 0
                    : have->kind != LR_J_STRING && key.kind != LR_J_STRING && lr_jinja_equal(j, *have, key))
            return &d->pairs[i];
    }
    return NULL;
}

const lr_jvalue *lr_jinja_find(lr_jinja *j, const lr_jdict *d, lr_jvalue key) {
    struct lr_jpair *pair = find(j, d, key);
    return pair ? &pair->value : NULL;
}

const lr_jvalue *lr_jinja_find_text(lr_jinja *j, const lr_jdict *d, const char *key) {
    return lr_jinja_find(j, d, lr_jinja_literal(key));
}

void lr_jinja_put(lr_jinja *j, lr_jdict *d, lr_jvalue key, lr_jvalue value) {
    struct lr_jpair *pair = find(j, d, key);
    if (pair) {
        pair->value = value;
        return;
    }
    size_t cap = d->cap;
    d->pairs = lr_jinja_grow(j, d->pairs, d->n, &cap, sizeof *d->pairs);
    d->cap = (uint32_t)cap;
    d->pairs[d->n++] = (struct lr_jpair){key, value};
}

/* ---- looking ---- */

bool lr_jinja_true(lr_jvalue v) {
    switch (v.kind) {
    case LR_J_UNDEFINED:
    case LR_J_NONE: return false;
    case LR_J_BOOL: return v.b;
    case LR_J_INT: return v.i != 0;
    case LR_J_FLOAT: return v.f != 0;
    case LR_J_STRING: return v.n > 0;
    case LR_J_LIST: return v.n > 0 || (v.flags & LR_J_GENERATOR);
    case LR_J_DICT: return v.dict->n > 0;
    default: return true;
    }
}

bool lr_jinja_is_int(lr_jvalue v, int64_t *out) {
    if (v.kind != LR_J_INT && v.kind != LR_J_BOOL) return false;
    *out = v.kind == LR_J_BOOL ? v.b : v.i;
    return true;
}

bool lr_jinja_is_number(lr_jvalue v, double *as_float) {
    int64_t i;
    if (v.kind == LR_J_FLOAT)
        *as_float = v.f;
    else if (lr_jinja_is_int(v, &i))
        *as_float = (double)i;
    else
        return false;
    return true;
}

const char *lr_jinja_kind_name(lr_jvalue v) {
    static const char *const names[] = {"undefined", "none", "a bool", "an int", "a float", "a string", "a list", "a dict",
                                        "a namespace", "a loop", "a macro", "a function", "a method"};
    return v.kind == LR_J_LIST && (v.flags & LR_J_TUPLE) ? "a tuple" : names[v.kind];
}

/* ---- comparing ---- */

static bool equal_items(lr_jinja *j, const lr_jvalue *a, const lr_jvalue *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!lr_jinja_equal(j, a[i], b[i])) return false;
    return true;
}

static bool equal_dicts(lr_jinja *j, const lr_jdict *a, const lr_jdict *b) {
    if (a->n != b->n) return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const lr_jvalue *other = lr_jinja_find(j, b, a->pairs[i].key);
        if (!other || !lr_jinja_equal(j, a->pairs[i].value, *other)) return false;
    }
    return true;
}

bool lr_jinja_equal(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    double x, y;
    int64_t i, k;
    bool same;
    lr_jinja_step(j, 0);
    if (lr_jinja_is_int(a, &i) && lr_jinja_is_int(b, &k)) return i == k;
    if (lr_jinja_is_number(a, &x) && lr_jinja_is_number(b, &y)) return x == y;
    if (a.kind != b.kind) return false;
    lr_jinja_enter(j);
    switch (a.kind) {
    case LR_J_UNDEFINED:
    case LR_J_NONE: same = true; break;
    case LR_J_STRING:
        lr_jinja_step_bytes(j, a.n);
        same = a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
        break;
    case LR_J_LIST:
        same = a.n == b.n && ((a.flags ^ b.flags) & LR_J_TUPLE) == 0 && equal_items(j, a.items, b.items, a.n);
        break;
    case LR_J_DICT: same = equal_dicts(j, a.dict, b.dict); break;
    default: same = a.dict == b.dict; /* the same object */
    }
    j->depth--;
    return same;
}

static int sign(double d) { return (d > 0) - (d < 0); }

int lr_jinja_order(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    double x, y;
    int64_t i, k;
    lr_jinja_step(j, 0);
    if (lr_jinja_is_int(a, &i) && lr_jinja_is_int(b, &k)) return (i > k) - (i < k);
    if (lr_jinja_is_number(a, &x) && lr_jinja_is_number(b, &y)) return sign(x - y);
    if (a.kind == LR_J_STRING && b.kind == LR_J_STRING) {
        size_t n = (size_t)lr_min(a.n, b.n);
        lr_jinja_step_bytes(j, n);
        int order = n ? memcmp(a.s, b.s, n) : 0;
        return order ? order : (a.n > b.n) - (a.n < b.n);
    }
    if (a.kind == LR_J_LIST && b.kind == LR_J_LIST) {
        int order = 0;
        lr_jinja_enter(j);
        for (uint32_t m = 0; m < a.n && m < b.n && !order; m++)
            if (!lr_jinja_equal(j, a.items[m], b.items[m])) order = lr_jinja_order(j, a.items[m], b.items[m]);
        j->depth--;
        return order ? order : (a.n > b.n) - (a.n < b.n);
    }
    lr_jinja_fail(j, LLMRUN_FORMAT, "%s and %s have no order", lr_jinja_kind_name(a), lr_jinja_kind_name(b));
}

bool lr_jinja_contains(lr_jinja *j, lr_jvalue in, lr_jvalue v) {
    switch (in.kind) {
    case LR_J_UNDEFINED: return false;
    case LR_J_STRING:
        if (v.kind != LR_J_STRING)
            lr_jinja_fail(j, LLMRUN_FORMAT, "in: expected a string to look for in a string, got %s", lr_jinja_kind_name(v));
        return lr_jinja_search(j, in, 0, v) != NULL;
    case LR_J_LIST:
        for (uint32_t i = 0; i < in.n; i++)
            if (lr_jinja_equal(j, in.items[i], v)) return true;
        return false;
    case LR_J_DICT: return lr_jinja_find(j, in.dict, v) != NULL;
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "in: %s holds nothing", lr_jinja_kind_name(in));
    }
}

/* ---- going through ---- */

lr_jvalue lr_jinja_iterate(lr_jinja *j, lr_jvalue v) {
    lr_jvalue *items;
    size_t n = 0, k;
    switch (v.kind) {
    case LR_J_LIST: return v;
    case LR_J_UNDEFINED: return lr_jinja_list(NULL, 0, 0);
    case LR_J_DICT:
        items = lr_jinja_alloc(j, v.dict->n * sizeof *items);
        for (; n < v.dict->n; n++) items[n] = v.dict->pairs[n].key;
        return lr_jinja_list(items, n, 0);
    case LR_J_STRING:
        items = lr_jinja_alloc(j, lr_jinja_length(v) * sizeof *items);
        for (size_t i = 0; i < v.n; i += k) {
            lr_utf8_get(v.s + i, &k);
            items[n++] = lr_jinja_part(v, i, i + k);
        }
        return lr_jinja_list(items, n, 0);
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "%s cannot be gone through", lr_jinja_kind_name(v));
    }
}

/* One end of a slice, as Python clips it.                                                                              */
static int64_t bound(lr_jinja *j, lr_jvalue v, int64_t length, int64_t step, int64_t fallback) {
    int64_t i;
    if (v.kind == LR_J_NONE) return fallback;
    if (!lr_jinja_is_int(v, &i)) lr_jinja_fail(j, LLMRUN_FORMAT, "slice: expected ints, got %s", lr_jinja_kind_name(v));
    if (i < 0) i = i < -length ? (step < 0 ? -1 : 0) : i + length;
    if (i >= length) i = step < 0 ? length - 1 : length;
    return i;
}

lr_jslice lr_jinja_slice(lr_jinja *j, int64_t length, const lr_jvalue bounds[3]) {
    lr_jslice s = {.step = 1};
    if (bounds[2].kind != LR_J_NONE && (!lr_jinja_is_int(bounds[2], &s.step) || s.step == 0 || s.step == INT64_MIN))
        lr_jinja_fail(j, LLMRUN_FORMAT, "slice: expected a step that is an int and not 0");
    s.start = bound(j, bounds[0], length, s.step, s.step < 0 ? length - 1 : 0);
    int64_t stop = bound(j, bounds[1], length, s.step, s.step < 0 ? -1 : length);
    if (s.step > 0 && stop > s.start) s.count = (stop - s.start - 1) / s.step + 1;
    if (s.step < 0 && stop < s.start) s.count = (s.start - stop - 1) / -s.step + 1;
    return s;
}
