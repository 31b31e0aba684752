/* See rates.h.  The file has one line a device: key, then three rates.                                                 */
#include "runtime/rates.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cache.h"
#include "runtime/threads.h"

#define VERSION "llmrun rates 1\n"
enum { LINES_MOST = 64 };

/* ---- the file ---- */

typedef struct line {
    uint64_t key;
    lr_rates rates;
} line;

static bool path_of(char path[4096], const char *dir, const char *end) {
    int n = snprintf(path, 4096, "%s/rates%s", dir, end);
    return n > 0 && n < 4096;
}

static int read_lines(const char *dir, line *lines) {
    char path[4096], version[64];
    int n = 0;
    FILE *f = path_of(path, dir, "") ? fopen(path, "re") : NULL;
    bool known = f && fgets(version, sizeof version, f) && strcmp(version, VERSION) == 0;
    while (known && n < LINES_MOST &&
           fscanf(f, "%" SCNx64 " %lf %lf %lf", &lines[n].key, &lines[n].rates.read_bytes_per_s,
                  &lines[n].rates.flops_per_s, &lines[n].rates.link_bytes_per_s) == 4)
        n++;
    if (f) fclose(f);
    return n;
}

/* Puts a new line first; the oldest falls off.  What cannot be kept is measured again next time.                       */
static void keep(const char *dir, const line *added) {
    line lines[LINES_MOST];
    char path[4096], temporary[4096], suffix[32];
    int n = read_lines(dir, lines);
    snprintf(suffix, sizeof suffix, ".%d.tmp", (int)getpid());
    if (!path_of(path, dir, "") || !path_of(temporary, dir, suffix)) return;
    int made = lr_cache_open_dir(dir);
    if (made < 0) return;
    close(made);
    FILE *f = fopen(temporary, "we");
    if (!f) return;
    fprintf(f, "%s", VERSION);
    for (int i = -1; i < n && i < LINES_MOST - 1; i++) {
        const line *l = i < 0 ? added : &lines[i];
        if (i < 0 || l->key != added->key)
            fprintf(f, "%016" PRIx64 " %.4g %.4g %.4g\n", l->key, l->rates.read_bytes_per_s, l->rates.flops_per_s,
                    l->rates.link_bytes_per_s);
    }
    bool ok = fclose(f) == 0 && rename(temporary, path) == 0;
    if (!ok) unlink(temporary);
}

static bool look_up(const char *dir, uint64_t key, lr_rates *out) {
    line lines[LINES_MOST];
    int n = read_lines(dir, lines);
    for (int i = 0; i < n; i++)
        if (lines[i].key == key) {
            *out = lines[i].rates;
            return true;
        }
    return false;
}

/* ---- the CPU ---- */

/* What tells one processor from another: the first model name that the system reports.                                */
static uint64_t cpu_key(const lr_ops *ops, int32_t n_threads) {
    char text[256];
    uint64_t h = lr_hash(LR_HASH_START, ops->isa, strlen(ops->isa));
    FILE *f = fopen("/proc/cpuinfo", "re");
    for (int i = 0; f && i < 16 && fgets(text, sizeof text, f); i++)
        if (strncmp(text, "model name", 10) == 0 || strncmp(text, "CPU part", 8) == 0)
            h = lr_hash(h, text, strlen(text));
    if (f) fclose(f);
    return lr_hash(h, &n_threads, sizeof n_threads);
}

/* A matrix larger than any cache for reading, a smaller one times many tokens for arithmetic.                         */
enum { COLS = 4096, READ_ROWS = 12288, WORK_ROWS = 1024, WORK_TOKENS = 128, PASSES = 4 };

static double best_seconds(lr_threads *threads, const lr_matmul_kernel *kernel, const lr_matmul_args *a) {
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = lr_seconds();
        lr_threads_run(threads, kernel->run, a, a->w.rows, kernel->row_step);
        double took = lr_seconds() - start;
        if (pass && (best == 0 || took < best)) best = took; /* the first one wakes cores and pages */
    }
    return best;
}

static lr_rates measure_cpu(const lr_ops *ops, int32_t n_threads) {
    lr_rates rates = { 0 };
    size_t scratch_each = lr_aligned(ops->scratch_bytes(COLS, WORK_TOKENS, 1, 1));
    size_t weight_bytes = (size_t)READ_ROWS * COLS * 2, act_bytes = lr_act_bytes(LR_ACT_F32, WORK_TOKENS, COLS);
    size_t out_bytes = (size_t)WORK_TOKENS * READ_ROWS * sizeof(float);
    uint8_t *weights = lr_alloc_aligned(weight_bytes), *act = lr_alloc_aligned(act_bytes);
    uint8_t *scratch = lr_alloc_aligned(scratch_each * (size_t)n_threads);
    float *out = lr_alloc_aligned(out_bytes);
    lr_threads *threads = NULL;
    if (weights && act && scratch && out && lr_threads_open(&threads, n_threads, NULL) == LLMRUN_OK) {
        memset(weights, 0, weight_bytes); /* zeros: finite in every format, and reading costs the same */
        memset(act, 0, act_bytes);
        lr_threads_set_scratch(threads, scratch, scratch_each);
        const lr_matmul_kernel *few = lr_ops_matmul(ops, LR_F16, 1), *many = lr_ops_matmul(ops, LR_F16, WORK_TOKENS);
        lr_matmul_args reading = { .y = out, .y_stride = READ_ROWS, .w = lr_matrix_at(LR_F16, READ_ROWS, COLS, weights),
                                   .x = lr_act_at(few->act, 1, COLS, act) };
        lr_matmul_args working = { .y = out, .y_stride = WORK_ROWS, .w = lr_matrix_at(LR_F16, WORK_ROWS, COLS, weights),
                                   .x = lr_act_at(many->act, WORK_TOKENS, COLS, act) };
        rates.read_bytes_per_s = (double)weight_bytes / best_seconds(threads, few, &reading);
        rates.flops_per_s = 2.0 * WORK_ROWS * COLS * WORK_TOKENS / best_seconds(threads, many, &working);
    }
    lr_threads_close(threads);
    lr_free_aligned(out);
    lr_free_aligned(scratch);
    lr_free_aligned(act);
    lr_free_aligned(weights);
    return rates;
}

lr_rates lr_rates_cpu_again(const lr_ops *ops, int32_t n_threads, const char *dir, const lr_report *report) {
    line known = { .key = cpu_key(ops, n_threads) };
    if (!dir || !*dir) return known.rates;
    lr_rates now = measure_cpu(ops, n_threads), *best = &known.rates;
    look_up(dir, known.key, best);
    best->read_bytes_per_s = fmax(best->read_bytes_per_s, now.read_bytes_per_s);
    best->flops_per_s = fmax(best->flops_per_s, now.flops_per_s);
    lr_log(report, LLMRUN_LOG_DEBUG, "measured this CPU: reads weights at %.1f GB/s, computes %.2f TFLOP/s",
           now.read_bytes_per_s * 1e-9, now.flops_per_s * 1e-12);
    if (best->read_bytes_per_s > 0) keep(dir, &known);
    return *best;
}

lr_rates lr_rates_cpu(const lr_ops *ops, int32_t n_threads, const char *dir, const lr_report *report) {
    lr_rates rates = { 0 };
    if (!dir || !*dir || look_up(dir, cpu_key(ops, n_threads), &rates)) return rates;
    return lr_rates_cpu_again(ops, n_threads, dir, report);
}

/* ---- GPUs ---- */

lr_rates lr_rates_gpu(const lr_backend *b, int32_t index, const lr_device_info *info, const char *dir,
                      const lr_report *report) {
    lr_rates rates = { info->read_bytes_per_s, info->flops_per_s, info->link_bytes_per_s };
    uint64_t key = lr_hash(LR_HASH_START, info->name, strlen(info->name));
    key = lr_hash(key, &info->total_bytes, sizeof info->total_bytes);
    key = lr_hash(key, &index, sizeof index); /* equal cards may have unequal links */
    if (b->clock || !dir || !*dir || look_up(dir, key, &rates)) return rates;
    lr_device *d = NULL;
    lr_device_info measured = *info;
    if (b->open(&d, index, NULL) == LLMRUN_OK && b->measure(d, &measured, NULL) == LLMRUN_OK) {
        rates = (lr_rates){ measured.read_bytes_per_s, measured.flops_per_s, measured.link_bytes_per_s };
        keep(dir, &(line){ .key = key, .rates = rates });
        lr_log(report, LLMRUN_LOG_DEBUG, "measured GPU %d once: memory %.0f GB/s, %.0f TFLOP/s, link %.1f GB/s", index,
               rates.read_bytes_per_s * 1e-9, rates.flops_per_s * 1e-12, rates.link_bytes_per_s * 1e-9);
    }
    b->close(d);
    return rates;
}
