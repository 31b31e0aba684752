/* Expressions to a tree: literals and names, and what stands behind them: attributes, items, slices, calls, filters,
 * tests.  The tree is as deep as such a chain is long, so each link counts as a level.                                 */
#include "runtime/jinja_parts.h"

static lr_jnode *constant(lr_jinja *j, lr_jvalue v) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_CONST, NULL, NULL);
    n->value = v;
    return n;
}

/* ---- primary expressions ---- */

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

lr_jnode *lr_jinja_parse_primary(lr_jinja *j) {
    const lr_jtoken *t = lr_jinja_token(j);
    lr_jnode *n = NULL;
    if (t->type == LR_JT_NAME) return parse_name(j);
    if (t->type == LR_JT_INT) n = constant(j, lr_jinja_int(t->i));
    if (t->type == LR_JT_FLOAT) n = constant(j, lr_jinja_float(t->f));
    if (n) {
        lr_jinja_next(j);
        return n;
    }
    if (t->type == LR_JT_STRING) { /* neighbours are joined */
        lr_jbuffer all = {0};
        for (; lr_jinja_token(j)->type == LR_JT_STRING; lr_jinja_next(j))
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
        if (lr_jinja_is_op(j, '*') || lr_jinja_is_op(j, LR_JOP('*', '*'))) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "arguments with *");
        const lr_jtoken *after = lr_jinja_look(j);
        if (lr_jinja_token(j)->type == LR_JT_NAME && after->type == LR_JT_OP && after->op == '=') {
            lr_jnode *named = lr_jinja_node(j, LR_JN_NAME, NULL, NULL);
            named->name = lr_jinja_expect_name(j, "a name");
            lr_jinja_next(j);
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
        if (lr_jinja_is_op(j, ']')) break;
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

lr_jnode *lr_jinja_parse_postfix(lr_jinja *j, lr_jnode *n) {
    uint32_t depth = j->depth;
    for (;;) {
        if (lr_jinja_take_op(j, '.')) {
            if (lr_jinja_token(j)->type == LR_JT_INT) {
                n = lr_jinja_node(j, LR_JN_ITEM, n, lr_jinja_parse_primary(j));
            } else {
                n = lr_jinja_node(j, LR_JN_ATTR, n, NULL);
                n->name = lr_jinja_expect_name(j, "a name or number");
            }
        } else if (lr_jinja_take_op(j, '[')) {
            n = parse_subscript(j, n);
        } else if (lr_jinja_is_op(j, '(')) {
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
    if (lr_jinja_is_op(j, '(')) parse_arguments(j, n);
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
                 lr_jinja_is_op(j, '[') || lr_jinja_is_op(j, '{');
    if (lr_jinja_is_name(j, "is")) lr_jinja_fail(j, LLMRUN_FORMAT, "tests cannot be chained with is");
    if (lr_jinja_is_op(j, '('))
        parse_arguments(j, n);
    else if (value && !ended)
        lr_jinja_add(j, n, &cap, lr_jinja_parse_postfix(j, lr_jinja_parse_primary(j)));
    return negated ? lr_jinja_node(j, LR_JN_NOT, n, NULL) : n;
}

lr_jnode *lr_jinja_parse_tests(lr_jinja *j, lr_jnode *n) {
    uint32_t depth = j->depth;
    for (;;) {
        if (lr_jinja_take_op(j, '|')) {
            n = parse_filter(j, n);
        } else if (lr_jinja_take_name(j, "is")) {
            n = parse_test(j, n);
        } else if (lr_jinja_is_op(j, '(')) {
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
