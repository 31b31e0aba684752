/* Ops of a GPU beside the limits of the card, all measured in one run: what reading memory, a large matrix product and a
 * copy from pinned memory reach there, then decode products of each format (GB/s of weights, of the read rate), long
 * products (TFLOP/s, beside cuBLAS where it is found) and attention.
 *
 *     bench_gpu [cuda|sim [CONFIG]]      CONFIG: early for cuda (kernels/cuda/gpu.h), what --sim-gpus takes for sim
 *
 * Each op runs over data far larger than the caches, from a graph where it is short; the best of a few rounds counts. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/backends.h"

enum { ROUNDS = 5, PINNED_BYTES = 64 << 20 };

static struct {
    const lr_backend *b;
    lr_device *d;
    uint8_t *arena;
    uint64_t arena_bytes, used;
    lr_device_info info;
    bool failed;
} gpu;

static bool ok(llmrun_status status, const llmrun_error *err) {
    if (status == LLMRUN_OK) return true;
    printf("  %s\n", err->message);
    gpu.failed = true;
    return false;
}

/* ---- memory of the device ---- */

static void *room(uint64_t bytes) { /* NULL: the arena is too small for this case */
    uint64_t at = (gpu.used + 255) & ~(uint64_t)255;
    if (at + bytes > gpu.arena_bytes) return NULL;
    gpu.used = at + bytes;
    return gpu.arena + at;
}

/* Random bytes everywhere: zeros would let the card clock higher than it does in use.                                 */
static bool fill_arena(llmrun_error *err) {
    void *pinned;
    if (gpu.b->pinned_open(gpu.d, PINNED_BYTES, &pinned, err)) return false;
    uint64_t *word = pinned, x = 1;
    for (size_t i = 0; i < PINNED_BYTES / 8; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        word[i] = x & 0xbfffbfffbfffbfffu; /* as f16: no infinity, no NaN */
    }
    llmrun_status status = LLMRUN_OK;
    for (uint64_t at = 0; at < gpu.arena_bytes && !status; at += PINNED_BYTES)
        status = gpu.b->copy_in(gpu.d, LR_QUEUE_COMPUTE, gpu.arena + at, 0, pinned, 0,
                                (size_t)lr_min(PINNED_BYTES, (int64_t)(gpu.arena_bytes - at)), 1, err);
    if (!status) status = gpu.b->sync(gpu.d, err);
    gpu.b->pinned_close(gpu.d, pinned);
    return status == LLMRUN_OK;
}

/* ---- timing ---- */

typedef llmrun_status (*work)(const void *args, llmrun_error *err); /* queues something */

/* Seconds of one run, by graph: what the host needs to queue it does not count.  0: it failed.                        */
static double seconds_of(work queue, const void *args) {
    llmrun_error err;
    lr_graph *g = NULL;
    double best = 0;
    llmrun_status status = queue(args, &err);
    if (!status) status = gpu.b->sync(gpu.d, &err);
    if (!status) status = gpu.b->graph_begin(gpu.d, &err);
    if (!status) status = queue(args, &err);
    if (!status) status = gpu.b->graph_end(gpu.d, &g, &err);
    for (int i = 0; i <= ROUNDS && !status; i++) {
        double start = gpu.b->clock ? gpu.b->clock() : lr_seconds();
        status = gpu.b->graph_launch(gpu.d, g, &err);
        if (!status) status = gpu.b->sync(gpu.d, &err);
        double t = (gpu.b->clock ? gpu.b->clock() : lr_seconds()) - start;
        if (i && (best == 0 || t < best)) best = t;
    }
    gpu.b->graph_close(gpu.d, g);
    return ok(status, &err) ? best : 0;
}

/* ---- decode products ---- */

typedef struct products {
    lr_matmul_args m[256];
    int n;
} products;

static llmrun_status queue_products(const void *args, llmrun_error *err) {
    const products *p = args;
    llmrun_status status = LLMRUN_OK;
    for (int i = 0; i < p->n && !status; i++) status = gpu.b->ops.matmul(gpu.d, &p->m[i], 1, err);
    return status;
}

/* Copies of one matrix up to `most` bytes, all times the same activations.                                            */
static bool make_products(products *p, lr_format f, int64_t rows, int64_t cols, int64_t n, uint64_t most) {
    lr_format_size size;
    uint64_t total = 0;
    lr_act_format act = gpu.b->ops.act(gpu.d, f, n);
    p->n = 0;
    gpu.used = 0;
    if (act == LR_ACT_NONE || !lr_format_measure(f, (uint64_t)rows, (uint64_t)cols, &size)) return false;
    void *x = room(lr_act_bytes(act, n, cols)), *y = room((uint64_t)(n * rows) * sizeof(float));
    if (!x || !y) return false;
    while (p->n < 256 && total < most) {
        void *w = room(size.bytes);
        if (!w) break;
        p->m[p->n++] = (lr_matmul_args){
            .y = y, .y_stride = rows, .w = lr_matrix_at(f, rows, cols, w), .x = lr_act_at(act, n, cols, x)};
        total += size.bytes;
    }
    return p->n > 0;
}

static void bench_decode(void) {
    static const struct {
        const char *what;
        int64_t rows, cols;
    } shapes[] = {{"4096 x 4096", 4096, 4096}, {"11008 x 4096", 11008, 4096}, {"4096 x 11008", 4096, 11008},
                  {"32000 x 4096", 32000, 4096}};
    static products p;
    printf("decode products, one token: GB/s of weights (of the read rate)\n");
    for (int f = 0; f < LR_N_FORMATS; f++) {
        if (gpu.b->ops.act(gpu.d, (lr_format)f, 1) == LR_ACT_NONE) continue;
        printf("  %-7s", lr_formats[f].name);
        for (size_t s = 0; s < LR_COUNT(shapes); s++) {
            int64_t cols = shapes[s].cols / lr_formats[f].block * lr_formats[f].block;
            if (!make_products(&p, (lr_format)f, shapes[s].rows, cols, 1, (uint64_t)2 << 30)) continue;
            double seconds = seconds_of(queue_products, &p);
            double row = (double)(p.m[0].w.quants_stride + p.m[0].w.scales_stride);
            double rate = seconds > 0 ? (double)p.n * (double)shapes[s].rows * row / seconds : 0;
            printf("  %s %7.1f (%3.0f %%)", shapes[s].what, rate * 1e-9, 100 * rate / gpu.info.read_bytes_per_s);
        }
        printf("\n");
    }
}

/* ---- long products ---- */

/* cuBLAS itself, on the context that the backend has made current; 0: not found.                                      */
static double cublas_seconds(const products *p) {
    void *cublas = dlopen("libcublas.so.13", RTLD_NOW | RTLD_LOCAL), *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cublas) cublas = dlopen("libcublas.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!cublas || !cuda) return 0;
    int (*create)(void **), (*destroy)(void *), (*synchronize)(void);
    int (*gemm)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                const void *, void *, int, int, int, int);
    *(void **)&create = dlsym(cublas, "cublasCreate_v2");
    *(void **)&destroy = dlsym(cublas, "cublasDestroy_v2");
    *(void **)&gemm = dlsym(cublas, "cublasGemmEx");
    *(void **)&synchronize = dlsym(cuda, "cuCtxSynchronize");
    void *handle;
    if (!create || !destroy || !gemm || !synchronize || create(&handle) != 0) return 0;
    enum { TRANSPOSED = 1, PLAIN = 0, R_16F = 2, R_32F = 0, COMPUTE_32F = 68, DEFAULT = -1 };
    const lr_matmul_args *m = p->m;
    int rows = (int)m->w.rows, cols = (int)m->w.cols, n = (int)m->x.n;
    float one = 1, zero = 0;
    double best = 0;
    for (int i = 0; i <= ROUNDS; i++) {
        double start = lr_seconds();
        for (int j = 0; j < p->n; j++)
            if (gemm(handle, TRANSPOSED, PLAIN, rows, n, cols, &one, p->m[j].w.quants, R_16F, cols, m->x.values, R_16F,
                     cols, &zero, m->y, R_32F, rows, COMPUTE_32F, DEFAULT) != 0)
                return 0;
        synchronize();
        double t = lr_seconds() - start;
        if (i && (best == 0 || t < best)) best = t;
    }
    destroy(handle);
    return best;
}

static void bench_long(lr_format f, int64_t rows, int64_t cols, int64_t n) {
    static products p;
    if (!make_products(&p, f, rows, cols, n, (uint64_t)1 << 29)) return;
    p.n = (int)lr_min(p.n, 4);
    double flops = 2.0 * (double)rows * (double)cols * (double)n * p.n, seconds = seconds_of(queue_products, &p);
    printf("  %-9s %8.1f", lr_formats[f].name, seconds > 0 ? flops / seconds * 1e-12 : 0);
    double theirs = f == LR_F16 && strcmp(gpu.b->name, "cuda") == 0 ? cublas_seconds(&p) : 0;
    if (theirs > 0) printf("   cuBLAS %.1f", flops / theirs * 1e-12);
    printf("\n");
}

static void bench_prefill(void) {
    static const struct {
        int64_t rows, cols, n;
        bool all;
    } shapes[] = {{11008, 4096, 4096, true}, {8192, 8192, 8192, false}};
    for (size_t i = 0; i < LR_COUNT(shapes); i++) {
        printf("long products, %lld x %lld, %lld tokens: TFLOP/s\n", (long long)shapes[i].rows,
               (long long)shapes[i].cols, (long long)shapes[i].n);
        for (int f = 0; f < LR_N_FORMATS; f++)
            if (shapes[i].all || f == LR_F16) bench_long((lr_format)f, shapes[i].rows, shapes[i].cols, shapes[i].n);
    }
}

/* ---- attention ---- */

typedef struct attending {
    lr_attention_args a;
    lr_pass_shape shape;
    lr_act out;
    int repeats;
} attending;

static llmrun_status queue_attention(const void *args, llmrun_error *err) {
    const attending *t = args;
    llmrun_status status = LLMRUN_OK;
    for (int i = 0; i < t->repeats && !status; i++)
        status = gpu.b->ops.attention(gpu.d, &t->a, &t->shape, NULL, err);
    return status;
}

/* 32 heads of 128 over 8 of the cache, as in an 8B model; the last n rows of a context.                               */
static void bench_attention_case(lr_format format, int32_t n, int32_t context) {
    enum { HEADS = 32, KV_HEADS = 8, DIM = 128 };
    llmrun_error err;
    void *pinned;
    lr_seq seq = {.n = n, .position = context - n,
                  .kv = {.page_slots = context, .n_slots = context, .n_kv_heads = KV_HEADS, .head_dim = DIM, .format = format}};
    gpu.used = 0;
    if (!lr_kv_page_bytes(format, KV_HEADS, DIM, context, &seq.kv.page_bytes)) return;
    seq.kv.base = room(seq.kv.page_bytes);
    attending t = {.repeats = n > LR_GPU_FEW ? 1 : 8, .shape = {.n = n, .n_seqs = 1, .most_rows = n, .n_ctx = context}};
    t.a = (lr_attention_args){.n_seqs = 1, .n_heads = HEADS, .head_dim = DIM, .scale = 0.0883883f,
                              .q_stride = HEADS * DIM, .out_stride = HEADS * DIM, .n_kv_heads = KV_HEADS,
                              .kv_format = format, .q = room((uint64_t)n * HEADS * DIM * 4),
                              .out = room((uint64_t)n * HEADS * DIM * 4), .seqs = room(sizeof seq)};
    t.a.partial = room(lr_gpu_attention_partial_bytes(n, context, HEADS, KV_HEADS, DIM) + 4);
    if (!seq.kv.base || !t.a.q || !t.a.out || !t.a.seqs || !t.a.partial) return;
    if (!ok(gpu.b->pinned_open(gpu.d, sizeof seq, &pinned, &err), &err)) return;
    memcpy(pinned, &seq, sizeof seq);
    llmrun_status status = gpu.b->copy_in(gpu.d, LR_QUEUE_COMPUTE, (void *)t.a.seqs, 0, pinned, 0, sizeof seq, 1, &err);
    if (!status) status = gpu.b->sync(gpu.d, &err);
    double seconds = ok(status, &err) ? seconds_of(queue_attention, &t) / t.repeats : 0;
    double pairs = (double)n * ((double)(context - n) + (double)(n + 1) / 2);
    if (seconds > 0)
        printf("  %-6s %5d rows of %6d  %9.1f us  %7.1f GB/s of KV  %7.1f TFLOP/s\n", lr_formats[format].name, n,
               context, seconds * 1e6, (double)seq.kv.page_bytes / seconds * 1e-9,
               pairs * HEADS * DIM * 4 / seconds * 1e-12);
    gpu.b->pinned_close(gpu.d, pinned);
}

/* ---- the run ---- */

static bool open_gpu(const char *name, const char *config, llmrun_error *err) {
    void *arena;
    if (lr_backend_load(&gpu.b, name, config, err) || gpu.b->info(0, &gpu.info, err) || gpu.b->open(&gpu.d, 0, err))
        return false;
    double start = lr_seconds();
    if (gpu.b->measure(gpu.d, &gpu.info, err)) return false;
    printf("%s, sm_%d%d, %.1f GiB, measured in %.2f s:\n  read %.1f GB/s   f16 product %.1f TFLOP/s   pinned copy %.1f GB/s\n",
           gpu.info.name, gpu.info.major, gpu.info.minor, (double)gpu.info.total_bytes / 0x1p30, lr_seconds() - start,
           gpu.info.read_bytes_per_s * 1e-9, gpu.info.flops_per_s * 1e-12, gpu.info.link_bytes_per_s * 1e-9);
    uint64_t used = gpu.b->used_bytes(gpu.d);
    printf("  context: %.1f MiB taken, at most %.1f expected\n", (double)used / 0x1p20,
           (double)gpu.info.overhead_bytes / 0x1p20);
    gpu.arena_bytes = (uint64_t)lr_min((int64_t)4 << 30, (int64_t)(gpu.info.free_bytes / 4 * 3)) & ~(uint64_t)0x1fffff;
    if (gpu.b->arena_open(gpu.d, gpu.arena_bytes, &arena, err)) return false;
    gpu.arena = arena;
    return fill_arena(err);
}

int main(int argc, char **argv) {
    llmrun_error err;
    if (!open_gpu(argc > 1 ? argv[1] : "cuda", argc > 2 ? argv[2] : NULL, &err)) {
        printf("no GPU to measure: %s\n", err.message);
        if (gpu.b) gpu.b->close(gpu.d);
        return argc > 1; /* asked for: that is a failure */
    }
    bench_decode();
    bench_prefill();
    printf("attention, 32 heads of 128 over 8\n");
    for (int format = 0; format < 2; format++) {
        lr_format f = format ? LR_Q8_0 : LR_F16;
        bench_attention_case(f, 1, 4096);
        bench_attention_case(f, 1, 32768);
        bench_attention_case(f, 4096, 4096);
    }
    uint64_t used = gpu.b->used_bytes(gpu.d);
    printf("device memory after all of it: %.1f MiB beside the arena\n",
           used ? (double)(used - gpu.arena_bytes) / 0x1p20 : 0.0);
    gpu.b->close(gpu.d);
    return gpu.failed;
}
