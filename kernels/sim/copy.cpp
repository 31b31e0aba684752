/* Copies and fills.  As in CUDA: pageable host memory is read during the call, and written before the call returns;
 * pinned memory stays pending until a wait.  On the clock each device copies in and out at once, one at a time each. */
#include "kernels/sim/instance.h"

namespace simgpu {

/* The side of a copy as its kind states it; wrong: the pointer does not belong there.                                */
static bool fits_side(const void *p, size_t bytes, bool on_device) {
    int owner = device_of(p);
    return on_device ? owner >= 0 && allocated(p, bytes, owner) : owner < 0;
}

/* rows of `bytes`, a pitch apart on each side.                                                                       */
struct region {
    char *to;
    size_t to_pitch;
    const char *from;
    size_t from_pitch, bytes, rows;
};
static size_t extent(size_t pitch, const region &r) { return (r.rows - 1) * pitch + r.bytes; }

static cost copy_cost(const region &r) {
    int target = device_of(r.to), source = device_of(r.from);
    if (target < 0 && source < 0) return {};
    device *d = &simulator->devices[(size_t)(target >= 0 ? target : source)];
    double n = (double)r.bytes * (double)r.rows;
    if (target < 0) return { &d->copy_out_free, seconds_of(n, d->spec.link_rate), 0 };
    if (source < 0) return { &d->copy_in_free, seconds_of(n, d->spec.link_rate), 0 };
    if (source == target) return { &d->compute_free, seconds_of(2 * n, d->spec.memory_rate), 0 };
    const device &s = simulator->devices[(size_t)source];
    bool direct = (d->peers >> source & 1) || (s.peers >> target & 1);
    double through_host = seconds_of(n, s.spec.link_rate) + seconds_of(n, d->spec.link_rate);
    return { &d->copy_in_free, direct ? seconds_of(n, d->spec.peer_rate) : through_host, 0 };
}

static void copy_rows(const region &r) {
    for (size_t i = 0; i < r.rows; i++) memmove(r.to + i * r.to_pitch, r.from + i * r.from_pitch, r.bytes);
}

static cudaError_t push_copy(region r, cudaStream_t stream) {
    cost c = copy_cost(r);
    simgpu_stream *s = stream_or_null(stream);
    bool to_pageable = device_of(r.to) < 0 && !is_pinned(r.to);
    bool from_pageable = device_of(r.from) < 0 && !is_pinned(r.from);
    if (s->capture && (to_pageable || from_pageable)) return spoil_capture(s);
    std::shared_ptr<std::vector<char>> staged;
    if (from_pageable) {
        staged = std::make_shared<std::vector<char>>(r.bytes * r.rows);
        copy_rows({ staged->data(), r.bytes, r.from, r.from_pitch, r.bytes, r.rows });
        r.from = staged->data();
        r.from_pitch = r.bytes;
    }
    auto work = [r, staged] {
        open_ranges(-1);
        copy_rows(r);
        return cudaSuccess;
    };
    cudaError_t e = push(stream, { WORK, work, {} }, c);
    if (e != cudaSuccess || !to_pageable) return e;
    drain_stream(s);
    return simulator->devices[(size_t)s->device].sticky;
}

} // namespace simgpu

using namespace simgpu;

extern "C" {

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t bytes, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t stream) {
    SIMGPU_ENTER();
    if (cudaError_t e = simulator->devices[(size_t)stream_or_null(stream)->device].sticky) return result(e);
    if (bytes == 0 || rows == 0) return cudaSuccess;
    SIMGPU_FAULT(SIMGPU_FAULT_COPY);
    if (to_pitch < bytes || from_pitch < bytes) return result(cudaErrorInvalidPitchValue);
    region r = { (char *)to, to_pitch, (const char *)from, from_pitch, bytes, rows };
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault) {
        to_device = device_of(to) >= 0;
        from_device = device_of(from) >= 0;
    }
    if (!fits_side(to, extent(to_pitch, r), to_device) || !fits_side(from, extent(from_pitch, r), from_device))
        return result(cudaErrorInvalidValue);
    return result(push_copy(r, stream));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr); /* the null stream waits */
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                                cudaStream_t stream) {
    SIMGPU_ENTER();
    if (cudaError_t e = simulator->devices[(size_t)stream_or_null(stream)->device].sticky) return result(e);
    if (bytes == 0) return cudaSuccess;
    SIMGPU_FAULT(SIMGPU_FAULT_COPY);
    if (device_of(to) != to_device || device_of(from) != from_device) return result(cudaErrorInvalidValue);
    if (!fits_side(to, bytes, true) || !fits_side(from, bytes, true)) return result(cudaErrorInvalidValue);
    return result(push_copy({ (char *)to, bytes, (const char *)from, bytes, bytes, 1 }, stream));
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream) {
    SIMGPU_ENTER();
    if (cudaError_t e = simulator->devices[(size_t)stream_or_null(stream)->device].sticky) return result(e);
    if (bytes == 0) return cudaSuccess;
    SIMGPU_FAULT(SIMGPU_FAULT_COPY);
    if (!fits_side(p, bytes, true)) return result(cudaErrorInvalidValue);
    device *d = &simulator->devices[(size_t)device_of(p)];
    auto work = [p, value, bytes] {
        open_ranges(-1);
        memset(p, value, bytes);
        return cudaSuccess;
    };
    return result(
        push(stream, { WORK, work, {} }, { &d->compute_free, seconds_of((double)bytes, d->spec.memory_rate), 0 }));
}

cudaError_t cudaMemset(void *p, int value, size_t bytes) { return cudaMemsetAsync(p, value, bytes, nullptr); }

} // extern "C"
