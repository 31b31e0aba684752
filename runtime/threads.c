/* Thread pool.  A run opens a gate; workers that see it open enter, take ranges of items and leave.  The caller works
 * too, closes the gate when no range is left, and waits only for workers that are inside: a worker that the system has
 * put aside never holds a run up.  Waiting spins about 50 us, then sleeps.
 *
 * Each thread has its share of the items and takes it from front to back, so that it reads memory as one stream, in
 * ranges that get shorter; then it helps the others with theirs.                                                     */
#include "runtime/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define SPIN_SECONDS 50e-6
#define OPEN ((uint64_t)1 << 32)  /* the gate: run number above, this bit, workers inside below */
#define INSIDE (OPEN - 1)
#define NEXT_RUN (OPEN << 1)
#define LEAST_PART 16             /* no range is shorter than this part of a share, if a step is not longer */

typedef struct worker {
    lr_threads *pool;
    pthread_t id;
    int32_t index;
} worker;

/* Items [next, end) of a thread's share are not taken.                                                               */
typedef struct share {
    _Alignas(LR_ALIGN) atomic_int_fast64_t next;
    int64_t end;
} share;

struct lr_threads {
    int32_t n;                    /* threads, the caller of run among them */
    int32_t n_started;
    worker *workers;              /* (n - 1) */
    share *shares;                /* (n) */
    uint8_t *scratch;
    size_t scratch_stride;

    /* the run: written by the caller while the gate is closed and nobody is inside */
    lr_kernel kernel;
    const void *args;
    int64_t step, least;          /* ranges are multiples of step, and at least `least`, except where a share ends */

    _Alignas(LR_ALIGN) atomic_uint_fast64_t gate;
    _Alignas(LR_ALIGN) atomic_int n_asleep;      /* workers that wait for a run */
    atomic_bool caller_asleep, stop;
    pthread_mutex_t lock;
    pthread_cond_t opened, emptied;
};

static inline void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Runs the items of a share, half of what is left at a time.                                                         */
static void work_on(lr_threads *t, share *s, void *scratch) {
    int64_t i = atomic_load(&s->next);
    while (i < s->end) {
        const int64_t range = lr_max((s->end - i) / 2 / t->step * t->step, t->least), end = lr_min(i + range, s->end);
        if (!atomic_compare_exchange_weak(&s->next, &i, end)) continue;
        t->kernel(t->args, i, end, scratch);
        i = atomic_load(&s->next);
    }
}

static void work(lr_threads *t, int32_t index) {
    void *scratch = t->scratch ? t->scratch + (size_t)index * t->scratch_stride : NULL;
    for (int32_t k = 0; k < t->n; k++) work_on(t, &t->shares[(index + k) % t->n], scratch);
}

/* True once something newer than run `seen` has happened: a run opened, or the pool stops.                           */
static bool is_called(lr_threads *t, uint64_t seen) {
    return atomic_load(&t->gate) / NEXT_RUN != seen || atomic_load(&t->stop);
}

static void wait_for_call(lr_threads *t, uint64_t seen) {
    for (double end = lr_seconds() + SPIN_SECONDS; lr_seconds() < end;)
        for (int i = 0; i < 64; i++) {
            if (is_called(t, seen)) return;
            pause_cpu();
        }
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->n_asleep, 1); /* before the last look at the gate; the caller looks in the other order */
    while (!is_called(t, seen)) pthread_cond_wait(&t->opened, &t->lock);
    atomic_fetch_sub(&t->n_asleep, 1);
    pthread_mutex_unlock(&t->lock);
}

/* Enters the gate if it is open.                                                                                     */
static bool enter(lr_threads *t, uint64_t *seen) {
    uint64_t gate = atomic_load(&t->gate);
    while (gate & OPEN)
        if (atomic_compare_exchange_weak(&t->gate, &gate, gate + 1)) break;
    *seen = gate / NEXT_RUN;
    return gate & OPEN;
}

static void leave(lr_threads *t) {
    uint64_t gate = atomic_fetch_sub(&t->gate, 1) - 1;
    if (gate & INSIDE || gate & OPEN || !atomic_load(&t->caller_asleep)) return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_signal(&t->emptied);
    pthread_mutex_unlock(&t->lock);
}

static void *worker_main(void *arg) {
    worker *w = arg;
    lr_threads *t = w->pool;
    uint64_t seen = 0;
    while (!atomic_load(&t->stop)) {
        wait_for_call(t, seen);
        if (!enter(t, &seen)) continue;
        work(t, w->index);
        leave(t);
    }
    return NULL;
}

static bool is_empty(lr_threads *t) { return (atomic_load(&t->gate) & INSIDE) == 0; }

static void wait_until_empty(lr_threads *t) {
    for (double end = lr_seconds() + SPIN_SECONDS; lr_seconds() < end;)
        for (int i = 0; i < 64; i++) {
            if (is_empty(t)) return;
            pause_cpu();
        }
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_asleep, true);
    while (!is_empty(t)) pthread_cond_wait(&t->emptied, &t->lock);
    atomic_store(&t->caller_asleep, false);
    pthread_mutex_unlock(&t->lock);
}

void lr_threads_run(lr_threads *t, lr_kernel kernel, const void *args, int64_t n, int64_t step) {
    if (n <= 0) return;
    if (step < 1) step = 1;
    if (t->n == 1 || n <= step) {
        kernel(args, 0, n, t->scratch);
        return;
    }
    const int64_t steps = (n + step - 1) / step;
    t->kernel = kernel;
    t->args = args;
    t->step = step;
    t->least = lr_max(steps / t->n / LEAST_PART, 1) * step;
    for (int32_t i = 0; i < t->n; i++) {
        atomic_store(&t->shares[i].next, steps * i / t->n * step);
        t->shares[i].end = lr_min(steps * (i + 1) / t->n * step, n);
    }
    atomic_fetch_add(&t->gate, NEXT_RUN | OPEN);
    if (atomic_load(&t->n_asleep) > 0) {
        pthread_mutex_lock(&t->lock);
        pthread_cond_broadcast(&t->opened);
        pthread_mutex_unlock(&t->lock);
    }
    work(t, 0);
    atomic_fetch_and(&t->gate, ~OPEN);
    wait_until_empty(t);
}

int32_t lr_threads_count(const lr_threads *t) { return t->n; }

void lr_threads_set_scratch(lr_threads *t, void *base, size_t stride) {
    t->scratch = base;
    t->scratch_stride = stride;
}

void lr_threads_close(lr_threads *t) {
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->stop, true);
    pthread_cond_broadcast(&t->opened);
    pthread_mutex_unlock(&t->lock);
    for (int32_t i = 0; i < t->n_started; i++) pthread_join(t->workers[i].id, NULL);
    pthread_cond_destroy(&t->emptied);
    pthread_cond_destroy(&t->opened);
    pthread_mutex_destroy(&t->lock);
    lr_free(t->workers);
    lr_free_aligned(t->shares);
    lr_free_aligned(t);
}

llmrun_status lr_threads_open(lr_threads **out, int32_t n, llmrun_error *err) {
    *out = NULL;
    if (n < 0) return lr_fail(err, LLMRUN_ARG, "threads: expected 0 (automatic) or more, got %d", n);
    if (n == 0) n = lr_threads_default();
    lr_threads *t = lr_alloc_aligned(sizeof *t);
    if (!t) return lr_fail_nomem(err, "thread pool", sizeof *t);
    memset(t, 0, sizeof *t);
    t->n = n;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->opened, NULL);
    pthread_cond_init(&t->emptied, NULL);
    t->workers = lr_zalloc((size_t)n, sizeof *t->workers);
    t->shares = lr_alloc_aligned((size_t)n * sizeof *t->shares);
    if (!t->workers || !t->shares) {
        lr_threads_close(t);
        return lr_fail_nomem(err, "thread pool", (size_t)n * sizeof *t->workers);
    }
    sigset_t all, old; /* signals are the program's business: workers take none */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int failed = 0;
    for (int32_t i = 0; i < n - 1 && !failed; i++) {
        t->workers[i] = (worker){.pool = t, .index = i + 1};
        failed = pthread_create(&t->workers[i].id, NULL, worker_main, &t->workers[i]);
        if (!failed) t->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        llmrun_status status =
            lr_fail(err, LLMRUN_NOMEM, "thread pool: the system started %d of %d threads (%s); ask for fewer",
                    t->n_started + 1, n, strerror(failed));
        lr_threads_close(t);
        return status;
    }
    *out = t;
    return LLMRUN_OK;
}
