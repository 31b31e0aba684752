/* Statements: what they write goes to j->out.  Blocks with variables of their own are loops, macros, and the bodies of
 * set, filter and generation; if is none.                                                                              */
#include "runtime/jinja_parts.h"

typedef enum flow { GO_ON, BREAK, CONTINUE } flow;

static flow run(lr_jinja *j, const lr_jnode *n);

/* ---- assignment ---- */

void lr_jinja_assign(lr_jinja *j, const char *name, lr_jvalue v) {
    lr_jscope *s = j->scope;
    lr_jinja_step(j, s->n / 16);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->items[i].name == name) {
            s->items[i].value = v;
            return;
        }
    size_t cap = s->cap;
    s->items = lr_jinja_grow(j, s->items, s->n, &cap, sizeof *s->items);
    s->cap = (uint32_t)cap;
    s->items[s->n++] = (struct lr_jvariable){name, v};
}

static void assign(lr_jinja *j, const lr_jnode *target, lr_jvalue v) {
    if (target->type == LR_JN_NAME) {
        lr_jinja_assign(j, target->name, v);
    } else if (target->type == LR_JN_ATTR) {
        lr_jvalue ns = lr_jinja_eval(j, target->a);
        if (ns.kind != LR_J_NAMESPACE)
            lr_jinja_fail(j, LLMRUN_FORMAT, "set %s.%s: expected a namespace, got %s", target->a->name, target->name,
                          lr_jinja_kind_name(ns));
        lr_jinja_put(j, ns.dict, lr_jinja_literal(target->name), v);
    } else {
        lr_jvalue items = lr_jinja_iterate(j, v);
        if (items.n != target->n)
            lr_jinja_fail(j, LLMRUN_FORMAT, "expected %u values to assign, got %u", target->n, items.n);
        for (uint32_t i = 0; i < items.n; i++) assign(j, target->list[i], items.items[i]);
    }
}

/* ---- blocks ---- */

/* In the arena: a macro defined in a block may outlive it.                                                             */
static void open_scope(lr_jinja *j, lr_jscope *up) {
    lr_jscope *scope = lr_jinja_alloc(j, sizeof *scope);
    *scope = (lr_jscope){.up = up};
    j->scope = scope;
}

static void close_scope(lr_jinja *j) { j->scope = j->scope->up; }

/* Runs a body with variables of its own; its text is returned, not written.                                            */
static lr_jvalue capture(lr_jinja *j, const lr_jnode *body) {
    lr_jbuffer text = {0}, *out = j->out;
    j->out = &text;
    open_scope(j, j->scope);
    run(j, body);
    close_scope(j);
    j->out = out;
    return lr_jinja_finish(&text);
}

static lr_jvalue capture_filtered(lr_jinja *j, const lr_jnode *body, const lr_jnode *filters) {
    lr_jvalue outer = j->hole, text = capture(j, body);
    j->hole = text;
    text = lr_jinja_eval(j, filters);
    j->hole = outer;
    return text;
}

static void write(lr_jinja *j, lr_jvalue text) {
    if (text.n > j->output_left) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the template writes too much text");
    j->output_left -= text.n;
    lr_jinja_append_value(j, j->out, text);
}

/* The items that meet the condition.  A value that cannot be gone through stops here.                                  */
static lr_jvalue select_items(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue all = lr_jinja_iterate(j, lr_jinja_eval(j, n->b));
    if (!n->c) return all;
    lr_jvalue *items = lr_jinja_alloc(j, all.n * sizeof *items);
    uint32_t n_items = 0;
    open_scope(j, j->scope);
    for (uint32_t i = 0; i < all.n; i++) {
        assign(j, n->a, all.items[i]);
        if (lr_jinja_true(lr_jinja_eval(j, n->c))) items[n_items++] = all.items[i];
    }
    close_scope(j);
    return lr_jinja_list(items, n_items, 0);
}

static void run_for(lr_jinja *j, const lr_jnode *n) {
    lr_jvalue items = select_items(j, n);
    lr_jloop *loop = lr_jinja_alloc(j, sizeof *loop);
    *loop = (lr_jloop){.items = items.items, .n = items.n};
    const char *loop_name = lr_jinja_intern(j, "loop", 4);
    flow f = GO_ON;
    open_scope(j, j->scope);
    for (; loop->index < loop->n && f != BREAK; loop->index++) {
        j->scope->n = 0;
        lr_jinja_assign(j, loop_name, (lr_jvalue){.kind = LR_J_LOOP, .loop = loop});
        assign(j, n->a, items.items[loop->index]);
        f = run(j, n->list[0]);
    }
    close_scope(j);
    if (items.n || !n->list[1]) return;
    open_scope(j, j->scope);
    run(j, n->list[1]);
    close_scope(j);
}

static flow run_if(lr_jinja *j, const lr_jnode *n) {
    for (; n && n->type == LR_JN_IF; n = n->c) {
        if (lr_jinja_true(lr_jinja_eval(j, n->a))) return run(j, n->b);
        lr_jinja_step(j, 0);
    }
    return n ? run(j, n) : GO_ON;
}

static void define(lr_jinja *j, const lr_jnode *n) {
    lr_jmacro *m = lr_jinja_alloc(j, sizeof *m);
    *m = (lr_jmacro){n, j->scope};
    lr_jinja_assign(j, n->name, (lr_jvalue){.kind = LR_J_MACRO, .macro = m});
}

/* ---- macros ---- */

lr_jvalue lr_jinja_call_macro(lr_jinja *j, const lr_jmacro *m, const lr_jcall *c) {
    const lr_jnode *n = m->node;
    lr_jscope *caller = j->scope;
    if (c->n > n->n) lr_jinja_fail(j, LLMRUN_FORMAT, "macro %s: expected at most %u arguments, got %u", n->name, n->n, c->n);
    for (uint32_t i = 0; i < c->n_named; i++) {
        bool known = false;
        for (uint32_t k = c->n; k < n->n; k++) known |= n->list[k]->name == c->names[i];
        if (!known) lr_jinja_fail(j, LLMRUN_FORMAT, "macro %s: has no argument %.60s left", n->name, c->names[i]);
    }
    open_scope(j, m->scope);
    for (uint32_t i = 0; i < n->n; i++) {
        const lr_jnode *parameter = n->list[i];
        const lr_jvalue *given = lr_jinja_argument(c, i, parameter->name);
        lr_jvalue v = given ? *given : parameter->a ? lr_jinja_eval(j, parameter->a) : lr_jinja_undefined(parameter->name);
        lr_jinja_assign(j, parameter->name, v);
    }
    lr_jbuffer text = {0}, *out = j->out;
    j->out = &text;
    run(j, n->b);
    j->out = out;
    j->scope = caller;
    return lr_jinja_finish(&text);
}

/* ---- statements ---- */

static flow run_block(lr_jinja *j, const lr_jnode *n) {
    flow f = GO_ON;
    for (uint32_t i = 0; i < n->n && f == GO_ON; i++) f = run(j, n->list[i]);
    return f;
}

static flow run_statement(lr_jinja *j, const lr_jnode *n) {
    switch (n->type) {
    case LR_JN_BLOCK: return run_block(j, n);
    case LR_JN_DATA: write(j, n->value); break;
    case LR_JN_OUTPUT: write(j, lr_jinja_text(j, lr_jinja_eval(j, n->a))); break;
    case LR_JN_IF: return run_if(j, n);
    case LR_JN_FOR: run_for(j, n); break;
    case LR_JN_SET: assign(j, n->a, lr_jinja_eval(j, n->b)); break;
    case LR_JN_SETBLOCK: assign(j, n->a, capture_filtered(j, n->b, n->c)); break;
    case LR_JN_FILTERED: write(j, lr_jinja_text(j, capture_filtered(j, n->b, n->c))); break;
    case LR_JN_SCOPED: write(j, capture(j, n->b)); break;
    case LR_JN_MACRO: define(j, n); break;
    case LR_JN_BREAK: return BREAK;
    default: return CONTINUE;
    }
    return GO_ON;
}

static flow run(lr_jinja *j, const lr_jnode *n) {
    lr_jinja_step(j, 0);
    lr_jinja_enter(j);
    j->line = n->line;
    flow f = run_statement(j, n);
    j->depth--;
    return f;
}

void lr_jinja_execute(lr_jinja *j, const lr_jnode *root) { run(j, root); }
