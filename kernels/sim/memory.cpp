/* Device memory with hard limits, and pinned host memory.  Each device has a reserved range of addresses that is closed
 * to the host and to other devices; fresh memory is 0xFF; a canary behind each allocation is checked at cudaFree. */
#include "kernels/sim/instance.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef SIMGPU_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n)
#define UNPOISON(p, n)
#endif

namespace simgpu {

enum : size_t { GRANULE = 256, GAP = 256, PAGE = 4096, SPARE = 4 << 20, CANARY = 0xA5, LARGE = 16 << 20 };

/* ---- ranges ---- */

bool reserve_range(device *d) { /* twice the memory: holes between allocations cost addresses, not memory */
    d->range_bytes = (2 * d->spec.bytes + SPARE) & ~(PAGE - 1);
    void *p = mmap(nullptr, d->range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    d->range = (char *)p;
    if (d->spec.bytes >= LARGE) madvise(p, d->range_bytes, MADV_HUGEPAGE); /* opened and closed all the time */
    POISON(d->range, d->range_bytes);
    return true;
}

void release_range(device *d) {
    if (!d->range) return;
    UNPOISON(d->range, d->range_bytes);
    munmap(d->range, d->range_bytes);
    d->range = nullptr;
}

static void set_open(device *d, bool open) {
    if (d->open == open) return;
    d->open = open;
    mprotect(d->range, d->range_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void open_ranges(int d) {
    auto &devices = simulator->devices;
    for (int i = 0; i < (int)devices.size(); i++)
        set_open(&devices[(size_t)i], d < 0 || i == d || (devices[(size_t)d].peers >> i & 1));
}

void close_ranges() {
    for (device &d : simulator->devices) set_open(&d, false);
}

/* ---- whose memory is this ---- */

int device_of(const void *p) {
    for (size_t i = 0; i < simulator->devices.size(); i++) {
        const device &d = simulator->devices[i];
        if ((const char *)p >= d.range && (const char *)p < d.range + d.range_bytes) return (int)i;
    }
    return -1;
}

bool allocated(const void *p, size_t bytes, int owner) {
    auto &live = simulator->devices[(size_t)owner].live;
    auto next = live.upper_bound((char *)p);
    if (next == live.begin()) return false;
    auto &[start, a] = *--next;
    size_t offset = (size_t)((const char *)p - start);
    return offset <= a.bytes && bytes <= a.bytes - offset;
}

bool is_pinned(const void *p) {
    auto next = simulator->pinned.upper_bound((const char *)p);
    if (next == simulator->pinned.begin()) return false;
    auto &[start, bytes] = *--next;
    return (const char *)p < start + bytes;
}

/* ---- allocation ---- */

/* The first hole of span bytes with a gap on both sides; NULL: none.                                                 */
static char *find_hole(const device *d, size_t span) {
    char *at = d->range + GAP;
    for (auto &[start, a] : d->live) {
        if ((size_t)(start - at) >= span + GAP) return at;
        at = start + a.span + GAP;
    }
    return (size_t)(d->range + d->range_bytes - at) >= span + GAP ? at : nullptr;
}

static size_t canary_bytes(const allocation &a) { return a.span - a.bytes + GAP / 2; }

__attribute__((no_sanitize("address"))) static bool canary_intact(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] != CANARY) return false;
    return true;
}

} // namespace simgpu

using namespace simgpu;

extern "C" {

cudaError_t(cudaMalloc)(void **p, size_t bytes) {
    SIMGPU_ENTER();
    device *d = &simulator->devices[(size_t)current_device()];
    *p = nullptr;
    if (d->sticky != cudaSuccess) return result(d->sticky);
    if (bytes == 0) return cudaSuccess;
    SIMGPU_FAULT(SIMGPU_FAULT_MALLOC);
    if (bytes > d->spec.bytes) return result(cudaErrorMemoryAllocation);
    allocation a = { bytes, (bytes + GRANULE - 1) & ~(size_t)(GRANULE - 1) };
    if (a.span > d->spec.bytes - d->used) return result(cudaErrorMemoryAllocation);
    char *at = find_hole(d, a.span);
    if (!at) return result(cudaErrorMemoryAllocation);
    d->live[at] = a;
    d->used += a.span;
    if (d->used > d->peak) d->peak = d->used;
    open_ranges(current_device());
    UNPOISON(at, bytes);
    memset(at, 0xff, bytes);
    fill_unseen(at + bytes, CANARY, canary_bytes(a));
    close_ranges();
    *p = at;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
    SIMGPU_ENTER();
    if (!p) return cudaSuccess;
    int owner = device_of(p);
    if (owner < 0) return result(cudaErrorInvalidValue);
    device *d = &simulator->devices[(size_t)owner];
    auto found = d->live.find((char *)p);
    if (found == d->live.end()) return result(cudaErrorInvalidValue);
    drain_device(owner);
    allocation a = found->second;
    open_ranges(owner);
    bool intact = canary_intact((char *)p + a.bytes, canary_bytes(a));
    memset(p, 0xff, a.bytes);
    POISON(p, a.bytes);
    close_ranges();
    d->live.erase(found);
    d->used -= a.span;
    if (!intact) {
        char text[128];
        snprintf(text, sizeof text, "simgpu: write past the end of a device allocation of %zu bytes\n", a.bytes);
        report(text);
        d->sticky = cudaErrorIllegalAddress;
    }
    return result(d->sticky);
}

/* Frees what is left on the current device and clears its sticky error; streams and events stay.                     */
cudaError_t cudaDeviceReset(void) {
    SIMGPU_ENTER();
    device *d = &simulator->devices[(size_t)current_device()];
    drain_device(current_device());
    POISON(d->range, d->range_bytes);
    d->live.clear();
    d->used = 0;
    d->peers = 0;
    d->sticky = cudaSuccess;
    return cudaSuccess;
}

cudaError_t(cudaMallocHost)(void **p, size_t bytes) {
    SIMGPU_ENTER();
    *p = nullptr;
    SIMGPU_FAULT(SIMGPU_FAULT_HOST_MALLOC);
    void *block = malloc(bytes ? bytes : 1);
    if (!block) return result(cudaErrorMemoryAllocation);
    memset(block, 0xff, bytes);
    simulator->pinned[(char *)block] = bytes;
    *p = block;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) {
    SIMGPU_ENTER();
    if (!p) return cudaSuccess;
    if (!simulator->pinned.count((char *)p)) return result(cudaErrorInvalidValue);
    for (size_t i = 0; i < simulator->devices.size(); i++) drain_device((int)i);
    simulator->pinned.erase((char *)p);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    SIMGPU_ENTER();
    const device &d = simulator->devices[(size_t)current_device()];
    *free = d.spec.bytes - d.used;
    *total = d.spec.bytes;
    return cudaSuccess;
}

uint64_t simgpu_peak_bytes(int d) {
    api_call call;
    if (call.error != cudaSuccess || d < 0 || d >= (int)simulator->devices.size()) return 0;
    return simulator->devices[(size_t)d].peak;
}

} // extern "C"
