/* Expressions to a tree, by recursive descent with the precedences of Jinja2:
 *   if-else < or < and < not < comparisons < + - < ~ < * / // % < ** < signs < filters and tests < . [] ()
 * What binds stronger than operators is in jinja_primary.c.                                                            */
#include "runtime/jinja_parts.h"

/* ---- tokens ---- */

const lr_jtoken *lr_jinja_token(const lr_jinja *j) { return &j->tokens[j->at]; }

const lr_jtoken *lr_jinja_look(const lr_jinja *j) { return &j->tokens[j->at + (j->at + 1 < j->n_tokens)]; }

void lr_jinja_next(lr_jinja *j) {
    if (j->at + 1 < j->n_tokens) j->at++;
    j->line = j->tokens[j->at].line;
}

bool lr_jinja_is_op(const lr_jinja *j, uint16_t op) {
    return lr_jinja_token(j)->type == LR_JT_OP && lr_jinja_token(j)->op == op;
}

bool lr_jinja_is_name(const lr_jinja *j, const char *name) {
    const lr_jtoken *t = lr_jinja_token(j);
    return t->type == LR_JT_NAME && t->n == strlen(name) && memcmp(t->s, name, t->n) == 0;
}

bool lr_jinja_take_name(lr_jinja *j, const char *name) {
    bool found = lr_jinja_is_name(j, name);
    if (found) lr_jinja_next(j);
    return found;
}

bool lr_jinja_take_op(lr_jinja *j, uint16_t op) {
    bool found = lr_jinja_is_op(j, op);
    if (found) lr_jinja_next(j);
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
    lr_jinja_next(j);
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

/* ---- operators ---- */

static lr_jnode *parse_unary(lr_jinja *j, bool with_filter) {
    lr_jnode *n;
    lr_jinja_enter(j);
    if (lr_jinja_is_op(j, '-') || lr_jinja_is_op(j, '+')) {
        uint16_t op = lr_jinja_token(j)->op;
        lr_jinja_next(j);
        n = lr_jinja_node(j, LR_JN_SIGN, parse_unary(j, false), NULL);
        n->op = op;
    } else {
        n = lr_jinja_parse_primary(j);
    }
    n = lr_jinja_parse_postfix(j, n);
    if (with_filter) n = lr_jinja_parse_tests(j, n);
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
        lr_jinja_next(j);
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
        const lr_jtoken *after = lr_jinja_look(j);
        for (size_t i = 0; i < LR_COUNT(ops) && !op; i++)
            if (lr_jinja_take_op(j, ops[i])) op = ops[i];
        if (!op && lr_jinja_take_name(j, "in")) op = LR_JOP_IN;
        if (!op && lr_jinja_is_name(j, "not") && after->type == LR_JT_NAME && after->n == 2 && !memcmp(after->s, "in", 2)) {
            lr_jinja_next(j);
            lr_jinja_next(j);
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
        if (t->type == LR_JT_CLOSE_PRINT || t->type == LR_JT_CLOSE_TAG || lr_jinja_is_op(j, ')')) break;
        n = with_condition ? lr_jinja_parse_expression(j) : parse_logic(j, true);
        if (lr_jinja_is_op(j, ',') && !tuple) tuple = lr_jinja_node(j, LR_JN_TUPLE, NULL, NULL);
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
        if (lr_jinja_is_op(j, ',') && !tuple) tuple = lr_jinja_node(j, LR_JN_TUPLE, NULL, NULL);
        if (tuple) lr_jinja_add(j, tuple, &cap, n);
        if (!lr_jinja_take_op(j, ',') || lr_jinja_is_name(j, "in")) return tuple ? tuple : n;
    }
}
