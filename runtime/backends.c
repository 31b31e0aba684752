/* Loads GPU backends.  See backends.h.                                                                                */
#include "runtime/backends.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LLMRUN_LIBDIR
#define LLMRUN_LIBDIR "/usr/local/lib"
#endif

static const char *const names[] = {"cuda", "sim"};

static void *zeroed(size_t bytes) { return lr_zalloc(1, bytes); }
static const lr_backend_host host = {.alloc = zeroed, .free = lr_free, .fail = lr_fail};

/* The directory of the file that this code is in; false where the system does not say.                               */
static bool find_directory(char path[PATH_MAX]) {
    Dl_info info;
    struct link_map *map = NULL;
    if (!dladdr1(&host, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return false;
    /* The program itself has an empty name here, and what is in info is how it was called: not a path.                */
    if (map->l_name[0]) {
        if (!realpath(map->l_name, path)) return false;
    } else {
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
        if (n <= 0) return false;
        path[n] = 0;
    }
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

/* Opens the file where it is; NULL with `why` filled: what the loader said, or nothing where there is no such file.   */
static void *open_at(const char *directory, const char *name, char why[512]) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/libllmrun-%s.so", directory, name);
    if (n < 0 || (size_t)n >= sizeof path || access(path, F_OK) != 0) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) snprintf(why, 512, "%s", dlerror());
    return library;
}

/* Beside this code; in lib/ beside the bin/ that a moved installation has; where make install puts it.                */
static void *open_library(const char *name, char directory[PATH_MAX], char why[512]) {
    char beside[PATH_MAX + 8];
    void *library = NULL;
    why[0] = 0;
    if (find_directory(directory)) {
        library = open_at(directory, name, why);
        size_t n = strlen(directory);
        if (!library && !why[0] && n > 4 && strcmp(directory + n - 4, "/bin") == 0) {
            snprintf(beside, sizeof beside, "%.*s/lib", (int)(n - 4), directory);
            library = open_at(beside, name, why);
        }
    } else {
        snprintf(directory, PATH_MAX, "%s", LLMRUN_LIBDIR);
    }
    if (!library && !why[0]) library = open_at(LLMRUN_LIBDIR, name, why);
    return library;
}

llmrun_status lr_backend_load(const lr_backend **out, const char *name, const char *config, llmrun_error *err) {
    char directory[PATH_MAX], why[512];
    bool known = false;
    *out = NULL;
    for (size_t i = 0; i < LR_COUNT(names); i++) known |= strcmp(names[i], name) == 0;
    if (!known) return lr_fail(err, LLMRUN_ARG, "device: expected cuda or sim, got \"%.32s\"", name);
    void *library = open_library(name, directory, why);
    if (!library && why[0]) return lr_fail(err, LLMRUN_DEVICE, "%s: cannot be loaded: %s", name, why);
    if (!library)
        return lr_fail(err, LLMRUN_UNSUPPORTED,
                       "%s: libllmrun-%s.so is not beside the program in %s: this build is without it", name, name,
                       directory);
    lr_backend_open_function open_backend;
    void *symbol = dlsym(library, LR_BACKEND_OPEN);
    if (!symbol) return lr_fail(err, LLMRUN_DEVICE, "%s: libllmrun-%s.so has no %s", name, name, LR_BACKEND_OPEN);
    memcpy(&open_backend, &symbol, sizeof open_backend); /* ISO C has no cast from an object to a function */
    llmrun_error reason = {.status = LLMRUN_DEVICE};
    const lr_backend *backend = open_backend(LR_BACKEND_ABI, &host, config, &reason);
    if (!backend) return lr_fail(err, reason.status, "%s", reason.message);
    if (backend->abi != LR_BACKEND_ABI)
        return lr_fail(err, LLMRUN_DEVICE, "%s: libllmrun-%s.so is of another version: expected interface %d, got %u",
                       name, name, LR_BACKEND_ABI, backend->abi);
    *out = backend;
    return LLMRUN_OK;
}
