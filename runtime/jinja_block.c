/* Statements to a tree: text, prints, and the tags.                                                                    */
#include "runtime/jinja_parts.h"

static lr_jnode *parse_body(lr_jinja *j, const char *const *ends);

static void expect(lr_jinja *j, lr_jtoken_type type, const char *shown) {
    if (lr_jinja_token(j)->type != type) lr_jinja_unexpected(j, shown);
    j->at++;
    j->line = lr_jinja_token(j)->line;
}

static void expect_close(lr_jinja *j) { expect(j, LR_JT_CLOSE_TAG, "'%}'"); }

/* The rest of a tag, its body, and the tag that ends it (up to its name).                                              */
static lr_jnode *parse_until(lr_jinja *j, const char *const *ends) {
    lr_jinja_take_op(j, ':');
    expect_close(j);
    return parse_body(j, ends);
}

static lr_jnode *parse_until_end(lr_jinja *j, const char *end) {
    const char *const ends[] = {end, NULL};
    lr_jnode *body = parse_until(j, ends);
    lr_jinja_take_name(j, end);
    return body;
}

/* ---- tags ---- */

static lr_jnode *parse_if(lr_jinja *j) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    lr_jnode *first = NULL, **to = &first;
    for (;;) {
        lr_jnode *n = *to = lr_jinja_node(j, LR_JN_IF, lr_jinja_parse_tuple(j, false, false), NULL);
        n->b = parse_until(j, ends);
        to = &n->c;
        if (!lr_jinja_take_name(j, "elif")) break;
    }
    if (lr_jinja_take_name(j, "else"))
        *to = parse_until_end(j, "endif");
    else
        lr_jinja_take_name(j, "endif");
    return first;
}

static lr_jnode *parse_for(lr_jinja *j) {
    static const char *const ends[] = {"else", "endfor", NULL};
    lr_jnode *n = lr_jinja_node(j, LR_JN_FOR, lr_jinja_parse_target(j, false), NULL);
    if (!lr_jinja_take_name(j, "in")) lr_jinja_unexpected(j, "in");
    n->b = lr_jinja_parse_tuple(j, false, false);
    if (lr_jinja_take_name(j, "if")) n->c = lr_jinja_parse_expression(j);
    if (lr_jinja_is_name(j, "recursive")) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "recursive loops");
    n->list = lr_jinja_alloc(j, 2 * sizeof *n->list);
    n->n = 2;
    j->loop_depth++;
    n->list[0] = parse_until(j, ends);
    j->loop_depth--;
    n->list[1] = NULL;
    if (lr_jinja_take_name(j, "else"))
        n->list[1] = parse_until_end(j, "endfor");
    else
        lr_jinja_take_name(j, "endfor");
    return n;
}

static lr_jnode *parse_set(lr_jinja *j) {
    lr_jnode *target = lr_jinja_parse_target(j, true);
    if (lr_jinja_take_op(j, '='))
        return lr_jinja_node(j, LR_JN_SET, target, lr_jinja_parse_tuple(j, true, false));
    lr_jnode *n = lr_jinja_node(j, LR_JN_SETBLOCK, target, NULL);
    n->c = lr_jinja_parse_filters(j, lr_jinja_node(j, LR_JN_HOLE, NULL, NULL), false);
    n->b = parse_until_end(j, "endset");
    return n;
}

static lr_jnode *parse_macro(lr_jinja *j) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_MACRO, NULL, NULL);
    size_t cap = 0;
    n->name = lr_jinja_expect_name(j, "the macro's name");
    lr_jinja_expect_op(j, '(', "'('");
    while (!lr_jinja_take_op(j, ')')) {
        if (n->n) lr_jinja_expect_op(j, ',', "',' or ')'");
        lr_jnode *parameter = lr_jinja_node(j, LR_JN_NAME, NULL, NULL);
        parameter->name = lr_jinja_expect_name(j, "a parameter");
        if (lr_jinja_take_op(j, '='))
            parameter->a = lr_jinja_parse_expression(j);
        else if (n->n && n->list[n->n - 1]->a)
            lr_jinja_fail(j, LLMRUN_FORMAT, "parameter %s: expected a default, as those before it have", parameter->name);
        lr_jinja_add(j, n, &cap, parameter);
    }
    uint32_t loops = j->loop_depth;
    j->loop_depth = 0;
    n->b = parse_until_end(j, "endmacro");
    j->loop_depth = loops;
    return n;
}

static lr_jnode *parse_filter_block(lr_jinja *j) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_FILTERED, NULL, NULL);
    n->c = lr_jinja_parse_filters(j, lr_jinja_node(j, LR_JN_HOLE, NULL, NULL), true);
    n->b = parse_until_end(j, "endfilter");
    return n;
}

static lr_jnode *parse_generation(lr_jinja *j) {
    lr_jnode *n = lr_jinja_node(j, LR_JN_SCOPED, NULL, NULL);
    n->b = parse_until_end(j, "endgeneration");
    return n;
}

static lr_jnode *parse_leave(lr_jinja *j, lr_jtype type) {
    if (!j->loop_depth) lr_jinja_fail(j, LLMRUN_FORMAT, "break or continue outside a loop");
    return lr_jinja_node(j, type, NULL, NULL);
}

static lr_jnode *parse_break(lr_jinja *j) { return parse_leave(j, LR_JN_BREAK); }
static lr_jnode *parse_continue(lr_jinja *j) { return parse_leave(j, LR_JN_CONTINUE); }

static const struct { const char *name; lr_jnode *(*parse)(lr_jinja *j); } tags[] = {
    {"if", parse_if}, {"for", parse_for}, {"set", parse_set}, {"macro", parse_macro}, {"filter", parse_filter_block},
    {"generation", parse_generation}, {"break", parse_break}, {"continue", parse_continue},
};

static lr_jnode *parse_tag(lr_jinja *j) {
    static const char *const others[] = {"call", "with", "include", "import", "from", "extends", "block", "print",
                                         "autoescape", "do", "trans", "debug"};
    for (size_t i = 0; i < LR_COUNT(tags); i++)
        if (lr_jinja_take_name(j, tags[i].name)) return tags[i].parse(j);
    for (size_t i = 0; i < LR_COUNT(others); i++)
        if (lr_jinja_is_name(j, others[i]))
            lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the tag {%% %s %%} is not supported", others[i]);
    lr_jinja_unexpected(j, "the name of a tag");
}

/* ---- bodies ---- */

/* Statements up to a tag whose name is among ends (NULL: up to the end of the template).                               */
static lr_jnode *parse_body(lr_jinja *j, const char *const *ends) {
    lr_jnode *body = lr_jinja_node(j, LR_JN_BLOCK, NULL, NULL), *n;
    size_t cap = 0;
    lr_jinja_enter(j);
    for (;;) {
        const lr_jtoken *t = lr_jinja_token(j);
        j->line = t->line;
        if (t->type == LR_JT_END) {
            if (ends) lr_jinja_unexpected(j, ends[1] ? ends[2] ? "endif" : "endfor" : ends[0]);
            break;
        }
        j->at++;
        if (t->type == LR_JT_DATA) {
            n = lr_jinja_node(j, LR_JN_DATA, NULL, NULL);
            n->value = lr_jinja_string(t->s, t->n, NULL);
        } else if (t->type == LR_JT_OPEN_PRINT) {
            n = lr_jinja_node(j, LR_JN_OUTPUT, lr_jinja_parse_tuple(j, true, false), NULL);
            expect(j, LR_JT_CLOSE_PRINT, "'}}'");
        } else {
            bool ended = false;
            for (size_t i = 0; ends && ends[i]; i++) ended |= lr_jinja_is_name(j, ends[i]);
            if (ended) break;
            n = parse_tag(j);
            expect_close(j);
        }
        lr_jinja_add(j, body, &cap, n);
    }
    j->depth--;
    return body;
}

lr_jnode *lr_jinja_parse(lr_jinja *j) { return parse_body(j, NULL); }
