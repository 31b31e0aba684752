/* Graphs: recording, replay, what spoils a recording, their time on the virtual clock.                               */
#include "tests/sim/check.h"

static cudaGraphExec_t ready_graph(cudaStream_t s) { /* ends the recording of s */
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    CHECK(cudaStreamEndCapture(s, &graph) == cudaSuccess);
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaGraphUpload(exec, s) == cudaSuccess);
    return exec;
}
static void begin(cudaStream_t s) {
    CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
}

static void recorded_work_runs_at_each_launch() {
    for (const schedule &order : schedules) {
        simgpu_config(1, 1 << 20);
        simgpu_schedule(order.order, order.seed);
        cudaStream_t s = new_stream(), other = new_stream();
        float *a = upload(std::vector<float>(64)), *b = device_array<float>(64), *pinned;
        CHECK(cudaMallocHost(&pinned, 256) == cudaSuccess);
        begin(s);
        CHECK(launch_add(a, a, 64, 1, s) == cudaSuccess);
        CHECK(cudaMemcpyAsync(b, a, 256, cudaMemcpyDeviceToDevice, s) == cudaSuccess);
        CHECK(cudaMemcpyAsync(pinned, b, 256, cudaMemcpyDeviceToHost, s) == cudaSuccess);
        CHECK(cudaMemsetAsync(b, 0, 4, s) == cudaSuccess);
        CHECK(launch_add(b, b, 64, 7, other) == cudaSuccess); /* not part of it */
        cudaGraphExec_t g = ready_graph(s);
        CHECK(simgpu_stat().live_graphs == 1);
        CHECK(cudaStreamSynchronize(s) == cudaSuccess && cudaStreamSynchronize(other) == cudaSuccess);
        CHECK(download(a, 1)[0] == 0 && isnan(pinned[0])); /* nothing ran */
        for (int i = 1; i <= 3; i++) {
            CHECK(cudaGraphLaunch(g, s) == cudaSuccess);
            CHECK(cudaStreamSynchronize(s) == cudaSuccess);
            CHECK(pinned[0] == (float)i && pinned[63] == (float)i && download(b, 1)[0] == 0);
        }
        CHECK(cudaGraphLaunch(g, s) == cudaSuccess && cudaGraphExecDestroy(g) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaSuccess && pinned[0] == 4); /* what was queued still runs */
        CHECK(cudaGraphLaunch(g, s) == cudaErrorInvalidValue && simgpu_stat().live_graphs == 0);
        CHECK(cudaFreeHost(pinned) == cudaSuccess);
    }
}

/* Waits, events and pageable memory have no place in a graph; the stream works again afterwards.                     */
static void some_calls_spoil_a_recording() {
    float host[4];
    for (int what = 0; what < 5; what++) {
        simgpu_config(1, 1 << 20);
        cudaStream_t s = new_stream();
        cudaEvent_t e;
        cudaGraph_t graph;
        float *p = upload(std::vector<float>(64));
        CHECK(cudaEventCreate(&e) == cudaSuccess);
        begin(s);
        CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess);
        cudaError_t got = what == 0   ? cudaStreamSynchronize(s)
                          : what == 1 ? cudaDeviceSynchronize()
                          : what == 2 ? cudaEventRecord(e, s)
                          : what == 3 ? cudaMemcpyAsync(host, p, 16, cudaMemcpyDeviceToHost, s)
                                      : cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
        CHECK(got == cudaErrorStreamCaptureUnsupported);
        if (what < 4) CHECK(launch_add(p, p, 64, 1, s) == cudaErrorStreamCaptureInvalidated);
        CHECK(cudaStreamEndCapture(s, &graph) == (what < 4 ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
        CHECK((graph == nullptr) == (what < 4));
        CHECK(cudaGraphDestroy(graph) == cudaSuccess);
        CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorInvalidValue);
        CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess && cudaStreamSynchronize(s) == cudaSuccess);
        CHECK(download(p, 1)[0] == 1);
        CHECK(cudaEventSynchronize(e) == cudaSuccess);
    }
}

static void graphs_fail_as_kernels_do() {
    simgpu_config(2, 1 << 20);
    cudaStream_t s = new_stream();
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float *p = upload(std::vector<float>(64));
    begin(s);
    CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess && cudaStreamEndCapture(s, &graph) == cudaSuccess);
    simgpu_fail(SIMGPU_FAULT_CREATE, 1, cudaErrorMemoryAllocation);
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaErrorMemoryAllocation && exec == nullptr);
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess && cudaGraphDestroy(graph) == cudaSuccess);
    simgpu_fail(SIMGPU_FAULT_LAUNCH, 1, cudaErrorLaunchFailure);
    CHECK(cudaGraphLaunch(exec, s) == cudaErrorLaunchFailure);
    CHECK(cudaSetDevice(1) == cudaSuccess && cudaGraphLaunch(exec, new_stream()) == cudaErrorInvalidResourceHandle);
    CHECK(cudaSetDevice(0) == cudaSuccess);
    simgpu_fail(SIMGPU_FAULT_KERNEL, 2, cudaErrorIllegalAddress);
    CHECK(cudaGraphLaunch(exec, s) == cudaSuccess && cudaGraphLaunch(exec, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaErrorIllegalAddress);
    CHECK(cudaGraphLaunch(exec, s) == cudaErrorIllegalAddress);
    CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

/* A launch costs time once for a graph, and once for each kernel outside.                                            */
static void a_graph_is_launched_once() {
    simgpu_device d = { 1 << 20, 100e9, 1e12, 10e9, 0, 1e-3, 0, 0 };
    CHECK(simgpu_config_devices(1, &d) == 0);
    cudaStream_t s = new_stream();
    float *p = device_array<float>(64);
    double start = simgpu_seconds();
    begin(s);
    for (int i = 0; i < 5; i++) CHECK(launch_add_cost(1e9, 0, p, 64, s) == cudaSuccess);
    cudaGraphExec_t g = ready_graph(s);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess && simgpu_seconds() == start);
    CHECK(cudaGraphLaunch(g, s) == cudaSuccess && cudaGraphLaunch(g, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(fabs(simgpu_seconds() - start - 2 * (5 * 0.01 + 1e-3)) < 1e-9);
    CHECK(cudaGraphExecDestroy(g) == cudaSuccess);
}

int main() {
    RUN(recorded_work_runs_at_each_launch);
    RUN(some_calls_spoil_a_recording);
    RUN(graphs_fail_as_kernels_do);
    RUN(a_graph_is_launched_once);
    return tests.failed_cases != 0;
}
