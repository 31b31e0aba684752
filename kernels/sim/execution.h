/* What a kernel can do together with other threads: barriers, warp collectives, atomics, shared memory.  Each call
 * carries its source line, for the reports.  Whole-warp work is done in the runtime's own files, which the thread
 * sanitizer does not instrument: lanes exchange registers there, not memory.                                         */
#ifndef SIMGPU_EXECUTION_H
#define SIMGPU_EXECUTION_H

#include "kernels/sim/dialect.h"

#define SIMGPU_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace simgpu {

/* Runs once for the warp when the last lane of mask arrives; args[lane] is what that lane passed.                    */
typedef void (*collective_fn)(unsigned mask, void **args);
/* orders_memory: the collective is a memory barrier among its lanes (__syncwarp); a shuffle is not.                  */
void collective(unsigned mask, collective_fn fn, void *arg, const char *what, bool orders_memory, SIMGPU_AT);

struct votes {
    int count, all, any;
};
votes barrier(int predicate, const char *what, SIMGPU_AT); /* block barrier over all threads that have not exited */

int lane_id();
[[noreturn]] void kernel_defect(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The variable of the running block that belongs to key: made, poisoned with 0xFF, at the first call in a block.     */
void *shared_variable(const void *key, size_t size, size_t align, const char *name);
void *shared_dynamic();

/* Tensor-core and copy instructions; register layouts are those of PTX, see kernels/cuda/ptx.cuh.                    */
void mma_f16(float *d, const unsigned *a, const unsigned *b, const float *c, SIMGPU_AT);
void mma_bf16(float *d, const unsigned *a, const unsigned *b, const float *c, SIMGPU_AT);
void mma_s8(int *d, const unsigned *a, const unsigned *b, const int *c, SIMGPU_AT);
void check_matrix_row(const void *row, SIMGPU_AT); /* shared, aligned to 16 bytes */
void ldmatrix(unsigned *r, const uint16_t *row, bool transposed, SIMGPU_AT);
void copy_async(void *shared, const void *global, int bytes, int bytes_read, SIMGPU_AT);
void copy_commit();
void copy_wait(int groups_left);

struct exchange {
    uint64_t in, out;
    int source;
};
void do_nothing(unsigned mask, void **args);
void do_shuffle(unsigned mask, void **args);
void do_ballot(unsigned mask, void **args);
void do_match(unsigned mask, void **args);

template <class T>
static inline T shuffle(unsigned mask, T v, int source, const char *what, const char *file, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "type of a shuffle");
    exchange e = { 0, 0, source };
    memcpy(&e.in, &v, sizeof v);
    collective(mask, do_shuffle, &e, what, false, file, line);
    memcpy(&v, &e.out, sizeof v);
    return v;
}
static inline unsigned ballot(unsigned mask, int predicate, const char *what, const char *file, int line) {
    exchange e = { predicate != 0, 0, 0 };
    collective(mask, do_ballot, &e, what, false, file, line);
    return (unsigned)e.out;
}

} // namespace simgpu

/* ---- barriers ---- */

static inline void __syncthreads(SIMGPU_AT) { simgpu::barrier(0, "__syncthreads", file, line); }
static inline int __syncthreads_count(int p, SIMGPU_AT) {
    return simgpu::barrier(p, "__syncthreads_count", file, line).count;
}
static inline int __syncthreads_and(int p, SIMGPU_AT) {
    return simgpu::barrier(p, "__syncthreads_and", file, line).all;
}
static inline int __syncthreads_or(int p, SIMGPU_AT) { return simgpu::barrier(p, "__syncthreads_or", file, line).any; }
static inline void __syncwarp(unsigned mask = ~0u, SIMGPU_AT) {
    simgpu::collective(mask, simgpu::do_nothing, nullptr, "__syncwarp", true, file, line);
}

/* ---- warp collectives; width is a power of two ---- */

template <class T> static inline T __shfl_sync(unsigned mask, T v, int source, int width = 32, SIMGPU_AT) {
    int lane = simgpu::lane_id();
    return simgpu::shuffle(mask, v, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", file, line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, SIMGPU_AT) {
    int lane = simgpu::lane_id(), source = lane ^ bits;
    return simgpu::shuffle(mask, v, source > (lane | (width - 1)) ? lane : source, "__shfl_xor_sync", file, line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, SIMGPU_AT) {
    int lane = simgpu::lane_id(), source = lane + (int)by;
    return simgpu::shuffle(mask, v, source > (lane | (width - 1)) ? lane : source, "__shfl_down_sync", file, line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, SIMGPU_AT) {
    int lane = simgpu::lane_id(), source = lane - (int)by;
    return simgpu::shuffle(mask, v, source < (lane & ~(width - 1)) ? lane : source, "__shfl_up_sync", file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int p, SIMGPU_AT) {
    return simgpu::ballot(mask, p, "__ballot_sync", file, line);
}
static inline int __any_sync(unsigned mask, int p, SIMGPU_AT) {
    return simgpu::ballot(mask, p, "__any_sync", file, line) != 0;
}
static inline int __all_sync(unsigned mask, int p, SIMGPU_AT) {
    return simgpu::ballot(mask, !p, "__all_sync", file, line) == 0;
}
template <class T> static inline unsigned __match_any_sync(unsigned mask, T v, SIMGPU_AT) {
    simgpu::exchange e = { 0, 0, 0 };
    memcpy(&e.in, &v, sizeof v);
    simgpu::collective(mask, simgpu::do_match, &e, "__match_any_sync", false, file, line);
    return (unsigned)e.out;
}
unsigned __activemask() __attribute__((error("__activemask() is not portable: pass the mask")));

/* ---- memory order and atomics; all threads share one OS thread, TSan alone needs to see atomics ---- */

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __trap() { simgpu::kernel_defect("__trap() executed"); }

#ifdef SIMGPU_TSAN
template <class T> static inline T simgpu_load(T *p) {
    T v;
    __atomic_load(p, &v, __ATOMIC_RELAXED);
    return v;
}
template <class T> static inline bool simgpu_swap(T *p, T *old, T v) {
    return __atomic_compare_exchange(p, old, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
#else
template <class T> static inline T simgpu_load(T *p) { return *p; }
template <class T> static inline bool simgpu_swap(T *p, T *old, T v) {
    (void)old; /* nothing ran since the load */
    *p = v;
    return true;
}
#endif
#define SIMGPU_ATOMIC(name, result)                                     \
    template <class T, class U> static inline T name(T *p, U operand) { \
        T v = (T)operand, old = simgpu_load(p);                         \
        while (!simgpu_swap(p, &old, (T)(result))) {                    \
        }                                                               \
        return old;                                                     \
    }
SIMGPU_ATOMIC(atomicAdd, old + v)
SIMGPU_ATOMIC(atomicSub, old - v)
SIMGPU_ATOMIC(atomicExch, v)
SIMGPU_ATOMIC(atomicMax, old < v ? v : old)
SIMGPU_ATOMIC(atomicMin, v < old ? v : old)
SIMGPU_ATOMIC(atomicAnd, old &v)
SIMGPU_ATOMIC(atomicOr, old | v)
SIMGPU_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
#undef SIMGPU_ATOMIC
template <class T> static inline T atomicCAS(T *p, T expected, T v) {
    T old = simgpu_load(p);
    while (old == expected && !simgpu_swap(p, &old, v)) {
    }
    return old;
}

#endif
