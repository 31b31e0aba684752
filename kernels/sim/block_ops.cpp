/* What the threads of a block do together: warp collectives, block barriers, cp.async.  See execution.h.  In a TSan
 * build this file is not instrumented: the edges between threads are stated here, barrier by barrier.                */
#include "kernels/sim/block.h"

#ifdef SIMGPU_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_write_range(void *p, unsigned long n);
#endif

namespace simgpu {

int lane_id() { return running_scheduler()->current->lane; }

/* ---- synchronization objects for TSan: two for each warp and block, used in turn ---- */

#ifdef SIMGPU_TSAN
static void *block_edge(const scheduler *s) {
    static char objects[1 << 20];
    return &objects[(s->block_serial * 2 + (s->barrier_generation & 1)) * 8 % sizeof objects];
}
static void *warp_edge(const scheduler *s, const warp *w) {
    static char objects[MAX_WARPS * 2 * 8];
    return &objects[((size_t)(w - s->warps) * 2 + (w->generation & 1)) * 8];
}
#define TSAN_EDGE(p) void *edge = p
#define TSAN_RELEASE_EDGE() __tsan_release(edge)
#define TSAN_ACQUIRE_EDGE() __tsan_acquire(edge)
#else
#define TSAN_EDGE(p)
#define TSAN_RELEASE_EDGE() (void)0
#define TSAN_ACQUIRE_EDGE() (void)0
#endif

/* ---- warp collectives ---- */

/* The lanes that a waiting collective needs are all waiting: do they agree on what it is?                            */
static bool agree(scheduler *s, const warp *w, const cuda_thread *a, unsigned lanes) {
    for (unsigned m = lanes; m; m &= m - 1) {
        const cuda_thread *b = w->threads + __builtin_ctz(m);
        if (b->op == a->op && b->mask == a->mask && b->line == a->line && b->what == a->what) continue;
        snprintf(s->failure, sizeof s->failure,
                 "divergent warp collective: lane %d in %s (mask %08x) at %s:%d, lane %d in %s (mask %08x) at %s:%d",
                 a->lane, a->what, a->mask, a->file, a->line, b->lane, b->what, b->mask, b->file, b->line);
        return false;
    }
    return true;
}

bool complete_collectives(scheduler *s, warp *w) {
    unsigned left = w->waiting;
    while (left) {
        const cuda_thread *t = w->threads + __builtin_ctz(left);
        unsigned lanes = t->mask & ~w->exited;
        left &= ~lanes;
        if ((w->waiting & lanes) != lanes) continue;
        if (!agree(s, w, t, lanes)) {
            leave_kernel(s);
            return false;
        }
        t->op(lanes, w->args);
        s->stats.collectives++;
        w->generation++;
        w->waiting &= ~lanes;
        w->ready |= lanes;
        for (unsigned m = lanes; m; m &= m - 1) w->threads[__builtin_ctz(m)].state = RUNNING;
    }
    return true;
}

void collective(unsigned mask, collective_fn op, void *arg, const char *what, bool orders_memory, const char *file,
                int line) {
    scheduler *s = running_scheduler();
    cuda_thread *t = s->current;
    warp *w = t->w;
    unsigned bit = 1u << t->lane;
    if (!(mask & bit))
        kernel_defect("%s at %s:%d: mask %08x does not name the calling lane %d", what, file, line, mask, t->lane);
    t->op = op;
    t->mask = mask;
    t->what = what;
    t->file = file;
    t->line = line;
    t->state = AT_WARP;
    w->args[t->lane] = arg;
    w->waiting |= bit;
    w->ready &= ~bit;
    TSAN_EDGE(warp_edge(s, w));
    if (orders_memory) TSAN_RELEASE_EDGE();
    if ((w->waiting & mask & ~w->exited) == (mask & ~w->exited)) complete_collectives(s, w);
    if (t->state != RUNNING) wait_in_warp(s);
    if (orders_memory) TSAN_ACQUIRE_EDGE();
}

void do_nothing(unsigned, void **) {}

void do_shuffle(unsigned mask, void **args) {
    for (unsigned m = mask; m; m &= m - 1) {
        exchange *e = (exchange *)args[__builtin_ctz(m)];
        bool takes_part = mask >> e->source & 1;
        e->out = takes_part ? ((exchange *)args[e->source])->in : ~(uint64_t)0; /* undefined in CUDA: NaN here */
    }
}

void do_ballot(unsigned mask, void **args) {
    unsigned ballots = 0;
    for (unsigned m = mask; m; m &= m - 1) {
        int lane = __builtin_ctz(m);
        ballots |= (unsigned)((exchange *)args[lane])->in << lane;
    }
    for (unsigned m = mask; m; m &= m - 1) ((exchange *)args[__builtin_ctz(m)])->out = ballots;
}

void do_match(unsigned mask, void **args) {
    for (unsigned m = mask; m; m &= m - 1) {
        exchange *e = (exchange *)args[__builtin_ctz(m)];
        e->out = 0;
        for (unsigned o = mask; o; o &= o - 1) {
            int lane = __builtin_ctz(o);
            if (((exchange *)args[lane])->in == e->in) e->out |= 1u << lane;
        }
    }
}

/* ---- block barrier ---- */

votes barrier(int predicate, const char *what, const char *file, int line) {
    scheduler *s = running_scheduler();
    cuda_thread *t = s->current;
    t->what = what;
    t->file = file;
    t->line = line;
    t->state = AT_BARRIER;
    t->w->ready &= ~(1u << t->lane);
    s->collecting.count += predicate != 0;
    s->collecting.all &= predicate != 0;
    s->collecting.any |= predicate != 0;
    s->n_arrived++;
    TSAN_EDGE(block_edge(s));
    TSAN_RELEASE_EDGE();
    wait_in_warp(s);
    TSAN_ACQUIRE_EDGE();
    return s->collected;
}

/* ---- cp.async: the copy is done at the wait, and its target poisoned until then ---- */

void copy_async(void *shared, const void *global, int bytes, int bytes_read, const char *file, int line) {
    scheduler *s = running_scheduler();
    async_copies *q = &s->copies[s->current->id];
    if (!shared_contains(&s->shared, shared))
        kernel_defect("cp.async at %s:%d: the destination is not in shared memory", file, line);
    if (((uintptr_t)shared | (bytes_read ? (uintptr_t)global : 0)) & (unsigned)(bytes - 1))
        kernel_defect("cp.async at %s:%d: misaligned address", file, line);
    if (q->n == MAX_COPIES)
        kernel_defect("cp.async at %s:%d: more than %d copies of one thread in flight", file, line, MAX_COPIES);
    q->copy[q->n++] = { shared, global, bytes, bytes_read, q->group };
#ifdef SIMGPU_TSAN
    __tsan_write_range(shared, (unsigned long)bytes); /* it may land any time from here on */
#endif
    fill_unseen((char *)shared, 0xff, (size_t)bytes);
}

static void finish_groups_before(async_copies *q, int group) {
    int kept = 0;
    for (int i = 0; i < q->n; i++) {
        auto &c = q->copy[i];
        if (c.group >= group) {
            q->copy[kept++] = c;
            continue;
        }
        memcpy(c.to, c.from, (size_t)c.bytes_read);
        memset((char *)c.to + c.bytes_read, 0, (size_t)(c.bytes - c.bytes_read));
    }
    q->n = kept;
}

void copy_commit() {
    scheduler *s = running_scheduler();
    s->copies[s->current->id].group++;
}

void copy_wait(int groups_left) {
    scheduler *s = running_scheduler();
    async_copies *q = &s->copies[s->current->id];
    finish_groups_before(q, q->group - groups_left);
}

void finish_copies(scheduler *s, cuda_thread *t) {
    finish_groups_before(&s->copies[t->id], s->copies[t->id].group + 1);
}

void check_matrix_row(const void *row, const char *file, int line) {
    if (!shared_contains(&running_scheduler()->shared, row))
        kernel_defect("ldmatrix at %s:%d: the row is not in shared memory", file, line);
    if ((uintptr_t)row & 15) kernel_defect("ldmatrix at %s:%d: the row is not aligned to 16 bytes", file, line);
}

void *shared_dynamic() { return running_scheduler()->shared.dynamic; }

} // namespace simgpu
