/* File names.                                                                                                        */
#ifndef LR_PATH_H
#define LR_PATH_H

#include "runtime/base.h"

/* A broken link exists too: opening it then says what is wrong.                                                      */
bool lr_path_exists(const char *path);
bool lr_path_ends_with(const char *path, const char *end); /* upper and lower case alike */
const char *lr_path_base(const char *path);                /* what follows the last slash */
char *lr_path_join(const char *dir, const char *name, llmrun_error *err); /* from lr_alloc; NULL: *err is filled */
/* The tokenizer's file in a directory: tokenizer.json, else tokenizer.model, else spiece.model; *out NULL: none.     */
llmrun_status lr_path_tokenizer(char **out, const char *dir, llmrun_error *err);
/* A .gguf that a model can be read from: not a later part of a split one, and no projector of images.                */
bool lr_path_is_gguf_model(const char *name);
/* The one .gguf model in a directory; *out NULL: none, or several.                                                   */
llmrun_status lr_path_gguf(char **out, const char *dir, llmrun_error *err);

#endif
