/* The block scheduler: see block.h.  The lanes of one warp run until all of them wait, then the next warp; the host's
 * stack releases block barriers.  A thread that ends hands its stack to the next one, so that kernels without barriers
 * never switch.                                                                                                      */
#include "kernels/sim/block.h"
#include "kernels/sim/guard.h"

#include <numeric>
#include <stdarg.h>
#include <stdio.h>

#ifdef SIMGPU_TSAN
#include <sanitizer/tsan_interface.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace simgpu {

/* The fiber entry, the intrinsics and the signal handler have no argument: set while a kernel runs.                  */
static scheduler *active;
scheduler *running_scheduler() { return active; }

uint64_t random_source::next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* ---- switching ---- */

/* For TSan: the host sees all that a thread did before it ended, or was abandoned where it waits.                    */
#ifdef SIMGPU_TSAN
static char launch_edge, exit_edge;
#define TSAN_ACQUIRE(p) __tsan_acquire(p)
#define TSAN_RELEASE(p) __tsan_release(p)
#else
#define TSAN_ACQUIRE(p)
#define TSAN_RELEASE(p)
#endif

static cuda_thread *pick(scheduler *s, warp *w) {
    unsigned ready = w->ready;
    if (s->order == SIMGPU_FORWARD) return w->threads + __builtin_ctz(ready);
    if (s->order == SIMGPU_REVERSE) return w->threads + 31 - __builtin_clz(ready);
    for (unsigned skip = (unsigned)(s->random.next() % (unsigned)__builtin_popcount(ready)); skip; skip--)
        ready &= ready - 1;
    return w->threads + __builtin_ctz(ready);
}

static void give_stack(scheduler *s, cuda_thread *t, fiber *f) {
    t->stack = f;
    s->on_fiber[f - s->fibers] = t;
}

static void run_thread(scheduler *s, fiber *from, cuda_thread *t) {
    s->current = t;
    threadIdx = t->index;
    s->stats.switches++;
#ifdef SIMGPU_TSAN /* stacks rotate with the blocks: one TSan fiber must not order threads of different blocks */
    if (!t->stack) give_stack(s, t, &s->fibers[(t->id + s->block_serial * 37) % (unsigned)s->n_fibers]);
#else
    if (!t->stack) give_stack(s, t, s->free_fibers[--s->n_free]);
#endif
    fiber_switch(from, t->stack);
}

static void back_to_host(scheduler *s, fiber *from) {
    s->stats.switches++;
    fiber_switch(from, &s->host);
}

void wait_in_warp(scheduler *s) {
    TSAN_RELEASE(&exit_edge);
    cuda_thread *t = s->current;
    if (!t->w->ready) {
        back_to_host(s, t->stack);
        return;
    }
    cuda_thread *next = pick(s, t->w);
    if (next != t) run_thread(s, t->stack, next);
}

void leave_kernel(scheduler *s) {
    s->failed = true;
    TSAN_RELEASE(&exit_edge);
    back_to_host(s, s->current->stack);
}

void kernel_defect(const char *format, ...) {
    scheduler *s = active;
    va_list ap;
    va_start(ap, format);
    vsnprintf(s->failure, sizeof s->failure, format, ap);
    va_end(ap);
    leave_kernel(s);
    __builtin_unreachable();
}

static void fiber_main() {
    scheduler *s = active;
    fiber_started();
    for (;;) {
        cuda_thread *t = s->current;
        TSAN_ACQUIRE(&launch_edge);
        s->running->body();
        TSAN_RELEASE(&exit_edge);
        warp *w = t->w;
        finish_copies(s, t);
        t->state = EXITED;
        w->exited |= 1u << t->lane;
        w->ready &= ~(1u << t->lane);
        s->n_alive--;
        if (w->waiting) complete_collectives(s, w);
        fiber *mine = t->stack;
        cuda_thread *next = w->ready ? pick(s, w) : nullptr;
#ifndef SIMGPU_TSAN
        if (next && !next->stack) {
            give_stack(s, next, mine);
            s->current = next;
            threadIdx = next->index;
            continue;
        }
        s->free_fibers[s->n_free++] = mine;
#endif
        if (next)
            run_thread(s, mine, next);
        else
            back_to_host(s, mine);
    }
}

/* ---- one block ---- */

static void set_up_block(scheduler *s) {
    uint3 index = { 0, 0, 0 };
    s->n_threads = s->n_alive = blockDim.x * blockDim.y * blockDim.z;
    s->n_warps = (s->n_threads + 31) / 32;
    s->n_arrived = s->barrier_generation = 0;
    s->collecting = { 0, 1, 0 };
    s->n_free = 0;
    for (int i = s->n_fibers - 1; i >= 0; i--) s->free_fibers[s->n_free++] = &s->fibers[i];
    for (unsigned i = 0; i < s->n_threads; i++) {
        s->threads[i] = {};
        s->threads[i].w = &s->warps[i / 32];
        s->threads[i].index = index;
        s->threads[i].id = i;
        s->threads[i].lane = i % 32;
        s->copies[i].n = s->copies[i].group = 0;
        if (++index.x < blockDim.x) continue;
        index.x = 0;
        if (++index.y < blockDim.y) continue;
        index.y = 0;
        index.z++;
    }
    for (unsigned i = 0; i < s->n_warps; i++) {
        unsigned lanes = s->n_threads - 32 * i;
        s->warps[i] = {};
        s->warps[i].ready = lanes >= 32 ? ~0u : (1u << lanes) - 1;
        s->warps[i].exited = ~s->warps[i].ready;
        s->warps[i].threads = s->threads + 32 * i;
    }
}

/* All threads that have not exited are at a barrier: is it the same one?                                             */
static bool release_barrier(scheduler *s) {
    const cuda_thread *first = nullptr;
    for (unsigned i = 0; i < s->n_threads; i++) {
        cuda_thread *t = &s->threads[i];
        if (t->state != AT_BARRIER) continue;
        if (!first) first = t;
        if (t->line != first->line || t->what != first->what) {
            snprintf(s->failure, sizeof s->failure, "divergent barrier: thread %u at %s:%d, thread %u at %s:%d",
                     first->id, first->file, first->line, t->id, t->file, t->line);
            return false;
        }
        t->state = RUNNING;
        t->w->ready |= 1u << t->lane;
    }
    s->collected = s->collecting;
    s->collecting = { 0, 1, 0 };
    s->n_arrived = 0;
    s->barrier_generation++;
    s->stats.barriers++;
    return true;
}

static bool run_block(scheduler *s) {
    unsigned turn[MAX_WARPS];
    set_up_block(s);
    if (!shared_open(&s->shared, s->running->shared_bytes)) {
        snprintf(s->failure, sizeof s->failure, "out of host memory for shared memory");
        return false;
    }
    for (unsigned i = 0; i < s->n_warps; i++) turn[i] = s->order == SIMGPU_REVERSE ? s->n_warps - 1 - i : i;
    while (s->n_alive) {
        bool progress = false;
        if (s->order == SIMGPU_RANDOM)
            for (unsigned i = s->n_warps - 1; i > 0; i--) std::swap(turn[i], turn[s->random.next() % (i + 1)]);
        for (unsigned i = 0; i < s->n_warps; i++) {
            warp *w = &s->warps[turn[i]];
            if (!w->ready) continue;
            progress = true;
            run_thread(s, &s->host, pick(s, w));
            if (s->failed) return false;
            s->current = nullptr;
        }
        if (s->n_alive && s->n_arrived == s->n_alive) {
            if (!release_barrier(s)) return false;
        } else if (!progress) {
            snprintf(s->failure, sizeof s->failure, "deadlock: a barrier or a warp collective can never complete");
            return false;
        }
    }
    s->stats.threads += s->n_threads;
    s->stats.blocks++;
    s->block_serial++;
    return true;
}

/* ---- reports ---- */

static void add(std::string *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(std::string *text, const char *format, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    *text += line;
}

static void describe(const scheduler *s, std::string *text) {
    unsigned exited = 0;
    add(text, "simgpu: %s\n  kernel launch: %s\n", s->failure, s->running->site);
    add(text, "  block (%u,%u,%u) of grid (%u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y,
        gridDim.z);
    if (s->current) add(text, ", thread (%u,%u,%u)", s->current->index.x, s->current->index.y, s->current->index.z);
    *text += "\n";
    for (unsigned i = 0; i < s->n_threads; i++) { /* one line for each place where threads wait */
        const cuda_thread *t = &s->threads[i];
        unsigned same = 0, before = 0;
        exited += t->state == EXITED;
        if (t->state != AT_WARP && t->state != AT_BARRIER) continue;
        for (unsigned j = 0; j < s->n_threads; j++) {
            const cuda_thread *o = &s->threads[j];
            if (o->state != t->state || o->line != t->line || o->what != t->what) continue;
            same++;
            before += j < i;
        }
        if (!before)
            add(text, "  %u threads wait in %s at %s:%d, thread %u first\n", same, t->what, t->file, t->line, t->id);
    }
    add(text, "  %u of %u threads have exited\n", exited, s->n_threads);
}

/* ---- a kernel ---- */

bool scheduler_reserve(scheduler *s, int n_threads) {
#ifdef SIMGPU_TSAN
    n_threads = n_threads < MAX_THREADS / 2 ? 2 * n_threads : MAX_THREADS; /* room to rotate */
#endif
    while (s->n_fibers < n_threads) {
        if (!fiber_create(&s->fibers[s->n_fibers], s->n_fibers, fiber_main)) return false;
        s->n_fibers++;
    }
    return true;
}

void scheduler_close(scheduler *s) {
    for (int i = 0; i < s->n_fibers; i++) fiber_destroy(&s->fibers[i]);
    s->n_fibers = 0;
    shared_close(&s->shared);
}

bool scheduler_run(scheduler *s, const launch &l, std::string *report) {
    bool ok = true;
    uint64_t n_blocks = (uint64_t)l.grid.x * l.grid.y * l.grid.z, start = 0, step = 1;
    signal_guard guard(s->watchdog_seconds);
    active = s;
    s->running = &l;
    s->failed = false;
    s->current = nullptr;
    gridDim = l.grid;
    blockDim = l.block;
    s->stats.launches++;
    if (!scheduler_reserve(s, (int)(blockDim.x * blockDim.y * blockDim.z))) {
        *report = "simgpu: out of host memory for the stacks of threads\n";
        active = nullptr;
        return false;
    }
    fiber_adopt_host(&s->host);
    if (s->order == SIMGPU_RANDOM && n_blocks > 2) { /* a permutation: start + i * step, step prime to n_blocks */
        start = s->random.next() % n_blocks;
        do step = 1 + s->random.next() % n_blocks;
        while (std::gcd(step, n_blocks) != 1);
    }
    TSAN_RELEASE(&launch_edge);
    for (uint64_t i = 0; i < n_blocks && ok; i++) {
        uint64_t b = s->order == SIMGPU_REVERSE ? n_blocks - 1 - i : (start + i * step) % n_blocks;
        blockIdx = { (unsigned)(b % l.grid.x), (unsigned)(b / l.grid.x % l.grid.y),
                     (unsigned)(b / ((uint64_t)l.grid.x * l.grid.y)) };
        ok = run_block(s);
    }
    TSAN_ACQUIRE(&exit_edge);
    if (!ok) {
        describe(s, report);
        for (int i = 0; i < s->n_fibers; i++) fiber_reset(&s->fibers[i], fiber_main);
    }
    shared_close(&s->shared);
    s->running = nullptr;
    s->current = nullptr;
    active = nullptr;
    return ok;
}

} // namespace simgpu
