/* Converted weights on disk, so that a second start maps them instead of converting.  A file holds the plan's weights
 * block byte for byte (lr_plan.weights_bytes) and is used in place.  Nothing here is an error for the user: whatever goes
 * wrong, the weights are converted and at most one line is logged.                                                    */
#ifndef LR_CACHE_H
#define LR_CACHE_H

#include "quant/quant.h"

/* What a file of the cache belongs to.                                                                               */
typedef struct lr_cache_id {
    uint64_t header_hash;     /* lr_checkpoint.header_hash */
    const lr_format *planned; /* (n) planned format of each tensor in the weights block, in its order */
    size_t n;
    uint64_t weights_bytes;   /* of the block */
} lr_cache_id;

typedef struct lr_cache {
    const uint8_t *weights;   /* the weights block, read-only, page-aligned */
    uint64_t weights_bytes;
    void *map;                /* private */
    size_t map_bytes;
} lr_cache;

/* Maps the converted weights of id from directory dir; formats (n) gets the format that each tensor really has (f16 may
 * have become bf16, see upload.h).  False: not there, damaged, or of another user; *c is zeroed then.  A hit marks the
 * file as just used.                                                                                                  */
LR_MUST_CHECK bool lr_cache_open(lr_cache *c, const char *dir, const lr_cache_id *id, lr_format *formats);
void lr_cache_close(lr_cache *c); /* accepts a zeroed one */

/* Stores the weights block of id; formats as above.  Creates dir where needed; removes files that a dead process left
 * half-written; removes files used longest ago until all of the cache fits limit_bytes.  Files whose names are not the
 * cache's own are never touched.  The file appears whole or not at all, also if the machine stops.
 * Returns CANCELLED when the progress callback ("cache") says stop, else OK.
 * Cost: writes weights_bytes and waits until they are on disk.                                                        */
llmrun_status lr_cache_write(const char *dir, const lr_cache_id *id, const lr_format *formats, const void *weights,
                             uint64_t limit_bytes, const lr_report *report);

#endif
