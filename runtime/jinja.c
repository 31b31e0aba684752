/* One rendering: the arena, the limits, the way out on an error, the variables.  See jinja.h and jinja_parts.h.        */
#include "runtime/jinja.h"

#include <stdio.h>

#include "runtime/jinja_parts.h"

void lr_jinja_fail(lr_jinja *j, llmrun_status status, const char *format, ...) {
    char text[640];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    j->status = lr_fail(j->err, status, "%s: line %u: %s", j->job->where, j->line, text);
    longjmp(j->leave, 1);
}

void lr_jinja_step(lr_jinja *j, uint64_t n) {
    if (n + 1 > j->steps_left) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the template takes too many steps");
    j->steps_left -= n + 1;
}

void lr_jinja_enter(lr_jinja *j) {
    if (j->depth == LR_JINJA_DEPTH)
        lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "nested deeper than %d, or a macro that calls itself", LR_JINJA_DEPTH);
    j->depth++;
}

/* ---- memory ---- */

static void add_chunk(lr_jinja *j, size_t size) {
    enum { CHUNK = 64 << 10 };
    size_t bytes = size > CHUNK ? size : CHUNK;
    if (bytes > j->memory_left) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the template takes too much memory");
    struct lr_jchunk *chunk = lr_alloc(sizeof *chunk + 16 + bytes);
    if (!chunk) {
        j->status = lr_fail_nomem(j->err, j->job->where, bytes);
        longjmp(j->leave, 1);
    }
    chunk->next = j->chunks;
    j->chunks = chunk;
    j->memory_left -= bytes;
    j->top = (char *)(((uintptr_t)(chunk + 1) + 15) & ~(uintptr_t)15);
    j->n_free = bytes;
}

void *lr_jinja_alloc(lr_jinja *j, size_t size) {
    if (size > UINT32_MAX / 2) lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the template takes too much memory");
    size = (size + 15) & ~(size_t)15;
    if (size > j->n_free) add_chunk(j, size);
    void *p = j->top;
    j->top += size;
    j->n_free -= size;
    return p;
}

void *lr_jinja_grow(lr_jinja *j, void *items, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return items;
    size_t more = *cap ? *cap * 2 : 4;
    void *grown = lr_jinja_alloc(j, more * size);
    if (n) memcpy(grown, items, n * size);
    *cap = more;
    return grown;
}

/* ---- variables ---- */

static void set_variables(lr_jinja *j) {
    for (size_t i = 0; i < j->job->n_variables; i++) {
        const lr_jinja_variable *v = &j->job->variables[i];
        const char *name = v->name ? v->name : "variables";
        lr_jvalue value = v->json ? lr_jinja_read_json(j, name, v->text, v->n_bytes, v->content)
                                  : lr_jinja_string(v->text, v->n_bytes, NULL);
        if (!v->name && value.kind != LR_J_DICT) lr_jinja_fail(j, LLMRUN_FORMAT, "variables: expected an object");
        for (uint32_t k = 0; !v->name && k < value.dict->n; k++) {
            struct lr_jpair pair = value.dict->pairs[k];
            lr_jinja_assign(j, lr_jinja_intern(j, pair.key.s, pair.key.n), pair.value);
        }
        if (!v->name) continue;
        if (strcmp(name, "messages") == 0) value = lr_jinja_read_messages(j, value);
        lr_jinja_assign(j, lr_jinja_intern(j, name, strlen(name)), value);
    }
}

/* ---- render ---- */

static void set_limits(lr_jinja *j) {
    uint64_t content = 0;
    for (size_t i = 0; i < j->job->n_variables; i++) content += j->job->variables[i].n_bytes;
    j->memory_left = LR_JINJA_MEMORY + 64 * content;
    j->steps_left = LR_JINJA_STEPS + 16 * content;
    j->output_left = LR_JINJA_OUTPUT + 4 * content;
}

static void run(lr_jinja *j, lr_text *out, lr_text *marks) {
    lr_jscope scope = {0};
    lr_jbuffer buffer = {0};
    j->line = 1;
    if (j->job->n_source > LR_JINJA_SOURCE)
        lr_jinja_fail(j, LLMRUN_UNSUPPORTED, "the template has %zu bytes, at most %d", j->job->n_source, LR_JINJA_SOURCE);
    lr_jinja_lex(j);
    const lr_jnode *root = lr_jinja_parse(j);
    j->scope = &scope;
    j->out = &buffer;
    set_variables(j);
    lr_jinja_execute(j, root);
    if (j->job->open_end) lr_jinja_cut_end(j, &buffer);
    lr_text_add_bytes(out, buffer.s, buffer.n);
    if (!marks) return;
    if (buffer.mark) {
        lr_text_add_bytes(marks, buffer.mark, buffer.n);
    } else {
        static const char none[256];
        for (size_t i = 0; i < buffer.n; i += sizeof none)
            lr_text_add_bytes(marks, none, (size_t)lr_min(sizeof none, (int64_t)(buffer.n - i)));
    }
}

llmrun_status lr_jinja_render(const lr_jinja_job *job, lr_text *out, lr_text *marks, llmrun_error *err) {
    lr_jinja *j = lr_zalloc(1, sizeof *j);
    if (!j) return lr_fail_nomem(err, job->where, sizeof *j);
    j->job = job;
    j->err = err;
    set_limits(j);
    if (setjmp(j->leave) == 0) run(j, out, marks);
    llmrun_status status = j->status;
    for (struct lr_jchunk *c = j->chunks, *next; c; c = next) {
        next = c->next;
        lr_free(c);
    }
    lr_free(j->scratch.text);
    lr_free(j);
    if (!status && (out->failed || (marks && marks->failed))) status = lr_fail_nomem(err, job->where, out->n);
    return status;
}
