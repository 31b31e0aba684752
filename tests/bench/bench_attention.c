/* Attention beside the rate at which this machine reads memory: decode at a long context (the caches of 22 layers, so
 * that nothing stays in the processor's cache) and prefill of 512 tokens, for TinyLlama's 32 heads of 64 in groups.
 *
 *     bench_attention [threads]                                                                                      */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/threads.h"

enum { N_HEADS = 32, HEAD_DIM = 64, N_LAYERS = 22, CONTEXT = 4096, PREFILL = 512 };

typedef struct bench {
    lr_threads *threads;
    lr_ops ops;
    lr_kv_layer layers[N_LAYERS];
    float *q, *out, *partial;
} bench;

/* ---- memory ---- */

enum { READ_CHUNK = 1 << 20 };
typedef struct read_args {
    const uint64_t *from;
    volatile uint64_t *sums;
} read_args;

static void read_chunks(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const read_args *a = args;
    (void)scratch;
    for (int64_t i = i0; i < i1; i++) {
        const uint64_t *x = a->from + i * (READ_CHUNK / 8);
        uint64_t sum[8] = {0};
        for (int k = 0; k < READ_CHUNK / 8; k += 8)
            for (int j = 0; j < 8; j++) sum[j] += x[k + j];
        a->sums[i] = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    }
}

static double read_rate(lr_threads *t) {
    enum { CHUNKS = 512 };
    static uint64_t sums[CHUNKS];
    uint64_t *from = lr_alloc_aligned((size_t)CHUNKS * READ_CHUNK);
    double best = 1e9;
    if (!from) return 0;
    memset(from, 1, (size_t)CHUNKS * READ_CHUNK);
    read_args a = {from, sums};
    for (int i = 0; i < 5; i++) {
        double start = lr_seconds();
        lr_threads_run(t, read_chunks, &a, CHUNKS, 1);
        if (lr_seconds() - start < best) best = lr_seconds() - start;
    }
    lr_free_aligned(from);
    return (double)CHUNKS * READ_CHUNK / best;
}

/* ---- attention ---- */

/* One pass over all layers; best of several.                                                                         */
static double seconds_of(bench *b, int64_t n_rows, int32_t position, int32_t n_kv_heads) {
    double best = 1e9;
    for (int i = 0; i < 7; i++) {
        double start = lr_seconds();
        for (int layer = 0; layer < N_LAYERS; layer++) {
            lr_seq seq = {.n = n_rows, .position = position, .kv = b->layers[layer]};
            seq.kv.n_kv_heads = n_kv_heads;
            lr_attention_args a = {.out = b->out,
                                   .q = b->q,
                                   .out_stride = N_HEADS * HEAD_DIM,
                                   .q_stride = N_HEADS * HEAD_DIM,
                                   .seqs = &seq,
                                   .n_seqs = 1,
                                   .n_heads = N_HEADS,
                                   .head_dim = HEAD_DIM,
                                   .scale = 0.125f,
                                   .partial = b->partial};
            lr_threads_run(b->threads, b->ops.attention, &a, lr_attention_items(&a), 1);
            if (lr_attention_is_split(&a)) lr_threads_run(b->threads, b->ops.attention_merge, &a, n_rows * N_HEADS, 1);
        }
        if (lr_seconds() - start < best) best = lr_seconds() - start;
    }
    return best;
}

static void measure(bench *b, lr_format format, int32_t n_kv_heads, double rate) {
    uint64_t bytes;
    if (!lr_kv_page_bytes(format, n_kv_heads, HEAD_DIM, CONTEXT, &bytes)) return;
    uint8_t *memory = lr_alloc_aligned((size_t)bytes * N_LAYERS);
    if (!memory) return;
    memset(memory, 0x11, (size_t)bytes * N_LAYERS); /* small positive values in every format */
    for (int i = 0; i < N_LAYERS; i++)
        b->layers[i] = (lr_kv_layer){.base = memory + (uint64_t)i * bytes,
                                     .page_bytes = bytes,
                                     .page_slots = CONTEXT,
                                     .n_slots = CONTEXT,
                                     .n_kv_heads = n_kv_heads,
                                     .head_dim = HEAD_DIM,
                                     .format = format};
    double decode = seconds_of(b, 1, CONTEXT - 1, n_kv_heads), prefill = seconds_of(b, PREFILL, 0, n_kv_heads);
    double gb = (double)bytes * N_LAYERS / decode;
    double flops = 4.0 * PREFILL * (PREFILL + 1) / 2 * N_HEADS * HEAD_DIM * N_LAYERS;
    printf("%-6s heads %d/%-2d  decode at %d: %6.2f ms, %5.1f GB/s of KV, %3.0f %% of read rate   prefill of %d: %6.1f "
           "ms, %5.1f GFLOP/s\n",
           lr_kv_name(format), N_HEADS, n_kv_heads, CONTEXT, decode * 1e3, gb * 1e-9, 100 * gb / rate, PREFILL,
           prefill * 1e3, flops / prefill * 1e-9);
    lr_free_aligned(memory);
}

int main(int argc, char **argv) {
    bench b = {0};
    llmrun_error err;
    size_t width = N_HEADS * HEAD_DIM, stride;
    if (!lr_cpu_ops(&b.ops, "auto") || lr_threads_open(&b.threads, argc > 1 ? atoi(argv[1]) : 0, &err)) return 1;
    stride = (b.ops.scratch_bytes((int64_t)width, PREFILL, N_HEADS, HEAD_DIM) + LR_ALIGN - 1) / LR_ALIGN * LR_ALIGN;
    void *scratch = lr_alloc_aligned(stride * (size_t)lr_threads_count(b.threads));
    b.q = lr_alloc_aligned(PREFILL * width * sizeof(float));
    b.out = lr_alloc_aligned(PREFILL * width * sizeof(float));
    b.partial = lr_alloc_aligned(lr_attention_partial_bytes(PREFILL, CONTEXT, N_HEADS, 1, HEAD_DIM));
    if (!scratch || !b.q || !b.out || !b.partial) return 1;
    lr_threads_set_scratch(b.threads, scratch, stride);
    for (size_t i = 0; i < PREFILL * width; i++) b.q[i] = (float)(i % 17) * 0.1f - 0.8f;

    double rate = read_rate(b.threads);
    printf("%d threads, %s, memory read %.1f GB/s\n", lr_threads_count(b.threads), b.ops.attention_kernel, rate * 1e-9);
    const lr_format formats[] = {LR_F16, LR_Q8_0, LR_KV_ROTATED, LR_F32};
    const int32_t kv_heads[] = {4, 8, 32};
    for (size_t f = 0; f < LR_COUNT(formats); f++)
        for (size_t g = 0; g < LR_COUNT(kv_heads); g++) measure(&b, formats[f], kv_heads[g], rate);
    lr_free_aligned(b.partial);
    lr_free_aligned(b.out);
    lr_free_aligned(b.q);
    lr_free_aligned(scratch);
    lr_threads_close(b.threads);
    return 0;
}
