/* Thread pool: runs an op's items on all threads.  One run at a time; workers spin about 50 us, then sleep.           */
#ifndef LR_THREADS_H
#define LR_THREADS_H

#include "kernels/kernels.h"

typedef struct lr_threads lr_threads;

/* n 0: number of CPUs that affinity and cgroup quota allow.  The caller of lr_threads_run is one of the n.
 * [errors: NOMEM ARG]                                                                                                 */
llmrun_status lr_threads_open(lr_threads **out, int32_t n, llmrun_error *err);
void lr_threads_close(lr_threads *t);
int32_t lr_threads_count(const lr_threads *t);
int32_t lr_threads_default(void);
/* Memory for lr_kernel's scratch: thread i gets base + i * stride.                                                    */
void lr_threads_set_scratch(lr_threads *t, void *base, size_t stride);
/* Runs kernel over items [0, n) in ranges that are multiples of step (except the last), taken dynamically.  Returns
 * when all are done.  Results must not depend on which thread runs which range.                                      */
void lr_threads_run(lr_threads *t, lr_kernel kernel, const void *args, int64_t n, int64_t step);

#endif
