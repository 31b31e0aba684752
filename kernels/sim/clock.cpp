/* The virtual clock.  A discrete-event simulation beside the execution: each stream has a timeline of costs, each
 * device three engines (compute, copy in, copy out).  Of all ops whose turn has come, the one that can start first is
 * timed first.  So the result depends on calls and costs alone, never on the order in which kernels run. */
#include "kernels/sim/instance.h"

namespace simgpu {

double seconds_of(double amount, double rate) { return rate > 0 ? amount / rate : 0; }

void clock_push(simgpu_stream *s, const op &o, cost c) {
    s->timeline.push_back({ o.kind, simulator->n_calls++, simulator->host_seconds, c.seconds + c.launch, c.engine, o.event });
}

/* When the first op of the stream could start; false: it waits for an event that is not timed yet.                   */
static bool start_time(const simgpu_stream *s, double *start) {
    if (s->timeline.empty()) return false;
    const timed_op &o = s->timeline.front();
    *start = o.issued > s->seconds ? o.issued : s->seconds;
    if (o.kind == WAIT) {
        if (!o.event->timed) return false;
        if (o.event->seconds > *start) *start = o.event->seconds;
    }
    if (o.engine && *o.engine > *start) *start = *o.engine;
    return true;
}

/* Times the op that starts first; false: none can.                                                                   */
static bool time_one() {
    simgpu_stream *best = nullptr;
    double best_start = 0;
    for (simgpu_stream *s : simulator->streams) {
        double start;
        if (!start_time(s, &start)) continue;
        bool earlier = !best || start < best_start ||
                       (start == best_start && s->timeline.front().sequence < best->timeline.front().sequence);
        if (!earlier) continue;
        best = s;
        best_start = start;
    }
    if (!best) return false;
    timed_op o = best->timeline.front();
    best->timeline.pop_front();
    best->seconds = best_start + o.seconds;
    if (o.engine) *o.engine = best->seconds;
    if (o.kind == RECORD) {
        o.event->timed = true;
        o.event->seconds = best->seconds;
    }
    return true;
}

static void host_reaches(double seconds) {
    if (seconds > simulator->host_seconds) simulator->host_seconds = seconds;
}

void clock_wait_stream(simgpu_stream *s) {
    while (!s->timeline.empty() && time_one()) {
    }
    host_reaches(s->seconds);
}

void clock_wait_mark(const std::shared_ptr<mark> &m) {
    while (!m->timed && time_one()) {
    }
    host_reaches(m->seconds);
}

} // namespace simgpu

extern "C" {

double simgpu_seconds(void) {
    simgpu::api_call call;
    return call.error == cudaSuccess ? simgpu::simulator->host_seconds : 0;
}

void simgpu_host_work(double seconds) {
    simgpu::api_call call;
    if (call.error == cudaSuccess) simgpu::simulator->host_seconds += seconds;
}

} // extern "C"
