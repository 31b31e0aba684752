/* Expressions to a tree, by recursive descent with the precedences of Jinja2:
 *   if-else < or < and < not < comparisons < + - < ~ < * / // % < ** < signs < filters and tests < . [] ()             */
#include <stdio.h>

#include "runtime/jinja_parts.h"

/* ---- tokens ---- */

const lr_jtoken *lr_jinja_token(const lr_jinja *j) { return &j->tokens[j->at]; }

static const lr_jtoken *look(const lr_jinja *j) { return &j->tokens[j->at + (j->at + 1 < j->n_tokens)]; }

static void next(lr_jinja *j) {
    if (j->at + 1 < j->n_tokens) j->at++;
    j->line = j->tokens[j->at].line;
}

static bool is_op(const lr_jinja *j, uint16_t op) {
    return lr_jinja_token(j)->type == LR_JT_OP && lr_jinja_token(j)->op == op;
}

bool lr_jinja_is_name(const lr_jinja *j, const char *name) {
    const lr_jtoken *t = lr_jinja_token(j);
    return t->type == LR_JT_NAME && t->n == strlen(name) && memcmp(t->s, name, t->n) == 0;
}

bool lr_jinja_take_name(lr_jinja *j, const char *name) {
    bool found = lr_jinja_is_name(j, name);
    if (found) next(j);
    return found;
}

bool lr_jinja_take_op(lr_jinja *j, uint16_t op) {
    bool found = is_op(j, op);
    if (found) next(j);
    return found;
}

void lr_jinja_unexpected(lr_jinja *j, const char *expected) {
    char got[60];
    const lr_jtoken *t = lr_jinja_token(j);
    if (t->type == LR_JT_END) lr_jinja_fail(j, LLMRUN_FORMAT, "expected %s, got the end of the template", expected);
    lr_jinja_fail(j, LLMRUN_FORMAT, "expected %s, got '%s'", expected, lr_printable(got, sizeof got, t->s, t->n));
}

void lr_jinja_expect_op(lr_jinja *j, uint16_t op, const char *shown) {
    if (!lr_jinja_take_op(j, op)) lr_jinja_unexpected(j, shown);
}

const char *lr_jinja_intern(lr_jinja *j, const char *s, size_t n) {
    for (size_t i = 0; i < j->n_names; i++)
        if (strlen(j->names[i]) == n && memcmp(j->names[i], s, n) == 0) return j->names[i];
    lr_jinja_step(j, j->n_names / 16);
    char *copy = lr_jinja_alloc(j, n + 1);
    memcpy(copy, s, n);
    copy[n] = 0;
    j->names = lr_jinja_grow(j, j->names, j->n_names, &j->cap_names, sizeof *j->names);
    return j->names[j->n_names++] = copy;
}

const char *lr_jinja_expect_name(lr_jinja *j, const char *what) {
    const lr_jtoken *t = lr_jinja_token(j);
    if (t->type != LR_JT_NAME) lr_jinja_unexpected(j, what);
    const char *name = lr_jinja_intern(j, t->s, t->n);
    next(j);
    return name;
}

/* ---- nodes ---- */

lr_jnode *lr_jinja_node(lr_jinja *j, lr_jtype type, lr_jnode *a, lr_jnode *b) {
    lr_jnode *n = lr_jinja_alloc(j, sizeof *n);
    *n = (lr_jnode){.type = type, .line = j->line, .a = a, .b = b};
    return n;
}

void lr_jinja_add(lr_jinja *j, lr_jnode *to, size_t *cap, lr_jnode *item) {
    to->list = lr_jinja_grow(j, to->list, to->n, cap, sizeof *to->list);
    to->list[to->n++] = item;
}

static lr_jnode *constant(lr_jinja *j, lr_jvalue v) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_CONST, NULL, NULL);
    n->value = v;
    return n;
}

/* ---- primary expressions ---- */

static lr_jnode *parse_unary(lr_jinja *j, bool with_filter);

static lr_jnode *parse_items(lr_jinja *j, lr_jtype type, uint16_t close, const char *shown) {
    lr_jnode *n = lr_jinja_node(j, type, NULL, NULL);
    size_t cap = 0;
    while (!lr_jinja_take_op(j, close)) {
        if (n->n) {
            lr_jinja_expect_op(j, ',', shown);
            if (lr_jinja_take_op(j, close)) break;
        }
        lr_jinja_add(j, n, &cap, lr_jinja_parse_expression(j));
        if (type == LR_JN_DICT) {
            lr_jinja_expect_op(j, ':', "':'");
            lr_jinja_add(j, n, &cap, lr_jinja_parse_expression(j));
        }
    }
    return n;
}

static lr_jnode *parse_name(lr_jinja *j) {
    static const struct { const char *word; lr_jkind kind; bool b; } constants[] = {
        {"true", LR_J_BOOL, true}, {"True", LR_J_BOOL, true}, {"false", LR_J_BOOL, false}, {"False", LR_J_BOOL, false},
        {"none", LR_J_NONE, false}, {"None", LR_J_NONE, false}};
    for (size_t i = 0; i < LR_COUNT(constants); i++)
        if (lr_jinja_take_name(j, constants[i].word))
            return constant(j, (lr_jvalue){.kind = constants[i].kind, .b = constants[i].b});
    lr_jnode *n = lr_jinja_node(j, LR_JN_NAME, NULL, NULL);
    n->name = lr_jinja_expect_name(j, "a name");
    return n;
}

static lr_jnode *parse_primary(lr_jinja *j) {
    const lr_jtoken *t = lr_jinja_token(j);
    lr_jnode *n = NULL;
    if (t->type == LR_JT_NAME) return parse_name(j);
    if (t->type == LR_JT_INT) n = constant(j, lr_jinja_int(t->i));
    if (t->type == LR_JT_FLOAT) n = constant(j, lr_jinja_float(t->f));
    if (n) {
        next(j);
        return n;
    }
    if (t->type == LR_JT_STRING) { /* neighbours are joined */
        lr_jbuffer all = {0};
        for (; lr_jinja_token(j)->type == LR_JT_STRING; next(j))
            lr_jinja_append(j, &all, lr_jinja_token(j)->s, lr_jinja_token(j)->n, NULL);
        return constant(j, lr_jinja_finish(&all));
    }
    if (lr_jinja_take_op(j, '[')) return parse_items(j, LR_JN_LIST, ']', "',' or ']'");
    if (lr_jinja_take_op(j, '{')) return parse_items(j, LR_JN_DICT, '}', "',' or '}'");
    if (lr_jinja_take_op(j, '(')) {
        n = lr_jinja_parse_tuple(j, true, true);
        lr_jinja_expect_op(j, ')', "')'");
        return n;
    }
    lr_jinja_unexpected(j, "an expression");
}

/* ---- what follows a primary expression ---- */

/* Arguments between parentheses: into list and n_named of the node.                                                    */
static void parse_arguments(lr_jinja *j, lr_jnode *call) {
    size_t cap = 0;
    lr_jinja_expect_op(j, '(', "'('");
    while (!lr_jinja_take_op(j, ')')) {
        if (call->n) {
            lr_jinja_expect_op(j, ',', "',' or ')'");
            if (lr_jinja_take_op(j, ')')) break;
        }
        if (is_op(j, '*') || is_op(j, LR_JOP('*', '*'))) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "arguments with *");
        const lr_jtoken *after = look(j);
        if (lr_jinja_token(j)->type == LR_JT_NAME && after->type == LR_JT_OP && after->op == '=') {
            lr_jnode *named = lr_jinja_node(j, LR_JN_NAME, NULL, NULL);
            named->name = lr_jinja_expect_name(j, "a name");
            next(j);
            named->a = lr_jinja_parse_expression(j);
            lr_jinja_add(j, call, &cap, named);
            call->n_named++;
        } else if (call->n_named) {
            lr_jinja_unexpected(j, "a named argument");
        } else {
            lr_jinja_add(j, call, &cap, lr_jinja_parse_expression(j));
        }
    }
}

static lr_jnode *parse_subscript(lr_jinja *j, lr_jnode *of) {
    lr_jnode *parts[3] = {NULL, NULL, NULL}, *n;
    int colons = 0;
    for (;;) {
        if (is_op(j, ']')) break;
        if (lr_jinja_take_op(j, ':')) {
            if (++colons == 3) lr_jinja_unexpected(j, "']'");
        } else {
            if (parts[colons]) lr_jinja_unexpected(j, "']'");
            parts[colons] = lr_jinja_parse_expression(j);
        }
    }
    if (!colons && !parts[0]) lr_jinja_unexpected(j, "an expression");
    lr_jinja_expect_op(j, ']', "']'");
    if (!colons) return lr_jinja_node(j, LR_JN_ITEM, of, parts[0]);
    n = lr_jinja_node(j, LR_JN_SLICE, of, NULL);
    n->list = lr_jinja_alloc(j, sizeof parts);
    n->n = 3;
    memcpy(n->list, parts, sizeof parts);
    return n;
}

static lr_jnode *parse_postfix(lr_jinja *j, lr_jnode *n) {
    uint32_t depth = j->depth;
    for (;;) {
        if (lr_jinja_take_op(j, '.')) {
            if (lr_jinja_token(j)->type == LR_JT_INT) {
                n = lr_jinja_node(j, LR_JN_ITEM, n, parse_primary(j));
            } else {
                n = lr_jinja_node(j, LR_JN_ATTR, n, NULL);
                n->name = lr_jinja_expect_name(j, "a name or number");
            }
        } else if (lr_jinja_take_op(j, '[')) {
            n = parse_subscript(j, n);
        } else if (is_op(j, '(')) {
            n = lr_jinja_node(j, LR_JN_CALL, n, NULL);
            parse_arguments(j, n);
        } else {
            break;
        }
        lr_jinja_enter(j); /* the tree is as deep as the chain is long */
    }
    j->depth = depth;
    return n;
}

static lr_jnode *parse_filter(lr_jinja *j, lr_jnode *of) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_FILTER, of, NULL);
    n->name = lr_jinja_expect_name(j, "a filter");
    if (is_op(j, '(')) parse_arguments(j, n);
    return n;
}

lr_jnode *lr_jinja_parse_filters(lr_jinja *j, lr_jnode *n, bool inline_first) {
    uint32_t depth = j->depth;
    while (inline_first || lr_jinja_take_op(j, '|')) {
        inline_first = false;
        n = parse_filter(j, n);
        lr_jinja_enter(j);
    }
    j->depth = depth;
    return n;
}

/* `is name`, `is not name`, with arguments in parentheses, or one without.                                             */
static lr_jnode *parse_test(lr_jinja *j, lr_jnode *of) {
    static const char *const ends[] = {"else", "or", "and", "if", "in", "not"};
    bool negated = lr_jinja_take_name(j, "not"), ended = false;
    lr_jnode *n = lr_jinja_node(j, LR_JN_TEST, of, NULL);
    size_t cap = 0;
    n->name = lr_jinja_expect_name(j, "a test");
    const lr_jtoken *t = lr_jinja_token(j);
    for (size_t i = 0; i < LR_COUNT(ends); i++) ended |= lr_jinja_is_name(j, ends[i]);
    bool value = t->type == LR_JT_NAME || t->type == LR_JT_STRING || t->type == LR_JT_INT || t->type == LR_JT_FLOAT ||
                 is_op(j, '[') || is_op(j, '{');
    if (lr_jinja_is_name(j, "is")) lr_jinja_fail(j, LLMRUN_FORMAT, "tests cannot be chained with is");
    if (is_op(j, '('))
        parse_arguments(j, n);
    else if (value && !ended)
        lr_jinja_add(j, n, &cap, parse_postfix(j, parse_primary(j)));
    return negated ? lr_jinja_node(j, LR_JN_NOT, n, NULL) : n;
}

static lr_jnode *parse_filters_and_tests(lr_jinja *j, lr_jnode *n) {
    uint32_t depth = j->depth;
    for (;;) {
        if (lr_jinja_take_op(j, '|')) {
            n = parse_filter(j, n);
        } else if (lr_jinja_take_name(j, "is")) {
            n = parse_test(j, n);
        } else if (is_op(j, '(')) {
            n = lr_jinja_node(j, LR_JN_CALL, n, NULL);
            parse_arguments(j, n);
        } else {
            break;
        }
        lr_jinja_enter(j);
    }
    j->depth = depth;
    return n;
}

/* ---- operators ---- */

static lr_jnode *parse_unary(lr_jinja *j, bool with_filter) {
    lr_jnode *n;
    lr_jinja_enter(j);
    if (is_op(j, '-') || is_op(j, '+')) {
        uint16_t op = lr_jinja_token(j)->op;
        next(j);
        n = lr_jinja_node(j, LR_JN_SIGN, parse_unary(j, false), NULL);
        n->op = op;
    } else {
        n = parse_primary(j);
    }
    n = parse_postfix(j, n);
    if (with_filter) n = parse_filters_and_tests(j, n);
    j->depth--;
    return n;
}

/* The binary operators that group to the left, from weak to strong; ~ is one node for the whole chain.                 */
static lr_jnode *parse_binary(lr_jinja *j, int level) {
    static const uint16_t ops[4][4] = {{'+', '-'}, {'~'}, {'*', '/', LR_JOP('/', '/'), '%'}, {LR_JOP('*', '*')}};
    if (level == 4) return parse_unary(j, true);
    uint32_t depth = j->depth;
    size_t cap = 0;
    lr_jnode *n = parse_binary(j, level + 1);
    for (;;) {
        uint16_t op = lr_jinja_token(j)->type == LR_JT_OP ? lr_jinja_token(j)->op : 0, found = 0;
        for (int i = 0; op && i < 4; i++) found |= ops[level][i] == op ? op : 0;
        if (!found) break;
        next(j);
        if (op == '~') {
            lr_jnode *first = n;
            if (!cap) {
                n = lr_jinja_node(j, LR_JN_CONCAT, NULL, NULL);
                lr_jinja_add(j, n, &cap, first);
            }
            lr_jinja_add(j, n, &cap, parse_binary(j, level + 1));
        } else {
            n = lr_jinja_node(j, LR_JN_BINARY, n, parse_binary(j, level + 1));
            n->op = op;
            lr_jinja_enter(j);
        }
    }
    j->depth = depth;
    return n;
}

static lr_jnode *parse_compare(lr_jinja *j) {
    static const uint16_t ops[] = {LR_JOP('=', '='), LR_JOP('!', '='), '<', '>', LR_JOP('<', '='), LR_JOP('>', '=')};
    lr_jnode *n = parse_binary(j, 0), *all = NULL;
    for (size_t cap = 0;;) {
        uint16_t op = 0;
        const lr_jtoken *after = look(j);
        for (size_t i = 0; i < LR_COUNT(ops) && !op; i++)
            if (lr_jinja_take_op(j, ops[i])) op = ops[i];
        if (!op && lr_jinja_take_name(j, "in")) op = LR_JOP_IN;
        if (!op && lr_jinja_is_name(j, "not") && after->type == LR_JT_NAME && after->n == 2 && !memcmp(after->s, "in", 2)) {
            next(j);
            next(j);
            op = LR_JOP_NOT_IN;
        }
        if (!op) return all ? all : n;
        if (!all) all = lr_jinja_node(j, LR_JN_COMPARE, n, NULL);
        lr_jnode *operand = lr_jinja_node(j, LR_JN_COMPARE, parse_binary(j, 0), NULL);
        operand->op = op;
        lr_jinja_add(j, all, &cap, operand);
    }
}

static lr_jnode *parse_not(lr_jinja *j) {
    if (!lr_jinja_take_name(j, "not")) return parse_compare(j);
    lr_jinja_enter(j);
    lr_jnode *n = lr_jinja_node(j, LR_JN_NOT, parse_not(j), NULL);
    j->depth--;
    return n;
}

static lr_jnode *parse_logic(lr_jinja *j, bool is_or) {
    uint32_t depth = j->depth;
    lr_jnode *n = is_or ? parse_logic(j, false) : parse_not(j);
    while (lr_jinja_take_name(j, is_or ? "or" : "and")) {
        n = lr_jinja_node(j, is_or ? LR_JN_OR : LR_JN_AND, n, is_or ? parse_logic(j, false) : parse_not(j));
        lr_jinja_enter(j);
    }
    j->depth = depth;
    return n;
}

lr_jnode *lr_jinja_parse_expression(lr_jinja *j) {
    uint32_t depth = j->depth;
    lr_jinja_enter(j);
    lr_jnode *n = parse_logic(j, true);
    while (lr_jinja_take_name(j, "if")) {
        lr_jnode *condition = parse_logic(j, true);
        n = lr_jinja_node(j, LR_JN_COND, condition, n);
        if (lr_jinja_take_name(j, "else")) n->c = lr_jinja_parse_expression(j);
        lr_jinja_enter(j);
    }
    j->depth = depth;
    return n;
}

/* Expressions with commas.  with_condition: `a if b` may stand in it (not after `for x in`).                           */
lr_jnode *lr_jinja_parse_tuple(lr_jinja *j, bool with_condition, bool parenthesized) {
    lr_jnode *n = NULL, *tuple = NULL;
    size_t cap = 0;
    for (;;) {
        const lr_jtoken *t = lr_jinja_token(j);
        if (t->type == LR_JT_CLOSE_PRINT || t->type == LR_JT_CLOSE_TAG || is_op(j, ')')) break;
        n = with_condition ? lr_jinja_parse_expression(j) : parse_logic(j, true);
        if (is_op(j, ',') && !tuple) tuple = lr_jinja_node(j, LR_JN_TUPLE, NULL, NULL);
        if (tuple) lr_jinja_add(j, tuple, &cap, n);
        if (!lr_jinja_take_op(j, ',')) break;
    }
    if (tuple) return tuple;
    if (!n && !parenthesized) lr_jinja_unexpected(j, "an expression");
    return n ? n : lr_jinja_node(j, LR_JN_TUPLE, NULL, NULL);
}

/* What is assigned to: a name, names with commas, or (with_namespace) name.name.                                       */
lr_jnode *lr_jinja_parse_target(lr_jinja *j, bool with_namespace) {
    lr_jnode *n, *tuple = NULL;
    size_t cap = 0;
    for (;;) {
        if (lr_jinja_take_op(j, '(')) {
            n = lr_jinja_parse_target(j, false);
            lr_jinja_expect_op(j, ')', "')'");
        } else {
            n = lr_jinja_node(j, LR_JN_NAME, NULL, NULL);
            n->name = lr_jinja_expect_name(j, "a name");
            if (with_namespace && lr_jinja_take_op(j, '.')) {
                n = lr_jinja_node(j, LR_JN_ATTR, n, NULL);
                n->name = lr_jinja_expect_name(j, "a name");
            }
        }
        if (is_op(j, ',') && !tuple) tuple = lr_jinja_node(j, LR_JN_TUPLE, NULL, NULL);
        if (tuple) lr_jinja_add(j, tuple, &cap, n);
        if (!lr_jinja_take_op(j, ',') || lr_jinja_is_name(j, "in")) return tuple ? tuple : n;
    }
}
