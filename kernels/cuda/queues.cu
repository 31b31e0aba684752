/* Queues of a device: events, waits, graphs.  See kernels/backend.h.                                                 */
#include "kernels/cuda/parts.h"

struct lr_event {
    cudaEvent_t event;
};
struct lr_graph {
    cudaGraphExec_t exec;
};

/* A small block of the host's memory; NULL with err filled.                                                          */
static void *record(lr_device *d, size_t bytes, const char *what, llmrun_error *err) {
    void *p = d->host->alloc(bytes);
    if (!p) d->host->fail(err, LLMRUN_NOMEM, "%s:%d: %s: out of host memory", platform_name, d->index, what);
    return p;
}

/* ---- events ---- */

llmrun_status gpu_event_open(lr_device *d, lr_event **out, llmrun_error *err) {
    *out = NULL;
    lr_event *e = (lr_event *)record(d, sizeof *e, "event", err);
    if (!e) return LLMRUN_NOMEM;
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&e->event, cudaEventDisableTiming);
    if (error == cudaSuccess)
        *out = e;
    else
        d->host->free(e);
    return gpu_status(d, error, "event", err);
}

void gpu_event_close(lr_device *d, lr_event *e) {
    if (!e) return;
    cudaSetDevice(d->index);
    cudaEventDestroy(e->event);
    cudaGetLastError();
    d->host->free(e);
}

llmrun_status gpu_event_record(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaEventRecord(e->event, d->queue[q]);
    return gpu_status(d, error, "record of an event", err);
}

llmrun_status gpu_event_wait(lr_device *d, lr_queue q, lr_event *e, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaStreamWaitEvent(d->queue[q], e->event, 0);
    return gpu_status(d, error, "wait of a queue for an event", err);
}

llmrun_status gpu_event_sync(lr_device *d, lr_event *e, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaEventSynchronize(e->event);
    return gpu_status(d, error, "wait for an event", err);
}

llmrun_status gpu_sync(lr_device *d, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    for (int q = 0; q < LR_N_QUEUES && error == cudaSuccess; q++) error = cudaStreamSynchronize(d->queue[q]);
    return gpu_status(d, error, "wait for the queues", err);
}

/* ---- graphs ---- */

llmrun_status gpu_graph_begin(lr_device *d, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess)
        error = cudaStreamBeginCapture(d->queue[LR_QUEUE_COMPUTE], cudaStreamCaptureModeThreadLocal);
    return gpu_status(d, error, "begin of a graph", err);
}

llmrun_status gpu_graph_end(lr_device *d, lr_graph **out, llmrun_error *err) {
    *out = NULL;
    cudaStream_t queue = d->queue[LR_QUEUE_COMPUTE];
    lr_graph *g = (lr_graph *)record(d, sizeof *g, "graph", err);
    if (!g) {
        gpu_graph_drop(d);
        return LLMRUN_NOMEM;
    }
    cudaGraph_t recorded = NULL;
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaStreamEndCapture(queue, &recorded);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&g->exec, recorded, 0);
    if (recorded) cudaGraphDestroy(recorded);
    if (error == cudaSuccess) error = cudaGraphUpload(g->exec, queue); /* its memory is taken now, not at a launch */
    if (error == cudaSuccess)
        *out = g;
    else
        gpu_graph_close(d, g);
    return gpu_status(d, error, "end of a graph", err);
}

llmrun_status gpu_graph_launch(lr_device *d, lr_graph *g, llmrun_error *err) {
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaGraphLaunch(g->exec, d->queue[LR_QUEUE_COMPUTE]);
    return gpu_status(d, error, "launch of a graph", err);
}

void gpu_graph_close(lr_device *d, lr_graph *g) {
    if (!g) return;
    cudaSetDevice(d->index);
    if (g->exec) cudaGraphExecDestroy(g->exec);
    d->host->free(g);
}

void gpu_graph_drop(lr_device *d) {
    cudaGraph_t recorded = NULL;
    cudaSetDevice(d->index);
    cudaStreamEndCapture(d->queue[LR_QUEUE_COMPUTE], &recorded);
    if (recorded) cudaGraphDestroy(recorded);
    cudaGetLastError();
}
