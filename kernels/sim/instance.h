/* The one instance of the simulator: devices, streams, host memory, faults, clock.  Private to kernels/sim.          */
#ifndef SIMGPU_INSTANCE_H
#define SIMGPU_INSTANCE_H

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "kernels/sim/block.h"

namespace simgpu {

/* One cudaEventRecord: when the stream gets there, in the order of execution and on the virtual clock.               */
struct mark {
    bool executed, timed;
    double seconds;
};

enum op_kind : uint8_t { WORK, RECORD, WAIT };
struct op {
    op_kind kind;
    std::function<cudaError_t()> work; /* WORK: an error becomes the sticky error of the device */
    std::shared_ptr<mark> event;       /* RECORD, WAIT */
};

/* The same op on the virtual clock.  Engines do one thing at a time: engine holds the time at which it is free.      */
struct timed_op {
    op_kind kind;
    uint64_t sequence; /* order of the calls: breaks ties */
    double issued, seconds;
    double *engine; /* NULL: needs none */
    std::shared_ptr<mark> event;
};
struct cost {
    double *engine;
    double seconds;
    double launch; /* of a kernel: paid by the launch, so once for a whole graph */
};
/* A piece of a graph.                                                                                                */
struct node {
    op o;
    cost c;
};

struct allocation {
    size_t bytes, span; /* asked for, counted */
};
struct device {
    simgpu_device spec;
    char *range; /* reserved addresses; open only while code of this device or an enabled peer runs */
    size_t range_bytes;
    bool open;
    size_t used, peak;
    std::map<char *, allocation> live;
    cudaError_t sticky;
    uint64_t peers; /* one bit for each device that this one may access */
    double compute_free, copy_in_free, copy_out_free;
    simgpu_stream *null_stream;
};

struct fault {
    int countdown;
    cudaError_t error;
};

struct instance {
    std::recursive_mutex lock;
    std::vector<device> devices; /* never resized: the clock points into it */
    std::vector<simgpu_stream *> streams; /* made by the caller, and the null streams */
    std::set<simgpu_event *> events;
    std::set<simgpu_graph_exec *> graphs; /* ready to launch */
    std::map<const char *, size_t> pinned;
    std::map<const void *, int> dynamic_limit; /* of kernels that asked for more than 48 KiB */
    fault faults[SIMGPU_FAULT_KINDS];
    bool peers_allowed = true;
    uint64_t live_streams = 0, faults_fired = 0;
    double host_seconds = 0;
    uint64_t n_calls = 0; /* of timed operations */
    std::string report;
    void (*on_report)(void *user, const char *text) = nullptr;
    void *report_user = nullptr;
    scheduler *blocks = nullptr;
};

/* THE file-scope pointer behind the CUDA API (api.cpp): NULL until simgpu_config.                                    */
extern instance *simulator;

/* ---- api.cpp ---- */

/* Opens every API call: takes the lock; error is set where there is no device.                                       */
struct api_call {
    std::unique_lock<std::recursive_mutex> lock;
    cudaError_t error;
    api_call();
};
#define SIMGPU_ENTER()                                                                                                 \
    simgpu::api_call call;                                                                                             \
    if (call.error != cudaSuccess) return call.error
#define SIMGPU_FAULT(kind)                                                                                             \
    if (cudaError_t injected = simgpu::fault_fires(kind)) return simgpu::result(injected)

int &current_device();              /* of the calling thread */
cudaError_t result(cudaError_t e); /* remembers the last error of the thread */
cudaError_t fault_fires(simgpu_fault kind);
void report(const std::string &text);

/* ---- memory.cpp ---- */

int device_of(const void *p); /* -1: host memory */
bool allocated(const void *p, size_t bytes, int owner);
bool is_pinned(const void *p);
bool reserve_range(device *d);
void release_range(device *d);
/* Opens the memory that code of a device may touch (-1: all, for copies); close_ranges shuts all.                    */
void open_ranges(int d);
void close_ranges();

/* ---- stream.cpp ---- */

simgpu_stream *stream_or_null(cudaStream_t stream);
/* Queues an op, or adds it to the graph that the stream is recorded in.  The null stream does it at once, after all
 * blocking streams.                                                                                                  */
cudaError_t push(cudaStream_t stream, op o, cost c);
void drain_stream(simgpu_stream *s); /* runs all of it, and moves the host's clock to its end */
void drain_device(int d);
simgpu_stream *make_stream(int d, unsigned flags);
void free_stream(simgpu_stream *s);

/* ---- graph.cpp ---- */

/* What may not happen to a stream while it is recorded: the recording is spoiled.                                    */
cudaError_t spoil_capture(simgpu_stream *s);
cudaError_t capture(simgpu_stream *s, op o, cost c);
void free_capture(simgpu_stream *s);

/* ---- clock.cpp ---- */

double seconds_of(double amount, double rate); /* 0 for a rate of 0 */
void clock_push(simgpu_stream *s, const op &o, cost c);
void clock_wait_stream(simgpu_stream *s); /* the host waits: its clock moves on */
void clock_wait_mark(const std::shared_ptr<mark> &m);

} // namespace simgpu

struct simgpu_stream {
    int device;
    unsigned flags;
    std::deque<simgpu::op> work;
    std::deque<simgpu::timed_op> timeline;
    double seconds; /* end of the last timed op */
    simgpu_graph *capture; /* NULL: work is queued.  Else it goes there. */
};
struct simgpu_graph {
    int device;
    bool spoiled;
    std::vector<simgpu::node> nodes;
};
struct simgpu_graph_exec {
    simgpu_graph graph;
};
struct simgpu_event {
    int device;
    std::shared_ptr<simgpu::mark> last; /* the latest record; empty: never recorded */
};

#endif
