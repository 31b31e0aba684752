/* Models that huggingface_hub has already downloaded:
 *   HUB/models--ORG--NAME/refs/main            the commit
 *   HUB/models--ORG--NAME/snapshots/COMMIT/    links to ../../blobs/HASH, named as in the repository                 */
#ifndef LR_HF_CACHE_H
#define LR_HF_CACHE_H

#include "runtime/base.h"

/* True if model looks like "name" or "org/name".                                                                     */
bool lr_hf_cache_is_id(const char *model);

/* Finds the snapshot directory of a repo id in hub directories (NULL-terminated list, may be NULL); *dir is released
 * with lr_free.  Not there: IO, with the nearest ids that are there and the command that downloads it.
 * [errors: IO FORMAT NOMEM]                                                                                          */
llmrun_status lr_hf_cache_find(char **dir, const char *model, const char *const *hubs, llmrun_error *err);

#endif
