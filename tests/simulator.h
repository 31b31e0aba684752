/* The controls of the simulated GPUs (kernels/sim/simgpu.h), found in the shared object that a backend came from.    */
#ifndef TESTS_SIMULATOR_H
#define TESTS_SIMULATOR_H

#include <dlfcn.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/sim/simgpu.h"

/* NULL: no such name.  Assign with memcpy: ISO C has no cast from an object to a function.                            */
static inline void *simulator_symbol(const lr_backend *b, const char *name) {
    Dl_info info;
    void *open, *library;
    memcpy(&open, &b->open, sizeof open);
    if (!dladdr(open, &info) || !(library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD))) return NULL;
    return dlsym(library, name);
}

#endif
