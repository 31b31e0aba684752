/* Prefill matmul speed: every format's matmul_many over the matrices of one TinyLlama-1.1B block x 512 tokens, beside
 * this machine's own peaks (register-only loops of the same run), and the token count from which it beats matmul_few.
 *
 *     bench_gemm [THREADS [TOKENS [FORMAT]]]                                                                        */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "runtime/threads.h"
#include "tests/blocks.h"

static const struct { int64_t rows, cols; int per_block; } shapes[] = {
    { 2048, 2048, 2 }, /* Q, O */
    { 256, 2048, 2 },  /* K, V */
    { 5632, 2048, 2 }, /* gate, up */
    { 2048, 5632, 1 }, /* down */
};

/* ---- peaks: 12 independent chains per instruction ---- */

typedef struct peak_args {
    long n; /* loops of one item */
} peak_args;
enum { CHAINS = 12, LOOPS = 1000000 };

#define CHAIN(op, i) op " %%zmm31, %%zmm30, %%zmm" #i "\n"
#define PEAK(name, op)                                                                                               \
    __attribute__((target("avx512f"))) static void name(const void *args, int64_t i0, int64_t i1, void *scratch) {   \
        (void)scratch;                                                                                               \
        for (int64_t i = i0; i < i1; i++)                                                                            \
            for (long n = ((const peak_args *)args)->n; n > 0; n--)                                                  \
                __asm__ volatile(CHAIN(op, 0) CHAIN(op, 1) CHAIN(op, 2) CHAIN(op, 3) CHAIN(op, 4) CHAIN(op, 5)       \
                                 CHAIN(op, 6) CHAIN(op, 7) CHAIN(op, 8) CHAIN(op, 9) CHAIN(op, 10) CHAIN(op, 11)     \
                                 ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                                     "xmm10", "xmm11");                                                              \
    }
PEAK(peak_int8, "vpdpbusd")
PEAK(peak_bf16, "vdpbf16ps")
PEAK(peak_f32, "vfmadd231ps")

static double peak_gops(lr_threads *threads, lr_kernel kernel, int ops_per_instruction) {
    const int n_threads = lr_threads_count(threads);
    const peak_args args = { LOOPS };
    double best = 1e30;
    for (int i = 0; i < 40; i++) { /* a second processor may take a while to come fully awake */
        const double start = lr_seconds();
        lr_threads_run(threads, kernel, &args, n_threads, 1);
        const double seconds = lr_seconds() - start;
        if (seconds < best) best = seconds;
    }
    return 1e-9 * n_threads * (double)LOOPS * CHAINS * ops_per_instruction / best;
}

/* ---- matmul ---- */

static uint32_t random_state = 1;
static float random_value(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(int32_t)random_state * 0x1p-31f;
}

static void *allocate(size_t size) {
    void *p = lr_alloc_aligned(size);
    if (!p) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    return p;
}

/* Every row is one of 8 random rows: speed does not depend on values, and q4_k searches are slow. */
static lr_matrix random_matrix(lr_format format, int64_t rows, int64_t cols, void **memory) {
    const lr_format_traits *f = &lr_formats[format];
    lr_format_size size;
    if (!lr_format_measure(format, (uint64_t)rows, (uint64_t)cols, &size)) exit(1);
    uint8_t *base = *memory = allocate(size.bytes);
    float *row = allocate((size_t)cols * sizeof *row);
    uint64_t state = 1;
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *quants = base + (size_t)r * size.quants_stride;
        uint8_t *scales = base + size.scales_offset + (size_t)r * size.scales_stride;
        if (r < 8) {
            for (int64_t c = 0; c < cols; c++) row[c] = 0.05f * random_value();
            if (f->encode)
                f->encode(quants, scales, row, cols);
            else
                random_blocks(format, quants, cols, &state);
        } else {
            memcpy(quants, quants - 8 * size.quants_stride, size.quants_stride);
            memcpy(scales, scales - 8 * size.scales_stride, size.scales_stride);
        }
    }
    lr_free_aligned(row);
    return lr_matrix_at(format, rows, cols, base);
}

typedef struct job {
    lr_matmul_args args;
    void *w, *x, *y, *act[LR_N_ACT_FORMATS];
    lr_act acts[LR_N_ACT_FORMATS];
} job;

static job job_open(const lr_ops *ops, lr_format format, int64_t rows, int64_t cols, int64_t n) {
    job j = { 0 };
    float *x = j.x = allocate((size_t)(n * cols) * sizeof(float));
    for (int64_t i = 0; i < n * cols; i++) x[i] = random_value();
    j.y = allocate((size_t)(n * rows) * sizeof(float));
    j.args = (lr_matmul_args){ .y = j.y, .y_stride = rows, .w = random_matrix(format, rows, cols, &j.w) };
    for (int a = 0; a < LR_N_ACT_FORMATS; a++) {
        j.act[a] = allocate(lr_act_bytes((lr_act_format)a, n, cols));
        j.acts[a] = lr_act_at((lr_act_format)a, n, cols, j.act[a]);
        if (a == LR_ACT_Q8 && cols % 32 != 0) continue;
        const lr_pack_args pack = { .x = x, .out = j.acts[a] };
        ops->pack(&pack, 0, n, NULL);
    }
    return j;
}

static void job_close(job *j) {
    lr_free_aligned(j->w);
    lr_free_aligned(j->x);
    lr_free_aligned(j->y);
    for (int a = 0; a < LR_N_ACT_FORMATS; a++) lr_free_aligned(j->act[a]);
}

/* Best of several runs, for at least 0.15 s. */
static double seconds_of(lr_threads *threads, const lr_matmul_kernel *kernel, job *j, int64_t n) {
    j->args.x = j->acts[kernel->act];
    j->args.x.n = n;
    double best = 1e30, total = 0;
    for (int i = 0; i < 3 || total < 0.15; i++) {
        const double start = lr_seconds();
        lr_threads_run(threads, kernel->run, &j->args, j->args.w.rows, kernel->row_step);
        const double seconds = lr_seconds() - start;
        if (seconds < best) best = seconds;
        total += seconds;
    }
    return best;
}

int main(int argc, char **argv) {
    const int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    const int64_t n = argc > 2 ? atoi(argv[2]) : 512;
    lr_ops ops;
    lr_threads *threads;
    if (!lr_cpu_ops(&ops, "auto") || lr_threads_open(&threads, n_threads, NULL) != LLMRUN_OK) return 1;
    const size_t scratch_bytes = (ops.scratch_bytes(5632, n, 32, 64) + 4095) / 4096 * 4096;
    void *scratch = allocate(scratch_bytes * (size_t)n_threads);
    lr_threads_set_scratch(threads, scratch, scratch_bytes);

    double peaks[LR_N_ACT_FORMATS] = { 0 };
    if (strcmp(ops.isa, "avx512") == 0) {
        peaks[LR_ACT_Q8] = peak_gops(threads, peak_int8, 128);
        peaks[LR_ACT_BF16] = peak_gops(threads, peak_bf16, 64);
        peaks[LR_ACT_F32] = peak_gops(threads, peak_f32, 32);
    }
    printf("%s, %d threads, %d tokens; peak GOP/s: vpdpbusd %.0f, vdpbf16ps %.0f, f32 fma %.0f\n", ops.isa, n_threads,
           (int)n, peaks[LR_ACT_Q8], peaks[LR_ACT_BF16], peaks[LR_ACT_F32]);
    printf("%-22s", "GOP/s");
    for (size_t s = 0; s < LR_COUNT(shapes); s++) printf(" %5dx%-5d", (int)shapes[s].rows, (int)shapes[s].cols);
    printf(" %8s %8s %22s\n", "block", "of peak", "tok/s of 1.1B matmuls");

    for (int f = 0; f < LR_N_FORMATS; f++) {
        if (argc > 3 && strcmp(argv[3], lr_formats[f].name) != 0) continue;
        const lr_matmul_kernel *kernel = &ops.matmul_many[f];
        double block_seconds = 0, block_ops = 0;
        printf("%-22s", kernel->name);
        for (size_t s = 0; s < LR_COUNT(shapes); s++) {
            job j = job_open(&ops, (lr_format)f, shapes[s].rows, shapes[s].cols, n);
            const double seconds = seconds_of(threads, kernel, &j, n);
            const double operations = 2e-9 * (double)(shapes[s].rows * shapes[s].cols * n);
            printf(" %11.1f", operations / seconds);
            block_seconds += seconds * shapes[s].per_block;
            block_ops += operations * shapes[s].per_block;
            job_close(&j);
        }
        printf(" %8.1f %8.3f %22.1f\n", block_ops / block_seconds,
               peaks[kernel->act] > 0 ? block_ops / block_seconds / peaks[kernel->act] : 0,
               (double)n / (22 * block_seconds));
        fflush(stdout);
    }

    printf("\nmatmul_many / matmul_few time, 2048x2048, by tokens (few_tokens = %d)\n%-10s", ops.few_tokens, "");
    const int counts[] = { 1, 2, 3, 4, 5, 6, 7, 8, 12, 16 };
    for (size_t c = 0; c < LR_COUNT(counts); c++) printf(" %6d", counts[c]);
    printf("\n");
    for (int f = 0; f < LR_N_FORMATS; f++) {
        if (argc > 3 && strcmp(argv[3], lr_formats[f].name) != 0) continue;
        job j = job_open(&ops, (lr_format)f, 2048, 2048, 16);
        printf("%-10s", lr_formats[f].name);
        for (size_t c = 0; c < LR_COUNT(counts); c++)
            printf(" %6.2f", seconds_of(threads, &ops.matmul_many[f], &j, counts[c]) /
                                 seconds_of(threads, &ops.matmul_few[f], &j, counts[c]));
        printf("\n");
        job_close(&j);
    }
    lr_threads_close(threads);
    lr_free_aligned(scratch);
    return 0;
}
