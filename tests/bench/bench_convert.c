/* Speed of conversion at load: each format's encoder on one thread for every instruction set, then lr_upload on all
 * threads, beside the rate at which memory can be read.  Rates count f16 input bytes; best of REPEATS.  All but RAM read
 * and lr_upload are per second of CPU time: what one core does, also on a machine that is busy with other work.
 *
 *     bench_convert [THREADS [MiB of f16 input]]                                                                      */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quant/encoders.h"
#include "runtime/upload.h"

enum { REPEATS = 5, PIECE = 4096, COLS = 2048 };

static void *allocate(size_t size) {
    void *p = lr_alloc_aligned(size);
    if (!p) exit(1);
    return memset(p, 0, size);
}

/* Roughly normal f16 values.                                                                                         */
static void fill(uint16_t *h, int64_t n) {
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            s = s * 1664525u + 1013904223u;
            sum += (float)(s >> 8) * 0x1p-23f - 1;
        }
        h[i] = lr_f32_to_f16(sum);
    }
}

typedef struct read_args {
    const uint64_t *words;
    uint64_t *sums; /* one a range, so that nothing is optimized away */
} read_args;

enum { READ_WORDS = 1 << 16 };

static void read_words(const void *args, int64_t i0, int64_t i1, void *scratch) {
    (void)scratch;
    const read_args *a = args;
    for (int64_t i = i0; i < i1; i++) {
        uint64_t sum[8] = {0};
        const uint64_t *w = a->words + i * READ_WORDS;
        for (int64_t k = 0; k < READ_WORDS; k += 8)
            for (int l = 0; l < 8; l++) sum[l] += w[k + l];
        a->sums[i] = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    }
}

static void (*encoder(const lr_encoders *e, int format))(void *, void *, const float *, int64_t) {
    switch (format) {
    case LR_Q8_0: return e->q8_0;
    case LR_Q4_K: return e->q4_k;
    case LR_IQ4_NL: return e->iq4_nl;
    case LR_NF4: return e->nf4;
    default: return NULL;
    }
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Encoder alone on one thread: f16 -> f32 -> format, in pieces that stay in the first-level cache.                    */
static double encode_rate(const lr_encoders *e, int format, const uint16_t *src, int64_t n, char *dst) {
    static float x[PIECE];
    char *scales = dst + 2 * n;
    double best = 0;
    for (int r = 0; r < REPEATS; r++) {
        double t = cpu_seconds();
        for (int64_t i = 0; i < n; i += PIECE) {
            int64_t block = i / lr_formats[format].block;
            e->f16_to_f32(x, src + i, PIECE);
            encoder(e, format)(dst + block * lr_formats[format].quant_bytes, scales + block * lr_formats[format].scale_bytes,
                               x, PIECE);
        }
        double rate = 2e-9 * (double)n / (cpu_seconds() - t);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv) {
    int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    int64_t n = (argc > 2 ? atoi(argv[2]) : 256) * (int64_t)(1 << 19);
    lr_threads *threads;
    if (n <= 0 || lr_threads_open(&threads, n_threads, NULL)) return 1;
    void *scratch = allocate((size_t)n_threads * LR_UPLOAD_SCRATCH_BYTES);
    lr_threads_set_scratch(threads, scratch, LR_UPLOAD_SCRATCH_BYTES);
    uint16_t *src = allocate(2 * (size_t)n);
    char *dst = allocate(4 * (size_t)n);
    fill(src, n);

    int64_t n_reads = n / 4 / READ_WORDS;
    read_args reads = {(const uint64_t *)src, allocate(sizeof(uint64_t) * (size_t)n_reads)};
    double best_read = 0;
    for (int r = 0; r < REPEATS; r++) {
        double t = lr_seconds();
        lr_threads_run(threads, read_words, &reads, n_reads, 1);
        double rate = 2e-9 * (double)n / (lr_seconds() - t);
        best_read = rate > best_read ? rate : best_read;
    }
    printf("%d threads, %lld MiB of f16; RAM read %.1f GB/s\n", n_threads, (long long)(n >> 19), best_read);

    const lr_encoders *sets[3];
    int n_sets = lr_encoders_list(sets);
    printf("GB/s    ");
    for (int s = 0; s < n_sets; s++) printf(" %8s", sets[s]->isa);
    printf(" %12s %12s\n", "lr_upload", "per CPU s");
    for (int f = LR_F32; f < LR_N_FORMATS; f++) {
        if (!lr_formats[f].encode) continue;
        printf("%-8s", lr_formats[f].name);
        for (int s = 0; s < n_sets; s++) {
            int64_t part = n / 16 / PIECE * PIECE; /* one core of a slow set need not see it all */
            if (encoder(sets[s], f))
                printf(" %8.2f", encode_rate(sets[s], f, src, part, dst));
            else
                printf(" %8s", "-");
        }
        double best = 0, best_cpu = 0;
        for (int r = 0; r < REPEATS; r++) {
            lr_upload_job job = {.name = "w", .src = src, .dtype = LR_DT_F16, .rows = n / COLS, .cols = COLS,
                                 .format = (lr_format)f, .dst = dst};
            double t = lr_seconds(), cpu = cpu_seconds();
            if (lr_upload(&job, 1, threads, NULL, NULL)) return 1;
            double rate = 2e-9 * (double)n / (lr_seconds() - t), cpu_rate = 2e-9 * (double)n / (cpu_seconds() - cpu);
            best = rate > best ? rate : best;
            best_cpu = cpu_rate > best_cpu ? cpu_rate : best_cpu;
        }
        printf(" %12.2f %12.2f\n", best, best_cpu);
    }
    lr_threads_close(threads);
    lr_free_aligned(scratch);
    lr_free_aligned(src);
    lr_free_aligned(dst);
    lr_free_aligned(reads.sums);
    return 0;
}
