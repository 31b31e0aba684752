/* A GPU backend: the table of kernels/backend.h over the CUDA runtime.  One source for hardware (nvcc) and for the
 * simulator (g++); what differs between them is the platform of parts.h.                                             */
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/parts.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEVICES = 64 };

/* The CUDA runtime is one for the process, and so is this: set by lr_backend_open, which is given the same services
 * each time; devices that are open, to know when a broken context has no user left.                                  */
static const lr_backend_host *host;
static int n_open[MAX_DEVICES];
static bool early; /* as that call wants it */

static int change_open(int index, int by) { return __atomic_add_fetch(&n_open[index], by, __ATOMIC_ACQ_REL); }

llmrun_status gpu_status(const lr_device *d, cudaError_t e, const char *what, llmrun_error *err) {
    if (e == cudaSuccess) return LLMRUN_OK;
    cudaGetLastError();
    const char *detail = platform_detail(e);
    return d->host->fail(err, e == cudaErrorMemoryAllocation ? LLMRUN_VRAM : LLMRUN_DEVICE, "%s:%d: %s: %s (%s)%s%s",
                         platform_name, d->index, what, cudaGetErrorString(e), cudaGetErrorName(e), *detail ? "; " : "",
                         detail);
}

/* ---- devices ---- */

static int32_t count(void) {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
    cudaGetLastError();
    return n < MAX_DEVICES ? n : MAX_DEVICES;
}

static llmrun_status info(int32_t index, lr_device_info *out, llmrun_error *err) {
    cudaDeviceProp p;
    lr_device none = {};
    none.host = host;
    none.index = index;
    memset(out, 0, sizeof *out);
    cudaError_t e = cudaGetDeviceProperties(&p, index);
    if (e != cudaSuccess) return gpu_status(&none, e, "properties", err);
    snprintf(out->name, sizeof out->name, "%.63s", p.name);
    out->major = p.major;
    out->minor = p.minor;
    out->total_bytes = p.totalGlobalMem;
    return gpu_status(&none, platform_describe(index, p.multiProcessorCount, out), "memory information", err);
}

/* A context that an error has broken stays broken for all; its last user takes it down, so that the next gets a new
 * one.  One that works is left to others in the process.                                                             */
static void close_device(lr_device *d) {
    if (!d) return;
    cudaError_t broken = cudaSetDevice(d->index);
    for (int q = 0; q < LR_N_QUEUES; q++) {
        if (!d->queue[q]) continue;
        if (q == LR_QUEUE_COMPUTE) gpu_graph_drop(d);
        cudaError_t e = cudaStreamSynchronize(d->queue[q]);
        if (e != cudaSuccess) broken = e;
    }
    gpu_cublas_close(d);
    gpu_arena_close(d);
    for (int q = 0; q < LR_N_QUEUES; q++)
        if (d->queue[q]) cudaStreamDestroy(d->queue[q]);
    if (change_open(d->index, -1) == 0 && broken != cudaSuccess) cudaDeviceReset();
    cudaGetLastError();
    host->free(d);
}

static cudaError_t make_context(lr_device *d) {
    int major = 0, minor = 0;
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = cudaFree(NULL); /* older runtimes wait for a call like this one */
    for (int q = 0; q < LR_N_QUEUES && e == cudaSuccess; q++)
        e = cudaStreamCreateWithFlags(&d->queue[q], cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&d->n_sms, cudaDevAttrMultiProcessorCount, d->index);
    d->arch = 100 * major + 10 * minor;
    d->early = early && platform_waits(d->arch);
    return e;
}

static llmrun_status open_device(lr_device **out, int32_t index, llmrun_error *err) {
    *out = NULL;
    if (index < 0 || index >= count())
        return host->fail(err, LLMRUN_ARG, "%s: device %d: there are %d devices", platform_name, index, count());
    lr_device *d = (lr_device *)host->alloc(sizeof *d);
    if (!d) return host->fail(err, LLMRUN_NOMEM, "%s:%d: out of host memory", platform_name, index);
    d->host = host;
    d->index = index;
    change_open(index, 1);
    llmrun_status status = gpu_status(d, make_context(d), "context", err);
    if (status == LLMRUN_OK)
        *out = d;
    else
        close_device(d);
    return status;
}

static bool use_library(lr_device *d, void *base, uint64_t bytes) {
    cudaSetDevice(d->index);
    if (!d->cublas && bytes) gpu_cublas_open(d);
    if (!bytes) gpu_cublas_close(d);
    else if (d->cublas && base) gpu_cublas_workspace(d, base, bytes);
    cudaGetLastError();
    return d->cublas != NULL;
}

static uint64_t used_bytes(lr_device *d) { return platform_used_bytes(d); }

/* ---- ops: on the compute queue of d ---- */

static lr_act_format act(const lr_device *d, lr_format w, int64_t n) {
    (void)d;
    return lr_gpu_act(w, n);
}

static llmrun_status embed(lr_device *d, const lr_embed_args *a, int64_t n, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_embed(d, a, n);
    return gpu_status(d, e, "embed", err);
}

static llmrun_status norm(lr_device *d, const lr_norm_args *a, int64_t rows, const lr_act *out,
                             llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_norm(d, a, rows, out);
    return gpu_status(d, e, "norm", err);
}

static llmrun_status pack(lr_device *d, const lr_pack_args *a, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_pack(d, a);
    return gpu_status(d, e, "pack", err);
}

static llmrun_status matmul(lr_device *d, const lr_matmul_args *m, int n, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = m->x.n <= LR_GPU_FEW ? gpu_gemv(d, m, n) : gpu_gemm(d, m, n);
    return gpu_status(d, e, "matmul", err);
}

static cudaError_t long_matmul_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out) {
    cudaError_t e = gpu_gemm(d, m, 2);
    if (e != cudaSuccess) return e;
    lr_glu_args a = {};
    a.y = m[0].y;
    a.gate = m[0].y;
    a.up = m[1].y;
    a.dim = m[0].w.rows;
    a.y_stride = a.in_stride = m[0].y_stride;
    a.act = act;
    return gpu_glu(d, &a, m[0].x.n, out);
}

static llmrun_status matmul_glu(lr_device *d, const lr_matmul_args m[2], lr_glu_act act, const lr_act *out,
                                llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = m->x.n <= LR_GPU_FEW ? gpu_gemv_glu(d, m, act, out) : long_matmul_glu(d, m, act, out);
    return gpu_status(d, e, "matmul and glu", err);
}

static llmrun_status glu(lr_device *d, const lr_glu_args *a, int64_t rows, const lr_act *out,
                            llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_glu(d, a, rows, out);
    return gpu_status(d, e, "glu", err);
}

static llmrun_status qkv(lr_device *d, const lr_qkv_args *a, const lr_pass_shape *s, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_qkv(d, a, s);
    return gpu_status(d, e, "qkv", err);
}

static llmrun_status attention(lr_device *d, const lr_attention_args *a, const lr_pass_shape *s, const lr_act *out,
                               llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    bool few = s->n <= LR_GPU_FEW; /* then the partial results of all rows have room */
    if (e == cudaSuccess && a->v_dim) e = gpu_attention_latent(d, a, s, out);
    else if (e == cudaSuccess) e = few ? gpu_attention_few(d, a, s, out) : gpu_attention_many(d, a, s, out);
    return gpu_status(d, e, "attention", err);
}

static llmrun_status gate_rows(lr_device *d, const lr_gate_rows_args *a, int64_t rows, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_gate_rows(d, a, rows);
    return gpu_status(d, e, "gate of rows", err);
}

static llmrun_status route(lr_device *d, const lr_route_args *a, int64_t rows, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_route(d, a, rows);
    return gpu_status(d, e, "route", err);
}

static llmrun_status experts(lr_device *d, const lr_experts_args *a, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_experts(d, a);
    return gpu_status(d, e, "experts", err);
}

static llmrun_status latent(lr_device *d, const lr_latent_args *a, const lr_pass_shape *s, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_latent(d, a, s);
    return gpu_status(d, e, "latent rows", err);
}

static llmrun_status heads(lr_device *d, const lr_heads_args *a, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_heads(d, a);
    return gpu_status(d, e, "products of heads", err);
}

static llmrun_status delta(lr_device *d, const lr_delta_args *a, const lr_pass_shape *s, llmrun_error *err) {
    cudaError_t e = cudaSetDevice(d->index);
    if (e == cudaSuccess) e = gpu_delta(d, a, s);
    return gpu_status(d, e, "delta", err);
}

/* ---- the table ---- */

static lr_backend backend; /* filled once below: C++17 has no designators */

static void fill_table(lr_backend *b) {
    b->abi = LR_BACKEND_ABI;
    b->name = platform_name;
    b->ops = { act,       embed,     norm,  pack,    matmul, matmul_glu, glu, qkv,
               attention, gate_rows, route, experts, latent, heads,  delta };
    b->count = count;
    b->info = info;
    b->open = open_device;
    b->close = close_device;
    b->used_bytes = used_bytes;
    b->measure = gpu_measure;
    b->arena_open = gpu_arena_open;
    b->arena_close = gpu_arena_close;
    b->use_library = use_library;
    b->pinned_open = gpu_pinned_open;
    b->pinned_close = gpu_pinned_close;
    b->copy_in = gpu_copy_in;
    b->copy_out = gpu_copy_out;
    b->copy_peer = gpu_copy_peer;
    b->event_open = gpu_event_open;
    b->event_close = gpu_event_close;
    b->event_record = gpu_event_record;
    b->event_wait = gpu_event_wait;
    b->event_sync = gpu_event_sync;
    b->sync = gpu_sync;
    b->graph_begin = gpu_graph_begin;
    b->graph_end = gpu_graph_end;
    b->graph_launch = gpu_graph_launch;
    b->graph_close = gpu_graph_close;
    b->clock = platform_clock;
    b->host_work = platform_host_work;
}

extern "C" __attribute__((visibility("default"))) const lr_backend *
lr_backend_open(uint32_t abi, const lr_backend_host *services, const char *config, llmrun_error *err) {
    int n = 0;
    if (abi != LR_BACKEND_ABI) {
        services->fail(err, LLMRUN_DEVICE, "%s: the library asks for backend interface %u, this file has %d",
                       platform_name, abi, LR_BACKEND_ABI);
        return NULL;
    }
    for (int i = 0; i < MAX_DEVICES; i++) n += change_open(i, 0);
    if (platform_set_up(services, config, n, err) != LLMRUN_OK) return NULL;
    host = services;
    early = config && strcmp(config, "early") == 0;
    fill_table(&backend);
    return &backend;
}
