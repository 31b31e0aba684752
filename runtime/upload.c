/* Conversion of weights at load time.  A tensor's planes have no gaps between rows, so a job is one long run of values,
 * cut into items of ITEM values that any thread may take.  Inside an item, pieces of the size of the scratch go
 * file -> f32 -> check -> run format while they are in the first-level cache.                                         */
#include "runtime/upload.h"

#include "loaders/packed.h"
#include "quant/encoders.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE ((int64_t)(LR_UPLOAD_SCRATCH_BYTES / sizeof(float)))
#define ITEM (16 * PIECE)   /* multiples of every format's block */
#define ITEM_ROWS LR_PACKED_TILE_ROWS /* of packed matrices, whose rows are not runs of the file */
#define ITEMS_PER_ROUND 128 /* between two reports of progress */
#define INF_BITS 0x7f800000u
#define NOT_BAD UINT64_MAX

typedef struct round_args {
    lr_upload_job *jobs;
    size_t n;
    int64_t first; /* item of the round's item 0 */
} round_args;

static int64_t job_values(const lr_upload_job *j) { return j->rows * j->cols; }

static bool is_packed(const lr_upload_job *j) { return j->source && lr_source_is_packed(j->source); }

static int64_t n_items_of(const lr_upload_job *j) {
    return is_packed(j) ? (j->rows + ITEM_ROWS - 1) / ITEM_ROWS : job_values(j) / ITEM + (job_values(j) % ITEM != 0);
}

static const char *job_src(const lr_upload_job *j, int64_t value) {
    return (const char *)j->src + lr_dtype_bytes(j->dtype, (uint64_t)value);
}

static bool read_values(const lr_upload_job *j, float *x, int64_t at, int64_t n) {
    if (j->source) return lr_source_floats(j->source, x, j->first_row * j->cols + at, n);
    return lr_dtype_to_f32(x, j->dtype, job_src(j, at), n);
}

/* First value whose bits say Inf or NaN.                                                                             */
static int64_t find_bad(const float *x, int64_t n) {
    int64_t i = 0;
    for (uint32_t bits; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        if ((bits & INF_BITS) == INF_BITS) break;
    }
    return i;
}

static void note_bad(lr_upload_job *j, uint64_t value) {
    uint64_t old = __atomic_load_n(&j->bad, __ATOMIC_RELAXED);
    while (value < old && !__atomic_compare_exchange_n(&j->bad, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static void note_abs_max(lr_upload_job *j, uint32_t bits) {
    uint32_t old = __atomic_load_n(&j->abs_max_bits, __ATOMIC_RELAXED);
    while (bits > old &&
           !__atomic_compare_exchange_n(&j->abs_max_bits, &old, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

/* Clears what lr_format_measure adds behind each plane.                                                              */
static void zero_padding(const lr_upload_job *j) {
    lr_matrix m = lr_matrix_at(j->format, j->rows, j->cols, j->dst);
    size_t quants = (size_t)j->rows * m.quants_stride, scales = (size_t)j->rows * m.scales_stride;
    memset((char *)m.quants + quants, 0, -quants % LR_ALIGN);
    if (m.scales) memset((char *)m.scales + scales, 0, -scales % LR_ALIGN);
}

/* Largest magnitude bits of n values; where one is Inf or NaN it is noted as value `at` and those behind it.         */
static uint32_t look_at(lr_upload_job *j, const float *x, int64_t at, int64_t n) {
    uint32_t bits = lr_encoders_best()->abs_max_bits(x, n);
    if (bits >= INF_BITS) note_bad(j, (uint64_t)(at + find_bad(x, n)));
    return bits;
}

/* Rows of a packed matrix: codes and scales as they are, else by floats, a tile at a time.                            */
static void convert_packed(lr_upload_job *j, int64_t item, float *x) {
    const lr_format_traits *t = &lr_formats[j->format];
    lr_matrix m = lr_matrix_at(j->format, j->rows, j->cols, j->dst);
    int64_t row = item * ITEM_ROWS, n_rows = lr_min(ITEM_ROWS, j->rows - row), file_row = j->first_row + row;
    char *quants = (char *)m.quants + (size_t)row * m.quants_stride;
    char *scales = m.scales ? (char *)m.scales + (size_t)row * m.scales_stride : NULL;
    uint32_t abs_max = 0;
    if (j->format == lr_source_packed_format(j->source)) {
        int64_t bad = lr_source_packed_planes(j->source, quants, scales, file_row, n_rows);
        if (bad >= 0) note_bad(j, (uint64_t)(bad - j->first_row * j->cols));
    } else {
        for (int64_t c = 0; c < j->cols; c += LR_PACKED_TILE_COLS) {
            int64_t n = lr_min(LR_PACKED_TILE_COLS, j->cols - c);
            lr_source_packed_floats(j->source, x, LR_PACKED_TILE_COLS, file_row, n_rows, c, n);
            for (int64_t r = 0; r < n_rows; r++) {
                const float *from = x + r * LR_PACKED_TILE_COLS;
                int64_t block = (r * j->cols + c) / t->block;
                uint32_t bits = look_at(j, from, (row + r) * j->cols + c, n);
                abs_max = bits > abs_max ? bits : abs_max;
                void *q = quants + block * t->quant_bytes, *s = scales ? scales + block * t->scale_bytes : NULL;
                if (bits < INF_BITS && !(j->weights && lr_encode_weighted(j->format, q, s, from, j->weights + c, n)))
                    t->encode(q, s, from, n);
            }
        }
    }
    note_abs_max(j, abs_max);
    if (row + n_rows == j->rows) zero_padding(j);
}
_Static_assert(LR_PACKED_TILE_ROWS * LR_PACKED_TILE_COLS * sizeof(float) <= LR_UPLOAD_SCRATCH_BYTES, "a tile fits the scratch");

/* From value at of the job on: run by run of columns, whose weights lie one after another.                             */
static void encode_weighted(const lr_upload_job *j, char *quants, char *scales, const float *x, int64_t at, int64_t n) {
    const lr_format_traits *t = &lr_formats[j->format];
    for (int64_t i = 0, run; i < n; i += run) {
        int64_t column = (j->first_row * j->cols + at + i) % j->n_weights, block = i / t->block;
        run = lr_min(n - i, j->n_weights - column);
        void *q = quants + block * t->quant_bytes, *s = t->scale_bytes ? scales + block * t->scale_bytes : NULL;
        if (!lr_encode_weighted(j->format, q, s, x + i, j->weights + column, run)) t->encode(q, s, x + i, run);
    }
}

static void convert_item(lr_upload_job *j, int64_t item, float *x) {
    const lr_format_traits *t = &lr_formats[j->format];
    lr_matrix m = lr_matrix_at(j->format, j->rows, j->cols, j->dst);
    uint32_t abs_max = 0;
    int64_t end = lr_min((item + 1) * ITEM, job_values(j));
    for (int64_t at = item * ITEM; at < end; at += PIECE) {
        int64_t n = lr_min(PIECE, end - at), block = at / t->block;
        if (j->src && lr_format_is_blocks(j->format) && lr_format_of_dtype(j->dtype) == j->format) { /* encoding again would lose */
            memcpy((char *)m.quants + block * t->quant_bytes, job_src(j, at), (size_t)lr_dtype_bytes(j->dtype, (uint64_t)n));
            continue;
        }
        uint32_t bits = read_values(j, x, at, n) ? look_at(j, x, at, n) : 0;
        abs_max = bits > abs_max ? bits : abs_max;
        if (bits >= INF_BITS) break;
        char *quants = (char *)m.quants + block * t->quant_bytes;
        char *scales = m.scales ? (char *)m.scales + block * t->scale_bytes : NULL;
        if (j->weights)
            encode_weighted(j, quants, scales, x, at, n);
        else
            t->encode(quants, scales, x, n);
    }
    note_abs_max(j, abs_max);
    if (end == job_values(j)) zero_padding(j);
}

/* The job that holds an item: the last one that starts at or before it and is not empty.                             */
static size_t find_job(const lr_upload_job *jobs, size_t n, int64_t item) {
    size_t lo = 0, hi = n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (jobs[mid].first_item <= item)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void convert_kernel(const void *args, int64_t i0, int64_t i1, void *scratch) {
    const round_args *a = args;
    for (int64_t i = a->first + i0; i < a->first + i1; i++) {
        lr_upload_job *j = &a->jobs[find_job(a->jobs, a->n, i)];
        if (is_packed(j)) convert_packed(j, i - j->first_item, scratch);
        else convert_item(j, i - j->first_item, scratch);
    }
}

/* Tells the system about the source of items [first, last): MADV_WILLNEED reads it while others are converted,
 * MADV_DONTNEED takes a file's pages off this process again, so that its memory stays what was planned.               */
static void advise(const lr_upload_job *jobs, size_t n, int64_t first, int64_t last, int advice) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    while (first < last) {
        const lr_upload_job *j = &jobs[find_job(jobs, n, first)];
        int64_t stop = lr_min(last, j->first_item + j->n_items);
        int64_t step = is_packed(j) ? ITEM_ROWS * j->cols : ITEM;
        int64_t from = (first - j->first_item) * step, to = lr_min((stop - j->first_item) * step, job_values(j));
        if (j->source && j->from_file) lr_source_advise(j->source, j->first_row * j->cols + from, to - from, advice);
        uintptr_t start = (uintptr_t)job_src(j, from) & ~(page - 1);
        if (j->src && j->from_file) madvise((void *)start, (uintptr_t)job_src(j, to) - start, advice);
        first = stop;
    }
}

/* Largest magnitude that the format holds.                                                                           */
static float format_limit(lr_format format) {
    switch (format) {
    case LR_F16: return 65519.996f; /* the last value that rounds to 65504 */
    case LR_Q8_0:
    case LR_Q4_K:
    case LR_IQ4_NL:
    case LR_BLOCK_Q8_0:
    case LR_BLOCK_Q4_K:
    case LR_BLOCK_Q6_K:
    case LR_BLOCK_IQ4_NL: return 65504.0f * 113.0f;
    case LR_BLOCK_Q4_0: return 65504.0f * 8;
    default: return 3.402823466e+38f;
    }
}

static llmrun_status check_job(const lr_upload_job *j, llmrun_error *err) {
    char name[96];
    lr_printable(name, sizeof name, j->name, strlen(j->name));
    lr_format_size size;
    int64_t values;
    float none;
    if (!is_packed(j) && (j->dtype < 0 || j->dtype >= LR_N_DTYPES || !lr_dtype_to_f32(&none, j->dtype, &none, 0)))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "tensor \"%s\": expected floating-point weights, got element type %s", name,
                       j->dtype < 0 || j->dtype >= LR_N_DTYPES ? "unknown" : lr_dtypes[j->dtype].name);
    bool in_blocks = !j->source || !j->source->pitch; /* columns of blocks are read value by value */
    if (j->rows < 0 || j->cols < 0 || __builtin_mul_overflow(j->rows, j->cols, &values) ||
        (in_blocks && j->cols % lr_dtypes[j->dtype].block) ||
        !lr_format_measure(j->format, (uint64_t)j->rows, (uint64_t)j->cols, &size))
        return lr_fail(err, LLMRUN_INTERNAL, "tensor \"%s\": %lld x %lld does not fit its format", name,
                       (long long)j->rows, (long long)j->cols);
    if (lr_formats[j->format].row_bytes && !(is_packed(j) && lr_source_packed_format(j->source) == j->format))
        return lr_fail(err, LLMRUN_UNSUPPORTED, "tensor \"%s\": nothing is converted to %s; it is only kept", name,
                       lr_formats[j->format].name); /* factors are not runs of values */
    return LLMRUN_OK;
}

static llmrun_status fail_bad(const char *tensor, uint64_t value, const float *x, llmrun_error *err) {
    char name[96];
    return lr_fail(err, LLMRUN_FORMAT, "tensor \"%s\": %s at element %llu (file damaged?)",
                   lr_printable(name, sizeof name, tensor, strlen(tensor)), *x != *x ? "NaN" : "infinity",
                   (unsigned long long)value);
}

/* Converts the jobs that have items.                                                                                  */
static llmrun_status run(lr_upload_job *jobs, size_t n, int64_t n_items, lr_threads *threads, const lr_report *report,
                         llmrun_error *err) {
    size_t checked = 0;
    for (int64_t first = 0; first < n_items; first += ITEMS_PER_ROUND) {
        if (!lr_progress(report, "convert", (double)first / (double)n_items))
            return lr_fail(err, LLMRUN_CANCELLED, "conversion of weights: cancelled");
        int64_t last = lr_min(first + ITEMS_PER_ROUND, n_items);
        advise(jobs, n, last, lr_min(last + ITEMS_PER_ROUND, n_items), MADV_WILLNEED);
        lr_threads_run(threads, convert_kernel, &(round_args){jobs, n, first}, last - first, 1);
        advise(jobs, n, first, last, MADV_DONTNEED);
        for (size_t i = checked; i < n && jobs[i].first_item < last; i++) {
            if (jobs[i].first_item + jobs[i].n_items <= last) checked = i + 1;
            if (jobs[i].bad == NOT_BAD) continue;
            float x[256]; /* the block of the value */
            int64_t block = lr_dtypes[jobs[i].dtype].block, in_block = (int64_t)jobs[i].bad % block;
            bool known = read_values(&jobs[i], x, (int64_t)jobs[i].bad - in_block, block);
            uint64_t element = jobs[i].bad + (uint64_t)(jobs[i].first_row * jobs[i].cols);
            return known ? fail_bad(jobs[i].name, element, x + in_block, err) : LLMRUN_INTERNAL;
        }
    }
    return LLMRUN_OK;
}

/* After a run: takes over the largest magnitudes and counts the items of jobs that have to run again as bf16.         */
static llmrun_status settle(lr_upload_job *jobs, size_t n, int64_t *n_again, llmrun_error *err) {
    *n_again = 0;
    for (size_t i = 0; i < n; i++) {
        lr_upload_job *j = &jobs[i];
        int64_t again = 0;
        memcpy(&j->abs_max, &j->abs_max_bits, sizeof j->abs_max);
        if (j->abs_max > format_limit(j->format)) {
            char name[96];
            if (j->format != LR_F16 || !j->or_bf16)
                return lr_fail(err, LLMRUN_UNSUPPORTED, "tensor \"%s\": value of magnitude %g is out of the range of %s; "
                               "use bf16 or f32", lr_printable(name, sizeof name, j->name, strlen(j->name)),
                               (double)j->abs_max, lr_formats[j->format].name);
            j->format = LR_BF16;
            again = j->n_items;
        }
        j->first_item = *n_again;
        j->n_items = again;
        *n_again += again;
    }
    return LLMRUN_OK;
}

llmrun_status lr_upload(lr_upload_job *jobs, size_t n, lr_threads *threads, const lr_report *report, llmrun_error *err) {
    llmrun_status status = LLMRUN_OK;
    int64_t n_items = 0;
    for (size_t i = 0; i < n && status == LLMRUN_OK; i++) {
        lr_upload_job *j = &jobs[i];
        status = check_job(j, err);
        if (status) break;
        j->bad = NOT_BAD;
        j->abs_max_bits = 0;
        j->first_item = n_items;
        j->n_items = n_items_of(j);
        n_items += j->n_items;
    }
    while (status == LLMRUN_OK && n_items > 0) {
        status = run(jobs, n, n_items, threads, report, err);
        if (status == LLMRUN_OK) status = settle(jobs, n, &n_items, err);
    }
    if (status == LLMRUN_OK && !lr_progress(report, "convert", 1))
        status = lr_fail(err, LLMRUN_CANCELLED, "conversion of weights: cancelled");
    return status;
}

llmrun_status lr_upload_vector(float *x, const char *name, const void *src, lr_dtype dtype, int64_t n,
                               llmrun_error *err) {
    lr_upload_job j = {.name = name, .src = src, .dtype = dtype, .rows = 1, .cols = n, .format = LR_F32};
    llmrun_status status = check_job(&j, err);
    if (status || !lr_dtype_to_f32(x, dtype, src, n)) return status;
    int64_t bad = find_bad(x, n);
    return bad < n ? fail_bad(name, (uint64_t)bad, x + bad, err) : LLMRUN_OK;
}

bool lr_upload_range_fits_f16(const lr_source *source) {
    float x[1024];
    int64_t n = source->rows * source->cols;
    for (int64_t at = 0; at < n; at += 1024) {
        int64_t k = lr_min(1024, n - at);
        float most;
        if (!lr_source_floats(source, x, at, k)) return false;
        uint32_t bits = lr_encoders_best()->abs_max_bits(x, k);
        memcpy(&most, &bits, sizeof most);
        if (!(most <= format_limit(LR_F16))) return false;
    }
    return true;
}
