/* The runtime API: limits, order, laziness, faults, leaks, several devices.                                          */
#include "tests/sim/check.h"

static void without_devices_there_is_no_driver() {
    int n = -1;
    float *p = nullptr;
    CHECK(simgpu_config(0, 0) == 0);
    CHECK(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver && n == 0);
    CHECK(cudaMalloc(&p, 4) == cudaErrorInsufficientDriver);
}

static void memory_is_a_hard_limit() {
    size_t free_bytes, total;
    float *a, *b, *c;
    simgpu_config(2, 1 << 20);
    CHECK(cudaMalloc(&a, (1 << 20) + 1) == cudaErrorMemoryAllocation);
    CHECK(cudaMalloc(&a, SIZE_MAX) == cudaErrorMemoryAllocation && a == nullptr);
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
    CHECK(cudaMalloc(&a, 1 << 19) == cudaSuccess && cudaMalloc(&b, (1 << 19) - 256) == cudaSuccess);
    CHECK(cudaMalloc(&c, 257) == cudaErrorMemoryAllocation);
    CHECK(cudaMalloc(&c, 1) == cudaSuccess); /* counted as 256 */
    CHECK(cudaMemGetInfo(&free_bytes, &total) == cudaSuccess && free_bytes == 0 && total == 1 << 20);
    CHECK(cudaFree(a) == cudaSuccess);
    CHECK(cudaMemGetInfo(&free_bytes, &total) == cudaSuccess && free_bytes == 1 << 19);
    CHECK(cudaMalloc(&a, 1 << 19) == cudaSuccess); /* no limit by fragments */
    CHECK(simgpu_peak_bytes(0) == 1 << 20 && simgpu_peak_bytes(1) == 0);
    CHECK(cudaSetDevice(1) == cudaSuccess);
    CHECK(cudaMalloc(&c, 1 << 20) == cudaSuccess);
    CHECK(simgpu_stat().live_allocations == 4);
    CHECK(cudaFree(a) == cudaSuccess && cudaFree(a) == cudaErrorInvalidValue);
    CHECK(cudaFree(b + 1) == cudaErrorInvalidValue && cudaFree(nullptr) == cudaSuccess);
}

static void fresh_memory_is_poison() {
    simgpu_config(1, 1 << 20);
    for (float x : download(device_array<float>(100), 100)) CHECK(isnan(x));
}

static void copies_are_checked() {
    float host[64] = {}, *p;
    simgpu_config(2, 1 << 20);
    CHECK(cudaMalloc(&p, 128) == cudaSuccess);
    CHECK(cudaMemcpy(p, host, 129, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(p, host, 64, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(host, p + 31, 8, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemset(p, 0, 129) == cudaErrorInvalidValue);
    CHECK(cudaMemcpyPeerAsync(p, 1, p, 0, 4, nullptr) == cudaErrorInvalidValue);
    CHECK(cudaMemset(p, 0, 128) == cudaSuccess);
    CHECK(cudaMemcpy(host, p, 128, cudaMemcpyDefault) == cudaSuccess && host[31] == 0);
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
}

static void rows_are_copied_between_pitches() {
    simgpu_config(1, 1 << 20);
    cudaStream_t s = new_stream();
    float *d = upload(std::vector<float>(40)), *pinned;
    std::vector<float> pageable = { 1, 2, 3, 4, 5, 6 };
    CHECK(cudaMallocHost(&pinned, 12 * sizeof *pinned) == cudaSuccess);
    for (int i = 0; i < 12; i++) pinned[i] = (float)(10 + i);
    CHECK(cudaMemcpy2DAsync(d, 40, pinned, 16, 12, 3, cudaMemcpyHostToDevice, s) == cudaSuccess);
    CHECK(cudaMemcpy2DAsync(d + 5, 40, pageable.data(), 8, 8, 3, cudaMemcpyHostToDevice, s) == cudaSuccess);
    pageable.assign(6, 99.f); /* the call has read it */
    CHECK(cudaMemcpy2DAsync(d + 32, 8, d + 20, 8, 8, 2, cudaMemcpyDeviceToDevice, s) == cudaSuccess);
    CHECK(cudaMemcpy2DAsync(pinned, 8, d + 10, 40, 8, 2, cudaMemcpyDeviceToHost, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    std::vector<float> got = download(d, 40), want(40);
    for (int i = 0; i < 30; i++) {
        int row = i / 10, at = i % 10;
        want[(size_t)i] = at < 3 ? (float)(10 + 4 * row + at) : at == 5 || at == 6 ? (float)(2 * row + at - 4) : 0;
    }
    want[32] = 18, want[33] = 19, want[34] = 20;
    CHECK(got == want);
    CHECK(pinned[0] == 14 && pinned[1] == 15 && pinned[2] == 18 && pinned[3] == 19);
    CHECK(cudaMemcpy2DAsync(d, 40, pinned, 8, 12, 1, cudaMemcpyHostToDevice, s) == cudaErrorInvalidPitchValue);
    CHECK(cudaMemcpy2DAsync(d, 80, d, 80, 4, 3, cudaMemcpyDeviceToDevice, s) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy2DAsync(d, 80, d, 80, 4, 0, cudaMemcpyDeviceToDevice, s) == cudaSuccess);
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
}

/* A pinned buffer holds poison until the wait; a pageable one is written at once, and read at once.                  */
static void pinned_copies_wait_for_the_wait() {
    simgpu_config(1, 1 << 20);
    cudaStream_t s = new_stream();
    std::vector<float> source(64, 1.f), pageable(64);
    float *d = device_array<float>(64), *pinned;
    CHECK(cudaMallocHost(&pinned, 256) == cudaSuccess);
    CHECK(cudaMemcpyAsync(d, source.data(), 256, cudaMemcpyHostToDevice, s) == cudaSuccess);
    source.assign(64, 99.f); /* the call has read it */
    CHECK(launch_add(d, d, 64, 2, s) == cudaSuccess);
    CHECK(cudaMemcpyAsync(pinned, d, 256, cudaMemcpyDeviceToHost, s) == cudaSuccess);
    CHECK(isnan(pinned[0]) && cudaStreamQuery(s) == cudaErrorNotReady);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess && cudaStreamQuery(s) == cudaSuccess);
    CHECK(pinned[0] == 3 && pinned[63] == 3);
    CHECK(cudaMemcpyAsync(pageable.data(), d, 256, cudaMemcpyDeviceToHost, s) == cudaSuccess);
    CHECK(pageable[63] == 3);
    CHECK(cudaFreeHost(pinned) == cudaSuccess && cudaFreeHost(pinned) == cudaErrorInvalidValue);
}

/* Two streams, one value: with an event always in order; without one, some schedule goes wrong.                      */
static int wrong_order(bool with_event) {
    int wrong = 0;
    for (const schedule &order : schedules) {
        simgpu_config(1, 1 << 20);
        simgpu_schedule(order.order, order.seed);
        cudaStream_t first = new_stream(), second = new_stream();
        cudaEvent_t stored;
        float *a = upload(std::vector<float>(64)), *b = upload(std::vector<float>(64));
        CHECK(cudaEventCreateWithFlags(&stored, cudaEventDisableTiming) == cudaSuccess);
        for (int i = 0; i < 8; i++) {
            CHECK(launch_add(a, a, 64, 1, first) == cudaSuccess);
            if (with_event) CHECK(cudaEventRecord(stored, first) == cudaSuccess);
            if (with_event) CHECK(cudaStreamWaitEvent(second, stored, 0) == cudaSuccess);
            CHECK(launch_add(a, b, 64, 0, second) == cudaSuccess);
            CHECK(cudaStreamSynchronize(second) == cudaSuccess);
            wrong += download(b, 64) != std::vector<float>(64, (float)i + 1);
        }
        CHECK(cudaEventDestroy(stored) == cudaSuccess); /* while the streams live */
    }
    return wrong;
}
static void events_order_streams() {
    CHECK(wrong_order(true) == 0);
    CHECK(wrong_order(false) > 0);
}

static void an_event_means_its_latest_record() {
    simgpu_config(1, 1 << 20);
    cudaStream_t a = new_stream(), b = new_stream();
    cudaEvent_t e;
    float *p = upload(std::vector<float>(64));
    CHECK(cudaEventCreate(&e) == cudaSuccess && cudaEventQuery(e) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(b, e, 0) == cudaSuccess); /* never recorded: no wait */
    CHECK(cudaStreamSynchronize(b) == cudaSuccess);
    CHECK(launch_add(p, p, 64, 1, a) == cudaSuccess && cudaEventRecord(e, a) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(b, e, 0) == cudaSuccess);
    CHECK(launch_add(p, p, 64, 1, a) == cudaSuccess && cudaEventRecord(e, a) == cudaSuccess);
    CHECK(cudaStreamSynchronize(b) == cudaSuccess);
    CHECK(cudaEventQuery(e) == cudaErrorNotReady); /* b waited for the first record only */
    CHECK(cudaEventSynchronize(e) == cudaSuccess && cudaEventQuery(e) == cudaSuccess);
    CHECK(download(p, 1)[0] == 2);
}

static void devices_are_apart_unless_peers() {
    for (const schedule &order : schedules) {
        int yes = -1;
        simgpu_config(2, 1 << 20);
        simgpu_schedule(order.order, order.seed);
        cudaStream_t s0 = new_stream();
        cudaEvent_t ready;
        float *p0 = upload(std::vector<float>(64, 5.f));
        CHECK(cudaEventCreate(&ready) == cudaSuccess);
        CHECK(launch_add(p0, p0, 64, 1, s0) == cudaSuccess && cudaEventRecord(ready, s0) == cudaSuccess);
        CHECK(cudaSetDevice(1) == cudaSuccess);
        cudaStream_t s1 = new_stream();
        float *p1 = device_array<float>(64);
        CHECK(launch_add(p1, p1, 64, 1, s0) == cudaErrorInvalidResourceHandle);
        CHECK(cudaEventRecord(ready, s1) == cudaErrorInvalidResourceHandle);
        CHECK(cudaStreamWaitEvent(s1, ready, 0) == cudaSuccess);
        CHECK(cudaMemcpyPeerAsync(p1, 1, p0, 0, 256, s1) == cudaSuccess);
        CHECK(launch_add(p1, p1, 64, 1, s1) == cudaSuccess && cudaStreamSynchronize(s1) == cudaSuccess);
        CHECK(download(p1, 64) == std::vector<float>(64, 7.f));
        CHECK(cudaDeviceCanAccessPeer(&yes, 1, 0) == cudaSuccess && yes == 1);
        CHECK(cudaDeviceEnablePeerAccess(0, 0) == cudaSuccess);
        CHECK(cudaDeviceEnablePeerAccess(0, 0) == cudaErrorPeerAccessAlreadyEnabled);
        CHECK(launch_add(p0, p1, 64, 3, s1) == cudaSuccess && cudaStreamSynchronize(s1) == cudaSuccess);
        CHECK(download(p1, 64) == std::vector<float>(64, 9.f));
    }
    simgpu_allow_peers(0);
    int yes = -1;
    CHECK(cudaDeviceCanAccessPeer(&yes, 0, 1) == cudaSuccess && yes == 0);
}

static void kernel_errors_stick() {
    simgpu_config(1, 1 << 20);
    cudaStream_t s = new_stream();
    float *p = upload(std::vector<float>(64)), *q;
    simgpu_fail(SIMGPU_FAULT_KERNEL, 2, cudaErrorIllegalAddress);
    for (int i = 0; i < 3; i++) CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess); /* asynchronous: not seen yet */
    CHECK(cudaStreamSynchronize(s) == cudaErrorIllegalAddress);
    CHECK(launch_add(p, p, 64, 1, s) == cudaErrorIllegalAddress);
    CHECK(cudaMalloc(&q, 4) == cudaErrorIllegalAddress);
    CHECK(cudaMemcpyAsync(p, p, 4, cudaMemcpyDeviceToDevice, s) == cudaErrorIllegalAddress);
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
    CHECK(cudaFree(p) == cudaErrorIllegalAddress && simgpu_stat().live_allocations == 0); /* freed all the same */
    CHECK(cudaDeviceReset() == cudaSuccess && cudaMalloc(&q, 4) == cudaSuccess);
}

/* ---- every call of a small program fails once ---- */

struct resources {
    cudaStream_t stream;
    cudaEvent_t done;
    float *device, *other, *pinned;
};
static cudaError_t use(resources *r) {
    cudaError_t e;
    if ((e = cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking))) return e;
    if ((e = cudaEventCreateWithFlags(&r->done, cudaEventDisableTiming))) return e;
    if ((e = cudaMallocHost(&r->pinned, 256)) || (e = cudaMalloc(&r->device, 256))) return e;
    if ((e = cudaSetDevice(1)) || (e = cudaMalloc(&r->other, 256)) || (e = cudaSetDevice(0))) return e;
    if ((e = cudaMemsetAsync(r->device, 0, 256, r->stream))) return e;
    for (int i = 0; i < 3; i++)
        if ((e = launch_add(r->device, r->device, 64, 1, r->stream))) return e;
    if ((e = cudaMemcpyPeerAsync(r->other, 1, r->device, 0, 256, r->stream))) return e;
    if ((e = cudaMemcpyAsync(r->pinned, r->other, 256, cudaMemcpyDeviceToHost, r->stream))) return e;
    if ((e = cudaEventRecord(r->done, r->stream)) || (e = cudaEventSynchronize(r->done))) return e;
    return r->pinned[63] == 3 ? cudaSuccess : cudaErrorUnknown;
}
static void release(resources *r) {
    cudaSetDevice(0);
    if (r->done) cudaEventDestroy(r->done);
    if (r->stream) cudaStreamDestroy(r->stream);
    cudaFree(r->device);
    cudaFree(r->other);
    cudaFreeHost(r->pinned);
}
static void every_call_can_fail() {
    static const int injected[SIMGPU_FAULT_KINDS] = { cudaErrorMemoryAllocation, cudaErrorMemoryAllocation,
                                                      cudaErrorMemoryAllocation, cudaErrorLaunchFailure,
                                                      cudaErrorInvalidValue,     cudaErrorIllegalAddress };
    static const int expected[SIMGPU_FAULT_KINDS] = { 2, 1, 2, 3, 3, 3 };
    for (int kind = 0; kind < SIMGPU_FAULT_KINDS; kind++) {
        int fired = 0;
        for (int nth = 1; nth <= 100; nth++) {
            resources r = {};
            simgpu_config(2, 4096);
            simgpu_fail((simgpu_fault)kind, nth, injected[kind]);
            cudaError_t e = use(&r);
            bool this_fired = simgpu_stat().faults_fired == 1;
            CHECK(e == (this_fired ? injected[kind] : cudaSuccess));
            release(&r);
            simgpu_stats s = simgpu_stat();
            CHECK(s.live_allocations + s.live_pinned + s.live_streams + s.live_events == 0);
            if (!this_fired) break;
            fired++;
            r = {}; /* the same process goes on */
            CHECK(cudaDeviceReset() == cudaSuccess && use(&r) == cudaSuccess);
            release(&r);
        }
        CHECK(fired == expected[kind]);
    }
}

static void keep_text(void *user, const char *text) { *(std::string *)user = text; }
static void reports_reach_the_callback() {
    std::string text;
    simgpu_config(1, 1 << 20);
    simgpu_on_report(keep_text, &text);
    CHECK(launch_defect(TRAP, device_array<float>(64), 64, new_stream()) == cudaSuccess);
    CHECK(text.empty() && cudaDeviceSynchronize() == cudaErrorLaunchFailure && text == simgpu_report());
    CHECK(!text.empty());
}

int main() {
    RUN(without_devices_there_is_no_driver);
    RUN(memory_is_a_hard_limit);
    RUN(fresh_memory_is_poison);
    RUN(copies_are_checked);
    RUN(rows_are_copied_between_pitches);
    RUN(pinned_copies_wait_for_the_wait);
    RUN(events_order_streams);
    RUN(an_event_means_its_latest_record);
    RUN(devices_are_apart_unless_peers);
    RUN(kernel_errors_stick);
    RUN(every_call_can_fail);
    RUN(reports_reach_the_callback);
    return tests.failed_cases != 0;
}
