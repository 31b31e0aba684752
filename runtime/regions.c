/* Regions of a running engine: what each was planned for, and what of it has been in use.                             */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/engine.h"

/* Bytes of host memory [at, at + bytes) whose pages have been touched: an arena gives none back.                      */
static uint64_t touched(const uint8_t *at, uint64_t bytes) {
    enum { PAGES = 1024 };
    unsigned char resident[PAGES];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = (uint64_t)(uintptr_t)at, end = begin + bytes, sum = 0;
    for (uint64_t first = begin / page * page; first < end; first += PAGES * page) {
        uint64_t n = ((uint64_t)lr_min((int64_t)(end - first), (int64_t)(PAGES * page)) + page - 1) / page;
        if (mincore((void *)(uintptr_t)first, n * page, resident)) return bytes;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t from = first + i * page, to = from + page;
            if (resident[i] & 1) sum += (to < end ? to : end) - (from > begin ? from : begin);
        }
    }
    return sum;
}

static void name_region(llmrun_region *r, const char *name, uint64_t bytes, uint64_t peak) {
    snprintf(r->name, sizeof r->name, "%s", name);
    r->bytes = bytes;
    r->peak_bytes = peak;
}

/* Behind the regions of the arena: what lies outside of it.                                                           */
static bool host_beside(const llmrun_engine *e, size_t i, llmrun_region *r) {
    const lr_plan *p = &e->plan;
    if (i > 2) return false;
    if (i == 0) name_region(r, "pinned", p->pinned_bytes, p->pinned_bytes);
    else if (i == 1) name_region(r, "mapped weights", p->mapped_bytes, p->mapped_bytes);
    else name_region(r, "overhead", p->fixed_bytes, p->fixed_bytes);
    return true;
}

static bool gpu_beside(const llmrun_engine *e, int32_t gpu, size_t i, llmrun_region *r) {
    const lr_plan_gpu *g = &e->plan.gpus[gpu];
    uint64_t peak = lr_gpus_peak(e, gpu);
    if (i > 0) return false;
    name_region(r, "overhead", g->overhead_bytes, peak > g->arena_bytes ? peak - g->arena_bytes : 0);
    return true;
}

llmrun_status llmrun_engine_region(const llmrun_engine *e, int32_t gpu, size_t index, llmrun_region *region) {
    if (!e || !region || region->struct_size < sizeof *region || gpu < -1 || gpu >= e->plan.n_gpus) return LLMRUN_ARG;
    const lr_plan_gpu *g = gpu < 0 ? NULL : &e->plan.gpus[gpu];
    const lr_plan_region *list = g ? g->regions : e->plan.regions;
    size_t n = g ? g->n_regions : e->plan.n_regions;
    llmrun_region r = { .struct_size = sizeof r };
    if (index >= n) {
        bool there = g ? gpu_beside(e, gpu, index - n, &r) : host_beside(e, index - n, &r);
        if (!there) return LLMRUN_ARG;
    } else {
        const lr_plan_region *l = &list[index];
        name_region(&r, l->name, l->bytes, g ? l->bytes : touched(e->arena + l->offset, l->bytes));
        r.offset = l->offset;
    }
    *region = r;
    return LLMRUN_OK;
}
