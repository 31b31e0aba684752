/* The machine as the command line reports it: memory, its measured read rate.                                         */
#include <pthread.h>
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

/* ---- read rate ---- */

typedef uint64_t lane __attribute__((vector_size(16)));

struct reader {
    const lane *from;
    size_t n; /* lanes */
    lane sum; /* so that no read is optimized away */
    pthread_t thread;
};

/* One sequential stream a thread: what prefetchers like best, and how decoding reads weights.                         */
static void *read_lanes(void *user) {
    struct reader *r = user;
    const lane *p = r->from;
    lane a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    for (size_t i = 0; i + 8 <= r->n; i += 8) {
        a ^= p[i] ^ p[i + 4];
        b ^= p[i + 1] ^ p[i + 5];
        c ^= p[i + 2] ^ p[i + 6];
        d ^= p[i + 3] ^ p[i + 7];
    }
    r->sum = a ^ b ^ c ^ d;
    return NULL;
}

bool read_meter_open(read_meter *m, int n_threads) {
    *m = (read_meter){ .n_threads = n_threads };
    m->buffer = aligned_alloc(1 << 21, READ_METER_BYTES);
    m->readers = calloc((size_t)n_threads, sizeof *m->readers);
    if (!m->buffer || !m->readers) {
        read_meter_close(m);
        return false;
    }
    madvise(m->buffer, READ_METER_BYTES, MADV_HUGEPAGE);
    memset(m->buffer, 1, READ_METER_BYTES);
    return true;
}

void read_meter_close(read_meter *m) {
    free(m->buffer);
    free(m->readers);
    *m = (read_meter){ 0 };
}

double read_meter_rate(read_meter *m) {
    enum { PASSES = 3 };
    double best = 0;
    if (!m->buffer) return 0;
    size_t share = READ_METER_BYTES / (size_t)m->n_threads / 256 * 256;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = seconds();
        int started = 0;
        for (int i = 0; i < m->n_threads; i++) {
            m->readers[i] = (struct reader){ .from = (const lane *)(m->buffer + (size_t)i * share), .n = share / sizeof(lane) };
            if (pthread_create(&m->readers[i].thread, NULL, read_lanes, &m->readers[i]) != 0) break;
            started++;
        }
        for (int i = 0; i < started; i++) pthread_join(m->readers[i].thread, NULL);
        double rate = (double)started * (double)share / (seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}
