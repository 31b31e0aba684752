/* The harness of checkkernels: seeded inputs, guarded memory, tolerances, counts.  See checkkernels.c.               */
#ifndef CHECKKERNELS_H
#define CHECKKERNELS_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernels/kernels.h"

/* Sanitizers make kernels several times slower: so many times fewer of the same cases.                               */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FEWER = 3 };
#else
enum { FEWER = 1 };
#endif

/* ---- tolerances ----
 * The error of a result is |y - exact| / magnitude: exact is computed in double from the very inputs that the kernel
 * gets (weights decoded, activations unpacked), magnitude is the sum of the absolute terms that went into it (of a
 * product or a quotient: its own absolute value).  Allowed is TWICE the error of a plain f32 loop over the same inputs
 * in the same precision.  That plain error can be small by luck (a short sum, signs that cancel), so it counts as at
 * least `floor` + `per_root` sqrt(terms), in units of 2^-24: the roundings that no f32 kernel can avoid, and the random
 * walk of a sum of that many terms.                                                                                  */
#define ROUNDING 0x1p-24
static const struct tolerance {
    const char *op;
    double floor, per_root;
} tolerances[] = {
    {"matmul", 3, 0.25},    /* scale, bias and accumulation round once each; partial sums walk */
    {"embed", 0, 0},        /* exact: decode, then one product */
    {"norm", 4, 0.5},       /* sum of equal signs, division, root and two products */
    {"rope", 2, 0},         /* two products and a sum, relative to the length of the pair */
    {"attention", 8, 0.5},  /* weights, sum, division; scores walk too, see check_attention */
    {"glu", 6, 0},          /* exponential (2 ulp), sum, division, product */
    {"softcap", 4, 0},      /* quotient, tanh (2 ulp), product */
    {"delta", 16, 1},       /* taps, silu, a length; then a sum over rows that each update moves */
    {"route", 6, 0.25},     /* exponential of a difference, sum, two products */
};

static double allowed_error(const char *op, double plain, double terms) {
    for (size_t i = 0; i < LR_COUNT(tolerances); i++)
        if (strcmp(tolerances[i].op, op) == 0)
            return 2 * fmax(plain, ROUNDING * (tolerances[i].floor + tolerances[i].per_root * sqrt(terms)));
    return 0;
}

/* Largest error of n results; NaN counts as infinite.                                                                */
static double error_of(double y, double exact, double magnitude) {
    double d = fabs(y - exact);
    if (isnan(d)) return INFINITY;
    return d == 0 ? 0 : d / fmax(magnitude, 1e-36);
}

/* ---- counts and names ---- */

static struct {
    uint64_t seed, rng;
    const char *only;      /* substring of the kernels to test, or NULL */
    bool list, bench;
    int n_passed, n_failed;
    int rounds;            /* cases of each op of a device, about */
    char name[96];         /* kernel under test */
    char shape[160];       /* case under test */
    bool kernel_failed;
} check;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) {
    va_list ap;
    if (check.kernel_failed) return; /* one line per kernel */
    check.kernel_failed = true;
    printf("FAIL %s: %s: ", check.name, check.shape);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("   [--seed %llu --only %s]\n", (unsigned long long)check.seed, check.name);
}

static void describe(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void describe(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(check.shape, sizeof check.shape, format, ap);
    va_end(ap);
}

/* ---- random numbers (splitmix64), started anew for each kernel so that --only repeats a run ---- */

static uint64_t random_u64(void) {
    uint64_t z = check.rng += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static int64_t random_below(int64_t n) { return (int64_t)(random_u64() % (uint64_t)n); }
static float random_unit(void) { return (float)(random_u64() >> 40) * 0x1p-23f - 1.0f; } /* [-1, 1) */
static int64_t pick_from(const int64_t *list, size_t n) { return list[random_below((int64_t)n)]; }
#define PICK(...) pick_from((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

typedef enum pattern {
    P_RANDOM,    /* uniform */
    P_EXTREME,   /* exponents from -14 to 14 side by side */
    P_EQUAL,     /* one value */
    P_ALTERNATE, /* equal values, signs alternate */
    P_ZEROS,     /* half of the blocks of 32 are zero */
    P_SATURATE,  /* largest values of one sign for long stretches: int8 kernels that saturate show here */
    P_BYTES,     /* weights: every bit pattern of the quants; else random */
    N_PATTERNS
} pattern;
static const char *const pattern_names[N_PATTERNS] = {"random", "extreme",  "equal", "alternate",
                                                      "zeros",  "saturate", "bytes"};

static void fill(float *x, int64_t n, pattern p) {
    float one = 0.5f + fabsf(random_unit());
    bool zero = false;
    for (int64_t i = 0; i < n; i++) {
        if (i % 32 == 0) zero = random_below(2);
        switch (p) {
        case P_EXTREME: x[i] = ldexpf(random_unit(), (int)random_below(29) - 14); break;
        case P_EQUAL: x[i] = one; break;
        case P_ALTERNATE: x[i] = i % 2 ? -one : one; break;
        case P_ZEROS: x[i] = zero ? 0.0f : random_unit(); break;
        case P_SATURATE: x[i] = (i / 64) % 2 ? one : -one; break;
        default: x[i] = random_unit();
        }
    }
}

/* ---- memory that ends at a page nobody may touch, released case by case ---- */

enum { MAX_BLOCKS = 64 };
static struct {
    void *at;
    size_t bytes;
} blocks[MAX_BLOCKS];
static int n_blocks;

/* bytes of memory, aligned to align, that end at an inaccessible page (less the rounding that alignment needs).      */
static void *guarded(size_t bytes, size_t align) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + align + page - 1) / page * page;
    uint8_t *at = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || n_blocks == MAX_BLOCKS || mprotect(at + room, page, PROT_NONE)) {
        fprintf(stderr, "checkkernels: no memory for a case\n");
        exit(2);
    }
    blocks[n_blocks].at = at;
    blocks[n_blocks++].bytes = room + page;
    return (void *)((uintptr_t)(at + room - bytes) & ~(uintptr_t)(align - 1));
}
static float *floats(int64_t n) { return guarded((size_t)(n ? n : 1) * sizeof(float), sizeof(float)); }
static float *filled(int64_t n, pattern p) {
    float *x = floats(n);
    fill(x, n, p);
    return x;
}

static void release_last(void) {
    n_blocks--;
    munmap(blocks[n_blocks].at, blocks[n_blocks].bytes);
}

static void release_all(void) {
    while (n_blocks > 0) release_last();
}

/* Output rows: everything starts as this NaN; what lies between and around the rows must still be it afterwards.     */
#define POISON 0x7fc0dead
enum { MARGIN = 32 };
typedef struct output {
    float *all, *y; /* y: first row, MARGIN floats into all */
    int64_t rows, cols, stride, n_all;
} output;

static output make_output(int64_t rows, int64_t cols, int64_t gap) {
    output o = {.rows = rows, .cols = cols, .stride = cols + gap};
    o.n_all = rows * o.stride + 2 * MARGIN;
    o.all = floats(o.n_all);
    o.y = o.all + MARGIN;
    for (int64_t i = 0; i < o.n_all; i++) memcpy(&o.all[i], &(uint32_t){POISON}, 4);
    return o;
}

/* What an op finds there: rows x cols values.                                                                        */
static void fill_output(output *o, const float *x) {
    for (int64_t t = 0; t < o->rows; t++) memcpy(o->y + t * o->stride, x + t * o->cols, (size_t)o->cols * sizeof *x);
}

static void expect_margins(const output *o) {
    for (int64_t i = 0; i < o->n_all; i++) {
        int64_t at = i - MARGIN;
        bool inside = at >= 0 && at < o->rows * o->stride && at % o->stride < o->cols;
        uint32_t bits;
        memcpy(&bits, &o->all[i], 4);
        if (!inside && bits != POISON) {
            fail("wrote outside its rows (row %lld, column %lld)", (long long)(at / o->stride),
                 (long long)(at % o->stride));
            return;
        }
    }
}

static void expect_same(const output *a, const output *b) {
    for (int64_t i = 0; i < a->n_all; i++)
        if (memcmp(&a->all[i], &b->all[i], 4)) {
            int64_t at = i - MARGIN;
            fail("result depends on the item ranges: row %lld column %lld is %.9g or %.9g", (long long)(at / a->stride),
                 (long long)(at % a->stride), (double)a->all[i], (double)b->all[i]);
            return;
        }
}

/* ---- running ---- */

/* Scratch of exactly the size that the table asks for, filled with NaN.                                              */
static void *make_scratch(const lr_ops *ops, int64_t max_cols, int64_t n, int32_t n_heads, int32_t head_dim) {
    size_t bytes = ops->scratch_bytes(max_cols, n, n_heads, head_dim);
    void *p = guarded(bytes ? (bytes + LR_ALIGN - 1) / LR_ALIGN * LR_ALIGN : LR_ALIGN, LR_ALIGN);
    memset(p, 0xff, bytes);
    return p;
}

/* Runs items [0, n) in random ranges that are multiples of step, in random order of two halves.                      */
static void run_split(lr_kernel run, const void *args, int64_t n, int64_t step, void *scratch) {
    int64_t middle = random_below(n / step + 1) * step;
    for (int half = 1; half >= 0; half--) {
        int64_t i = half ? middle : 0, end = half ? n : middle;
        while (i < end) {
            int64_t next = lr_min(end, i + (1 + random_below(5)) * step);
            run(args, i, next, scratch);
            i = next;
        }
    }
}

/* CPU time of this thread: what else runs on the machine counts little.                                              */
static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds_of(lr_kernel run, const void *args, int64_t n, void *scratch) {
    double best = 1e9;
    run(args, 0, n, scratch);
    for (double end = cpu_seconds() + 0.2; cpu_seconds() < end;) {
        double t = cpu_seconds();
        int reps = 0;
        do {
            run(args, 0, n, scratch);
            reps++;
        } while (cpu_seconds() - t < 1e-3);
        best = fmin(best, (cpu_seconds() - t) / reps);
    }
    return best;
}

#endif
