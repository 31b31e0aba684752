/* The parts of the template interpreter:
 *
 *   source -> tokens (jinja_lex.c) -> tree (jinja_parse.c, jinja_primary.c, jinja_block.c) -> statements (jinja_exec.c)
 *          -> expressions (jinja_eval.c) -> filters, tests, methods (jinja_filters.c, jinja_lists.c, jinja_tests.c,
 *             jinja_methods.c, jinja_functions.c) on values (jinja_value.c, jinja_string.c, jinja_json.c)
 *
 * All memory of a rendering comes from one arena that is released as a whole, so an error anywhere leaves by longjmp and
 * nothing has to be checked on the way: lr_jinja_fail does not return.                                                 */
#ifndef LR_JINJA_PARTS_H
#define LR_JINJA_PARTS_H

#include <setjmp.h>
#include <string.h>

#include "runtime/jinja.h"

/* ---- values ---- */

typedef enum lr_jkind {
    LR_J_UNDEFINED, /* s: the name that is not defined */
    LR_J_NONE,
    LR_J_BOOL,
    LR_J_INT,
    LR_J_FLOAT,
    LR_J_STRING,
    LR_J_LIST,
    LR_J_DICT,
    LR_J_NAMESPACE,
    LR_J_LOOP,
    LR_J_MACRO,
    LR_J_FUNCTION,
    LR_J_METHOD
} lr_jkind;

enum {
    LR_J_TUPLE = 1,     /* a list that prints with (), unequal to lists */
    LR_J_GENERATOR = 2, /* a list that is true though empty: what map, select and items give */
    LR_J_SAFE = 4       /* a string that was marked safe: `+` escapes HTML in what is joined to it, as Jinja2 does */
};

typedef struct lr_jvalue {
    uint8_t kind, flags;
    uint32_t n; /* string: bytes; list: items */
    union {
        bool b;
        int64_t i;
        double f;
        struct {
            const char *s, *mark; /* (n) UTF-8; (n) 1 where it is content, NULL: nowhere */
        };
        const struct lr_jvalue *items;
        struct lr_jdict *dict; /* also of a namespace */
        struct lr_jloop *loop;
        struct lr_jmacro *macro;
        const struct lr_jfunction *function;
        const struct lr_jmethod *method;
    };
} lr_jvalue;

/* Ordered.  Mutable only while it is made, and in a namespace.                                                         */
typedef struct lr_jdict {
    struct lr_jpair {
        lr_jvalue key, value;
    } *pairs;
    uint32_t n, cap;
} lr_jdict;

typedef struct lr_jmethod {
    lr_jvalue self;
    const char *name;
} lr_jmethod;

typedef struct lr_jloop {
    const lr_jvalue *items;
    uint32_t index, n;
} lr_jloop;

/* Variables of a block.  Names are pointers into the tree.                                                             */
typedef struct lr_jscope {
    struct lr_jscope *up;
    struct lr_jvariable {
        const char *name;
        lr_jvalue value;
    } *items;
    uint32_t n, cap;
} lr_jscope;

/* Growing text with its marks, in the arena.                                                                           */
typedef struct lr_jbuffer {
    char *s, *mark; /* mark NULL: nothing is content yet */
    size_t n, cap;
} lr_jbuffer;

/* ---- tree ---- */

typedef enum lr_jtype {
    /* statements */
    LR_JN_BLOCK,    /* list */
    LR_JN_DATA,     /* value */
    LR_JN_OUTPUT,   /* a */
    LR_JN_IF,       /* a: condition, b: body, c: else or NULL */
    LR_JN_FOR,      /* a: target, b: what to go through, c: condition or NULL; list[0] body, list[1] else or NULL */
    LR_JN_SET,      /* a: target, b: value */
    LR_JN_SETBLOCK, /* a: target, b: body, c: filters around LR_JN_HOLE or NULL */
    LR_JN_FILTERED, /* b: body, c: filters around LR_JN_HOLE */
    LR_JN_MACRO,    /* name, list: parameters (names, a: default or NULL), b: body */
    LR_JN_SCOPED,   /* b: body (generation) */
    LR_JN_BREAK,
    LR_JN_CONTINUE,
    /* expressions */
    LR_JN_CONST,   /* value */
    LR_JN_HOLE,    /* the text of the block that is filtered */
    LR_JN_NAME,    /* name */
    LR_JN_LIST,    /* list */
    LR_JN_TUPLE,   /* list */
    LR_JN_DICT,    /* list: key, value, key, value ... */
    LR_JN_ATTR,    /* a.name */
    LR_JN_ITEM,    /* a[b] */
    LR_JN_SLICE,   /* a[list[0]:list[1]:list[2]], each may be NULL */
    LR_JN_CALL,    /* a(arguments) */
    LR_JN_FILTER,  /* a|name(arguments) */
    LR_JN_TEST,    /* a is name(arguments) */
    LR_JN_NOT,     /* a */
    LR_JN_SIGN,    /* op '-' or '+', a */
    LR_JN_AND,     /* a, b */
    LR_JN_OR,      /* a, b */
    LR_JN_COND,    /* b if a else c; c may be NULL */
    LR_JN_BINARY,  /* a op b */
    LR_JN_COMPARE, /* a, then list: each with op and a */
    LR_JN_CONCAT   /* list */
} lr_jtype;

/* One or two characters of an operator as a number; `in` and `not in` have their own.                                  */
#define LR_JOP(a, b) ((uint16_t)((uint8_t)(a) | (uint16_t)(uint8_t)(b) << 8))
#define LR_JOP_IN LR_JOP('i', 'n')
#define LR_JOP_NOT_IN LR_JOP('n', 'i')

typedef struct lr_jnode {
    uint8_t type;
    uint16_t op;
    uint32_t line, n;
    uint32_t n_named; /* of the list, the last ones are keyword arguments: nodes with name and a */
    const char *name; /* NUL-terminated, the same pointer for the same name */
    struct lr_jnode *a, *b, *c, **list;
    lr_jvalue value;
} lr_jnode;

typedef struct lr_jmacro {
    const lr_jnode *node;
    lr_jscope *scope;
} lr_jmacro;

typedef enum lr_jtoken_type {
    LR_JT_END, LR_JT_DATA, LR_JT_OPEN_PRINT, LR_JT_CLOSE_PRINT, LR_JT_OPEN_TAG, LR_JT_CLOSE_TAG, LR_JT_NAME, LR_JT_STRING,
    LR_JT_INT, LR_JT_FLOAT, LR_JT_OP
} lr_jtoken_type;

typedef struct lr_jtoken {
    uint8_t type;
    uint16_t op;
    uint32_t line, n;
    const char *s;
    union {
        int64_t i;
        double f;
    };
} lr_jtoken;

/* ---- a rendering ---- */

typedef struct lr_jinja {
    const lr_jinja_job *job;
    jmp_buf leave;
    llmrun_status status;
    llmrun_error *err;
    struct lr_jchunk {
        struct lr_jchunk *next;
    } *chunks;
    char *top;       /* free part of the newest chunk */
    size_t n_free;
    uint64_t memory_left, steps_left, output_left;
    uint32_t line, depth;
    lr_text scratch; /* released with the rendering, wherever it ends */
    /* lexer and parser */
    lr_jtoken *tokens;
    size_t n_tokens, cap_tokens, at;
    const char **names;
    size_t n_names, cap_names;
    uint32_t loop_depth;
    /* execution */
    lr_jscope *scope;
    lr_jbuffer *out;
    lr_jvalue hole;
} lr_jinja;

/* Arguments of a call: named ones are the last n_named of items.                                                       */
typedef struct lr_jcall {
    const lr_jvalue *items;
    const char **names; /* (n_named) */
    uint32_t n, n_named;
    const char *what; /* for messages: "filter join" */
} lr_jcall;

typedef struct lr_jfunction {
    const char *name;
    lr_jvalue (*run)(lr_jinja *j, const lr_jcall *c);
} lr_jfunction;

/* jinja.c */
_Noreturn void lr_jinja_fail(lr_jinja *j, llmrun_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *lr_jinja_alloc(lr_jinja *j, size_t size);              /* aligned for values, not cleared */
void *lr_jinja_grow(lr_jinja *j, void *items, size_t n, size_t *cap, size_t size); /* room for one more; returns items */
void lr_jinja_step(lr_jinja *j, uint64_t n);                 /* counts work */
static inline void lr_jinja_step_bytes(lr_jinja *j, size_t n) { lr_jinja_step(j, n / 64); }
void lr_jinja_enter(lr_jinja *j);                            /* one level deeper; leave with j->depth-- */

/* jinja_messages.c */
lr_jvalue lr_jinja_read_messages(lr_jinja *j, lr_jvalue messages);
void lr_jinja_cut_end(lr_jinja *j, lr_jbuffer *out); /* where open_end says so */

/* jinja_lex.c, jinja_parse.c, jinja_primary.c, jinja_block.c */
void lr_jinja_lex(lr_jinja *j);
lr_jnode *lr_jinja_parse(lr_jinja *j);
lr_jnode *lr_jinja_parse_expression(lr_jinja *j);
lr_jnode *lr_jinja_parse_tuple(lr_jinja *j, bool with_condition, bool parenthesized);
lr_jnode *lr_jinja_parse_target(lr_jinja *j, bool with_namespace);
lr_jnode *lr_jinja_parse_primary(lr_jinja *j);
lr_jnode *lr_jinja_parse_postfix(lr_jinja *j, lr_jnode *node); /* with . [] () */
lr_jnode *lr_jinja_parse_tests(lr_jinja *j, lr_jnode *node);   /* with | and is */
lr_jnode *lr_jinja_parse_filters(lr_jinja *j, lr_jnode *node, bool inline_first);
lr_jnode *lr_jinja_node(lr_jinja *j, lr_jtype type, lr_jnode *a, lr_jnode *b);
void lr_jinja_add(lr_jinja *j, lr_jnode *to, size_t *cap, lr_jnode *item);
const lr_jtoken *lr_jinja_token(const lr_jinja *j);
const lr_jtoken *lr_jinja_look(const lr_jinja *j); /* the one after it */
void lr_jinja_next(lr_jinja *j);
bool lr_jinja_is_op(const lr_jinja *j, uint16_t op);
bool lr_jinja_is_name(const lr_jinja *j, const char *name);
bool lr_jinja_take_name(lr_jinja *j, const char *name);
bool lr_jinja_take_op(lr_jinja *j, uint16_t op);
void lr_jinja_expect_op(lr_jinja *j, uint16_t op, const char *shown);
const char *lr_jinja_expect_name(lr_jinja *j, const char *what); /* interned */
_Noreturn void lr_jinja_unexpected(lr_jinja *j, const char *expected);

/* jinja_value.c */
lr_jvalue lr_jinja_undefined(const char *name);
lr_jvalue lr_jinja_bool(bool b);
lr_jvalue lr_jinja_int(int64_t i);
lr_jvalue lr_jinja_float(double f);
lr_jvalue lr_jinja_string(const char *s, size_t n, const char *mark);
lr_jvalue lr_jinja_literal(const char *s); /* static text */
lr_jvalue lr_jinja_list(const lr_jvalue *items, size_t n, unsigned flags);
lr_jvalue lr_jinja_pair(lr_jinja *j, lr_jvalue a, lr_jvalue b); /* a tuple */
lr_jdict *lr_jinja_dict(lr_jinja *j);
lr_jvalue lr_jinja_dict_value(lr_jdict *d, lr_jkind kind);
const lr_jvalue *lr_jinja_find(lr_jinja *j, const lr_jdict *d, lr_jvalue key);
const lr_jvalue *lr_jinja_find_text(lr_jinja *j, const lr_jdict *d, const char *key);
void lr_jinja_put(lr_jinja *j, lr_jdict *d, lr_jvalue key, lr_jvalue value);
bool lr_jinja_true(lr_jvalue v);
bool lr_jinja_is_number(lr_jvalue v, double *as_float); /* bool, int, float */
bool lr_jinja_is_int(lr_jvalue v, int64_t *out);        /* bool, int */
bool lr_jinja_equal(lr_jinja *j, lr_jvalue a, lr_jvalue b);
int lr_jinja_order(lr_jinja *j, lr_jvalue a, lr_jvalue b); /* < 0, 0, > 0; fails for what has no order */
bool lr_jinja_contains(lr_jinja *j, lr_jvalue in, lr_jvalue v);
const char *lr_jinja_kind_name(lr_jvalue v); /* Python's word for the type */
/* What a loop over v goes through, as a list; fails for what cannot be gone through.                                   */
lr_jvalue lr_jinja_iterate(lr_jinja *j, lr_jvalue v);
/* As Python's slice: which items are taken.  none: not given.                                                          */
typedef struct lr_jslice {
    int64_t start, step, count;
} lr_jslice;
lr_jslice lr_jinja_slice(lr_jinja *j, int64_t length, const lr_jvalue bounds[3]);

/* jinja_string.c: marks go with their bytes */
void lr_jinja_append(lr_jinja *j, lr_jbuffer *b, const char *s, size_t n, const char *mark);
void lr_jinja_append_value(lr_jinja *j, lr_jbuffer *b, lr_jvalue string);
void lr_jinja_append_char(lr_jinja *j, lr_jbuffer *b, uint32_t code, bool content);
lr_jvalue lr_jinja_finish(const lr_jbuffer *b);
lr_jvalue lr_jinja_part(lr_jvalue string, size_t from, size_t to);
lr_jvalue lr_jinja_strip(lr_jinja *j, lr_jvalue string, const lr_jvalue *characters, int sides); /* 1 left, 2 right */
lr_jvalue lr_jinja_replace(lr_jinja *j, lr_jvalue string, lr_jvalue old, lr_jvalue with, int64_t most);
lr_jvalue lr_jinja_case(lr_jinja *j, lr_jvalue string, char how); /* 'u' upper 'l' lower 't' title 'c' capitalize */
lr_jvalue lr_jinja_escape(lr_jinja *j, lr_jvalue string);         /* HTML */
size_t lr_jinja_length(lr_jvalue string);                         /* characters */
bool lr_jinja_is_space(uint32_t code);                            /* as Python's str.isspace */
const char *lr_jinja_search(lr_jinja *j, lr_jvalue in, size_t from, lr_jvalue what); /* NULL: not there */

/* jinja_json.c, jinja_print.c */
lr_jvalue lr_jinja_read_json(lr_jinja *j, const char *what, const char *text, size_t n, bool content);
lr_jvalue lr_jinja_text(lr_jinja *j, lr_jvalue v); /* str(v) */
typedef struct lr_jdump {
    int64_t indent; /* < 0: one line */
    bool ascii, sorted;
    lr_jvalue item_separator, key_separator;
} lr_jdump;
lr_jvalue lr_jinja_dump(lr_jinja *j, lr_jvalue v, const lr_jdump *how); /* JSON */

/* jinja_eval.c, jinja_exec.c */
lr_jvalue lr_jinja_eval(lr_jinja *j, const lr_jnode *n);
void lr_jinja_execute(lr_jinja *j, const lr_jnode *root);
lr_jvalue lr_jinja_call_macro(lr_jinja *j, const lr_jmacro *m, const lr_jcall *c);
void lr_jinja_assign(lr_jinja *j, const char *name, lr_jvalue v);
const char *lr_jinja_intern(lr_jinja *j, const char *s, size_t n);
/* Attribute or item; undefined where there is none.                                                                    */
lr_jvalue lr_jinja_attribute(lr_jinja *j, lr_jvalue v, const char *name);
lr_jvalue lr_jinja_item(lr_jinja *j, lr_jvalue v, lr_jvalue key);

/* Arguments: by position or name; fallback where it is not given.  lr_jinja_take_* fail for a wrong type.               */
const lr_jvalue *lr_jinja_argument(const lr_jcall *c, uint32_t position, const char *name);
/* Fails if there are more than max arguments, or a named one that is not in names ("a b c").                            */
void lr_jinja_check(lr_jinja *j, const lr_jcall *c, uint32_t max, const char *names);
bool lr_jinja_flag(const lr_jcall *c, uint32_t position, const char *name, bool fallback);
int64_t lr_jinja_number(lr_jinja *j, const lr_jcall *c, uint32_t position, const char *name, int64_t fallback);

/* Filters, tests, functions, methods by name.                                                                          */
lr_jvalue lr_jinja_filter(lr_jinja *j, const char *name, lr_jvalue v, const lr_jcall *c);
typedef lr_jvalue lr_jfilter(lr_jinja *j, lr_jvalue v, const lr_jcall *c);
lr_jfilter *lr_jinja_list_filter(const char *name); /* NULL: none of that name */
bool lr_jinja_test(lr_jinja *j, const char *name, lr_jvalue v, const lr_jcall *c);
const lr_jfunction *lr_jinja_function(const char *name); /* NULL: none of that name */
bool lr_jinja_has_method(lr_jvalue v, const char *name);
lr_jvalue lr_jinja_call_method(lr_jinja *j, lr_jvalue self, const char *name, const lr_jcall *c);

#endif
