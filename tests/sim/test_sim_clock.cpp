/* The virtual clock: what overlaps on hardware overlaps here, and the order of execution does not change the time.   */
#include "tests/sim/check.h"

static const double GB = 1e9;

/* Round figures: 100 GB/s of memory, 1 Tflop/s, a link of 10 GB/s, no launch time.                                   */
static void set_up(int n_devices, simgpu_order order) {
    simgpu_device d = { 1 << 20, 100 * GB, 1e12, 10 * GB, 40 * GB, 0, 0, 0 };
    std::vector<simgpu_device> devices((size_t)n_devices, d);
    CHECK(simgpu_config_devices(n_devices, devices.data()) == 0);
    simgpu_schedule(order, 1);
}
static bool near(double a, double b) { return fabs(a - b) <= 1e-9 + 1e-6 * fabs(b); }

static void a_kernel_costs_the_slower_of_memory_and_arithmetic() {
    set_up(1, SIMGPU_FORWARD);
    cudaStream_t s = new_stream();
    float *p = device_array<float>(64);
    CHECK(launch_add_cost(1e9, 1e9, p, 64, s) == cudaSuccess); /* 10 ms of memory, 1 ms of arithmetic */
    CHECK(near(simgpu_seconds(), 0));                          /* nobody has waited yet */
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(near(simgpu_seconds(), 0.01));
    CHECK(launch_add_cost(1e6, 5e10, p, 64, s) == cudaSuccess); /* 50 ms of arithmetic */
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(near(simgpu_seconds(), 0.06));
}

static void launches_cost_time() {
    simgpu_device d = { 1 << 20, 100 * GB, 1e12, 10 * GB, 40 * GB, 5e-6, 0, 0 };
    CHECK(simgpu_config_devices(1, &d) == 0);
    cudaStream_t s = new_stream();
    float *p = device_array<float>(64);
    for (int i = 0; i < 10; i++) CHECK(launch_add(p, p, 64, 1, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(near(simgpu_seconds(), 50e-6));
}

/* Layers are copied in through two buffers while the layer before is computed.  Returns the seconds it takes.        */
static double streamed(simgpu_order order, double copy_ratio, int n_layers) {
    enum { N = 25000 };
    set_up(1, order);
    cudaStream_t copies = new_stream(), compute = new_stream();
    cudaEvent_t filled[2], used[2];
    float *slot[2], *host, *x = upload(std::vector<float>(64));
    CHECK(cudaMallocHost(&host, N * sizeof *host) == cudaSuccess);
    for (int i = 0; i < 2; i++) {
        slot[i] = device_array<float>(N);
        CHECK(cudaEventCreate(&filled[i]) == cudaSuccess && cudaEventCreate(&used[i]) == cudaSuccess);
    }
    double copy_seconds = N * sizeof *host / (10 * GB), start = simgpu_seconds();
    for (int layer = 0; layer < n_layers; layer++) {
        int i = layer % 2;
        CHECK(cudaStreamWaitEvent(copies, used[i], 0) == cudaSuccess);
        CHECK(cudaMemcpyAsync(slot[i], host, N * sizeof *host, cudaMemcpyHostToDevice, copies) == cudaSuccess);
        CHECK(cudaEventRecord(filled[i], copies) == cudaSuccess);
        CHECK(cudaStreamWaitEvent(compute, filled[i], 0) == cudaSuccess);
        CHECK(launch_add_cost(0, copy_seconds / copy_ratio * 1e12, x, 64, compute) == cudaSuccess);
        CHECK(cudaEventRecord(used[i], compute) == cudaSuccess);
    }
    CHECK(cudaStreamSynchronize(compute) == cudaSuccess);
    double seconds = simgpu_seconds() - start;
    CHECK(download(x, 1) == std::vector<float>(1, (float)n_layers));
    double copy = n_layers * copy_seconds, work = copy / copy_ratio;
    CHECK(seconds <= 1.1 * (copy > work ? copy : work));
    CHECK(seconds >= (copy > work ? copy : work));
    return seconds;
}
static void copies_overlap_compute() {
    for (double ratio : { 0.5, 0.9, 1.0, 1.5, 4.0 }) {
        double forward = streamed(SIMGPU_FORWARD, ratio, 20);
        CHECK(near(streamed(SIMGPU_REVERSE, ratio, 20), forward));
        CHECK(near(streamed(SIMGPU_RANDOM, ratio, 20), forward));
    }
}

static void both_directions_of_a_link_overlap() {
    enum { N = 50000 };
    set_up(1, SIMGPU_RANDOM);
    cudaStream_t in = new_stream(), out = new_stream();
    float *host, *device = device_array<float>(2 * N);
    CHECK(cudaMallocHost(&host, 2 * N * sizeof *host) == cudaSuccess);
    CHECK(cudaMemcpyAsync(device, host, N * sizeof *host, cudaMemcpyHostToDevice, in) == cudaSuccess);
    CHECK(cudaMemcpyAsync(host + N, device + N, N * sizeof *host, cudaMemcpyDeviceToHost, out) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    double one_way = N * sizeof *host / (10 * GB);
    CHECK(near(simgpu_seconds(), one_way));
    for (cudaStream_t s : { in, out }) /* the same direction: one after the other */
        CHECK(cudaMemcpyAsync(device, host, N * sizeof *host, cudaMemcpyHostToDevice, s) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(near(simgpu_seconds(), 3 * one_way));
}

static void streams_of_one_device_share_it() {
    set_up(1, SIMGPU_RANDOM);
    cudaStream_t a = new_stream(), b = new_stream();
    float *p = device_array<float>(64), *q = device_array<float>(64);
    CHECK(launch_add_cost(1e9, 0, p, 64, a) == cudaSuccess);
    CHECK(launch_add_cost(1e9, 0, q, 64, b) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(near(simgpu_seconds(), 0.02));
}

/* Chunks go through a first half on device 0 and a second half on device 1.                                          */
static double pipeline(int n_devices, int n_chunks, simgpu_order order) {
    enum { N = 1000 };
    set_up(n_devices, order);
    cudaStream_t stream[2];
    float *x[2];
    int last = n_devices - 1;
    for (int i = 0; i < n_devices; i++) {
        CHECK(cudaSetDevice(i) == cudaSuccess);
        stream[i] = new_stream();
        x[i] = device_array<float>(N);
        if (i > 0) CHECK(cudaDeviceEnablePeerAccess(0, 0) == cudaSuccess);
    }
    double start = simgpu_seconds();
    for (int chunk = 0; chunk < n_chunks; chunk++) {
        CHECK(cudaSetDevice(0) == cudaSuccess);
        CHECK(launch_add_cost(0, 1e10, x[0], N, stream[0]) == cudaSuccess);
        if (last > 0) {
            cudaEvent_t half_done;
            CHECK(cudaEventCreate(&half_done) == cudaSuccess);
            CHECK(cudaEventRecord(half_done, stream[0]) == cudaSuccess);
            CHECK(cudaSetDevice(1) == cudaSuccess);
            CHECK(cudaStreamWaitEvent(stream[1], half_done, 0) == cudaSuccess);
            CHECK(cudaMemcpyPeerAsync(x[1], 1, x[0], 0, N * sizeof(float), stream[1]) == cudaSuccess);
        }
        CHECK(launch_add_cost(0, 1e10, x[last], N, stream[last]) == cudaSuccess);
    }
    for (int i = 0; i < n_devices; i++) {
        CHECK(cudaSetDevice(i) == cudaSuccess);
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
    }
    return simgpu_seconds() - start;
}
static void two_devices_are_twice_as_fast() {
    double one = pipeline(1, 32, SIMGPU_FORWARD), two = pipeline(2, 32, SIMGPU_FORWARD);
    CHECK(one / two >= 1.8 && one / two <= 2.0);
    CHECK(near(pipeline(2, 32, SIMGPU_RANDOM), two));
}

static void devices_have_rates_of_their_own() {
    simgpu_device d[2] = { { 1 << 20, 100 * GB, 0, 10 * GB, 0, 0, 0, 0 }, { 1 << 20, 400 * GB, 0, 10 * GB, 0, 0, 0, 0 } };
    CHECK(simgpu_config_devices(2, d) == 0);
    double seconds[2];
    for (int i = 0; i < 2; i++) {
        CHECK(cudaSetDevice(i) == cudaSuccess);
        float *p = device_array<float>(64);
        cudaStream_t s = new_stream();
        double start = simgpu_seconds();
        CHECK(launch_add_cost(4e9, 1e15, p, 64, s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaSuccess);
        seconds[i] = simgpu_seconds() - start;
    }
    CHECK(near(seconds[0], 0.04) && near(seconds[1], 0.01));
}

static void peer_copies_take_the_faster_way() {
    enum { N = 100000 };
    for (int direct = 0; direct < 2; direct++) {
        set_up(2, SIMGPU_FORWARD);
        float *from = device_array<float>(N), *to;
        CHECK(cudaSetDevice(1) == cudaSuccess);
        to = device_array<float>(N);
        if (direct) CHECK(cudaDeviceEnablePeerAccess(0, 0) == cudaSuccess);
        cudaStream_t s = new_stream();
        CHECK(cudaMemcpyPeerAsync(to, 1, from, 0, N * sizeof *to, s) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s) == cudaSuccess);
        CHECK(near(simgpu_seconds(), N * sizeof *to / (direct ? 40 * GB : 5 * GB)));
    }
}

static void events_measure_and_the_host_works_meanwhile() {
    set_up(1, SIMGPU_RANDOM);
    cudaStream_t s = new_stream();
    cudaEvent_t before, after;
    float *p = device_array<float>(64), milliseconds = 0;
    CHECK(cudaEventCreate(&before) == cudaSuccess && cudaEventCreate(&after) == cudaSuccess);
    CHECK(cudaEventRecord(before, s) == cudaSuccess);
    CHECK(launch_add_cost(3e9, 0, p, 64, s) == cudaSuccess);
    CHECK(cudaEventRecord(after, s) == cudaSuccess);
    simgpu_host_work(0.02); /* shorter than the kernel: hidden behind it */
    CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaErrorNotReady);
    CHECK(cudaEventSynchronize(after) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaSuccess);
    CHECK(near(milliseconds, 30) && near(simgpu_seconds(), 0.03));
    simgpu_host_work(0.01);
    CHECK(launch_add_cost(1e9, 0, p, 64, s) == cudaSuccess); /* starts when it is issued */
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    CHECK(near(simgpu_seconds(), 0.05));
}

int main() {
    RUN(a_kernel_costs_the_slower_of_memory_and_arithmetic);
    RUN(launches_cost_time);
    RUN(copies_overlap_compute);
    RUN(both_directions_of_a_link_overlap);
    RUN(streams_of_one_device_share_it);
    RUN(two_devices_are_twice_as_fast);
    RUN(devices_have_rates_of_their_own);
    RUN(peer_copies_take_the_faster_way);
    RUN(events_measure_and_the_host_works_meanwhile);
    return tests.failed_cases != 0;
}
