/* Tokenizers: text -> ids -> text.  The public type is llmrun_tokenizer; its functions are in llmrun.h.               */
#ifndef LR_TOKENIZER_H
#define LR_TOKENIZER_H

#include "loaders/loader.h"

/* Opens from a tokenizer.json, a tokenizer.model or a .gguf.  config (may be NULL or empty): tokenizer_config.json of
 * the same model, for add_bos_token and friends.  eos (n_eos): ids that end a text, added to what the tokenizer's own
 * files name (<|im_end|>, <|eot_id|>, <|end|>, <end_of_turn>, <|endoftext|> ... by text).
 * [errors: IO FORMAT UNSUPPORTED NOMEM]                                                                               */
llmrun_status lr_tokenizer_open(llmrun_tokenizer **out, const char *path, const lr_config *config, const int32_t *eos,
                                int32_t n_eos, llmrun_error *err);
/* The tokenizer in a GGUF's metadata.  As above; where names the file.                                                */
llmrun_status lr_tokenizer_open_gguf(llmrun_tokenizer **out, const lr_gguf *g, const char *where, const int32_t *eos,
                                     int32_t n_eos, llmrun_error *err);
/* Heap bytes it holds, for the plan.                                                                                  */
size_t lr_tokenizer_bytes(const llmrun_tokenizer *t);
int32_t lr_tokenizer_bos(const llmrun_tokenizer *t); /* -1: adds none */

#endif
