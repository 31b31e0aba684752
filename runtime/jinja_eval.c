/* The value of an expression.  Operators follow Python, attributes and undefined values Jinja2.                        */
#include <math.h>

#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

/* ---- names, attributes, items ---- */

static lr_jvalue lookup(lr_jinja *j, const char *name) {
    for (const lr_jscope *s = j->scope; s; s = s->up) {
        lr_jinja_step(j, s->n / 16);
        for (uint32_t i = 0; i < s->n; i++)
            if (s->items[i].name == name) return s->items[i].value;
    }
    const lr_jfunction *f = lr_jinja_function(name);
    return f ? (lr_jvalue){.kind = LR_J_FUNCTION, .function = f} : lr_jinja_undefined(name);
}

static lr_jvalue loop_attribute(lr_jinja *j, const lr_jloop *l, const char *name) {
    const struct { const char *name; lr_jvalue value; } attributes[] = {
        {"index", lr_jinja_int((int64_t)l->index + 1)},
        {"index0", lr_jinja_int(l->index)},
        {"first", lr_jinja_bool(l->index == 0)},
        {"last", lr_jinja_bool(l->index + 1 == l->n)},
        {"length", lr_jinja_int(l->n)},
        {"revindex", lr_jinja_int((int64_t)l->n - l->index)},
        {"revindex0", lr_jinja_int((int64_t)l->n - l->index - 1)},
        {"depth", lr_jinja_int(1)}, /* of recursive loops, which there are none */
        {"depth0", lr_jinja_int(0)},
        {"previtem", l->index > 0 ? l->items[l->index - 1] : lr_jinja_undefined("there is no previous item")},
        {"nextitem", l->index + 1 < l->n ? l->items[l->index + 1] : lr_jinja_undefined("there is no next item")},
    };
    for (size_t i = 0; i < LR_COUNT(attributes); i++)
        if (strcmp(attributes[i].name, name) == 0) return attributes[i].value;
    if (strcmp(name, "cycle") == 0 || strcmp(name, "changed") == 0)
        lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "loop.%s is not supported", name);
    return lr_jinja_undefined(name);
}

static lr_jvalue method(lr_jinja *j, lr_jvalue v, const char *name) {
    lr_jmethod *m = lr_jinja_alloc(j, sizeof *m);
    *m = (lr_jmethod){v, name};
    return (lr_jvalue){.kind = LR_J_METHOD, .method = m};
}

lr_jvalue lr_jinja_attribute(lr_jinja *j, lr_jvalue v, const char *name) {
    const lr_jvalue *found = NULL;
    if (v.kind == LR_J_UNDEFINED)
        lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it has no '%.60s'", v.s, name);
    if (v.kind == LR_J_LOOP) return loop_attribute(j, v.loop, name);
    if (v.kind == LR_J_MACRO && strcmp(name, "name") == 0) return lr_jinja_literal(v.macro->node->name);
    if (lr_jinja_has_method(v, name)) return method(j, v, name);
    if (v.kind == LR_J_DICT || v.kind == LR_J_NAMESPACE) found = lr_jinja_find_text(j, v.dict, name);
    return found ? *found : lr_jinja_undefined(name);
}

static lr_jvalue character(lr_jinja *j, lr_jvalue v, int64_t i) {
    size_t at = 0, k;
    lr_jinja_step_bytes(j, v.n);
    for (; i > 0 && at < v.n; i--, at += k) lr_utf8_get(v.s + at, &k);
    if (at >= v.n) return lr_jinja_undefined("a character");
    lr_utf8_get(v.s + at, &k);
    return lr_jinja_part(v, at, at + k);
}

lr_jvalue lr_jinja_item(lr_jinja *j, lr_jvalue v, lr_jvalue key) {
    int64_t i;
    const lr_jvalue *found = NULL;
    if (v.kind == LR_J_UNDEFINED) lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it has no items", v.s);
    bool hashable = key.kind != LR_J_DICT && (key.kind != LR_J_LIST || (key.flags & LR_J_TUPLE));
    if (v.kind == LR_J_DICT && hashable) found = lr_jinja_find(j, v.dict, key);
    if (found) return *found;
    if ((v.kind == LR_J_LIST || v.kind == LR_J_STRING) && lr_jinja_is_int(key, &i)) {
        int64_t n = v.kind == LR_J_LIST ? v.n : (int64_t)lr_jinja_length(v);
        if (i < 0) i += n;
        if (i < 0 || i >= n) return lr_jinja_undefined("an item of a list");
        return v.kind == LR_J_LIST ? v.items[i] : character(j, v, i);
    }
    if (key.kind == LR_J_STRING) return lr_jinja_attribute(j, v, lr_jinja_intern(j, key.s, key.n));
    return lr_jinja_undefined("an item");
}

static lr_jvalue slice(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue of = lr_jinja_eval(j, n->a), bounds[3];
    for (int i = 0; i < 3; i++) bounds[i] = n->list[i] ? lr_jinja_eval(j, n->list[i]) : (lr_jvalue){.kind = LR_J_NONE};
    if (of.kind == LR_J_UNDEFINED) lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it has no items", of.s);
    if (of.kind != LR_J_LIST && of.kind != LR_J_STRING)
        lr_jinja_fail(j, LLMRUN_FORMAT, "slice: expected a list or string, got %s", lr_jinja_kind_name(of));
    lr_jvalue items = lr_jinja_iterate(j, of);
    lr_jslice s = lr_jinja_slice(j, items.n, bounds);
    lr_jinja_step(j, (uint64_t)s.count / 16);
    if (of.kind == LR_J_STRING) {
        lr_jbuffer b = {0};
        for (int64_t i = 0; i < s.count; i++) lr_jinja_append_value(j, &b, items.items[s.start + i * s.step]);
        lr_jvalue out = lr_jinja_finish(&b);
        out.flags = of.flags;
        return out;
    }
    lr_jvalue *out = lr_jinja_alloc(j, (size_t)s.count * sizeof *out);
    for (int64_t i = 0; i < s.count; i++) out[i] = items.items[s.start + i * s.step];
    return lr_jinja_list(out, (size_t)s.count, of.flags);
}

/* ---- calls ---- */

static lr_jcall arguments(lr_jinja *j, const lr_jnode *n, const char *what) {
    lr_jcall c = {.n = n->n - n->n_named, .n_named = n->n_named, .what = what};
    lr_jvalue *items = lr_jinja_alloc(j, n->n * sizeof *items);
    c.names = lr_jinja_alloc(j, n->n_named * sizeof *c.names);
    for (uint32_t i = 0; i < n->n; i++) {
        const lr_jnode *argument = n->list[i];
        bool named = i >= c.n;
        if (named) c.names[i - c.n] = argument->name;
        items[i] = lr_jinja_eval(j, named ? argument->a : argument);
    }
    c.items = items;
    return c;
}

static lr_jvalue call(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue f = lr_jinja_eval(j, n->a);
    const char *name = n->a->name ? n->a->name : "a value";
    if (f.kind == LR_J_UNDEFINED) lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so it cannot be called", f.s);
    lr_jcall c = arguments(j, n, name);
    j->line = n->line;
    switch (f.kind) {
    case LR_J_FUNCTION: return f.function->run(j, &c);
    case LR_J_MACRO: return lr_jinja_call_macro(j, f.macro, &c);
    case LR_J_METHOD: return lr_jinja_call_method(j, f.method->self, f.method->name, &c);
    default: lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is %s, so it cannot be called", name, lr_jinja_kind_name(f));
    }
}

/* ---- operators ---- */

static _Noreturn void no_operator(lr_jinja *j, const lr_jnode *n, lr_jvalue a, lr_jvalue b) {
    char op[3] = {(char)n->op, (char)(n->op >> 8), 0};
    if (a.kind == LR_J_UNDEFINED || b.kind == LR_J_UNDEFINED)
        lr_jinja_fail(j, LLMRUN_FORMAT, "'%.60s' is undefined, so %s fails", a.kind == LR_J_UNDEFINED ? a.s : b.s, op);
    lr_jinja_fail(j, LLMRUN_FORMAT, "%s %s %s is no operation", lr_jinja_kind_name(a), op, lr_jinja_kind_name(b));
}

static lr_jvalue join(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    lr_jbuffer out = {0};
    bool safe = (a.flags | b.flags) & LR_J_SAFE;
    lr_jinja_append_value(j, &out, safe ? lr_jinja_escape(j, a) : a);
    lr_jinja_append_value(j, &out, safe ? lr_jinja_escape(j, b) : b);
    lr_jvalue v = lr_jinja_finish(&out);
    v.flags = safe ? LR_J_SAFE : 0;
    return v;
}

static lr_jvalue join_lists(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    lr_jvalue *items = lr_jinja_alloc(j, ((size_t)a.n + b.n) * sizeof *items);
    lr_jinja_step(j, ((uint64_t)a.n + b.n) / 16);
    if (a.n) memcpy(items, a.items, a.n * sizeof *items);
    if (b.n) memcpy(items + a.n, b.items, b.n * sizeof *items);
    return lr_jinja_list(items, (size_t)a.n + b.n, a.flags & LR_J_TUPLE);
}

static lr_jvalue repeat(lr_jinja *j, lr_jvalue v, int64_t times) {
    lr_jbuffer b = {0};
    lr_jvalue all = lr_jinja_list(NULL, 0, v.flags & LR_J_TUPLE);
    for (int64_t i = 0; i < times && v.n; i++) {
        if (v.kind == LR_J_STRING)
            lr_jinja_append_value(j, &b, v);
        else
            all = join_lists(j, all, v);
    }
    return v.kind == LR_J_STRING ? lr_jinja_finish(&b) : all;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static lr_jvalue int_power(lr_jinja *j, int64_t a, int64_t b) {
    int64_t r = 1;
    if (b < 0) return lr_jinja_float(pow((double)a, (double)b));
    for (int64_t i = 0; i < b && a != 1; i++) {
        lr_jinja_step(j, 0);
        if (__builtin_mul_overflow(r, a, &r)) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "an integer of more than 64 bits");
    }
    return lr_jinja_int(r);
}

static lr_jvalue int_operation(lr_jinja *j, const lr_jnode *n, int64_t a, int64_t b) {
    int64_t r = 0;
    bool over = false, divides = n->op == '/' || n->op == '%' || n->op == LR_JOP('/', '/');
    if (divides && b == 0) lr_jinja_fail(j, LLMRUN_FORMAT, "division by zero");
    if (divides && a == INT64_MIN && b == -1) over = n->op != '/';
    switch (over ? 0 : n->op) {
    case '+': over = __builtin_add_overflow(a, b, &r); break;
    case '-': over = __builtin_sub_overflow(a, b, &r); break;
    case '*': over = __builtin_mul_overflow(a, b, &r); break;
    case '/': return lr_jinja_float((double)a / (double)b);
    case LR_JOP('/', '/'): r = floor_div(a, b); break;
    case '%': r = a - b * floor_div(a, b); break;
    case LR_JOP('*', '*'): return int_power(j, a, b);
    }
    if (over) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "an integer of more than 64 bits");
    return lr_jinja_int(r);
}

/* As Python: the remainder has the sign of b, and the quotient fits it.                                                */
static double float_remainder(double a, double b) {
    double r = fmod(a, b);
    return r != 0 && (b < 0) != (r < 0) ? r + b : r;
}

static lr_jvalue float_operation(lr_jinja *j, const lr_jnode *n, double a, double b) {
    bool divides = n->op == '/' || n->op == '%' || n->op == LR_JOP('/', '/');
    if (divides && b == 0) lr_jinja_fail(j, LLMRUN_FORMAT, "division by zero");
    switch (n->op) {
    case '+': return lr_jinja_float(a + b);
    case '-': return lr_jinja_float(a - b);
    case '*': return lr_jinja_float(a * b);
    case '/': return lr_jinja_float(a / b);
    case LR_JOP('/', '/'): return lr_jinja_float(round((a - float_remainder(a, b)) / b));
    case '%': return lr_jinja_float(float_remainder(a, b));
    default: return lr_jinja_float(pow(a, b));
    }
}

static lr_jvalue binary(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue a = lr_jinja_eval(j, n->a), b = lr_jinja_eval(j, n->b);
    int64_t i, k;
    double x, y;
    bool sequence_a = a.kind == LR_J_STRING || a.kind == LR_J_LIST, sequence_b = b.kind == LR_J_STRING || b.kind == LR_J_LIST;
    j->line = n->line;
    if (lr_jinja_is_int(a, &i) && lr_jinja_is_int(b, &k)) return int_operation(j, n, i, k);
    if (lr_jinja_is_number(a, &x) && lr_jinja_is_number(b, &y)) return float_operation(j, n, x, y);
    if (n->op == '+' && a.kind == LR_J_STRING && b.kind == LR_J_STRING) return join(j, a, b);
    if (n->op == '+' && a.kind == LR_J_LIST && b.kind == LR_J_LIST && a.flags == b.flags) return join_lists(j, a, b);
    if (n->op == '*' && sequence_a && lr_jinja_is_int(b, &k)) return repeat(j, a, k);
    if (n->op == '*' && sequence_b && lr_jinja_is_int(a, &i)) return repeat(j, b, i);
    if (n->op == '%' && a.kind == LR_J_STRING) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "%% on a string is not supported");
    no_operator(j, n, a, b);
}

static bool holds(lr_jinja *j, uint16_t op, lr_jvalue a, lr_jvalue b) {
    switch (op) {
    case LR_JOP('=', '='): return lr_jinja_equal(j, a, b);
    case LR_JOP('!', '='): return !lr_jinja_equal(j, a, b);
    case '<': return lr_jinja_order(j, a, b) < 0;
    case '>': return lr_jinja_order(j, a, b) > 0;
    case LR_JOP('<', '='): return lr_jinja_order(j, a, b) <= 0;
    case LR_JOP('>', '='): return lr_jinja_order(j, a, b) >= 0;
    case LR_JOP_IN: return lr_jinja_contains(j, b, a);
    default: return !lr_jinja_contains(j, b, a);
    }
}

static lr_jvalue compare(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue a = lr_jinja_eval(j, n->a);
    bool all = true;
    for (uint32_t i = 0; i < n->n && all; i++) {
        lr_jvalue b = lr_jinja_eval(j, n->list[i]->a);
        j->line = n->line;
        all = holds(j, n->list[i]->op, a, b);
        a = b;
    }
    return lr_jinja_bool(all);
}

static lr_jvalue sign(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue v = lr_jinja_eval(j, n->a);
    int64_t i;
    if (v.kind == LR_J_FLOAT) return lr_jinja_float(n->op == '-' ? -v.f : v.f);
    if (!lr_jinja_is_int(v, &i)) lr_jinja_fail(j, LLMRUN_FORMAT, "%c: expected a number, got %s", n->op, lr_jinja_kind_name(v));
    if (i == INT64_MIN) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "an integer of more than 64 bits");
    return lr_jinja_int(n->op == '-' ? -i : i);
}

static lr_jvalue concat(lr_jinja *j, const lr_jnode *n) {
    lr_jbuffer b = {0};
    for (uint32_t i = 0; i < n->n; i++) lr_jinja_append_value(j, &b, lr_jinja_text(j, lr_jinja_eval(j, n->list[i])));
    return lr_jinja_finish(&b);
}

/* ---- the rest ---- */

static lr_jvalue list(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue *items = lr_jinja_alloc(j, n->n * sizeof *items);
    for (uint32_t i = 0; i < n->n; i++) items[i] = lr_jinja_eval(j, n->list[i]);
    return lr_jinja_list(items, n->n, n->type == LR_JN_TUPLE ? LR_J_TUPLE : 0);
}

static lr_jvalue dict(lr_jinja *j, const lr_jnode *n) {
    lr_jdict *d = lr_jinja_dict(j);
    for (uint32_t i = 0; i < n->n; i += 2) {
        lr_jvalue key = lr_jinja_eval(j, n->list[i]);
        lr_jinja_put(j, d, key, lr_jinja_eval(j, n->list[i + 1]));
    }
    return lr_jinja_dict_value(d, LR_J_DICT);
}

static lr_jvalue evaluate(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue v;
    switch (n->type) {
    case LR_JN_CONST: return n->value;
    case LR_JN_HOLE: return j->hole;
    case LR_JN_NAME: return lookup(j, n->name);
    case LR_JN_LIST:
    case LR_JN_TUPLE: return list(j, n);
    case LR_JN_DICT: return dict(j, n);
    case LR_JN_ATTR: return lr_jinja_attribute(j, lr_jinja_eval(j, n->a), n->name);
    case LR_JN_ITEM:
        v = lr_jinja_eval(j, n->a);
        return lr_jinja_item(j, v, lr_jinja_eval(j, n->b));
    case LR_JN_SLICE: return slice(j, n);
    case LR_JN_CALL: return call(j, n);
    case LR_JN_FILTER: {
        v = lr_jinja_eval(j, n->a);
        lr_jcall c = arguments(j, n, n->name);
        j->line = n->line;
        return lr_jinja_filter(j, n->name, v, &c);
    }
    case LR_JN_TEST: {
        v = lr_jinja_eval(j, n->a);
        lr_jcall c = arguments(j, n, n->name);
        j->line = n->line;
        return lr_jinja_bool(lr_jinja_test(j, n->name, v, &c));
    }
    case LR_JN_NOT: return lr_jinja_bool(!lr_jinja_true(lr_jinja_eval(j, n->a)));
    case LR_JN_SIGN: return sign(j, n);
    case LR_JN_AND:
        v = lr_jinja_eval(j, n->a);
        return lr_jinja_true(v) ? lr_jinja_eval(j, n->b) : v;
    case LR_JN_OR:
        v = lr_jinja_eval(j, n->a);
        return lr_jinja_true(v) ? v : lr_jinja_eval(j, n->b);
    case LR_JN_COND:
        if (lr_jinja_true(lr_jinja_eval(j, n->a))) return lr_jinja_eval(j, n->b);
        return n->c ? lr_jinja_eval(j, n->c) : lr_jinja_undefined("the value of an if without else");
    case LR_JN_BINARY: return binary(j, n);
    case LR_JN_COMPARE: return compare(j, n);
    default: return concat(j, n);
    }
}

lr_jvalue lr_jinja_eval(lr_jinja *j, const lr_jnode *n) {
    lr_jinja_step(j, 0);
    lr_jinja_enter(j);
    j->line = n->line;
    lr_jvalue v = evaluate(j, n);
    j->depth--;
    return v;
}
