/* Output that is there as a whole or not at all: a file, or a directory of files.  It grows under a temporary name beside
 * its place, ".NAME.llmrun.PID.tmp", reaches the disk, and is renamed.  What killed processes left is removed by the
 * next one that writes into the same directory.                                                                      */
#ifndef LR_OUTPUT_H
#define LR_OUTPUT_H

#include "runtime/base.h"

typedef struct lr_output {
    char *path;        /* for messages */
    char *name;        /* in the directory `parent` */
    char *temporary;   /* the same; there is one while `lock` is open */
    int parent;
    int lock;          /* of the temporary file or directory, held while it is worked on */
    int fd;            /* of the file being written, -1: none */
    bool directory, replaces, done;
} lr_output;

/* Files that a directory may hold and still be replaced: NULL-terminated.                                            */
extern const char *const lr_output_model_files[];

/* ARG: something else is at path (a directory for a file, a file or foreign directory for a directory).  IO: not
 * writable, or less than `bytes` free.  Closed by the caller in every case.                       [errors: ARG IO NOMEM] */
llmrun_status lr_output_open(lr_output *w, const char *path, bool directory, uint64_t bytes, llmrun_error *err);
/* Begins a file of a directory (name), or the file itself (NULL), and takes its space.                               */
llmrun_status lr_output_begin(lr_output *w, const char *name, uint64_t bytes, llmrun_error *err);
llmrun_status lr_output_write(lr_output *w, const void *bytes, uint64_t n, uint64_t at, llmrun_error *err);
llmrun_status lr_output_end(lr_output *w, llmrun_error *err); /* the file is on the disk */
llmrun_status lr_output_commit(lr_output *w, llmrun_error *err);
void lr_output_close(lr_output *w); /* not committed: nothing stays */

#endif
