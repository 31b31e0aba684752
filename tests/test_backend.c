/* A GPU backend through its interface, on simulated GPUs: loading, set-up, memory limits, copies, events and overlap on
 * the virtual clock, graphs, and every kind of call failing once.  The ops themselves are checkkernels' matter.       */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "runtime/backends.h"
#include "tests/simulator.h"

static llmrun_error err;
#define EXPECT_OK(call)                                                                                               \
    do {                                                                                                              \
        if ((call) != LLMRUN_OK) fail_msg("%s: %s", #call, err.message);                                              \
    } while (0)

static struct {
    simgpu_stats (*stat)(void);
    void (*inject)(simgpu_fault kind, int nth, int error);
    void (*schedule)(simgpu_order order, uint64_t seed);
    void (*allow_peers)(int allowed);
} sim;

/* New simulated GPUs: another text first, for the same text keeps those that are there.                               */
static const lr_backend *load(const char *config) {
    const lr_backend *b;
    EXPECT_OK(lr_backend_load(&b, "sim", "1K", &err));
    EXPECT_OK(lr_backend_load(&b, "sim", config, &err));
    const struct {
        const char *name;
        void *function;
    } controls[] = {{"simgpu_stat", &sim.stat},
                    {"simgpu_fail", &sim.inject},
                    {"simgpu_schedule", &sim.schedule},
                    {"simgpu_allow_peers", &sim.allow_peers}};
    for (size_t i = 0; i < LR_COUNT(controls); i++) {
        void *symbol = simulator_symbol(b, controls[i].name);
        assert_non_null(symbol);
        memcpy(controls[i].function, &symbol, sizeof symbol);
    }
    return b;
}

static void expect_nothing_left(void) {
    simgpu_stats s = sim.stat();
    assert_int_equal(s.live_allocations + s.live_pinned + s.live_streams + s.live_events + s.live_graphs, 0);
}

static void expect_error(llmrun_status got, llmrun_status want, const char *words) {
    assert_int_equal(got, want);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

/* ---- loading ---- */

static void loading_says_what_is_wrong(void **state) {
    (void)state;
    const lr_backend *b = (const lr_backend *)1;
    expect_error(lr_backend_load(&b, "opencl", NULL, &err), LLMRUN_ARG, "expected cuda or sim, got \"opencl\"");
    assert_null(b);
    static const char *const bad[] = {"", "x", "2x", "0x1M", "17x1M", "1M,", "1M,,1M", ",1M", "1T", "M", "-1M", "1M:",
                                      "1M:a", "1M:1:2:3:4", "1M 1M", "1e3M", "0x10M:", "0M", "4096G", "9x1M,9x1M",
                                      "1M;", "99999999999999999999x1M", "1.5.2M"};
    for (size_t i = 0; i < LR_COUNT(bad); i++) {
        expect_error(lr_backend_load(&b, "sim", bad[i], &err), LLMRUN_ARG, "sim: expected simulated GPUs as");
        assert_non_null(strstr(err.message, bad[i]));
    }
    expect_error(lr_backend_load(&b, "sim", NULL, &err), LLMRUN_ARG, "2x512M");
    assert_int_equal(lr_backend_load(&b, "sim", "bad", NULL), LLMRUN_ARG);
}

/* Without a driver, or without the file: one line.  Where there is a GPU this says nothing.                           */
static void a_machine_without_cuda_is_told_so(void **state) {
    (void)state;
    const lr_backend *b;
    llmrun_status status = lr_backend_load(&b, "cuda", NULL, &err);
    if (status == LLMRUN_OK) skip();
    assert_true(status == LLMRUN_DEVICE || status == LLMRUN_UNSUPPORTED);
    assert_memory_equal(err.message, "cuda: ", 6);
    assert_null(strchr(err.message, '\n'));
}

static void devices_are_as_stated(void **state) {
    (void)state;
    const lr_backend *b = load("2x1.5K,1G:900:80:25,512m:450.5");
    lr_device_info info;
    lr_device *d;
    assert_string_equal(b->name, "sim");
    assert_int_equal(b->abi, LR_BACKEND_ABI);
    assert_int_equal(b->count(), 4);
    EXPECT_OK(b->info(1, &info, &err));
    assert_int_equal(info.total_bytes, 1536);
    assert_int_equal(info.free_bytes, 1536);
    assert_int_equal(info.granule_bytes, 256);
    assert_int_equal(info.overhead_bytes, 0);
    assert_true(info.read_bytes_per_s == 0 && info.flops_per_s == 0 && info.link_bytes_per_s == 0);
    EXPECT_OK(b->info(2, &info, &err));
    assert_int_equal(info.total_bytes, 1 << 30);
    assert_true(info.read_bytes_per_s == 900e9 && info.flops_per_s == 80e12 && info.link_bytes_per_s == 25e9);
    EXPECT_OK(b->info(3, &info, &err));
    assert_int_equal(info.total_bytes, 512 << 20);
    assert_true(info.read_bytes_per_s == 450.5e9 && info.flops_per_s == 0);
    expect_error(b->info(4, &info, &err), LLMRUN_DEVICE, "sim:4: properties: invalid device ordinal");
    expect_error(b->open(&d, 4, &err), LLMRUN_ARG, "there are 4 devices");
    expect_error(b->open(&d, -1, &err), LLMRUN_ARG, "there are 4 devices");
    assert_null(d);
    b->close(NULL);
    EXPECT_OK(b->open(&d, 2, &err));
    memset(&info, 0, sizeof info);
    EXPECT_OK(b->measure(d, &info, &err));
    assert_true(info.read_bytes_per_s == 900e9 && info.flops_per_s == 80e12 && info.link_bytes_per_s == 25e9);
    const lr_backend *again;
    EXPECT_OK(lr_backend_load(&again, "sim", "2x1.5K,1G:900:80:25,512m:450.5", &err));
    assert_ptr_equal(again, b);
    expect_error(lr_backend_load(&again, "sim", "1M", &err), LLMRUN_ARG, "1 devices of");
    b->close(d);
    EXPECT_OK(lr_backend_load(&again, "sim", "1M", &err));
    expect_nothing_left();
}

/* ---- memory ---- */

static void memory_is_a_hard_limit(void **state) {
    (void)state;
    const lr_backend *b = load("1M");
    lr_device *d, *other;
    lr_device_info info;
    void *base, *more;
    EXPECT_OK(b->open(&d, 0, &err));
    assert_int_equal(b->used_bytes(d), 0);
    expect_error(b->arena_open(d, (1 << 20) + 1, &base, &err), LLMRUN_VRAM,
                 "sim:0: arena: needs 1048577 bytes of device memory, 1048576 of 1048576 are free");
    assert_null(base);
    expect_error(b->arena_open(d, UINT64_MAX, &base, &err), LLMRUN_VRAM, "needs 18446744073709551615 bytes");
    expect_error(b->arena_open(d, 0, &base, &err), LLMRUN_INTERNAL, "arena");
    EXPECT_OK(b->arena_open(d, 1000000, &base, &err));
    assert_int_equal(b->used_bytes(d), 1000192); /* whole granules */
    EXPECT_OK(b->info(0, &info, &err));
    assert_int_equal(info.free_bytes, 1048576 - 1000192);
    expect_error(b->arena_open(d, 256, &more, &err), LLMRUN_INTERNAL, "once");
    EXPECT_OK(b->open(&other, 0, &err)); /* a second user of the device */
    expect_error(b->arena_open(other, 65536, &more, &err), LLMRUN_VRAM, "48384 of 1048576 are free");
    EXPECT_OK(b->arena_open(other, 48384, &more, &err));
    b->close(other); /* with its arena */
    b->arena_close(d);
    b->arena_close(d);
    assert_int_equal(b->used_bytes(d), 0);
    EXPECT_OK(b->arena_open(d, 1 << 20, &base, &err));
    assert_int_equal(b->used_bytes(d), 1 << 20);
    b->close(d);
    expect_nothing_left();
}

typedef struct bench {
    const lr_backend *b;
    lr_device *d;
    float *arena, *pinned;
} bench;

static void open_bench(bench *t, const lr_backend *b, int index, size_t n) {
    void *arena, *pinned;
    t->b = b;
    EXPECT_OK(b->open(&t->d, index, &err));
    EXPECT_OK(b->arena_open(t->d, n * sizeof(float), &arena, &err));
    EXPECT_OK(b->pinned_open(t->d, n * sizeof(float), &pinned, &err));
    t->arena = arena;
    t->pinned = pinned;
    for (size_t i = 0; i < n; i++) t->pinned[i] = (float)i;
}
static void close_bench(bench *t) {
    t->b->pinned_close(t->d, t->pinned);
    t->b->close(t->d);
}

static void copies_keep_their_pitches(void **state) {
    (void)state;
    bench t;
    open_bench(&t, load("1M"), 0, 1000);
    const lr_backend *b = t.b;
    for (int order = 0; order < 3; order++) {
        sim.schedule((simgpu_order)order, 7);
        EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COPY, t.arena, 0, t.pinned, 0, 400, 1, &err));
        /* rows of 5 floats: 20 apart here, 7 apart there */
        EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COPY, t.arena + 200, 28, t.pinned + 3, 80, 20, 4, &err));
        EXPECT_OK(b->sync(t.d, &err));
        EXPECT_OK(b->copy_out(t.d, LR_QUEUE_COMPUTE, t.pinned + 500, 0, t.arena, 0, 400, 1, &err));
        EXPECT_OK(b->copy_out(t.d, LR_QUEUE_COMPUTE, t.pinned + 700, 24, t.arena + 200, 28, 20, 4, &err));
        EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COPY, t.arena, 0, t.pinned, 0, 0, 1, &err));
        EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COPY, t.arena, 9, t.pinned, 9, 9, 0, &err));
        EXPECT_OK(b->sync(t.d, &err));
        for (int i = 0; i < 100; i++) assert_true(t.pinned[500 + i] == (float)i);
        for (int i = 0; i < 20; i++) assert_true(t.pinned[700 + i / 5 * 6 + i % 5] == (float)(3 + i / 5 * 20 + i % 5));
    }
    expect_error(b->copy_in(t.d, LR_QUEUE_COPY, t.arena + 999, 0, t.pinned, 0, 8, 1, &err), LLMRUN_DEVICE,
                 "sim:0: copy to the device: invalid argument (cudaErrorInvalidValue)");
    close_bench(&t);
    expect_nothing_left();
}

/* Directly with peer access, by way of the host without: twice the link.                                              */
static void devices_copy_to_each_other(void **state) {
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        bench one, two;
        const lr_backend *b = load("2x1M:100:1:10");
        sim.allow_peers(direct);
        open_bench(&one, b, 0, 10000);
        open_bench(&two, b, 1, 10000);
        lr_event *sent;
        EXPECT_OK(b->event_open(one.d, &sent, &err));
        EXPECT_OK(b->copy_in(one.d, LR_QUEUE_COPY, one.arena, 0, one.pinned, 0, 40000, 1, &err));
        EXPECT_OK(b->event_record(one.d, LR_QUEUE_COPY, sent, &err));
        EXPECT_OK(b->event_wait(two.d, LR_QUEUE_COMPUTE, sent, &err));
        EXPECT_OK(b->event_sync(one.d, sent, &err));
        double start = b->clock();
        EXPECT_OK(b->copy_peer(two.d, LR_QUEUE_COMPUTE, two.arena, one.d, one.arena, 40000, &err));
        EXPECT_OK(b->sync(two.d, &err));
        assert_true(fabs(b->clock() - start - (direct ? 4e-6 : 8e-6)) < 1e-9);
        memset(two.pinned, 0, 40000);
        EXPECT_OK(b->copy_out(two.d, LR_QUEUE_COMPUTE, two.pinned, 0, two.arena, 0, 40000, 1, &err));
        EXPECT_OK(b->sync(two.d, &err));
        for (int i = 0; i < 10000; i++) assert_true(two.pinned[i] == (float)i);
        b->event_close(one.d, sent);
        b->event_close(one.d, NULL);
        close_bench(&one);
        close_bench(&two);
        expect_nothing_left();
    }
}

/* ---- time ---- */

/* x of 64 rows of 1024, w after it, y after that.                                                                     */
static lr_norm_args norm_of(const bench *t) {
    return (lr_norm_args){.x = t->arena, .w = t->arena + 65536, .y = t->arena + 66560, .dim = 1024, .x_stride = 1024,
                             .y_stride = 1024, .eps = 1e-5f};
}
enum { NORM_FLOATS = 66560 + 65536 };

/* A copy beside a kernel costs the longer of the two, in a chain by events their sum.                                 */
static void copies_overlap_compute(void **state) {
    (void)state;
    bench t;
    open_bench(&t, load("4M:1:1:1"), 0, NORM_FLOATS + 200000);
    const lr_backend *b = t.b;
    lr_norm_args norm = norm_of(&t);
    lr_event *done;
    EXPECT_OK(b->event_open(t.d, &done, &err));
    EXPECT_OK(b->event_wait(t.d, LR_QUEUE_COPY, done, &err)); /* never recorded: passed */
    EXPECT_OK(b->event_sync(t.d, done, &err));
    double start = b->clock();
    EXPECT_OK(b->ops.norm(t.d, &norm, 64, NULL, &err));
    EXPECT_OK(b->sync(t.d, &err));
    double kernel = b->clock() - start, copy = 800000 / 1e9;
    assert_true(kernel > 0.3e-3 && kernel < 0.8e-3); /* reads and writes 256 KiB at 1 GB/s */
    for (int chained = 0; chained < 2; chained++) {
        start = b->clock();
        EXPECT_OK(b->ops.norm(t.d, &norm, 64, NULL, &err));
        EXPECT_OK(b->event_record(t.d, LR_QUEUE_COMPUTE, done, &err));
        if (chained) EXPECT_OK(b->event_wait(t.d, LR_QUEUE_COPY, done, &err));
        EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COPY, t.arena + NORM_FLOATS, 0, t.pinned, 0, 800000, 1, &err));
        EXPECT_OK(b->sync(t.d, &err));
        assert_true(fabs(b->clock() - start - (chained ? kernel + copy : fmax(kernel, copy))) < 1e-9);
    }
    start = b->clock();
    b->host_work(0.25);
    assert_true(fabs(b->clock() - start - 0.25) < 1e-9);
    b->event_close(t.d, done);
    close_bench(&t);
    expect_nothing_left();
}

/* ---- graphs ---- */

static void graphs_replay_what_was_queued(void **state) {
    (void)state;
    bench t;
    open_bench(&t, load("4M"), 0, NORM_FLOATS);
    const lr_backend *b = t.b;
    lr_norm_args norm = norm_of(&t);
    lr_graph *g, *none;
    size_t bytes = NORM_FLOATS * sizeof(float);
    float *direct = malloc(bytes);
    assert_non_null(direct);
    EXPECT_OK(b->graph_begin(t.d, &err));
    EXPECT_OK(b->ops.norm(t.d, &norm, 64, NULL, &err));
    EXPECT_OK(b->graph_end(t.d, &g, &err));
    for (int round = 0; round < 3; round++) {
        for (int replay = 0; replay < 2; replay++) {
            for (int i = 0; i < NORM_FLOATS; i++) t.pinned[i] = (float)((i * 37 + round) % 101) - 50;
            EXPECT_OK(b->copy_in(t.d, LR_QUEUE_COMPUTE, t.arena, 0, t.pinned, 0, bytes, 1, &err));
            EXPECT_OK(replay ? b->graph_launch(t.d, g, &err) : b->ops.norm(t.d, &norm, 64, NULL, &err));
            EXPECT_OK(b->sync(t.d, &err));
            EXPECT_OK(b->copy_out(t.d, LR_QUEUE_COMPUTE, t.pinned, 0, t.arena, 0, bytes, 1, &err));
            EXPECT_OK(b->sync(t.d, &err));
            if (!replay) memcpy(direct, t.pinned, bytes);
        }
        assert_memory_equal(direct, t.pinned, bytes);
    }
    /* what must not happen meanwhile is an error, and the device works on */
    EXPECT_OK(b->graph_begin(t.d, &err));
    expect_error(b->sync(t.d, &err), LLMRUN_DEVICE, "wait for the queues");
    expect_error(b->graph_end(t.d, &none, &err), LLMRUN_DEVICE, "end of a graph");
    assert_null(none);
    EXPECT_OK(b->graph_launch(t.d, g, &err));
    EXPECT_OK(b->sync(t.d, &err));
    b->graph_close(t.d, g);
    b->graph_close(t.d, NULL);
    EXPECT_OK(b->graph_begin(t.d, &err)); /* open at close */
    free(direct);
    close_bench(&t);
    expect_nothing_left();
}

/* ---- faults ---- */

/* A little of everything, on two devices.  Whatever fails, all is given back.                                         */
static llmrun_status use_all(const lr_backend *b) {
    lr_device *d = NULL, *other = NULL;
    lr_event *e = NULL;
    lr_graph *g = NULL;
    void *arena, *there, *pinned = NULL;
    llmrun_status s = b->open(&d, 0, &err);
    if (!s) s = b->open(&other, 1, &err);
    if (!s) s = b->arena_open(d, NORM_FLOATS * sizeof(float), &arena, &err);
    if (!s) s = b->arena_open(other, 4096, &there, &err);
    if (!s) s = b->pinned_open(d, NORM_FLOATS * sizeof(float), &pinned, &err);
    if (!s) s = b->event_open(d, &e, &err);
    if (!s) {
        memset(pinned, 0, NORM_FLOATS * sizeof(float));
        s = b->copy_in(d, LR_QUEUE_COPY, arena, 0, pinned, 0, NORM_FLOATS * sizeof(float), 1, &err);
    }
    if (!s) s = b->event_record(d, LR_QUEUE_COPY, e, &err);
    if (!s) s = b->event_wait(d, LR_QUEUE_COMPUTE, e, &err);
    if (!s) {
        bench t = {.b = b, .d = d, .arena = arena};
        lr_norm_args norm = norm_of(&t);
        s = b->ops.norm(d, &norm, 64, NULL, &err);
        if (!s) s = b->graph_begin(d, &err);
        if (!s) s = b->ops.norm(d, &norm, 64, NULL, &err);
        if (!s) s = b->graph_end(d, &g, &err);
    }
    if (!s) s = b->graph_launch(d, g, &err);
    if (!s) s = b->sync(d, &err);
    if (!s) s = b->copy_peer(other, LR_QUEUE_COMPUTE, there, d, arena, 4096, &err);
    if (!s) s = b->copy_out(other, LR_QUEUE_COMPUTE, pinned, 128, there, 256, 64, 8, &err);
    if (!s) s = b->sync(other, &err);
    b->graph_close(d, g);
    b->event_close(d, e);
    if (pinned) b->pinned_close(d, pinned);
    b->close(other);
    b->close(d);
    return s;
}

static void every_call_can_fail(void **state) {
    (void)state;
    static const struct {
        int error;
        llmrun_status status; /* of the first failure */
        int least;            /* calls of this kind */
    } kinds[SIMGPU_FAULT_KINDS] = {
        [SIMGPU_FAULT_MALLOC] = {2, LLMRUN_VRAM, 2},      [SIMGPU_FAULT_HOST_MALLOC] = {2, LLMRUN_NOMEM, 1},
        [SIMGPU_FAULT_CREATE] = {2, LLMRUN_VRAM, 6},      [SIMGPU_FAULT_LAUNCH] = {719, LLMRUN_DEVICE, 3},
        [SIMGPU_FAULT_COPY] = {1, LLMRUN_DEVICE, 3},      [SIMGPU_FAULT_KERNEL] = {700, LLMRUN_DEVICE, 2},
    };
    const lr_backend *b = load("2x2M");
    for (int kind = 0; kind < SIMGPU_FAULT_KINDS; kind++) {
        int nth = 1;
        for (;; nth++) {
            uint64_t fired = sim.stat().faults_fired;
            memset(&err, 0, sizeof err);
            sim.inject((simgpu_fault)kind, nth, kinds[kind].error);
            llmrun_status s = use_all(b);
            bool failed = sim.stat().faults_fired > fired;
            assert_int_equal(s, failed ? kinds[kind].status : LLMRUN_OK);
            assert_true(!failed || (strncmp(err.message, "sim:", 4) == 0 && strlen(err.message) > 12));
            expect_nothing_left();
            if (!failed) break;
            sim.inject((simgpu_fault)kind, 0, 0);
            EXPECT_OK(use_all(b)); /* the same process goes on */
        }
        sim.inject((simgpu_fault)kind, 0, 0);
        assert_true(nth > kinds[kind].least);
    }
}

/* The host's own memory: the nth small block is refused.                                                              */
static struct {
    long count, fail_at;
} small;
static void *refusing(void *user, void *old, size_t size) {
    (void)user;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return ++small.count == small.fail_at ? NULL : realloc(old, size);
}

static void host_memory_can_run_out(void **state) {
    (void)state;
    const lr_backend *b = load("2x2M");
    llmrun_set_allocator(refusing, NULL);
    for (small.fail_at = 1;; small.fail_at++) {
        small.count = 0;
        llmrun_status s = use_all(b);
        expect_nothing_left();
        if (small.count < small.fail_at) {
            assert_int_equal(s, LLMRUN_OK);
            break;
        }
        expect_error(s, LLMRUN_NOMEM, "out of host memory");
    }
    llmrun_set_allocator(NULL, NULL);
    assert_true(small.fail_at > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_says_what_is_wrong),
        cmocka_unit_test(a_machine_without_cuda_is_told_so),
        cmocka_unit_test(devices_are_as_stated),
        cmocka_unit_test(memory_is_a_hard_limit),
        cmocka_unit_test(copies_keep_their_pitches),
        cmocka_unit_test(devices_copy_to_each_other),
        cmocka_unit_test(copies_overlap_compute),
        cmocka_unit_test(graphs_replay_what_was_queued),
        cmocka_unit_test(every_call_can_fail),
        cmocka_unit_test(host_memory_can_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
