/* The machine as the command line reports it: processors, memory, its measured read rate.                             */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
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

typedef struct reader {
    const uint64_t *from;
    size_t n; /* words */
    uint64_t sum;
    pthread_t thread;
} reader;

static void *read_words(void *user) {
    typedef uint64_t lanes __attribute__((vector_size(64)));
    reader *r = user;
    lanes sum[4] = { 0 };
    const lanes *at = (const lanes *)r->from;
    for (size_t i = 0; i + 4 <= r->n / 8; i += 4)
        for (size_t j = 0; j < 4; j++) sum[j] ^= at[i + j];
    sum[0] ^= sum[1] ^ sum[2] ^ sum[3];
    for (int i = 0; i < 8; i++) r->sum ^= sum[0][i];
    return NULL;
}

double measure_read_rate(int n_threads) {
    enum { MOST_THREADS = 64, PASSES = 5 };
    const size_t size = (size_t)1 << 29; /* larger than any cache */
    reader readers[MOST_THREADS];
    double best = 0;
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
    size_t share = size / (size_t)n_threads / 64 * 64;
    char *buffer = aligned_alloc(1 << 21, size);
    if (!buffer) return 0;
    memset(buffer, 1, size);
    for (int pass = 0; pass < PASSES; pass++) {
        double start = seconds();
        int started = 0;
        for (int i = 0; i < n_threads; i++) {
            readers[i] = (reader){ .from = (const uint64_t *)(buffer + (size_t)i * share), .n = share / 8 };
            if (pthread_create(&readers[i].thread, NULL, read_words, &readers[i]) != 0) break;
            started++;
        }
        for (int i = 0; i < started; i++) pthread_join(readers[i].thread, NULL);
        double rate = (double)started * (double)share / (seconds() - start);
        if (rate > best) best = rate;
    }
    free(buffer);
    return best;
}
