/* The GPUs of an engine: what may be used of each, opening them, their arenas.                                         */
#include <stdio.h>
#include <string.h>

#include "runtime/backends.h"
#include "runtime/debug.h"
#include "runtime/engine.h"
#include "runtime/rates.h"
#include "runtime/stream.h"

#define MIB ((uint64_t)1 << 20)

/* Assumed of a card that is planned for but not there, where the caller does not say: a mid-range card on PCIe 4.      */
enum { CARD_OVERHEAD = 320 << 20, CARD_GRANULE = 2 << 20 };
static const double CARD_READ = 400e9, CARD_FLOPS = 60e12, CARD_LINK = 20e9;

static double stated(double rate, double assumed) { return rate > 0 ? rate : assumed; }

static void use_cards(llmrun_engine *e, const llmrun_options *o) {
    int32_t n = (int32_t)lr_min(o->n_cards, LR_PLAN_MAX_GPUS);
    for (int32_t i = 0; i < n; i++) {
        const llmrun_card *c = &o->cards[i];
        lr_plan_device *d = &e->gpu_budgets[i];
        *d = (lr_plan_device){ .budget_bytes = c->bytes,
                               .overhead_bytes = CARD_OVERHEAD,
                               .granule_bytes = CARD_GRANULE,
                               .read_bytes_per_s = stated(c->read_bytes_per_s, CARD_READ),
                               .flops_per_s = stated(c->flops_per_s, CARD_FLOPS),
                               .link_bytes_per_s = stated(c->link_bytes_per_s, CARD_LINK),
                               .rates_stated = true };
        snprintf(d->name, sizeof d->name, "GPU %d", i);
    }
    e->plan_input.n_gpus = n;
}

/* What may be added to a device: what was asked for, but never the last of what is free.                               */
static uint64_t cap(const llmrun_engine *e, const lr_device_info *info, uint64_t asked, int32_t index) {
    bool simulated = e->backend->clock != NULL; /* nobody else is on a simulated GPU */
    uint64_t margin = asked ? 64 * MIB : (uint64_t)lr_max(256 << 20, (int64_t)(info->free_bytes / 100 * 3));
    if (simulated) margin = 0;
    uint64_t most = info->free_bytes > margin ? info->free_bytes - margin : 0;
    char wanted[32], got[32];
    if (!asked || asked <= most) return asked ? asked : most;
    lr_log(&e->report, LLMRUN_LOG_WARN, "GPU %d: --vram %s is more than is free; the cap is %s", index,
           lr_size_gib(wanted, asked), lr_size_gib(got, most));
    return most;
}

static llmrun_status use_devices(llmrun_engine *e, const llmrun_options *o, const char *dir, llmrun_error *err) {
    int32_t n = e->backend->count();
    if (o->n_vram > 1 && n < o->n_vram)
        return lr_fail(err, LLMRUN_ARG, "--vram: %d sizes for %d GPU%s", o->n_vram, n, n == 1 ? "" : "s");
    if (o->n_vram > 1) n = o->n_vram;
    else n = (int32_t)lr_min(n, e->binding.hparams.n_layers); /* a GPU without a layer would only cost memory */
    n = (int32_t)lr_min(n, LR_PLAN_MAX_GPUS);
    int32_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        lr_device_info info;
        uint64_t asked = o->n_vram > 1 ? o->vram_bytes[i] : o->n_vram == 1 ? o->vram_bytes[0] : 0;
        if (o->n_vram > 1 && asked == 0) continue; /* without this one */
        llmrun_status status = e->backend->info(i, &info, err);
        if (status) return status;
        lr_rates rates = lr_rates_gpu(e->backend, i, &info, dir, &e->report);
        lr_plan_device *d = &e->gpu_budgets[used];
        *d = (lr_plan_device){ .budget_bytes = cap(e, &info, asked, i),
                               .overhead_bytes = info.overhead_bytes,
                               .granule_bytes = info.granule_bytes,
                               .library_bytes = info.library_bytes,
                               .library_overhead = info.library_overhead,
                               .read_bytes_per_s = rates.read_bytes_per_s,
                               .flops_per_s = rates.flops_per_s,
                               .link_bytes_per_s = rates.link_bytes_per_s };
        snprintf(d->name, sizeof d->name, "GPU %d", i);
        e->gpu_index[used++] = i;
    }
    e->plan_input.n_gpus = used;
    return LLMRUN_OK;
}

/* Without --device the CPU serves where no GPU does, and one line says why.                                            */
static llmrun_status without(llmrun_engine *e, const llmrun_options *o, llmrun_status status, const char *why,
                             llmrun_error *err) {
    bool expected = status == LLMRUN_UNSUPPORTED && !o->n_vram; /* a build for the CPU alone */
    e->backend = NULL;
    if (o->device && strcmp(o->device, "auto") != 0) return lr_fail(err, status, "%s", why);
    lr_log(&e->report, expected ? LLMRUN_LOG_INFO : LLMRUN_LOG_WARN, "no GPU: %s; running on the CPU", why);
    return LLMRUN_OK;
}

llmrun_status lr_gpus_find(llmrun_engine *e, const llmrun_options *o, const char *dir, llmrun_error *err) {
    const char *device = o->device ? o->device : "auto";
    bool cuda = strcmp(device, "cuda") == 0, sim = strcmp(device, "sim") == 0;
    char shown[40];
    if (o->n_vram < 0 || o->n_vram > LLMRUN_MAX_GPUS || o->n_cards < 0 || o->n_cards > LLMRUN_MAX_GPUS)
        return lr_fail(err, LLMRUN_ARG, "options: expected at most %d GPUs", LLMRUN_MAX_GPUS);
    e->plan_input.gpus = e->gpu_budgets;
    if (o->n_cards) {
        use_cards(e, o);
        return LLMRUN_OK;
    }
    if (strcmp(device, "cpu") == 0) return LLMRUN_OK;
    if (!cuda && !sim && strcmp(device, "auto") != 0)
        return lr_fail(err, LLMRUN_ARG, "--device \"%s\": expected auto, cpu, cuda or sim",
                       lr_printable(shown, sizeof shown, device, strlen(device)));
    llmrun_error why = { 0 };
    const char *config = sim ? lr_backend_sim_gpus(o) : lr_debug_cuda();
    llmrun_status status = lr_backend_load(&e->backend, sim ? "sim" : "cuda", config, &why);
    if (status) return without(e, o, status, why.message, err);
    if (e->backend->count() < 1) return without(e, o, LLMRUN_DEVICE, "no CUDA device was found", err);
    return use_devices(e, o, dir, err);
}

/* ---- opening ---- */

/* Opening shows what the context takes.  Kernels are loaded when they are first used and graphs are still to come: both
 * are in the estimate, which therefore only ever goes up.                                                             */
enum { LATER_BYTES = 64 << 20 };

/* True: the context takes more than was planned.                                                                      */
static bool measure_context(llmrun_engine *e, int32_t gpu) {
    lr_plan_device *d = &e->gpu_budgets[gpu];
    uint64_t used = e->backend->used_bytes(e->gpus[gpu].device);
    /* Far more than expected is the arena of another engine of this process: then the estimate stays. */
    if (!used || e->backend->clock || used > 2 * d->overhead_bytes || used + LATER_BYTES <= d->overhead_bytes) return false;
    d->overhead_bytes = used + LATER_BYTES;
    return true;
}

/* Loads the vendor's library where the plan has it.  True: it takes more than was planned, or there is none.          */
static bool measure_library(llmrun_engine *e, int32_t gpu) {
    lr_plan_device *d = &e->gpu_budgets[gpu];
    lr_device *device = e->gpus[gpu].device;
    if (!e->plan.gpus[gpu].library_bytes) return false;
    uint64_t before = e->backend->used_bytes(device);
    if (!e->backend->use_library(device, NULL, d->library_bytes)) {
        d->library_bytes = 0;
        return true;
    }
    uint64_t after = e->backend->used_bytes(device), takes = after > before ? after - before : 0;
    if (takes <= d->library_overhead) return false;
    d->library_overhead = takes;
    return true;
}

/* Lets go of a library that was loaded and has no room.  What it leaves behind belongs to the context.                */
static bool drop_library(llmrun_engine *e, int32_t gpu) {
    lr_plan_device *d = &e->gpu_budgets[gpu];
    if (!d->library_bytes || e->plan.gpus[gpu].library_bytes) return false;
    d->library_bytes = 0;
    e->backend->use_library(e->gpus[gpu].device, NULL, 0);
    return measure_context(e, gpu);
}

/* Plans again where any GPU says so.                                                                                  */
static llmrun_status plan_again(llmrun_engine *e, const llmrun_options *o, bool (*changes)(llmrun_engine *, int32_t),
                                llmrun_error *err) {
    bool again = false;
    for (int32_t i = 0; i < e->plan.n_gpus; i++) again |= changes(e, i);
    if (!again) return LLMRUN_OK;
    lr_plan_close(&e->plan);
    return lr_engine_plan(e, o, err);
}

llmrun_status lr_gpus_open(llmrun_engine *e, const llmrun_options *o, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    for (int32_t i = 0; i < e->plan.n_gpus && !status; i++) {
        e->gpus[i] = (lr_place){ .ops = &e->backend->ops, .backend = e->backend };
        status = e->backend->open(&e->gpus[i].device, e->gpu_index[i], err);
    }
    if (!status) status = plan_again(e, o, measure_context, err);
    if (!status) status = plan_again(e, o, measure_library, err);
    return status ? status : plan_again(e, o, drop_library, err);
}

llmrun_status lr_gpus_attach(llmrun_engine *e, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    for (int32_t i = 0; i < e->plan.n_gpus && !status; i++) {
        lr_place *p = &e->gpus[i];
        void *arena = NULL;
        p->plan = &e->plan.gpus[i];
        p->buffers = &p->plan->buffers;
        status = e->backend->arena_open(p->device, p->plan->arena_bytes, &arena, err);
        p->arena = arena;
        if (!status && p->plan->library_bytes)
            e->backend->use_library(p->device, lr_place_at(p, p->plan->library), p->plan->library_bytes);
        if (!status) status = lr_place_open(p, err);
    }
    int32_t lists[LR_PLAN_MAX_GPUS] = { 0 };
    for (int own = 0; own < 2 && !status; own++) /* streamed layers first: their slots alternate */
        for (int32_t l = 0; l < e->binding.hparams.n_layers && e->plan.n_gpus; l++) {
            size_t group = (size_t)l * LR_N_GROUPS + LR_GROUP_ATTN;
            int at = own ? e->plan.place[group] : e->plan.stream[group];
            if (at != LR_PLACE_HOST) e->seq_list[l] = lists[at]++;
        }
    return status;
}

llmrun_status lr_engine_settle(llmrun_engine *e, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    for (int32_t i = 0; i < e->plan.n_gpus && !status; i++) {
        status = lr_place_sync(&e->gpus[i], err);
        if (!status) status = lr_stream_drain(&e->gpus[i], err);
    }
    return status;
}

uint64_t lr_gpus_peak(const llmrun_engine *e, int32_t gpu) {
    uint64_t used = e->backend->used_bytes(e->gpus[gpu].device);
    return used ? used : e->plan.gpus[gpu].arena_bytes;
}

void lr_gpus_close(llmrun_engine *e) {
    for (int32_t i = 0; i < e->n_recordings; i++) {
        lr_place *p = &e->gpus[e->recordings[i].place];
        p->backend->graph_close(p->device, e->recordings[i].graph);
    }
    e->n_recordings = 0;
    for (int32_t i = LR_PLAN_MAX_GPUS - 1; i >= 0; i--) lr_place_close(&e->gpus[i]);
}
