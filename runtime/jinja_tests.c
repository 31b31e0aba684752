/* Tests: what stands after `is`.                                                                                       */
#include <math.h>

#include "loaders/json_scan.h"
#include "runtime/jinja_parts.h"

static const lr_jvalue *operand(lr_jinja *j, const lr_jcall *c) {
    if (!c->n) lr_jinja_fail(j, LLMRUN_FORMAT, "is %.60s: expected an argument", c->what);
    return &c->items[0];
}

static bool has_remainder(lr_jinja *j, lr_jvalue v, const lr_jcall *c, lr_jvalue by, double remainder) {
    double x, y;
    if (!lr_jinja_is_number(v, &x) || !lr_jinja_is_number(by, &y) || y == 0)
        lr_jinja_fail(j, LLMRUN_FORMAT, "is %.60s: expected numbers, got %s", c->what, lr_jinja_kind_name(v));
    x = fmod(x, y);
    return (x < 0) != (y < 0) && x != 0 ? x + y == remainder : x == remainder; /* of the sign of y, as in Python */
}

/* As str.islower and str.isupper: some letters, and none of the other case.                                            */
static bool has_case(lr_jinja *j, lr_jvalue v, char how) {
    lr_jvalue text = lr_jinja_text(j, v);
    return lr_jinja_equal(j, text, lr_jinja_case(j, text, how)) &&
           !lr_jinja_equal(j, text, lr_jinja_case(j, text, how == 'l' ? 'u' : 'l'));
}

static bool is_kind(lr_jvalue v, lr_jkind kind) { return v.kind == kind; }
static bool is_callable(lr_jvalue v) {
    return is_kind(v, LR_J_MACRO) || is_kind(v, LR_J_FUNCTION) || is_kind(v, LR_J_METHOD) || is_kind(v, LR_J_LOOP) ||
           is_kind(v, LR_J_UNDEFINED);
}

/* Undefined values can be gone through and have items, as far as Jinja2's tests can see.                               */
static bool is_iterable(lr_jvalue v) {
    return is_kind(v, LR_J_STRING) || is_kind(v, LR_J_LIST) || is_kind(v, LR_J_DICT) || is_kind(v, LR_J_UNDEFINED) ||
           is_kind(v, LR_J_LOOP);
}
static bool is_sequence(lr_jvalue v) {
    return is_iterable(v) && !is_kind(v, LR_J_LOOP) && !(is_kind(v, LR_J_LIST) && (v.flags & LR_J_GENERATOR));
}

enum { DEFINED, UNDEFINED, NONE, STRING, MAPPING, ITERABLE, SEQUENCE, NUMBER, INTEGER, FLOAT, BOOLEAN, TRUE_, FALSE_,
       CALLABLE, EQ, NE, LT, LE, GT, GE, IN, ODD, EVEN, DIVISIBLE, LOWER, UPPER, SAMEAS };

static const struct { const char *name; int test; } tests[] = {
    {"defined", DEFINED}, {"undefined", UNDEFINED}, {"none", NONE}, {"string", STRING}, {"mapping", MAPPING},
    {"iterable", ITERABLE}, {"sequence", SEQUENCE}, {"number", NUMBER}, {"integer", INTEGER}, {"float", FLOAT},
    {"boolean", BOOLEAN}, {"true", TRUE_}, {"false", FALSE_}, {"callable", CALLABLE}, {"eq", EQ}, {"equalto", EQ},
    {"==", EQ}, {"ne", NE}, {"!=", NE}, {"lt", LT}, {"lessthan", LT}, {"<", LT}, {"le", LE}, {"<=", LE}, {"gt", GT},
    {"greaterthan", GT}, {">", GT}, {"ge", GE}, {">=", GE}, {"in", IN}, {"odd", ODD}, {"even", EVEN},
    {"divisibleby", DIVISIBLE}, {"lower", LOWER}, {"upper", UPPER}, {"sameas", SAMEAS},
};

static bool is_same(lr_jinja *j, lr_jvalue a, lr_jvalue b) {
    if (a.kind != b.kind) return false;
    if (a.kind == LR_J_NONE || a.kind == LR_J_BOOL) return lr_jinja_equal(j, a, b);
    lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "is sameas: of other values than none, true and false");
}

bool lr_jinja_test(lr_jinja *j, const char *name, lr_jvalue v, const lr_jcall *c) {
    int test = -1;
    for (size_t k = 0; k < LR_COUNT(tests) && test < 0; k++)
        if (strcmp(tests[k].name, name) == 0) test = tests[k].test;
    switch (test) {
    case DEFINED: return !is_kind(v, LR_J_UNDEFINED);
    case UNDEFINED: return is_kind(v, LR_J_UNDEFINED);
    case NONE: return is_kind(v, LR_J_NONE);
    case STRING: return is_kind(v, LR_J_STRING);
    case MAPPING: return is_kind(v, LR_J_DICT);
    case ITERABLE: return is_iterable(v);
    case SEQUENCE: return is_sequence(v);
    case NUMBER: return is_kind(v, LR_J_INT) || is_kind(v, LR_J_FLOAT) || is_kind(v, LR_J_BOOL);
    case INTEGER: return is_kind(v, LR_J_INT);
    case FLOAT: return is_kind(v, LR_J_FLOAT);
    case BOOLEAN: return is_kind(v, LR_J_BOOL);
    case TRUE_: return is_kind(v, LR_J_BOOL) && v.b;
    case FALSE_: return is_kind(v, LR_J_BOOL) && !v.b;
    case CALLABLE: return is_callable(v);
    case EQ: return lr_jinja_equal(j, v, *operand(j, c));
    case NE: return !lr_jinja_equal(j, v, *operand(j, c));
    case LT: return lr_jinja_order(j, v, *operand(j, c)) < 0;
    case LE: return lr_jinja_order(j, v, *operand(j, c)) <= 0;
    case GT: return lr_jinja_order(j, v, *operand(j, c)) > 0;
    case GE: return lr_jinja_order(j, v, *operand(j, c)) >= 0;
    case IN: return lr_jinja_contains(j, *operand(j, c), v);
    case ODD: return has_remainder(j, v, c, lr_jinja_int(2), 1);
    case EVEN: return has_remainder(j, v, c, lr_jinja_int(2), 0);
    case DIVISIBLE: return has_remainder(j, v, c, *operand(j, c), 0);
    case LOWER: return has_case(j, v, 'l');
    case UPPER: return has_case(j, v, 'u');
    case SAMEAS: return is_same(j, v, *operand(j, c));
    default: lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the test %.60s is not supported", name);
    }
}
