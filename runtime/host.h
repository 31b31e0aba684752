/* Facts about this machine's memory.                                                                                  */
#ifndef LR_HOST_H
#define LR_HOST_H

#include "runtime/base.h"

/* Bytes that could be allocated now without swapping: MemAvailable, less where the cgroup's limit leaves less.
 * 0 where the system does not say.                                                                                    */
uint64_t lr_host_memory_available(void);

#endif
