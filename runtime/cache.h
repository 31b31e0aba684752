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

/* Writes a file of the cache piece by piece, in any order.  Creates dir where needed; removes files that a dead process
 * left half-written; removes files used longest ago until all of the cache fits limit_bytes.  Files whose names are not
 * the cache's own are never touched.  What goes wrong is remembered, and logged at the end.                          */
typedef struct lr_cache_writer {
    const lr_cache_id *id;
    const lr_report *report;
    const char *dir;
    int fd, dir_fd, error;
    uint64_t offset; /* of the weights in the file */
    char name[32], temporary[96];
} lr_cache_writer;
/* id and dir must live until the end.  Always followed by lr_cache_end.                                               */
void lr_cache_begin(lr_cache_writer *w, const char *dir, const lr_cache_id *id, uint64_t limit_bytes,
                    const lr_report *report);
void lr_cache_put(lr_cache_writer *w, uint64_t at, const void *bytes, uint64_t n); /* at: in the weights block */
/* Lets the file appear, whole or not at all, also if the machine stops; formats NULL: lets go of it.
 * Cost: waits until all of it is on disk.                                                                             */
void lr_cache_end(lr_cache_writer *w, const lr_format *formats);

/* Creates the directory and its parents, for this user alone; returns it open, or -1 with errno set.                   */
int lr_cache_open_dir(const char *dir);

#endif
