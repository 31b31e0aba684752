/* Fibers: one machine stack for each running CUDA thread, and the switch between them.  The sanitizers are told.     */
#ifndef SIMGPU_FIBER_H
#define SIMGPU_FIBER_H

#include <stddef.h>

namespace simgpu {

struct fiber {
    void *context;   /* saved stack pointer (or ucontext) while not running */
    char *low, *top; /* usable stack */
    char *map;       /* mapping: closed guard pages, then the stack; NULL for the host's own stack */
    void *sanitizer; /* TSan's fiber, or ASan's fake stack while switched out */
};

/* Maps the stack number index (they are offset against each other, so that hot frames do not share cache sets).
 * entry never returns.  False: out of memory.                                                                        */
bool fiber_create(fiber *f, int index, void (*entry)());
void fiber_reset(fiber *f, void (*entry)()); /* forgets what ran on it; it starts at entry again */
void fiber_destroy(fiber *f);

void fiber_adopt_host(fiber *f); /* f stands for the stack of the calling OS thread */
void fiber_started();            /* first statement of an entry function */
void fiber_switch(fiber *from, fiber *to);

} // namespace simgpu

#endif
