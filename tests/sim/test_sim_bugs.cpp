/* Planted bugs are caught: every removed synchronization in at least one schedule (and by TSan in its build), every
 * wrong use with a report that says where.                                                                           */
#include "tests/sim/cases.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- removed synchronization ---- */

static int races; /* reports of TSan so far */
#define FOR_TSAN extern "C" __attribute__((visibility("default"), no_sanitize("thread"))) /* it finds these by name */
FOR_TSAN void __tsan_on_report(void *) { races++; }
FOR_TSAN const char *__tsan_default_options() { return "exitcode=0:symbolize=0:suppress_equal_addresses=0"; }

enum test_kernel { ROW_SUMS, GEMM, ATTENTION };
static float error_of(test_kernel kernel, plant p, const schedule &order) {
    switch (kernel) {
        case ROW_SUMS: return row_sums_error(p, order);
        case GEMM: return gemm_error(p, 70, 66, 168, order);
        default: return attention_error(p, 70, order);
    }
}

static void right_kernels_have_no_race() {
    int before = races;
    for (const schedule &order : schedules)
        for (test_kernel kernel : { ROW_SUMS, GEMM, ATTENTION }) CHECK(error_of(kernel, RIGHT, order) <= 1);
    CHECK(races == before);
}

/* A missing wait or a wrong loop is no race of the program's own accesses: TSan need not see those.                  */
static void caught(test_kernel kernel, plant p, bool is_race) {
    int wrong = 0, before = races;
    for (const schedule &order : schedules) wrong += !(error_of(kernel, p, order) <= 1);
    CHECK(wrong >= 1);
    if (with_tsan && is_race) CHECK(races > before);
}
static void reduction_without_barrier() { caught(ROW_SUMS, NO_BARRIER_AFTER_STORE, true); }
static void reduction_overwritten_too_early() { caught(ROW_SUMS, NO_BARRIER_AFTER_LOAD, true); }
static void reduction_one_step_short() { caught(ROW_SUMS, SHORT_REDUCTION, false); }
static void gemm_without_barrier_after_store() { caught(GEMM, NO_BARRIER_AFTER_STORE, true); }
static void gemm_without_barrier_after_load() { caught(GEMM, NO_BARRIER_AFTER_LOAD, true); }
static void gemm_without_wait() { caught(GEMM, NO_WAIT, false); }
static void gemm_waits_for_too_little() { caught(GEMM, WAIT_LESS, false); }
static void attention_without_barrier_after_store() { caught(ATTENTION, NO_BARRIER_AFTER_STORE, true); }
static void attention_without_barrier_after_load() { caught(ATTENTION, NO_BARRIER_AFTER_LOAD, true); }
static void attention_without_wait() { caught(ATTENTION, NO_WAIT, false); }
static void attention_without_syncwarp() { caught(ATTENTION, NO_SYNCWARP, true); }

static void blocks_race_for_one_word() {
    if (!with_tsan) return;
    int before = races;
    new_devices(schedules[0]);
    float *p = device_array<float>(64);
    CHECK(launch_defect(CROSS_BLOCK_RACE, p, 64, new_stream()) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(races > before);
}

/* ---- reports ---- */

/* The defect ends the kernel with a sticky error and a report that has these words, in every schedule; afterwards a
 * reset device works again.                                                                                          */
static void is_reported(defect d, const char *words, const char *more) {
    for (const schedule &order : schedules) {
        new_devices(order);
        simgpu_watchdog(0.05);
        cudaStream_t s = new_stream();
        float *p = device_array<float>(64);
        CHECK(launch_defect(d, p, 64, s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaErrorLaunchFailure);
        CHECK(reported(words));
        CHECK(reported(more));
        CHECK(reported("kernel launch: tests/sim/kernels.cu:"));
        CHECK(reported("block ("));
        CHECK(launch_add(p, p, 64, 1, s) == cudaErrorLaunchFailure);
        CHECK(cudaDeviceReset() == cudaSuccess);
        p = upload(std::vector<float>(64));
        CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaSuccess);
        CHECK(download(p, 64) == std::vector<float>(64, 1.f));
    }
}
static void divergent_barrier() {
    is_reported(DIVERGENT_BARRIER, "divergent barrier", "32 threads wait in __syncthreads at");
}
static void deadlock() { is_reported(DEADLOCK, "deadlock", "32 threads wait in __shfl_xor_sync at"); }
static void wrong_mask() { is_reported(WRONG_MASK, "divergent warp collective", "kernels.cu"); }
static void foreign_mask() { is_reported(FOREIGN_MASK, "does not name the calling lane", "thread ("); }
static void trap() { is_reported(TRAP, "__trap() executed", "thread (3,0,0)"); }
static void unaligned_copy() { is_reported(UNALIGNED_COPY, "cp.async", "misaligned"); }
static void matrix_row_in_global_memory() { is_reported(GLOBAL_ROW, "ldmatrix", "not in shared memory"); }

static void kernels_that_never_end() {
    if (with_asan || with_tsan) return;
    is_reported(SPIN, "does not end", "of processor time");
    is_reported(SPIN_TOGETHER, "does not end", "thread (");
}

/* Runs body in a child of its own; true when it did not end well.  The child's words are dropped.                    */
static bool dies(void (*body)()) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        body();
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

static void run_defect(defect d) {
    new_devices(schedules[0]);
    float *p = nullptr;
    cudaStream_t s = nullptr;
    cudaMalloc(&p, 100 * sizeof *p);
    cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    launch_defect(d, p, 100, s);
    cudaStreamSynchronize(s);
    cudaFree(p);
}
static void read_far_away() { run_defect(FAR_AWAY); }
static void invalid_address() {
    if (with_asan || with_tsan) {
        if (with_asan) CHECK(dies(read_far_away));
        return;
    }
    is_reported(FAR_AWAY, "invalid memory access", "thread (0,0,0)");
}

static void unwritten_shared_memory_is_nan() {
    new_devices(schedules[0]);
    float *p = upload(std::vector<float>(64));
    CHECK(launch_defect(READ_UNWRITTEN, p, 64, new_stream()) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    for (float x : download(p, 64)) CHECK(isnan(x));
}

static void wrong_pointers_are_refused() {
    static float on_host[64];
    simgpu_config(2, 1 << 20);
    float *other, *freed, *mine = device_array<float>(64);
    CHECK(cudaSetDevice(1) == cudaSuccess && cudaMalloc(&other, 256) == cudaSuccess && cudaSetDevice(0) == cudaSuccess);
    CHECK(cudaMalloc(&freed, 256) == cudaSuccess && cudaFree(freed) == cudaSuccess);
    const struct {
        float *p;
        const char *words;
    } wrong[] = { { on_host, "is host memory" },
                  { other, "is memory of another device" },
                  { freed, "is not inside a live allocation" } };
    for (auto &w : wrong) {
        cudaStream_t s = new_stream();
        CHECK(launch_add(mine, w.p, 64, 1, s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaErrorIllegalAddress);
        CHECK(reported(w.words));
        CHECK(cudaDeviceReset() == cudaSuccess);
        mine = device_array<float>(64);
    }
}

static void launch_limits() {
    new_devices(schedules[0]);
    float *p = device_array<float>(4);
    cudaStream_t s = new_stream();
    CHECK(launch_shape(dim3(1), dim3(1024), 48 << 10, p, s) == cudaSuccess);
    CHECK(launch_shape(dim3(1), dim3(1025), 64, p, s) == cudaErrorInvalidConfiguration);
    CHECK(launch_shape(dim3(1), dim3(1, 1, 65), 64, p, s) == cudaErrorInvalidConfiguration);
    CHECK(launch_shape(dim3(0), dim3(32), 64, p, s) == cudaErrorInvalidConfiguration);
    CHECK(launch_shape(dim3(1, 65536), dim3(32), 64, p, s) == cudaErrorInvalidConfiguration);
    CHECK(launch_shape(dim3(1), dim3(32), (48 << 10) + 1, p, s) == cudaErrorInvalidValue);
    CHECK(allow_shared(228 << 10) == cudaErrorInvalidValue);
    CHECK(allow_shared(100 << 10) == cudaSuccess);
    CHECK(launch_shape(dim3(1), dim3(32), 100 << 10, p, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(download(p, 1) == std::vector<float>(1, 1.f));
}

/* ---- accesses out of bounds ---- */

static void write_past_global() { run_defect(PAST_GLOBAL); }
static void write_past_shared() { run_defect(PAST_SHARED); }
static void touch_from_host() {
    new_devices(schedules[0]);
    float *p = nullptr;
    cudaMalloc(&p, 64);
    *p = 1;
}

static void write_past_an_allocation() {
    if (with_asan) {
        CHECK(dies(write_past_global));
        return;
    }
    write_past_global();
    CHECK(reported("write past the end of a device allocation of 400 bytes"));
}
static void write_past_shared_memory() {
    if (with_asan) CHECK(dies(write_past_shared));
}
static void host_cannot_touch_device_memory() {
    if (!with_tsan) CHECK(dies(touch_from_host));
}

int main() {
    RUN(right_kernels_have_no_race);
    RUN(reduction_without_barrier);
    RUN(reduction_overwritten_too_early);
    RUN(reduction_one_step_short);
    RUN(gemm_without_barrier_after_store);
    RUN(gemm_without_barrier_after_load);
    RUN(gemm_without_wait);
    RUN(gemm_waits_for_too_little);
    RUN(attention_without_barrier_after_store);
    RUN(attention_without_barrier_after_load);
    RUN(attention_without_wait);
    RUN(attention_without_syncwarp);
    RUN(blocks_race_for_one_word);
    RUN(divergent_barrier);
    RUN(deadlock);
    RUN(wrong_mask);
    RUN(foreign_mask);
    RUN(trap);
    RUN(unaligned_copy);
    RUN(matrix_row_in_global_memory);
    RUN(kernels_that_never_end);
    RUN(invalid_address);
    RUN(unwritten_shared_memory_is_nan);
    RUN(wrong_pointers_are_refused);
    RUN(launch_limits);
    RUN(write_past_an_allocation);
    RUN(write_past_shared_memory);
    RUN(host_cannot_touch_device_memory);
    return tests.failed_cases != 0;
}
