/* Weight files of a checkpoint in safetensors, and the small file-name helpers that finding them needs.                             */
#ifndef LR_WEIGHTS_H
#define LR_WEIGHTS_H

#include "loaders/loader.h"

/* Fill c->files, c->tensors (sorted by name) and c->header_hash from one safetensors file, or from the shards that an
 * index in c->dir names.  On failure c is as lr_checkpoint_close wants it.
 * [errors: IO FORMAT UNSUPPORTED NOMEM]                                                                              */
llmrun_status lr_weights_read_file(lr_checkpoint *c, const char *path, llmrun_error *err);
llmrun_status lr_weights_read_index(lr_checkpoint *c, const char *index_path, llmrun_error *err);

/* For each reader: continues c->header_hash with a file's header, size and time; sorts c->tensors, FORMAT on a name that
 * is there twice.                                                                                                    */
void lr_weights_hash(lr_checkpoint *c, const lr_map *m, uint64_t n_header);
llmrun_status lr_weights_sort(lr_checkpoint *c, llmrun_error *err);

/* Which kind of weights that are never read a file name stands for: "pickle", NULL if none.                          */
const char *lr_weights_foreign(const char *name);
/* UNSUPPORTED with the sentence for that kind.                                                                       */
llmrun_status lr_weights_refuse(const char *path, const char *kind, llmrun_error *err);
/* The same by content, for files whose name says nothing (blobs of the Hugging Face cache); else OK.                 */
llmrun_status lr_weights_refuse_bytes(const lr_map *m, llmrun_error *err);
bool lr_weights_are_gguf(const lr_map *m); /* by content */

#endif
