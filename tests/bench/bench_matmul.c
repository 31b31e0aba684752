/* Speed of matmul for few tokens, beside a plain RAM read in the same run.
 *
 *     bench_matmul [--isa NAME] [--only FORMAT]
 *
 * The matrices are those of TinyLlama-1.1B, layer after layer and the output matrix, over more than 1 GB, so nothing is
 * found in a cache.  Two threads.  Prints GB/s of weights (quants and scales), best of several passes, and its ratio to
 * the read rate, then the cost of 4 and 8 tokens relative to one.
 *     gcc -O2 -I. -D_GNU_SOURCE tests/bench/bench_matmul.c build/libllmrun.a -lm -lpthread                            */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "runtime/threads.h"

enum { THREADS = 2, PASSES = 3, LAYERS_MAX = 64, MATRICES_MAX = LAYERS_MAX * 7 + 1, COLS_MAX = 5632, ROWS_MAX = 32000 };
static const size_t POOL_BYTES = (size_t)2200 << 20;
static const struct { int64_t rows, cols; } layer[] = {
    { 2048, 2048 }, { 256, 2048 }, { 256, 2048 }, { 2048, 2048 }, { 5632, 2048 }, { 5632, 2048 }, { 2048, 5632 },
};

static uint8_t *pool;
static lr_threads *threads;

/* ---- RAM read: item = 64 KiB of the pool ---- */

__attribute__((target("avx512f"))) static void read_pool(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const uint8_t *p = pool + (i0 << 16), *end = pool + (i1 << 16);
    __m512i sum[4] = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512() };
    for (; p < end; p += 256)
        for (int i = 0; i < 4; i++) sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + 64 * i));
    sum[0] = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
    *(volatile int64_t *)scratch = _mm512_reduce_add_epi64(sum[0]);
    (void)args;
}

/* Each thread reads its own half from end to end, as one stream.                                                     */
static double read_gbps(void) {
    int64_t items = (int64_t)(POOL_BYTES >> 16);
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        double start = lr_seconds();
        lr_threads_run(threads, read_pool, NULL, items, items / THREADS);
        double rate = (double)POOL_BYTES / (lr_seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- matmul ---- */

typedef struct model {
    lr_matrix matrices[MATRICES_MAX];
    int n;
    double bytes;
} model;

static void add(model *m, lr_format format, int64_t rows, int64_t cols, size_t *used) {
    lr_format_size size;
    if (!lr_format_measure(format, (uint64_t)rows, (uint64_t)cols, &size)) exit(1);
    m->matrices[m->n++] = lr_matrix_at(format, rows, cols, pool + *used);
    m->bytes += (double)rows * (double)(size.quants_stride + size.scales_stride);
    *used += size.bytes;
}

/* As many layers as reach 1.2 GB, at least TinyLlama's 22 where they fit, then the output matrix.                    */
static void build(model *m, lr_format format) {
    size_t used = 0;
    *m = (model){ 0 };
    for (int l = 0; l < LAYERS_MAX && (l == 0 || m->bytes < 1.2e9); l++)
        for (size_t i = 0; i < LR_COUNT(layer); i++) add(m, format, layer[i].rows, layer[i].cols, &used);
    add(m, format, 32000, 2048, &used);
}

/* Seconds of one pass over the model.                                                                                */
static double pass(const lr_matmul_kernel *k, const model *m, lr_act x[2], float *y) {
    double start = lr_seconds();
    for (int i = 0; i < m->n; i++) {
        const lr_matrix *w = &m->matrices[i];
        lr_matmul_args args = { .y = y, .y_stride = w->rows, .w = *w, .x = x[w->cols == COLS_MAX] };
        lr_threads_run(threads, k->run, &args, w->rows, k->row_step);
    }
    return lr_seconds() - start;
}

static double best_pass(const lr_ops *ops, lr_format format, const model *m, int32_t n) {
    const lr_matmul_kernel *k = lr_ops_matmul(ops, format, n);
    size_t scratch = (ops->scratch_bytes(COLS_MAX, n, 1, 64) + 4095) & ~(size_t)4095;
    uint8_t *memory = lr_alloc_aligned(scratch * THREADS);
    float *y = lr_alloc_aligned(sizeof(float) * (size_t)n * ROWS_MAX), *values = lr_alloc_aligned(sizeof(float) * (size_t)n * COLS_MAX);
    lr_threads_set_scratch(threads, memory, scratch);
    for (int64_t i = 0; i < n * COLS_MAX; i++) values[i] = (float)((i * 7919) % 1000 - 500) / 500;
    lr_act x[2];
    for (int i = 0; i < 2; i++) {
        int64_t cols = i ? COLS_MAX : 2048;
        x[i] = lr_act_at(k->act, n, cols, lr_alloc_aligned(lr_act_bytes(k->act, n, cols)));
        lr_threads_run(threads, ops->pack, &(lr_pack_args){ .x = values, .out = x[i] }, n, 1);
    }
    double best = 1e9;
    for (int i = 0; i < PASSES; i++) {
        double s = pass(k, m, x, y);
        if (s < best) best = s;
    }
    for (int i = 0; i < 2; i++) lr_free_aligned((void *)(uintptr_t)x[i].values);
    lr_free_aligned(memory);
    lr_free_aligned(y);
    lr_free_aligned(values);
    return best;
}

int main(int argc, char **argv) {
    const char *isa = "auto", *only = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--isa") == 0) isa = argv[i + 1];
        if (strcmp(argv[i], "--only") == 0) only = argv[i + 1];
    }
    lr_ops ops;
    pool = lr_alloc_aligned(POOL_BYTES);
    uint8_t *scratch = lr_alloc_aligned(THREADS * 4096);
    if (!pool || !scratch || !lr_cpu_ops(&ops, isa) || lr_threads_open(&threads, THREADS, NULL) != LLMRUN_OK) return 1;

    /* Small numbers in every format: 16-bit words with an f16 exponent of 2^-4, which are also tame as halves of f32. */
    uint64_t seed = 1;
    for (size_t i = 0; i < POOL_BYTES; i += 8) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        uint64_t words = (seed & 0x83ff83ff83ff83ff) | 0x2c002c002c002c00;
        memcpy(pool + i, &words, 8);
    }
    lr_threads_set_scratch(threads, scratch, 4096);
    double read = read_gbps();
    printf("%s, %d threads, RAM read %.1f GB/s\n", ops.isa, THREADS, read);
    printf("%-28s %10s %10s %9s %9s\n", "kernel", "GB/s", "of read", "4 tokens", "8 tokens");
    for (int f = 0; f < LR_N_FORMATS; f++) {
        static model m;
        if (only && strcmp(only, lr_formats[f].name) != 0) continue;
        build(&m, (lr_format)f);
        double one = best_pass(&ops, (lr_format)f, &m, 1);
        double four = best_pass(&ops, (lr_format)f, &m, 4), eight = best_pass(&ops, (lr_format)f, &m, 8);
        printf("%-28s %10.1f %10.2f %8.2fx %8.2fx\n", ops.matmul_few[f].name, m.bytes / one * 1e-9, m.bytes / one * 1e-9 / read,
               four / one, eight / one);
        fflush(stdout);
    }
    lr_threads_set_scratch(threads, scratch, 4096);
    printf("RAM read again %.1f GB/s\n", read_gbps());
    lr_threads_close(threads);
    return 0;
}
