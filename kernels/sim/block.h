/* Runs the blocks of a kernel one after another: threads as fibers, warps, barriers, shared memory.  All kernels run on
 * the OS thread that waits for them, under the lock of the API: deterministic, and atomics are plain memory.         */
#ifndef SIMGPU_BLOCK_H
#define SIMGPU_BLOCK_H

#include <string>

#include "kernels/sim/cuda_runtime.h"
#include "kernels/sim/fiber.h"

namespace simgpu {

enum { MAX_THREADS = 1024, MAX_WARPS = 32, MAX_VARIABLES = 64, MAX_COPIES = 128 };

enum thread_state : uint8_t { RUNNING, AT_WARP, AT_BARRIER, EXITED };

struct warp;
struct cuda_thread {
    warp *w;
    fiber *stack; /* NULL: not started */
    uint3 index;
    unsigned id; /* linear index in the block */
    uint8_t lane;
    thread_state state;
    collective_fn op; /* what it waits in */
    unsigned mask;
    const char *what, *file;
    int line;
};
struct warp {
    unsigned ready, waiting, exited; /* one bit for each lane */
    unsigned generation;             /* collectives done */
    void *args[32];
    cuda_thread *threads;
};

/* cp.async of one thread: copies are done at the wait, in groups.                                                    */
struct async_copies {
    int n, group;
    struct {
        void *to;
        const void *from;
        int bytes, bytes_read, group;
    } copy[MAX_COPIES];
};

/* The shared memory of the running block.                                                                            */
struct shared_memory {
    char *base;
    size_t used, most_used; /* most_used: what ASan has to poison again */
    char *dynamic;
    size_t static_bytes;
    int n_variables;
    struct {
        const void *key;
        char *p;
    } variable[MAX_VARIABLES];
};

struct random_source {
    uint64_t state;
    uint64_t next();
};

struct scheduler {
    fiber host, fibers[MAX_THREADS];
    int n_fibers, n_free;
    fiber *free_fibers[MAX_THREADS];
    cuda_thread *on_fiber[MAX_THREADS];
    cuda_thread threads[MAX_THREADS];
    warp warps[MAX_WARPS];
    unsigned n_threads, n_warps, n_alive, n_arrived;
    votes collecting, collected; /* of a block barrier */
    cuda_thread *current;        /* NULL on the host's stack */
    const launch *running;
    simgpu_order order;
    random_source random;
    shared_memory shared;
    async_copies copies[MAX_THREADS];
    uint64_t block_serial;
    unsigned barrier_generation;
    double watchdog_seconds; /* processor time of a kernel that never ends; 0: no limit */
    bool failed; /* the kernel is being abandoned because of: */
    char failure[512];
    simgpu_stats stats;
};

/* Makes the stacks for blocks of up to n_threads; false when out of memory.                                          */
bool scheduler_reserve(scheduler *s, int n_threads);
void scheduler_close(scheduler *s);
/* Runs all blocks.  False on a defect: *report then tells all about it.                                              */
bool scheduler_run(scheduler *s, const launch &l, std::string *report);

/* The scheduler whose kernel runs now.                                                                               */
scheduler *running_scheduler();

bool complete_collectives(scheduler *s, warp *w); /* runs those whose lanes are all there; block_ops.cpp */
void finish_copies(scheduler *s, cuda_thread *t); /* at the end of a thread */
void wait_in_warp(scheduler *s);                  /* gives way until the current thread is RUNNING again */
void leave_kernel(scheduler *s);                  /* from a fiber, for good */

/* shared.cpp */
bool shared_open(shared_memory *m, size_t dynamic_bytes); /* fresh for a block; false: out of memory */
void shared_close(shared_memory *m);                      /* at the end of a launch */
bool shared_contains(const shared_memory *m, const void *p);
/* Writes that no sanitizer should take for accesses of a thread: poison.                                             */
void fill_unseen(char *p, int value, size_t n);

} // namespace simgpu

#endif
