/* A rendered conversation and its ids.                                                                                 */
#ifndef LR_CHAT_H
#define LR_CHAT_H

#include "runtime/base.h"

typedef struct lr_chat_text {
    lr_text text, marks; /* marks: 1 for each byte that came from the conversation */
    const char *source;  /* (n_source) the template */
    size_t n_source;
    bool plain;          /* there is no template: the texts alone */
} lr_chat_text;

/* Ids of the text.  Tokens that the template writes are special; what came from the conversation is never a control token:
 * neither a special token of the vocabulary, nor an added one that stands in the template (blank ones apart).
 * plain: the vocabulary's begin and end are added.   ids (max): filled with the first max; *n_ids: all.
 * [errors: UNSUPPORTED NOMEM]                                                                                          */
llmrun_status lr_chat_ids(const llmrun_tokenizer *t, const lr_chat_text *text, int32_t *ids, size_t max, size_t *n_ids,
                          llmrun_error *err);

#endif
