/* Graphs: the work of one stream, recorded once, queued again by each launch.  As in CUDA, recorded arguments are
 * those of the recording; what must not happen to a stream meanwhile spoils the recording.                           */
#include "kernels/sim/instance.h"

namespace simgpu {

cudaError_t spoil_capture(simgpu_stream *s) {
    s->capture->spoiled = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t capture(simgpu_stream *s, op o, cost c) {
    if (s->capture->spoiled) return cudaErrorStreamCaptureInvalidated;
    if (o.kind != WORK) return spoil_capture(s);
    s->capture->nodes.push_back({ std::move(o), { c.engine, c.seconds, 0 } });
    return cudaSuccess;
}

void free_capture(simgpu_stream *s) {
    delete s->capture;
    s->capture = nullptr;
}

} // namespace simgpu

using namespace simgpu;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    SIMGPU_ENTER();
    if (cudaError_t e = simulator->devices[(size_t)stream_or_null(stream)->device].sticky) return result(e);
    if (!stream || stream->capture) return result(cudaErrorStreamCaptureUnsupported);
    stream->capture = new simgpu_graph{ stream->device, false, {} };
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    SIMGPU_ENTER();
    *graph = nullptr;
    if (!stream || !stream->capture) return result(cudaErrorInvalidValue);
    bool spoiled = stream->capture->spoiled;
    if (spoiled)
        free_capture(stream);
    else
        std::swap(*graph, stream->capture);
    return result(spoiled ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    SIMGPU_ENTER();
    *exec = nullptr;
    if (!graph) return result(cudaErrorInvalidValue);
    if (cudaError_t e = simulator->devices[(size_t)graph->device].sticky) return result(e);
    SIMGPU_FAULT(SIMGPU_FAULT_CREATE);
    *exec = new simgpu_graph_exec{ *graph };
    simulator->graphs.insert(*exec);
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
    SIMGPU_ENTER();
    return result(simulator->graphs.count(exec) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    SIMGPU_ENTER();
    if (!simulator->graphs.count(exec)) return result(cudaErrorInvalidValue);
    const device &d = simulator->devices[(size_t)exec->graph.device];
    if (stream_or_null(stream)->device != exec->graph.device) return result(cudaErrorInvalidResourceHandle);
    if (d.sticky != cudaSuccess) return result(d.sticky);
    SIMGPU_FAULT(SIMGPU_FAULT_LAUNCH);
    double launch = d.spec.launch_seconds;
    for (const node &n : exec->graph.nodes) {
        cudaError_t e = push(stream, n.o, { n.c.engine, n.c.seconds, launch });
        if (e != cudaSuccess) return result(e);
        launch = 0;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    SIMGPU_ENTER();
    if (!simulator->graphs.erase(exec)) return result(cudaErrorInvalidValue);
    delete exec; /* what it queued lives on in the streams */
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    SIMGPU_ENTER();
    delete graph;
    return cudaSuccess;
}

} // extern "C"
