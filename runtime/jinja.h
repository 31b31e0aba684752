/* Chat templates: a subset of Jinja2, with the results of Hugging Face's apply_chat_template (trim_blocks and
 * lstrip_blocks on, plain tojson, immutable values).  A template is an untrusted program, so it has no call to anything
 * outside, and steps, memory, nesting and output are limited: it cannot hang or exhaust the process.                   */
#ifndef LR_JINJA_H
#define LR_JINJA_H

#include "runtime/base.h"

/* A variable of the template: a text, or a JSON document.  A later one replaces an earlier one.                        */
typedef struct lr_jinja_variable {
    const char *name; /* NULL: the document is an object, and each of its members a variable */
    const char *text;
    size_t n_bytes;
    bool json;
    bool content; /* comes from a conversation: its text is marked in the output */
} lr_jinja_variable;

typedef struct lr_jinja_job {
    const char *where; /* what messages call the template: "chat template" */
    const char *source;
    size_t n_source;
    const lr_jinja_variable *variables;
    size_t n_variables;
    int64_t unix_time; /* what strftime_now tells, in the local time zone */
    bool open_end;     /* the output ends where the content of the last message ends */
} lr_jinja_job;

/* Limits: a base, and more for long conversations, never for long templates.                                           */
enum {
    LR_JINJA_DEPTH = 200,          /* nested expressions, blocks, calls and values */
    LR_JINJA_STEPS = 1000000,      /* evaluations; long texts count more; plus 16 for each byte of content */
    LR_JINJA_OUTPUT = 4 << 20,     /* bytes; plus 4 for each byte of content */
    LR_JINJA_MEMORY = 32 << 20,    /* bytes; plus 64 for each byte of content */
    LR_JINJA_SOURCE = 1 << 20      /* bytes of a template */
};

/* Renders.  out gets the text (UTF-8); marks (may be NULL) one byte for each of its bytes: 1 where it comes from content,
 * 0 where the template wrote it.  The variable "messages" is read as apply_chat_template reads it: members that are null
 * are left out, reasoning goes by all its names; roles that are one plain word count as the template's own text.
 * ARG: the template's raise_exception, or open_end and the template does not show the last message; FORMAT: a syntax error, an operation on a wrong type, invalid JSON;
 * UNSUPPORTED: a construct that is not in the subset, named, or a limit.  Messages give the line of the template.
 * [errors: ARG FORMAT UNSUPPORTED NOMEM]                                                                               */
llmrun_status lr_jinja_render(const lr_jinja_job *job, lr_text *out, lr_text *marks, llmrun_error *err);

#endif
