/* The shared memory of a block: one arena with red zones, poisoned with 0xFF (NaN, -1) at the start of every block, so
 * that a missing write shows.  Under TSan every block gets an arena at a new address, kept until the launch ends.    */
#include "kernels/sim/block.h"

#include <sys/mman.h>

#ifdef SIMGPU_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace simgpu {

enum : size_t { CAPACITY = 512 << 10, RED_ZONE = 64, FIRST = 1024, STATIC_LIMIT = 48 << 10 };

/* Neither memset nor a loop that becomes one: the sanitizers intercept memset.                                       */
__attribute__((no_sanitize("address", "thread"), noinline)) void fill_unseen(char *p, int value, size_t n) {
    for (size_t i = 0; i < n; i++) {
        p[i] = (char)value;
        __asm__ volatile("" ::: "memory");
    }
}

static char *map_arena() {
    void *p = mmap(nullptr, CAPACITY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : (char *)p;
}

/* Arenas of the blocks of this launch that are done: a chain through their first words.                              */
static void keep_arena(shared_memory *m) {
#ifdef SIMGPU_TSAN
    char *next = map_arena();
    if (next) memcpy(next, &m->base, sizeof m->base);
    m->base = next;
    m->most_used = 0;
#else
    if (!m->base) m->base = map_arena();
#endif
}

bool shared_open(shared_memory *m, size_t dynamic_bytes) {
    keep_arena(m);
    if (!m->base) return false;
    m->n_variables = 0;
    m->static_bytes = 0;
    m->dynamic = m->base + FIRST;
    if (m->used > m->most_used) m->most_used = m->used;
    m->used = FIRST + ((dynamic_bytes + 7) & ~(size_t)7);
#ifdef SIMGPU_ASAN
    size_t poisoned = (m->most_used > m->used ? m->most_used : m->used) + RED_ZONE;
    __asan_poison_memory_region(m->base, poisoned);
    __asan_unpoison_memory_region(m->dynamic, dynamic_bytes);
#endif
    fill_unseen(m->dynamic, 0xff, dynamic_bytes);
    return true;
}

void shared_close(shared_memory *m) {
#ifdef SIMGPU_ASAN
    if (m->base) __asan_unpoison_memory_region(m->base, CAPACITY);
#endif
    while (m->base) {
        char *before = nullptr;
#ifdef SIMGPU_TSAN
        memcpy(&before, m->base, sizeof before);
#endif
        munmap(m->base, CAPACITY);
        m->base = before;
    }
    m->used = m->most_used = 0;
}

bool shared_contains(const shared_memory *m, const void *p) {
    return (const char *)p >= m->base + FIRST && (const char *)p < m->base + m->used;
}

void *shared_variable(const void *key, size_t size, size_t align, const char *name) {
    shared_memory *m = &running_scheduler()->shared;
    for (int i = 0; i < m->n_variables; i++)
        if (m->variable[i].key == key) return m->variable[i].p;
    if (align < 16) align = 16;
    size_t offset = (m->used + RED_ZONE + align - 1) & ~(align - 1);
    m->static_bytes += size;
    if (m->static_bytes > STATIC_LIMIT)
        kernel_defect("static shared memory exceeds 48 KiB (%zu bytes) with variable %s", m->static_bytes, name);
    if (m->n_variables == MAX_VARIABLES || offset + size + RED_ZONE > CAPACITY)
        kernel_defect("too much shared memory with variable %s", name);
    char *p = m->base + offset;
    m->used = offset + ((size + 7) & ~(size_t)7);
#ifdef SIMGPU_ASAN
    __asan_poison_memory_region(p - RED_ZONE, size + 2 * RED_ZONE);
    __asan_unpoison_memory_region(p, size);
#endif
    fill_unseen(p, 0xff, size);
    m->variable[m->n_variables].key = key;
    m->variable[m->n_variables++].p = p;
    return p;
}

} // namespace simgpu
