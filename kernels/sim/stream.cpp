/* Streams and events.  Streams are lazy: work runs when a call waits for it, so that a missing wait shows.  In
 * random order a wait also runs work of other streams, in any order that the events allow.                           */
#include "kernels/sim/instance.h"

#include <algorithm>

namespace simgpu {

/* ---- execution ---- */

static bool runnable(const simgpu_stream *s) {
    return !s->work.empty() && (s->work.front().kind != WAIT || s->work.front().event->executed);
}

static void step(simgpu_stream *s) {
    op o = std::move(s->work.front());
    device *d = &simulator->devices[(size_t)s->device];
    s->work.pop_front();
    if (o.kind == RECORD) o.event->executed = true;
    if (o.kind != WORK || d->sticky != cudaSuccess) return;
    cudaError_t e = o.work();
    if (e != cudaSuccess) d->sticky = e;
}

/* Runs work until done() holds; prefers the stream that is waited for, if any.                                       */
template <class Done> static void drain(simgpu_stream *wanted, Done done) {
    instance *sim = simulator;
    std::vector<simgpu_stream *> ready;
    while (!done()) {
        bool random = sim->blocks->order == SIMGPU_RANDOM;
        if (!random && wanted && runnable(wanted)) {
            step(wanted);
            continue;
        }
        ready.clear();
        for (simgpu_stream *s : sim->streams)
            if (runnable(s)) ready.push_back(s);
        if (ready.empty()) break; /* cannot be: an event is recorded before a stream can wait for it */
        if (random)
            step(ready[sim->blocks->random.next() % ready.size()]);
        else
            step(sim->blocks->order == SIMGPU_REVERSE ? ready.back() : ready.front());
    }
    close_ranges();
}

void drain_stream(simgpu_stream *s) {
    drain(s, [s] { return s->work.empty(); });
    clock_wait_stream(s);
}

void drain_device(int d) {
    std::vector<simgpu_stream *> mine;
    for (simgpu_stream *s : simulator->streams)
        if (s->device == d) mine.push_back(s);
    drain(nullptr, [&mine] {
        return std::all_of(mine.begin(), mine.end(), [](const simgpu_stream *s) { return s->work.empty(); });
    });
    for (simgpu_stream *s : mine) clock_wait_stream(s);
}

static void wait_for_mark(const std::shared_ptr<mark> &m) {
    drain(nullptr, [&m] { return m->executed; });
    clock_wait_mark(m);
}

simgpu_stream *stream_or_null(cudaStream_t stream) {
    return stream ? stream : simulator->devices[(size_t)current_device()].null_stream;
}

cudaError_t push(cudaStream_t stream, op o, cost c) {
    simgpu_stream *s = stream_or_null(stream);
    if (s->capture) return capture(s, std::move(o), c);
    bool is_null_stream = s == simulator->devices[(size_t)s->device].null_stream;
    if (is_null_stream) {
        std::vector<simgpu_stream *> all = simulator->streams;
        for (simgpu_stream *other : all)
            if (other->device == s->device && !(other->flags & cudaStreamNonBlocking)) drain_stream(other);
    }
    clock_push(s, o, c);
    s->work.push_back(std::move(o));
    if (is_null_stream) drain_stream(s);
    return cudaSuccess;
}

simgpu_stream *make_stream(int d, unsigned flags) {
    simgpu_stream *s = new simgpu_stream{ d, flags, {}, {}, 0, nullptr };
    simulator->streams.push_back(s);
    return s;
}

void free_stream(simgpu_stream *s) {
    auto &all = simulator->streams;
    all.erase(std::remove(all.begin(), all.end(), s), all.end());
    free_capture(s);
    delete s;
}

static cudaError_t sticky(int d) { return result(simulator->devices[(size_t)d].sticky); }

} // namespace simgpu

using namespace simgpu;

/* ---- API ---- */

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    SIMGPU_ENTER();
    SIMGPU_FAULT(SIMGPU_FAULT_CREATE);
    *stream = make_stream(current_device(), flags);
    simulator->live_streams++;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    SIMGPU_ENTER();
    if (!stream) return result(cudaErrorInvalidResourceHandle);
    drain_stream(stream);
    free_stream(stream);
    simulator->live_streams--;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    SIMGPU_ENTER();
    simgpu_stream *s = stream_or_null(stream);
    if (s->capture) return result(spoil_capture(s));
    drain_stream(s);
    return sticky(s->device);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    SIMGPU_ENTER();
    simgpu_stream *s = stream_or_null(stream);
    if (runnable(s)) step(s); /* a caller that polls gets there */
    close_ranges();
    if (s->work.empty()) clock_wait_stream(s);
    if (cudaError_t e = simulator->devices[(size_t)s->device].sticky) return result(e);
    return s->work.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    SIMGPU_ENTER();
    if (!event) return result(cudaErrorInvalidResourceHandle);
    if (!event->last) return cudaSuccess; /* never recorded: nothing to wait for */
    return result(push(stream, { WAIT, {}, event->last }, {}));
}

cudaError_t cudaDeviceSynchronize(void) {
    SIMGPU_ENTER();
    for (simgpu_stream *s : simulator->streams)
        if (s->device == current_device() && s->capture) return result(spoil_capture(s));
    drain_device(current_device());
    return sticky(current_device());
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    SIMGPU_ENTER();
    SIMGPU_FAULT(SIMGPU_FAULT_CREATE);
    *event = new simgpu_event{ current_device(), {} };
    simulator->events.insert(*event);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    SIMGPU_ENTER();
    if (!simulator->events.erase(event)) return result(cudaErrorInvalidResourceHandle);
    delete event; /* its marks live on in the streams */
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    SIMGPU_ENTER();
    if (!event || stream_or_null(stream)->device != event->device) return result(cudaErrorInvalidResourceHandle);
    auto reached = std::make_shared<mark>(mark{ false, false, 0 });
    cudaError_t e = push(stream, { RECORD, {}, reached }, {});
    if (e == cudaSuccess) event->last = reached;
    return result(e);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    SIMGPU_ENTER();
    if (!event) return result(cudaErrorInvalidResourceHandle);
    if (event->last) wait_for_mark(event->last);
    return sticky(event->device);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    SIMGPU_ENTER();
    if (!event) return result(cudaErrorInvalidResourceHandle);
    return !event->last || event->last->executed ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    SIMGPU_ENTER();
    if (!from || !to || !from->last || !to->last) return result(cudaErrorInvalidResourceHandle);
    if (!from->last->timed || !to->last->timed) return cudaErrorNotReady;
    *milliseconds = (float)((to->last->seconds - from->last->seconds) * 1e3);
    return cudaSuccess;
}

} // extern "C"
