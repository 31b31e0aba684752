/* Reads /proc/meminfo and the cgroup's memory limit (v2, then v1).                                                    */
#include "runtime/host.h"

#include <stdio.h>
#include <string.h>

/* First number of a one-number file; false where absent or "max".                                                     */
static bool read_number(const char *path, uint64_t *out) {
    FILE *f = fopen(path, "re");
    unsigned long long value;
    bool ok = f && fscanf(f, "%llu", &value) == 1;
    if (f) fclose(f);
    if (ok) *out = value;
    return ok;
}

/* The page cache counts as used in the cgroup but can be dropped: inactive file pages are available.                  */
static uint64_t inactive_file(const char *path, const char *key) {
    FILE *f = fopen(path, "re");
    char name[64];
    unsigned long long value, found = 0;
    while (f && fscanf(f, "%63s %llu", name, &value) == 2)
        if (strcmp(name, key) == 0) found = value;
    if (f) fclose(f);
    return found;
}

static uint64_t cgroup_available(void) {
    static const struct {
        const char *limit, *used, *stat, *key;
    } versions[] = { { "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat",
                       "inactive_file" },
                     { "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                       "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file" } };
    for (size_t i = 0; i < LR_COUNT(versions); i++) {
        uint64_t limit, used;
        if (!read_number(versions[i].limit, &limit) || !read_number(versions[i].used, &used)) continue;
        uint64_t cache = inactive_file(versions[i].stat, versions[i].key);
        used -= cache < used ? cache : used;
        return limit > used ? limit - used : 0;
    }
    return UINT64_MAX;
}

uint64_t lr_host_memory_available(void) {
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
    if (f) fclose(f);
    uint64_t available = kib * 1024, cgroup = cgroup_available();
    return cgroup < available ? cgroup : available;
}
