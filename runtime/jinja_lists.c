/* Filters on lists and dicts.                                                                                          */
#include <stdlib.h>

#include "runtime/jinja_parts.h"

/* ---- helpers ---- */

static lr_jvalue *new_items(lr_jinja *j, size_t n) { return lr_jinja_alloc(j, n * sizeof(lr_jvalue)); }

static const lr_jvalue *need(lr_jinja *j, const lr_jcall *c, uint32_t position, const char *name) {
    const lr_jvalue *v = lr_jinja_argument(c, position, name);
    if (!v) lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected a further argument (%s)", c->what, name);
    return v;
}

/* What map and select go through: nothing where the value is false, none too.                                         */
static lr_jvalue iterate_if_true(lr_jinja *j, lr_jvalue v) {
    return lr_jinja_true(v) ? lr_jinja_iterate(j, v) : lr_jinja_list(NULL, 0, 0);
}

/* An attribute by path, "function.name" or an index; what is missing is undefined.                                     */
static lr_jvalue attribute_of(lr_jinja *j, lr_jvalue v, lr_jvalue path) {
    if (path.kind != LR_J_STRING) return lr_jinja_item(j, v, path);
    for (size_t from = 0, to; from <= path.n; from = to + 1) {
        const char *dot = path.n > from ? memchr(path.s + from, '.', path.n - from) : NULL;
        to = dot ? (size_t)(dot - path.s) : path.n;
        bool digits = to > from && to - from < 10;
        int64_t index = 0;
        for (size_t i = from; i < to && digits; i++) {
            digits = path.s[i] >= '0' && path.s[i] <= '9';
            index = index * 10 + (path.s[i] - '0');
        }
        v = lr_jinja_item(j, v, digits ? lr_jinja_int(index) : lr_jinja_part(path, from, to));
    }
    return v;
}

/* The call without its first n arguments.                                                                              */
static lr_jcall rest(const lr_jcall *c, uint32_t n, const char *what) {
    lr_jcall r = *c;
    r.items += n;
    r.n -= n;
    r.what = what;
    return r;
}

static const char *name_of(lr_jinja *j, const lr_jcall *c, uint32_t position, const char *name) {
    const lr_jvalue *v = need(j, c, position, name);
    if (v->kind != LR_J_STRING) lr_jinja_fail(j, LLMRUN_FORMAT, "%.60s: expected the name of a %s", c->what, name);
    return lr_jinja_intern(j, v->s, v->n);
}

/* ---- one value of a list ---- */

static lr_jvalue length(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    switch (v.kind) {
    case LR_J_UNDEFINED: return lr_jinja_int(0);
    case LR_J_STRING: lr_jinja_step_bytes(j, v.n); return lr_jinja_int((int64_t)lr_jinja_length(v));
    case LR_J_LIST: return lr_jinja_int(v.n);
    case LR_J_DICT: return lr_jinja_int(v.dict->n);
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "length: %s has none", lr_jinja_kind_name(v));
    }
}

static lr_jvalue first(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    v = lr_jinja_iterate(j, v);
    return v.n ? v.items[0] : lr_jinja_undefined("the first item of nothing");
}

static lr_jvalue last(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    v = lr_jinja_iterate(j, v);
    return v.n ? v.items[v.n - 1] : lr_jinja_undefined("the last item of nothing");
}

static lr_jvalue join(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "d attribute");
    const lr_jvalue *d = lr_jinja_argument(c, 0, "d"), *attribute = lr_jinja_argument(c, 1, "attribute");
    lr_jvalue between = d ? lr_jinja_text(j, *d) : lr_jinja_literal("");
    lr_jbuffer b = {0};
    v = lr_jinja_iterate(j, v);
    for (uint32_t i = 0; i < v.n; i++) {
        lr_jvalue item = attribute && attribute->kind != LR_J_NONE ? attribute_of(j, v.items[i], *attribute) : v.items[i];
        if (i) lr_jinja_append_value(j, &b, between);
        lr_jinja_append_value(j, &b, lr_jinja_text(j, item));
    }
    return lr_jinja_finish(&b);
}

static lr_jvalue sum(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "attribute start");
    const lr_jvalue *attribute = lr_jinja_argument(c, 0, "attribute"), *start = lr_jinja_argument(c, 1, "start");
    int64_t i, total = 0;
    bool whole = true;
    double all = 0, f = 0;
    v = lr_jinja_iterate(j, v);
    for (int64_t k = start ? -1 : 0; k < v.n; k++) {
        lr_jvalue item = k < 0 ? *start : attribute && attribute->kind != LR_J_NONE ? attribute_of(j, v.items[k], *attribute) : v.items[k];
        if (!lr_jinja_is_number(item, &f)) lr_jinja_fail(j, LLMRUN_FORMAT, "sum: expected numbers, got %s", lr_jinja_kind_name(item));
        whole = whole && lr_jinja_is_int(item, &i) && !__builtin_add_overflow(total, i, &total);
        all += f;
    }
    return whole ? lr_jinja_int(total) : lr_jinja_float(all);
}

/* ---- lists from lists ---- */

static lr_jvalue to_list(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    v = lr_jinja_iterate(j, v);
    return lr_jinja_list(v.items, v.n, 0);
}

static lr_jvalue reverse(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    lr_jvalue all = lr_jinja_iterate(j, v), *items = new_items(j, all.n);
    lr_jbuffer b = {0};
    for (uint32_t i = 0; i < all.n; i++) {
        items[i] = all.items[all.n - 1 - i];
        if (v.kind == LR_J_STRING) lr_jinja_append_value(j, &b, items[i]);
    }
    return v.kind == LR_J_STRING ? lr_jinja_finish(&b) : lr_jinja_list(items, all.n, LR_J_GENERATOR);
}

static lr_jvalue items(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 0, "");
    if (v.kind == LR_J_UNDEFINED) return lr_jinja_list(NULL, 0, LR_J_GENERATOR);
    if (v.kind != LR_J_DICT) lr_jinja_fail(j, LLMRUN_FORMAT, "items: expected a dict, got %s", lr_jinja_kind_name(v));
    lr_jvalue *pairs = new_items(j, v.dict->n);
    for (uint32_t i = 0; i < v.dict->n; i++) pairs[i] = lr_jinja_pair(j, v.dict->pairs[i].key, v.dict->pairs[i].value);
    return lr_jinja_list(pairs, v.dict->n, LR_J_GENERATOR);
}

/* map('filter', ...) or map(attribute='name', default=...)                                                             */
static lr_jvalue map(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    const lr_jvalue *attribute = c->n ? NULL : lr_jinja_argument(c, 0, "attribute"), *other = NULL;
    const char *filter = attribute ? NULL : name_of(j, c, 0, "filter");
    lr_jcall inner = attribute ? *c : rest(c, 1, filter);
    if (attribute) {
        lr_jinja_check(j, c, 2, "attribute default");
        other = lr_jinja_argument(c, 1, "default");
    }
    v = iterate_if_true(j, v);
    lr_jvalue *out = new_items(j, v.n);
    for (uint32_t i = 0; i < v.n; i++) {
        out[i] = attribute ? attribute_of(j, v.items[i], *attribute) : lr_jinja_filter(j, filter, v.items[i], &inner);
        if (other && out[i].kind == LR_J_UNDEFINED) out[i] = *other;
    }
    return lr_jinja_list(out, v.n, LR_J_GENERATOR);
}

/* select, reject, selectattr, rejectattr: those where a test (none: truth) gives wanted.                               */
static lr_jvalue pick(lr_jinja *j, lr_jvalue v, const lr_jcall *c, bool by_attribute, bool wanted) {
    lr_jvalue path = by_attribute ? *need(j, c, 0, "attribute") : (lr_jvalue){0};
    uint32_t n_used = by_attribute, n_out = 0;
    const char *test = c->n > n_used ? name_of(j, c, n_used, "test") : NULL;
    lr_jcall inner = rest(c, (uint32_t)lr_min(n_used + 1, c->n), test);
    v = iterate_if_true(j, v);
    lr_jvalue *out = new_items(j, v.n);
    for (uint32_t i = 0; i < v.n; i++) {
        lr_jvalue item = by_attribute ? attribute_of(j, v.items[i], path) : v.items[i];
        bool holds = test ? lr_jinja_test(j, test, item, &inner) : lr_jinja_true(item);
        lr_jinja_step(j, 0);
        if (holds == wanted) out[n_out++] = v.items[i];
    }
    return lr_jinja_list(out, n_out, LR_J_GENERATOR);
}

static lr_jvalue select_items(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return pick(j, v, c, false, true); }
static lr_jvalue reject(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return pick(j, v, c, false, false); }
static lr_jvalue selectattr(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return pick(j, v, c, true, true); }
static lr_jvalue rejectattr(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return pick(j, v, c, true, false); }

/* ---- order ---- */

typedef struct keyed {
    lr_jvalue key, value;
} keyed;

static lr_jvalue fold(lr_jinja *j, lr_jvalue key, bool case_sensitive) {
    return key.kind == LR_J_STRING && !case_sensitive ? lr_jinja_case(j, key, 'l') : key;
}

/* Stable merge sort; the comparison may fail, which leaves everything to the arena.                                    */
static void merge_sort(lr_jinja *j, keyed *items, keyed *spare, size_t n, bool reverse_order) {
    if (n < 2) return;
    size_t half = n / 2, a = 0, b = half, k = 0;
    merge_sort(j, items, spare, half, reverse_order);
    merge_sort(j, items + half, spare, n - half, reverse_order);
    while (a < half && b < n) {
        int order = lr_jinja_order(j, items[b].key, items[a].key);
        spare[k++] = (reverse_order ? order > 0 : order < 0) ? items[b++] : items[a++];
    }
    while (a < half) spare[k++] = items[a++];
    memcpy(items, spare, k * sizeof *items);
}

static keyed *sort_keyed(lr_jinja *j, keyed *items, size_t n, bool reverse_order) {
    merge_sort(j, items, lr_jinja_alloc(j, n * sizeof *items), n, reverse_order);
    return items;
}

static lr_jvalue sort(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 3, "reverse case_sensitive attribute");
    const lr_jvalue *attribute = lr_jinja_argument(c, 2, "attribute");
    bool exact = lr_jinja_flag(c, 1, "case_sensitive", false);
    v = lr_jinja_iterate(j, v);
    keyed *all = lr_jinja_alloc(j, v.n * sizeof *all);
    for (uint32_t i = 0; i < v.n; i++) {
        lr_jvalue key = attribute && attribute->kind != LR_J_NONE ? attribute_of(j, v.items[i], *attribute) : v.items[i];
        all[i] = (keyed){fold(j, key, exact), v.items[i]};
    }
    sort_keyed(j, all, v.n, lr_jinja_flag(c, 0, "reverse", false));
    lr_jvalue *out = new_items(j, v.n);
    for (uint32_t i = 0; i < v.n; i++) out[i] = all[i].value;
    return lr_jinja_list(out, v.n, 0);
}

static lr_jvalue dictsort(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 3, "case_sensitive by reverse");
    const lr_jvalue *by = lr_jinja_argument(c, 1, "by");
    bool exact = lr_jinja_flag(c, 0, "case_sensitive", false);
    bool by_value = by && by->kind == LR_J_STRING && by->n == 5 && memcmp(by->s, "value", 5) == 0;
    if (v.kind != LR_J_DICT) lr_jinja_fail(j, LLMRUN_FORMAT, "dictsort: expected a dict, got %s", lr_jinja_kind_name(v));
    uint32_t n = v.dict->n;
    keyed *all = lr_jinja_alloc(j, n * sizeof *all);
    for (uint32_t i = 0; i < n; i++) {
        const struct lr_jpair *p = &v.dict->pairs[i];
        all[i] = (keyed){fold(j, by_value ? p->value : p->key, exact), lr_jinja_pair(j, p->key, p->value)};
    }
    sort_keyed(j, all, n, lr_jinja_flag(c, 2, "reverse", false));
    lr_jvalue *out = new_items(j, n);
    for (uint32_t i = 0; i < n; i++) out[i] = all[i].value;
    return lr_jinja_list(out, n, 0);
}

static lr_jvalue unique(lr_jinja *j, lr_jvalue v, const lr_jcall *c) {
    lr_jinja_check(j, c, 2, "case_sensitive attribute");
    const lr_jvalue *attribute = lr_jinja_argument(c, 1, "attribute");
    bool exact = lr_jinja_flag(c, 0, "case_sensitive", false);
    v = lr_jinja_iterate(j, v);
    lr_jvalue *out = new_items(j, v.n), *seen = new_items(j, v.n);
    uint32_t n = 0;
    for (uint32_t i = 0; i < v.n; i++) {
        lr_jvalue key = attribute && attribute->kind != LR_J_NONE ? attribute_of(j, v.items[i], *attribute) : v.items[i];
        key = fold(j, key, exact);
        if (lr_jinja_contains(j, lr_jinja_list(seen, n, 0), key)) continue;
        seen[n] = key;
        out[n++] = v.items[i];
    }
    return lr_jinja_list(out, n, LR_J_GENERATOR);
}

static lr_jvalue extreme(lr_jinja *j, lr_jvalue v, const lr_jcall *c, int wanted) {
    lr_jinja_check(j, c, 2, "case_sensitive attribute");
    const lr_jvalue *attribute = lr_jinja_argument(c, 1, "attribute");
    bool exact = lr_jinja_flag(c, 0, "case_sensitive", false);
    lr_jvalue best = lr_jinja_undefined("the extreme of nothing"), best_key = best;
    v = lr_jinja_iterate(j, v);
    for (uint32_t i = 0; i < v.n; i++) {
        lr_jvalue key = attribute && attribute->kind != LR_J_NONE ? attribute_of(j, v.items[i], *attribute) : v.items[i];
        key = fold(j, key, exact);
        if (i && lr_jinja_order(j, key, best_key) * wanted <= 0) continue;
        best = v.items[i];
        best_key = key;
    }
    return best;
}

static lr_jvalue max(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return extreme(j, v, c, 1); }
static lr_jvalue min(lr_jinja *j, lr_jvalue v, const lr_jcall *c) { return extreme(j, v, c, -1); }

lr_jfilter *lr_jinja_list_filter(const char *name) {
    static const struct { const char *name; lr_jfilter *run; } filters[] = {
        {"count", length}, {"dictsort", dictsort}, {"first", first}, {"items", items}, {"join", join}, {"last", last},
        {"length", length}, {"list", to_list}, {"map", map}, {"max", max}, {"min", min}, {"reject", reject},
        {"rejectattr", rejectattr}, {"reverse", reverse}, {"select", select_items}, {"selectattr", selectattr}, {"sort", sort},
        {"sum", sum}, {"unique", unique},
    };
    for (size_t i = 0; i < LR_COUNT(filters); i++)
        if (strcmp(filters[i].name, name) == 0) return filters[i].run;
    return NULL;
}
