/* checkkernels on a device of a GPU backend, simulated or real, reached through lr_backend alone.  A case is built as an
 * image of the arena: buffers with gaps between them, all bytes 0xff (NaN) where nothing was put.  The op runs twice on
 * it; outside its outputs every byte must stay as it was, and both runs must give the same bits.  On the simulator the
 * order of threads and blocks is drawn anew for each run, and in an ASan build the gaps must not even be read.        */
#ifndef CHECKKERNELS_DEVICE_H
#define CHECKKERNELS_DEVICE_H

#include "runtime/backends.h"
#include "tests/checkkernels_matmul.h"
#include "tests/simulator.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_BYTES = 16 << 20, GAP = 256, MAX_BUFFERS = 64, MAX_OUTPUTS = 16 };

static struct {
    const lr_backend *b;
    lr_device *d;
    lr_device_ops ops;
    void (*schedule)(int order, uint64_t seed); /* of the simulator, else NULL */
    uint8_t *arena, *mirror; /* of the device; pinned, what came back from it */
    bool library;            /* of the vendor, for dense products */
    uint8_t *image, *first;  /* what a run starts with; result of the first run */
    size_t used;
    int n_buffers, n_outputs;
    struct {
        size_t at, bytes;
    } buffer[MAX_BUFFERS];
    struct {
        size_t at, bytes, stride, rows;
    } output[MAX_OUTPUTS];
} gpu;

/* ---- the image ---- */

/* A buffer of so many bytes on the device, all 0xff.                                                                 */
static void *gpu_room(size_t bytes) {
    size_t at = (gpu.used + GAP + LR_ALIGN - 1) / LR_ALIGN * LR_ALIGN;
    if (at + bytes + GAP > ARENA_BYTES || gpu.n_buffers == MAX_BUFFERS) {
        fprintf(stderr, "checkkernels: a case is too large for the arena\n");
        exit(2);
    }
    memset(gpu.image + gpu.used, 0xff, at + bytes + GAP - gpu.used);
    gpu.used = at + bytes;
    gpu.buffer[gpu.n_buffers].at = at;
    gpu.buffer[gpu.n_buffers++].bytes = bytes;
    return gpu.arena + at;
}
/* What the image, or the last result, has for an address of the device.                                              */
static void *in_image(const void *device) { return device ? gpu.image + ((const uint8_t *)device - gpu.arena) : NULL; }
static void *in_result(const void *device) { return device ? gpu.mirror + ((const uint8_t *)device - gpu.arena) : NULL; }

static void *gpu_put(const void *host, size_t bytes) {
    void *p = gpu_room(bytes);
    memcpy(in_image(p), host, bytes);
    return p;
}
static float *gpu_floats(const float *x, int64_t n) { return gpu_put(x, (size_t)n * sizeof *x); }

/* Declares where the op may write: rows of bytes, a stride apart.                                                    */
static void gpu_writes(const void *p, size_t bytes, size_t stride, int64_t rows) {
    gpu.output[gpu.n_outputs].at = (size_t)((const uint8_t *)p - gpu.arena);
    gpu.output[gpu.n_outputs].bytes = bytes;
    gpu.output[gpu.n_outputs].stride = stride;
    gpu.output[gpu.n_outputs++].rows = (size_t)rows;
}
/* Rows of floats for the op to write, with a gap of poison between them.                                             */
static float *gpu_output(int64_t rows, int64_t cols, int64_t stride) {
    float *y = gpu_room((size_t)((rows - 1) * stride + cols) * sizeof *y);
    gpu_writes(y, (size_t)cols * sizeof *y, (size_t)stride * sizeof *y, rows);
    return y;
}
/* An activation for the op to write.                                                                                 */
static lr_act gpu_act_output(lr_act_format format, int64_t n, int64_t cols) {
    lr_act a = lr_act_at(format, n, cols, gpu_room(lr_act_bytes(format, n, cols)));
    size_t value = format == LR_ACT_F32 ? 4 : format == LR_ACT_Q8 ? 1 : 2, row = (size_t)cols * value;
    gpu_writes(a.values, row, row, n);
    size_t scales = format == LR_ACT_Q8 ? (size_t)(cols / 32) : format == LR_ACT_F16 ? 1 : 0;
    if (scales) gpu_writes(a.d, scales * sizeof(float), scales * sizeof(float), n);
    if (format == LR_ACT_Q8) gpu_writes(a.s, scales * sizeof(float), scales * sizeof(float), n);
    return a;
}
/* A matrix as a plan places it: both planes rounded up to LR_ALIGN; what is beyond the values is poison.               */
static lr_matrix gpu_matrix(const weights *w) {
    const lr_matrix *m = &w->m;
    size_t bytes = (size_t)m->rows * m->quants_stride;
    if (m->scales)
        bytes = (size_t)((const uint8_t *)m->scales - (const uint8_t *)m->quants) + (size_t)m->rows * m->scales_stride;
    lr_format_size size;
    if (!lr_format_measure(m->format, (uint64_t)m->rows, (uint64_t)m->cols, &size)) fail("the shape is refused");
    void *p = gpu_room(size.bytes);
    memcpy(in_image(p), m->quants, bytes);
    return lr_matrix_at(m->format, m->rows, m->cols, p);
}

static void gpu_clear(void) {
    gpu.used = 0;
    gpu.n_buffers = gpu.n_outputs = 0;
    release_all();
}

/* ---- a run ---- */

static void bar_gaps(bool barred) {
    if (!gpu.schedule) return; /* device memory is not of this process */
    ASAN_UNPOISON_MEMORY_REGION(gpu.arena, gpu.used + GAP);
    if (!barred) return;
    ASAN_POISON_MEMORY_REGION(gpu.arena, gpu.used + GAP);
    for (int i = 0; i < gpu.n_buffers; i++)
        ASAN_UNPOISON_MEMORY_REGION(gpu.arena + gpu.buffer[i].at, gpu.buffer[i].bytes);
}

static bool gpu_open_device(llmrun_error *err) {
    void *arena, *mirror;
    uint64_t workspace = gpu.library ? LR_GPU_CUBLAS_WORKSPACE : 0;
    if (gpu.b->open(&gpu.d, 0, err) || gpu.b->arena_open(gpu.d, ARENA_BYTES + workspace, &arena, err) ||
        gpu.b->pinned_open(gpu.d, ARENA_BYTES, &mirror, err))
        return false;
    gpu.arena = arena;
    gpu.mirror = mirror;
    if (gpu.library) gpu.b->use_library(gpu.d, gpu.arena + ARENA_BYTES, LR_GPU_CUBLAS_WORKSPACE);
    return true;
}
static void gpu_close_device(void) {
    bar_gaps(false);
    gpu.b->pinned_close(gpu.d, gpu.mirror);
    gpu.b->close(gpu.d);
}

static void gpu_reopen(void) {
    llmrun_error err;
    gpu_close_device();
    if (gpu_open_device(&err)) return;
    fprintf(stderr, "checkkernels: %s\n", err.message);
    exit(1);
}

/* A failed op is a failed kernel; the device may be broken by it, so there is a new one for those that come.         */
static bool gpu_ok(llmrun_status status, llmrun_error *err) {
    if (status == LLMRUN_OK) return true;
    uint8_t *arena = gpu.arena;
    fail("%s", err->message);
    gpu_reopen();
    if (gpu.arena == arena) return false;
    printf("%d passed, %d failed, the rest cannot be told: the new arena lies elsewhere\n", check.n_passed,
           check.n_failed + 1);
    exit(1);
}

static void expect_untouched(void) {
    static uint8_t *expected;
    if (!expected) expected = malloc(ARENA_BYTES);
    if (!expected) exit(2);
    size_t n = gpu.used + GAP;
    memcpy(expected, gpu.image, n);
    for (int i = 0; i < gpu.n_outputs; i++)
        for (size_t r = 0; r < gpu.output[i].rows; r++) {
            size_t at = gpu.output[i].at + r * gpu.output[i].stride;
            memcpy(expected + at, gpu.mirror + at, gpu.output[i].bytes);
        }
    if (memcmp(expected, gpu.mirror, n) == 0) return;
    for (size_t i = 0; i < n; i++)
        if (expected[i] != gpu.mirror[i]) {
            int b = 0;
            while (b + 1 < gpu.n_buffers && gpu.buffer[b + 1].at <= i) b++;
            fail("wrote outside its outputs: byte %td of buffer %d (%zu bytes)", (ptrdiff_t)(i - gpu.buffer[b].at), b,
                 gpu.buffer[b].bytes);
            return;
        }
}

typedef llmrun_status (*gpu_call)(const void *args, llmrun_error *err);

/* Runs the call twice from the same image; the results are then in in_result().                                      */
static void gpu_run(gpu_call call, const void *args) {
    llmrun_error err;
    size_t n = gpu.used + GAP;
    for (int run = 0; run < 2; run++) {
        if (gpu.schedule) gpu.schedule((int)random_below(3), random_u64());
        memcpy(gpu.mirror, gpu.image, n);
        bar_gaps(false);
        llmrun_status status = gpu.b->copy_in(gpu.d, LR_QUEUE_COMPUTE, gpu.arena, 0, gpu.mirror, 0, n, 1, &err);
        if (!status) status = gpu.b->sync(gpu.d, &err);
        bar_gaps(true);
        if (!status) status = call(args, &err);
        if (!status) status = gpu.b->sync(gpu.d, &err);
        bar_gaps(false);
        if (!status) status = gpu.b->copy_out(gpu.d, LR_QUEUE_COMPUTE, gpu.mirror, 0, gpu.arena, 0, n, 1, &err);
        if (!status) status = gpu.b->sync(gpu.d, &err);
        if (!gpu_ok(status, &err)) return; /* what the case then reads is not counted */
        expect_untouched();
        if (run == 0) memcpy(gpu.first, gpu.mirror, n);
    }
    if (memcmp(gpu.first, gpu.mirror, n)) fail("two runs on the same input differ");
}

/* ---- activations ---- */

static float act_value(const lr_act *a, int64_t i) {
    switch (a->format) {
    case LR_ACT_Q8: return a->d[i / 32] * ((const int8_t *)a->values)[i];
    case LR_ACT_BF16: return lr_bf16_to_f32(((const uint16_t *)a->values)[i]);
    case LR_ACT_F16: return a->d[i / a->cols] * lr_f16_to_f32(((const uint16_t *)a->values)[i]);
    default: return ((const float *)a->values)[i];
    }
}

/* Packs on the host: the planes of act are of the image or the result.                                               */
static void pack_on_host(const lr_ops *c, const lr_act *act, const float *x) {
    lr_pack_args pack = {.x = x, .out = *act};
    if (act->format != LR_ACT_F16) {
        c->pack(&pack, 0, act->n, NULL);
        return;
    }
    for (int64_t t = 0; t < act->n; t++) {
        float most = 0, d = 1;
        for (int64_t i = 0; i < act->cols; i++) most = fmaxf(most, fabsf(x[t * act->cols + i]));
        while (most / d > 65504) d *= 2;
        ((float *)act->d)[t] = d;
        for (int64_t i = 0; i < act->cols; i++)
            ((uint16_t *)act->values)[t * act->cols + i] = lr_f32_to_f16(x[t * act->cols + i] / d);
    }
}

/* The planes of an activation of the device, seen through in_image or in_result.                                     */
static lr_act act_seen(const lr_act *a, void *(*where)(const void *)) {
    lr_act seen = *a;
    seen.values = where(a->values);
    if (a->d) seen.d = where(a->d);
    if (a->s) seen.s = where(a->s);
    return seen;
}

static lr_act gpu_activations(const lr_ops *c, lr_act_format format, int64_t n, int64_t cols, const float *x,
                              float *decoded) {
    lr_act a = lr_act_at(format, n, cols, gpu_room(lr_act_bytes(format, n, cols)));
    lr_act image = act_seen(&a, in_image);
    pack_on_host(c, &image, x);
    for (int64_t i = 0; i < n * cols; i++) decoded[i] = act_value(&image, i);
    return a;
}

/* `out` must be what packing the floats gives: to the bit, but for a value of q8 that lies between two codes.         */
static void expect_packed(const lr_ops *c, const lr_act *out, const float *x) {
    lr_act got = act_seen(out, in_result);
    size_t bytes = lr_act_bytes(out->format, out->n, out->cols);
    lr_act want = lr_act_at(out->format, out->n, out->cols, guarded(bytes, LR_ALIGN));
    pack_on_host(c, &want, x);
    for (int64_t i = 0; i < out->n * out->cols; i++) {
        double a = act_value(&got, i), b = act_value(&want, i);
        double step = out->format == LR_ACT_Q8 ? want.d[i / 32] * 1.0001 : 0;
        double off = out->format == LR_ACT_Q8 && step > 0 ? fabs(fabs(x[i] / want.d[i / 32] - rint(x[i] / want.d[i / 32])) - 0.5) : 1;
        if (a == b || (off < 1e-4 && fabs(a - b) <= step)) continue;
        fail("packed value %lld of format %d is %.9g, expected %.9g (of %.9g)", (long long)i, (int)out->format, a, b,
             (double)x[i]);
        return;
    }
    for (int64_t i = 0; out->format == LR_ACT_Q8 && i < out->n * out->cols / 32; i++) {
        int sum = 0;
        for (int j = 0; j < 32; j++) sum += ((const int8_t *)got.values)[32 * i + j];
        if (!(fabs((double)got.s[i] - (double)got.d[i] * sum) <= 2 * ROUNDING * fabs((double)got.d[i] * sum)))
            fail("sum of block %lld is %g, expected %g", (long long)i, (double)got.s[i], (double)got.d[i] * sum);
    }
}

/* ---- opening ---- */

static bool gpu_open(const char *name) {
    llmrun_error err;
    bool simulated = strcmp(name, "sim") == 0;
    if (lr_backend_load(&gpu.b, name, simulated ? "64M" : NULL, &err) || !gpu_open_device(&err)) {
        fprintf(stderr, "checkkernels: %s\n", err.message);
        return false;
    }
    gpu.image = malloc(ARENA_BYTES);
    gpu.first = malloc(ARENA_BYTES);
    gpu.ops = gpu.b->ops;
    void *symbol = simulated ? simulator_symbol(gpu.b, "simgpu_schedule") : NULL;
    memcpy(&gpu.schedule, &symbol, sizeof symbol);
    return gpu.image && gpu.first && (gpu.schedule || !simulated);
}

static void gpu_close(void) {
    gpu_close_device();
    free(gpu.image);
    free(gpu.first);
}

#endif
