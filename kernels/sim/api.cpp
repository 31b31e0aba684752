/* The instance, its set-up, devices, kernel launches, faults and errors.                                             */
#include "kernels/sim/instance.h"

#include <stdio.h>
#include <stdlib.h>

namespace simgpu {

instance *simulator;

/* CUDA keeps these for each host thread.                                                                             */
static thread_local int thread_device;
static thread_local cudaError_t thread_error;

api_call::api_call() : error(cudaErrorInsufficientDriver) { /* what a machine without a driver answers */
    if (!simulator) return;
    lock = std::unique_lock<std::recursive_mutex>(simulator->lock);
    if (simulator->devices.empty()) return;
    if (thread_device >= (int)simulator->devices.size()) thread_device = 0; /* from before a new set-up */
    error = cudaSuccess;
}

int &current_device() { return thread_device; }

cudaError_t result(cudaError_t e) {
    if (e != cudaSuccess && e != cudaErrorNotReady) thread_error = e;
    return e;
}

cudaError_t fault_fires(simgpu_fault kind) {
    fault *f = &simulator->faults[kind];
    if (f->countdown == 0 || --f->countdown > 0) return cudaSuccess;
    simulator->faults_fired++;
    return f->error;
}

void report(const std::string &text) {
    simulator->report = text;
    if (simulator->on_report) simulator->on_report(simulator->report_user, text.c_str());
}

/* ---- set-up ---- */

static void close_instance(instance *sim) {
    if (!sim) return;
    while (!sim->streams.empty()) free_stream(sim->streams.back());
    for (simgpu_event *e : sim->events) delete e;
    for (simgpu_graph_exec *g : sim->graphs) delete g;
    for (device &d : sim->devices) release_range(&d);
    for (auto &[start, bytes] : sim->pinned) free((void *)start);
    if (sim->blocks) {
        scheduler_close(sim->blocks);
        free(sim->blocks);
    }
    delete sim;
}

static bool open_instance(instance *sim, int n_devices, const simgpu_device *devices) {
    sim->blocks = (scheduler *)calloc(1, sizeof *sim->blocks);
    if (!sim->blocks) return false;
    sim->blocks->watchdog_seconds = 60;
    sim->devices.resize((size_t)n_devices);
    for (int i = 0; i < n_devices; i++) {
        device *d = &sim->devices[(size_t)i];
        d->spec = devices[i];
        if (!reserve_range(d)) return false;
        d->null_stream = make_stream(i, cudaStreamNonBlocking);
    }
    return true;
}

/* ---- launches ---- */

static bool valid_shape(const launch &l) {
    uint64_t threads = (uint64_t)l.block.x * l.block.y * l.block.z;
    return threads > 0 && threads <= MAX_THREADS && l.block.x <= 1024 && l.block.y <= 1024 && l.block.z <= 64 &&
           l.grid.x > 0 && l.grid.y > 0 && l.grid.z > 0 && l.grid.x <= 0x7fffffffu && l.grid.y <= 65535 &&
           l.grid.z <= 65535;
}

static const char *wrong_pointer(const void *p, int d) {
    int owner = device_of(p);
    if (owner < 0) return is_pinned(p) ? nullptr : "host memory";
    if (owner != d && !(simulator->devices[(size_t)d].peers >> owner & 1)) return "memory of another device";
    return allocated(p, 0, owner) ? nullptr : "not inside a live allocation";
}

static cudaError_t run_launch(const launch &l, int d) {
    if (cudaError_t e = fault_fires(SIMGPU_FAULT_KERNEL)) return e;
    for (const void *p : l.pointers) {
        const char *wrong = p ? wrong_pointer(p, d) : nullptr;
        if (!wrong) continue;
        char text[64];
        snprintf(text, sizeof text, "%p", p);
        report("simgpu: pointer argument " + std::string(text) + " is " + wrong + "\n  kernel launch: " + l.site +
               "\n");
        return cudaErrorIllegalAddress;
    }
    std::string text;
    open_ranges(d);
    bool ok = scheduler_run(simulator->blocks, l, &text);
    if (!ok) report(text);
    return ok ? cudaSuccess : cudaErrorLaunchFailure;
}

cudaError_t enqueue(launch &&l, cudaStream_t stream) {
    SIMGPU_ENTER();
    int d = current_device();
    const device &dev = simulator->devices[(size_t)d];
    if (stream && stream->device != d) return result(cudaErrorInvalidResourceHandle);
    if (dev.sticky != cudaSuccess) return result(dev.sticky);
    SIMGPU_FAULT(SIMGPU_FAULT_LAUNCH);
    if (!valid_shape(l)) return result(cudaErrorInvalidConfiguration);
    auto limit = simulator->dynamic_limit.find(l.kernel);
    if (l.shared_bytes > (limit == simulator->dynamic_limit.end() ? 48u << 10 : (size_t)limit->second))
        return result(cudaErrorInvalidValue);
    double memory = seconds_of(l.bytes, dev.spec.memory_rate), compute = seconds_of(l.flops, dev.spec.flop_rate);
    cost c = { &simulator->devices[(size_t)d].compute_free, memory > compute ? memory : compute,
               dev.spec.launch_seconds };
    auto kept = std::make_shared<launch>(std::move(l));
    return result(push(stream, { WORK, [kept, d] { return run_launch(*kept, d); }, {} }, c));
}

static int largest_dynamic() {
    return (SIMGPU_ARCH >= 900 ? 227 : SIMGPU_ARCH >= 860 ? 99 : SIMGPU_ARCH >= 800 ? 163 : 64) << 10;
}

cudaError_t set_dynamic_limit(const void *kernel, cudaFuncAttribute, int value) {
    SIMGPU_ENTER();
    if (value < 0 || value > largest_dynamic()) return result(cudaErrorInvalidValue);
    simulator->dynamic_limit[kernel] = value;
    return cudaSuccess;
}

static bool no_such_device(int d) { return d < 0 || d >= (int)simulator->devices.size(); }

} // namespace simgpu

using namespace simgpu;

extern "C" {

/* ---- control ---- */

int simgpu_config_devices(int n_devices, const simgpu_device *devices) {
    close_instance(simulator);
    simulator = new instance();
    thread_device = 0;
    thread_error = cudaSuccess;
    if (open_instance(simulator, n_devices, devices)) {
        simgpu_schedule(SIMGPU_FORWARD, 0);
        return 0;
    }
    close_instance(simulator);
    simulator = nullptr;
    return -1;
}

int simgpu_config(int n_devices, size_t bytes) {
    simgpu_device plain = {};
    plain.bytes = bytes;
    std::vector<simgpu_device> devices((size_t)n_devices, plain);
    return simgpu_config_devices(n_devices, devices.data());
}

void simgpu_schedule(simgpu_order order, uint64_t seed) {
    simulator->blocks->order = order;
    simulator->blocks->random.state = (seed + 1) * 0x9E3779B97F4A7C15u | 1;
}

void simgpu_watchdog(double seconds) { simulator->blocks->watchdog_seconds = seconds; }
void simgpu_allow_peers(int allowed) { simulator->peers_allowed = allowed != 0; }
void simgpu_fail(simgpu_fault kind, int nth, int error) { simulator->faults[kind] = { nth, (cudaError_t)error }; }
const char *simgpu_report(void) { return simulator ? simulator->report.c_str() : ""; }
void simgpu_on_report(void (*callback)(void *user, const char *text), void *user) {
    simulator->on_report = callback;
    simulator->report_user = user;
}

simgpu_stats simgpu_stat(void) {
    simgpu_stats stats = {};
    if (!simulator) return stats;
    stats = simulator->blocks->stats;
    for (const device &d : simulator->devices) stats.live_allocations += d.live.size();
    stats.live_pinned = simulator->pinned.size();
    stats.live_streams = simulator->live_streams;
    stats.live_events = simulator->events.size();
    stats.live_graphs = simulator->graphs.size();
    stats.faults_fired = simulator->faults_fired;
    return stats;
}

size_t simgpu_library_overhead(void) {
    return simulator ? simulator->devices[(size_t)thread_device].spec.library_overhead : 0;
}

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *n) {
    *n = 0;
    SIMGPU_ENTER();
    *n = (int)simulator->devices.size();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int d) {
    SIMGPU_ENTER();
    if (no_such_device(d)) return result(cudaErrorInvalidDevice);
    thread_device = d;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *d) {
    SIMGPU_ENTER();
    *d = thread_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int d) {
    SIMGPU_ENTER();
    if (no_such_device(d)) return result(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "simulated GPU %d", d);
    p->totalGlobalMem = simulator->devices[(size_t)d].spec.bytes;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = (size_t)largest_dynamic();
    p->major = SIMGPU_ARCH / 100;
    p->minor = SIMGPU_ARCH / 10 % 10;
    p->multiProcessorCount = 4;
    p->warpSize = warpSize;
    p->maxThreadsPerBlock = MAX_THREADS;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int d) {
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, d);
    if (e != cudaSuccess) return e;
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *yes, int d, int peer) {
    SIMGPU_ENTER();
    if (no_such_device(d) || no_such_device(peer)) return result(cudaErrorInvalidDevice);
    *yes = simulator->peers_allowed && d != peer;
    return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
    SIMGPU_ENTER();
    if (no_such_device(peer) || peer == thread_device || !simulator->peers_allowed)
        return result(cudaErrorInvalidDevice);
    uint64_t *peers = &simulator->devices[(size_t)thread_device].peers;
    if (*peers >> peer & 1) return result(cudaErrorPeerAccessAlreadyEnabled);
    *peers |= (uint64_t)1 << peer;
    return cudaSuccess;
}

/* ---- errors ---- */

cudaError_t cudaGetLastError(void) {
    cudaError_t e = thread_error;
    thread_error = cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError(void) { return thread_error; }

/* name, the driver's sentence                                                                                        */
#define ERRORS(E)                                                                                                      \
    E(cudaSuccess, "no error")                                                                                         \
    E(cudaErrorInvalidValue, "invalid argument")                                                                       \
    E(cudaErrorMemoryAllocation, "out of memory")                                                                      \
    E(cudaErrorInvalidConfiguration, "invalid configuration argument")                                                 \
    E(cudaErrorInvalidPitchValue, "invalid pitch argument")                                                            \
    E(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")                     \
    E(cudaErrorNoDevice, "no CUDA-capable device is detected")                                                         \
    E(cudaErrorInvalidDevice, "invalid device ordinal")                                                                \
    E(cudaErrorInvalidResourceHandle, "invalid resource handle")                                                       \
    E(cudaErrorNotReady, "device not ready")                                                                           \
    E(cudaErrorIllegalAddress, "an illegal memory access was encountered")                                             \
    E(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled")                                             \
    E(cudaErrorLaunchFailure, "unspecified launch failure")                                                            \
    E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")                           \
    E(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture")                    \
    E(cudaErrorUnknown, "unknown error")

const char *cudaGetErrorName(cudaError_t e) {
    switch (e) {
#define NAME(error, sentence) \
    case error: return #error;
        ERRORS(NAME)
#undef NAME
    }
    return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
#define SENTENCE(error, sentence) \
    case error: return sentence;
        ERRORS(SENTENCE)
#undef SENTENCE
    }
    return "unrecognized error code";
}

} // extern "C"
