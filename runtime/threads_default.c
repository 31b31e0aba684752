/* How many threads a machine really gives: CPUs of the affinity mask, cut by the CPU quota of the cgroups (v1, v2).  */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/threads.h"

static bool read_text(const char *path, char *buf, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* CPUs that the quota of the control group at dir allows; 0: no limit there.                                         */
static double quota_of(const char *dir) {
    char path[PATH_MAX + 32], text[64];
    long long quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (read_text(path, text, sizeof text)) { /* v2: "max 100000" or "200000 100000" */
        if (sscanf(text, "%lld %lld", &quota, &period) != 2) return 0;
    } else { /* v1: two files */
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
        if (read_text(path, text, sizeof text)) quota = atoll(text);
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        if (read_text(path, text, sizeof text)) period = atoll(text);
    }
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

/* Smallest quota from group `path` under `mount` up to the mount itself; 0: none.                                    */
static double least_quota(const char *mount, const char *path) {
    char dir[PATH_MAX];
    double least = 0;
    int n = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof dir) return 0;
    for (size_t root = strlen(mount);;) {
        double q = quota_of(dir);
        if (q > 0 && (least == 0 || q < least)) least = q;
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < root) return least;
        *slash = 0;
    }
}

/* True if the comma-separated list has the word.                                                                     */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == 0)) return true;
    return false;
}

static double cgroup_cpus(void) {
    char text[8192];
    double least = 0;
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return 0;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        controllers++;
        if (*controllers && !list_has(controllers, "cpu")) continue; /* v2 has an empty list */
        const char *mount = *controllers ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup";
        double q = least_quota(mount, strcmp(path, "/") ? path : "");
        if (q > 0 && (least == 0 || q < least)) least = q;
    }
    return least;
}

int32_t lr_threads_default(void) {
    cpu_set_t set;
    int32_t n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    else
        n = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = cgroup_cpus();
    if (quota > 0 && quota < n) n = (int32_t)quota; /* a part of a CPU more would be spent throttled */
    return (int32_t)lr_max(n, 1);
}
