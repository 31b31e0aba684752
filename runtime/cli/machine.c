/* The machine as the command line reports it: processors, memory, its measured read rate.                             */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "runtime/cli/cli.h"

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t machine_peak_rss(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

/* Processors of a cgroup v2 quota, rounded up; 0 if there is none.                                                    */
static int quota_threads(void) {
    long long quota = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f) return 0;
    int got = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    return got == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int machine_threads(void) {
    cpu_set_t set;
    int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = quota_threads();
    return quota && quota < allowed ? quota : allowed;
}

/* ---- read rate ---- */

typedef uint64_t lane __attribute__((vector_size(16)));

typedef struct reader {
    const lane *from;
    size_t n; /* lanes */
    lane sum; /* so that no read is optimized away */
    pthread_t thread;
} reader;

/* Four streams a thread: more misses are in flight than one stream's prefetch brings.                                 */
static void *read_lanes(void *user) {
    reader *r = user;
    size_t quarter = r->n / 4;
    const lane *p0 = r->from, *p1 = p0 + quarter, *p2 = p1 + quarter, *p3 = p2 + quarter;
    lane a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    for (size_t i = 0; i + 4 <= quarter; i += 4) {
        a ^= p0[i] ^ p0[i + 1] ^ p0[i + 2] ^ p0[i + 3];
        b ^= p1[i] ^ p1[i + 1] ^ p1[i + 2] ^ p1[i + 3];
        c ^= p2[i] ^ p2[i + 1] ^ p2[i + 2] ^ p2[i + 3];
        d ^= p3[i] ^ p3[i + 1] ^ p3[i + 2] ^ p3[i + 3];
    }
    r->sum = a ^ b ^ c ^ d;
    return NULL;
}

double measure_read_rate(int n_threads) {
    enum { MOST_THREADS = 64, PASSES = 5 };
    const size_t size = (size_t)1 << 29; /* larger than any cache */
    reader readers[MOST_THREADS];
    double best = 0;
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
    size_t share = size / (size_t)n_threads / 256 * 256;
    char *buffer = aligned_alloc(1 << 21, size);
    if (!buffer) return 0;
    madvise(buffer, size, MADV_HUGEPAGE);
    memset(buffer, 1, size);
    for (int pass = 0; pass < PASSES; pass++) {
        double start = seconds();
        int started = 0;
        for (int i = 0; i < n_threads; i++) {
            readers[i] = (reader){ .from = (const lane *)(buffer + (size_t)i * share), .n = share / sizeof(lane) };
            if (pthread_create(&readers[i].thread, NULL, read_lanes, &readers[i]) != 0) break;
            started++;
        }
        for (int i = 0; i < started; i++) pthread_join(readers[i].thread, NULL);
        double rate = (double)started * (double)share / (seconds() - start);
        if (rate > best) best = rate;
    }
    free(buffer);
    return best;
}
