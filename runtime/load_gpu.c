/* Weights of the GPUs: chunks of rows, from the file's map, from the cache of converted weights or converted now, through
 * two pinned slots, so that filling one overlaps sending the other.                                                   */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/engine.h"
#include "runtime/upload.h"

typedef struct loader {
    llmrun_engine *e;
    lr_cache_writer *cache;   /* keeps what is converted, or NULL */
    bool random;
    uint64_t done, total;     /* bytes of all GPUs */
    llmrun_error *err;
} loader;

/* Rows [row, row + n) of one tensor on their way.                                                                      */
typedef struct chunk {
    size_t tensor;
    int64_t row, n;
    lr_format_size whole, part; /* of the tensor, and of these rows alone as they lie in the slot */
    uint8_t *slot;
} chunk;

static llmrun_status fill_from_bytes(const loader *k, const chunk *c, const uint8_t *base) {
    lr_cpu_copy(&k->e->cpu, c->slot, base + (uint64_t)c->row * c->whole.quants_stride,
                (size_t)c->n * c->whole.quants_stride);
    if (c->whole.scales_stride)
        lr_cpu_copy(&k->e->cpu, c->slot + c->part.scales_offset,
                    base + c->whole.scales_offset + (uint64_t)c->row * c->whole.scales_stride,
                    (size_t)c->n * c->whole.scales_stride);
    return LLMRUN_OK;
}

/* Rows of parts that lie anywhere in the files, each by itself; plain formats and blocks have one plane.              */
static llmrun_status fill_from_parts(const loader *k, const chunk *c, const lr_source *s) {
    int64_t rows = s->parts->rows;
    for (int64_t row = c->row, n; row < c->row + c->n; row += n) {
        n = lr_min(rows - row % rows, c->row + c->n - row);
        const uint8_t *from = lr_source_bytes(&s->parts[row / rows]) + (uint64_t)(row % rows) * c->whole.quants_stride;
        lr_cpu_copy(&k->e->cpu, c->slot + (uint64_t)(row - c->row) * c->whole.quants_stride, from,
                    (size_t)n * c->whole.quants_stride);
    }
    return LLMRUN_OK;
}

static llmrun_status fill_by_converting(const loader *k, const chunk *c) {
    llmrun_engine *e = k->e;
    const lr_source *source = &e->binding.sources[c->tensor];
    const lr_tensor *t = source->tensor;
    const lr_plan_tensor *want = &e->binding.tensors[c->tensor];
    const lr_plan_placement *p = &e->plan.placements[c->tensor];
    const uint8_t *bytes = lr_source_bytes(source);
    uint64_t skip = lr_dtype_bytes(t->dtype, (uint64_t)c->row * (uint64_t)want->cols);
    lr_upload_job job = { .name = t->name,
                          .src = bytes ? bytes + skip : NULL,
                          .source = bytes ? NULL : source,
                          .dtype = t->dtype,
                          .rows = c->n,
                          .cols = want->cols,
                          .first_row = c->row,
                          .format = p->format,
                          .dst = c->slot };
    lr_report quiet = { 0 };
    llmrun_status status = lr_upload(&job, 1, e->threads, &quiet, k->err);
    if (status || !k->cache) return status;
    lr_cache_put(k->cache, p->block_offset + (uint64_t)c->row * c->whole.quants_stride, c->slot,
                 (uint64_t)c->n * c->whole.quants_stride);
    if (c->whole.scales_stride)
        lr_cache_put(k->cache, p->block_offset + c->whole.scales_offset + (uint64_t)c->row * c->whole.scales_stride,
                     c->slot + c->part.scales_offset, (uint64_t)c->n * c->whole.scales_stride);
    return LLMRUN_OK;
}

static llmrun_status fill(const loader *k, const chunk *c) {
    const llmrun_engine *e = k->e;
    const lr_plan_placement *p = &e->plan.placements[c->tensor];
    const lr_plan_tensor *t = &e->binding.tensors[c->tensor];
    if (k->random)
        return lr_random_weights(c->slot, p->format, c->n, t->cols, t->cols == 1 ? 1.0f : 0.0f, k->err);
    const lr_source *source = &e->binding.sources[c->tensor];
    if (!p->converted && source->parts) return fill_from_parts(k, c, source);
    if (!p->converted) return fill_from_bytes(k, c, lr_source_bytes(source));
    if (e->plan_input.cached) return fill_from_bytes(k, c, e->cache.weights + p->block_offset);
    return fill_by_converting(k, c);
}

/* The slot is free and may be filled again.                                                                            */
static llmrun_status take_slot(lr_place *p, int *slot, uint8_t **at, llmrun_error *err) {
    *slot = p->slot_turn ^= 1;
    *at = p->pinned + p->plan->pinned_slot[*slot];
    return p->backend->event_sync(p->device, p->slot_sent[*slot], err);
}

static llmrun_status send(lr_place *p, const chunk *c, uint8_t *base, int t, llmrun_error *err) {
    const lr_backend *b = p->backend;
    llmrun_status status = b->copy_in(p->device, LR_QUEUE_COPY, base + (uint64_t)c->row * c->whole.quants_stride, 0,
                                      c->slot, 0, (size_t)c->n * c->whole.quants_stride, 1, err);
    if (!status && c->whole.scales_stride)
        status = b->copy_in(p->device, LR_QUEUE_COPY,
                            base + c->whole.scales_offset + (uint64_t)c->row * c->whole.scales_stride, 0,
                            c->slot + c->part.scales_offset, 0, (size_t)c->n * c->whole.scales_stride, 1, err);
    return status ? status : b->event_record(p->device, LR_QUEUE_COPY, p->slot_sent[t], err);
}

/* The orders of a tensor's columns, none longer than a row of floats, behind its planes.                               */
static llmrun_status send_orders(const loader *k, size_t i, lr_place *p, uint8_t *base) {
    const lr_plan_tensor *t = &k->e->binding.tensors[i];
    size_t bytes = (size_t)t->cols * sizeof(int32_t);
    for (int32_t part = 0; part < lr_max(1, t->experts); part++, base += bytes) {
        const int32_t *order = lr_binding_order(&k->e->binding.sources[i], part);
        int slot;
        uint8_t *at;
        LR_TRY(take_slot(p, &slot, &at, k->err));
        for (int32_t c = 0; c < t->cols; c++) ((int32_t *)(void *)at)[c] = order ? order[c] : c;
        LR_TRY(p->backend->copy_in(p->device, LR_QUEUE_COPY, base, 0, at, 0, bytes, 1, k->err));
        LR_TRY(p->backend->event_record(p->device, LR_QUEUE_COPY, p->slot_sent[slot], k->err));
    }
    return LLMRUN_OK;
}

/* Rows that a slot holds, the planes' padding included.                                                                */
static int64_t rows_of(const lr_place *p, const lr_format_size *s) {
    uint64_t row = s->quants_stride + s->scales_stride, room = p->plan->pinned_slot_bytes;
    return room > 2 * LR_ALIGN ? (int64_t)((room - 2 * LR_ALIGN) / row) : 0;
}

/* Pages of the model's file that are on the device now are let go.                                                     */
static void forget(const lr_tensor *t, uint64_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)t->data & ~(page - 1);
    madvise((void *)start, (uintptr_t)t->data + bytes - start, MADV_DONTNEED);
}

/* f16 was wanted for a file of wider range: look first, because a chunk cannot know of the next.  Gate and up of experts
 * stay in one format.                                                                                                */
static bool fits_f16(const llmrun_engine *e, size_t i) {
    const lr_plan_tensor *t = &e->binding.tensors[i];
    bool gate = t->role == LR_W_GATE_EXPERTS, up = t->role == LR_W_UP_EXPERTS;
    if (!lr_upload_range_fits_f16(&e->binding.sources[i])) return false;
    if (!gate && !up) return true;
    int64_t other = lr_binding_find(&e->binding, gate ? LR_W_UP_EXPERTS : LR_W_GATE_EXPERTS, t->layer);
    return lr_upload_range_fits_f16(&e->binding.sources[other]);
}

static llmrun_status load_tensor(loader *k, size_t i) {
    llmrun_engine *e = k->e;
    const lr_plan_tensor *t = &e->binding.tensors[i];
    lr_plan_placement *placement = &e->plan.placements[i];
    lr_place *p = &e->gpus[placement->place];
    const lr_source *source = &e->binding.sources[i];
    const lr_tensor *file = source->tensor;
    chunk c = { .tensor = i };
    if (placement->converted && !e->plan_input.cached && !k->random && placement->format == LR_F16 &&
        e->plan_input.quant == LR_FORMAT_NONE && !fits_f16(e, i))
        placement->format = LR_BF16;
    if (!lr_format_measure(placement->format, (uint64_t)t->rows, (uint64_t)t->cols, &c.whole))
        return lr_fail(k->err, LLMRUN_INTERNAL, "load: tensor %zu: measured before, now too large", i);
    int64_t step = rows_of(p, &c.whole);
    if (step < 1) return lr_fail(k->err, LLMRUN_INTERNAL, "load: a row of tensor %zu does not fit the pinned slot", i);
    llmrun_status status = LLMRUN_OK;
    for (; c.row < t->rows && !status; c.row += step) {
        int slot;
        c.n = lr_min(step, t->rows - c.row);
        status = lr_format_measure(placement->format, (uint64_t)c.n, (uint64_t)t->cols, &c.part) ? LLMRUN_OK
                                                                                                 : LLMRUN_INTERNAL;
        if (!status) status = take_slot(p, &slot, &c.slot, k->err);
        if (!status) status = fill(k, &c);
        if (!status) status = send(p, &c, lr_place_at(p, placement->offset), slot, k->err);
        k->done += (uint64_t)c.n * (c.whole.quants_stride + c.whole.scales_stride);
        if (!status && !lr_progress(&e->report, "load", (double)k->done / (double)k->total))
            status = lr_fail(k->err, LLMRUN_CANCELLED, "load: cancelled");
    }
    if (!status && placement->order_bytes)
        status = send_orders(k, i, p, lr_place_at(p, placement->offset + lr_plan_order_offset(placement)));
    bool last = i + 1 == e->binding.n || e->binding.sources[i + 1].tensor != file; /* of a fused one the next part follows */
    if (file && last && !source->parts && !e->checkpoint.files[file->file].heap) forget(file, file->bytes);
    for (int32_t part = 0; part < source->n_parts && !e->checkpoint.files[file->file].heap; part++)
        forget(source->parts[part].tensor, source->parts[part].tensor->bytes);
    return status;
}

llmrun_status lr_load_gpus(llmrun_engine *e, const llmrun_options *o, lr_cache_writer *cache, llmrun_error *err) {
    loader k = { .e = e, .cache = cache, .random = o->random_weights, .err = err };
    llmrun_status status = LLMRUN_OK;
    for (size_t i = 0; i < e->binding.n; i++)
        if (e->plan.placements[i].place != LR_PLACE_HOST) k.total += e->plan.placements[i].bytes;
    for (size_t i = 0; i < e->binding.n && !status; i++)
        if (e->plan.placements[i].place != LR_PLACE_HOST) status = load_tensor(&k, i);
    for (int32_t i = 0; i < e->plan.n_gpus && !status; i++) status = lr_place_sync(&e->gpus[i], err);
    return status;
}
