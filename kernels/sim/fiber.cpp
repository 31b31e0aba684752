/* Fibers.  See fiber.h.  A hand-written switch on x86-64 (six registers), ucontext elsewhere.                        */
#include "kernels/sim/fiber.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/sim/dialect.h"

#ifdef SIMGPU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SIMGPU_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace simgpu {

enum { GUARD_BYTES = 64 << 10 }; /* larger than most frames: an overflow must not jump over it */
#if defined(SIMGPU_ASAN)
static const size_t stack_bytes = 256 << 10;
#elif defined(SIMGPU_TSAN)
static const size_t stack_bytes = 128 << 10;
#else
static const size_t stack_bytes = 64 << 10;
#endif

/* ---- the switch ---- */

#if defined(__x86_64__) && !defined(SIMGPU_UCONTEXT)

extern "C" __attribute__((visibility("hidden"))) void simgpu_switch_stacks(void **save, void *to);
asm(".text\n"
    ".globl simgpu_switch_stacks\n"
    ".hidden simgpu_switch_stacks\n"
    ".type simgpu_switch_stacks,@function\n"
    "simgpu_switch_stacks:\n"
    "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    "movq %rsp,(%rdi)\n"
    "movq %rsi,%rsp\n"
    "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    "ret\n"
    ".size simgpu_switch_stacks,.-simgpu_switch_stacks\n");

static void switch_context(fiber *from, fiber *to) { simgpu_switch_stacks(&from->context, to->context); }

static void make_context(fiber *f, void (*entry)()) {
    uintptr_t *sp = (uintptr_t *)((uintptr_t)f->top & ~(uintptr_t)15);
    *--sp = 0; /* where a return address of entry would be: the stack is aligned as after a call */
    *--sp = (uintptr_t)entry;
    for (int i = 0; i < 6; i++) *--sp = 0;
    f->context = sp;
}

#else
#include <ucontext.h>

static void switch_context(fiber *from, fiber *to) {
    ucontext_t here;
    from->context = &here;
    swapcontext(&here, (ucontext_t *)to->context);
}

static void make_context(fiber *f, void (*entry)()) {
    ucontext_t *u = (ucontext_t *)f->low; /* the far end of the stack itself */
    size_t room = (sizeof *u + 63) & ~(size_t)63;
    getcontext(u);
    u->uc_stack.ss_sp = f->low + room;
    u->uc_stack.ss_size = (size_t)(f->top - f->low) - room;
    u->uc_link = nullptr;
    makecontext(u, entry, 0);
    f->context = u;
}

#endif

/* ---- life ---- */

bool fiber_create(fiber *f, int index, void (*entry)()) {
    memset(f, 0, sizeof *f);
    void *map = mmap(nullptr, GUARD_BYTES + stack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    f->map = (char *)map;
    mprotect(map, GUARD_BYTES, PROT_NONE);
    f->low = f->map + GUARD_BYTES;
    f->top = f->low + stack_bytes - (size_t)(index * 7 % 16) * 256 - 64;
    fiber_reset(f, entry);
    return true;
}

void fiber_reset(fiber *f, void (*entry)()) {
#ifdef SIMGPU_ASAN
    __asan_unpoison_memory_region(f->low, (size_t)(f->top - f->low));
    f->sanitizer = nullptr;
#endif
#ifdef SIMGPU_TSAN
    if (f->sanitizer) __tsan_destroy_fiber(f->sanitizer);
    f->sanitizer = __tsan_create_fiber(0);
#endif
    make_context(f, entry);
}

void fiber_destroy(fiber *f) {
    if (!f->map) return;
#ifdef SIMGPU_TSAN
    __tsan_destroy_fiber(f->sanitizer);
#endif
#ifdef SIMGPU_ASAN
    __asan_unpoison_memory_region(f->low, (size_t)(f->top - f->low));
#endif
    munmap(f->map, GUARD_BYTES + stack_bytes);
    f->map = nullptr;
}

void fiber_adopt_host(fiber *f) {
#ifdef SIMGPU_ASAN
    static thread_local char *low;
    static thread_local size_t size;
    if (!low) { /* reads a file of the system: once for a thread */
        pthread_attr_t attributes;
        void *address = nullptr;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            pthread_attr_getstack(&attributes, &address, &size);
            pthread_attr_destroy(&attributes);
        }
        low = (char *)address;
    }
    f->low = low;
    f->top = low + size;
#endif
#ifdef SIMGPU_TSAN
    f->sanitizer = __tsan_get_current_fiber();
#endif
    (void)f;
}

void fiber_started() {
#ifdef SIMGPU_ASAN
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void fiber_switch(fiber *from, fiber *to) {
#ifdef SIMGPU_ASAN
    __sanitizer_start_switch_fiber(&from->sanitizer, to->low, (size_t)(to->top - to->low));
#endif
#ifdef SIMGPU_TSAN
    __tsan_switch_to_fiber(to->sanitizer, __tsan_switch_to_fiber_no_sync);
#endif
    switch_context(from, to);
#ifdef SIMGPU_ASAN
    __sanitizer_finish_switch_fiber(from->sanitizer, nullptr, nullptr);
#endif
}

} // namespace simgpu
