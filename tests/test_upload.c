/* Conversion at load: the bytes are those of a plain encode whatever the threads, bad values are found and named, values
 * out of range change the format or fail, and progress can cancel.                                                    */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/upload.h"
#include "tests/blocks.h"

enum { MOST_THREADS = 4, ROWS = 700, COLS = 512 }; /* more than one item, the last one short */

static lr_threads *pool_open(int32_t n, void **scratch) {
    lr_threads *t;
    llmrun_error err;
    assert_int_equal(lr_threads_open(&t, n, &err), LLMRUN_OK);
    *scratch = lr_alloc_aligned((size_t)n * LR_UPLOAD_SCRATCH_BYTES);
    assert_non_null(*scratch);
    lr_threads_set_scratch(t, *scratch, LR_UPLOAD_SCRATCH_BYTES);
    return t;
}

static llmrun_status upload(lr_upload_job *jobs, size_t n, int32_t n_threads, llmrun_error *err) {
    void *scratch;
    lr_threads *t = pool_open(n_threads, &scratch);
    llmrun_status status = lr_upload(jobs, n, t, NULL, err);
    lr_threads_close(t);
    lr_free_aligned(scratch);
    return status;
}

/* Same values on every call, about N(0, 1).                                                                           */
static void fill(float *x, size_t n) {
    uint32_t s = 1;
    for (size_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int k = 0; k < 4; k++) {
            s = s * 1664525u + 1013904223u;
            x[i] += (float)(s >> 8) * 0x1p-23f - 1;
        }
    }
}

static lr_format_size measured(lr_format format, uint64_t rows, uint64_t cols) {
    lr_format_size size;
    assert_true(lr_format_measure(format, rows, cols, &size));
    return size;
}

/* Every format, several jobs at once, source unaligned, 1 .. 4 threads: equal to encoding all at once.                */
static void test_bytes(void **state) {
    (void)state;
    const size_t n = (size_t)ROWS * COLS;
    float *x = malloc(n * sizeof *x), *exact = malloc(n * sizeof *x);
    char *src = malloc(2 * n + 1), *blocks = malloc(2 * n + 1), *want[LR_N_FORMATS], *got[LR_N_FORMATS];
    fill(x, n);
    for (size_t i = 0; i < n; i++) {
        uint16_t h = lr_f32_to_f16(x[i]);
        memcpy(src + 1 + 2 * i, &h, sizeof h);
        exact[i] = lr_f16_to_f32(h);
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < 2 * n + 1; i++) blocks[i] = (char)block_random(&seed);
    for (int f = 0; f < LR_N_FORMATS; f++) {
        lr_format_size size = measured((lr_format)f, ROWS, COLS);
        want[f] = lr_alloc_aligned(size.bytes);
        got[f] = lr_alloc_aligned(size.bytes);
        memset(want[f], 0, size.bytes);
        if (lr_formats[f].encode)
            lr_formats[f].encode(want[f], want[f] + size.scales_offset, exact, (int64_t)n);
        else /* copied, see the jobs */
            memcpy(want[f], blocks + 1, size.quants_stride * ROWS);
    }
    for (int32_t threads = 1; threads <= MOST_THREADS; threads++) {
        lr_upload_job jobs[LR_N_FORMATS] = {0};
        for (int f = 0; f < LR_N_FORMATS; f++) {
            memset(got[f], 0x55, measured((lr_format)f, ROWS, COLS).bytes);
            jobs[f] = (lr_upload_job){.name = "w", .src = src + 1, .dtype = LR_DT_F16, .rows = ROWS, .cols = COLS,
                                      .format = (lr_format)f, .dst = got[f]};
            if (f == LR_NVFP4) { /* never made, only kept: refused below */
                jobs[f] = (lr_upload_job){.name = "none", .src = src + 1, .dtype = LR_DT_F16, .format = LR_F16, .dst = got[f]};
                continue;
            }
            if (lr_formats[f].encode) continue;
            jobs[f].src = blocks + 1;
            while (lr_format_of_dtype(jobs[f].dtype) != (lr_format)f) jobs[f].dtype++;
        }
        llmrun_error err = {0};
        assert_int_equal(upload(jobs, LR_N_FORMATS, threads, &err), LLMRUN_OK);
        for (int f = 0; f < LR_N_FORMATS; f++) {
            if (f != LR_NVFP4 && memcmp(want[f], got[f], measured((lr_format)f, ROWS, COLS).bytes) != 0)
                fail_msg("%s with %d threads", lr_formats[f].name, threads);
            if (lr_formats[f].encode && f != LR_NVFP4) assert_true(jobs[f].abs_max > 3 && jobs[f].abs_max <= 4);
        }
    }
    lr_upload_job kept = {.name = "w", .src = src + 1, .dtype = LR_DT_F16, .rows = ROWS, .cols = COLS, .format = LR_NVFP4,
                          .dst = got[LR_NVFP4]};
    llmrun_error err = {0};
    assert_int_equal(upload(&kept, 1, 1, &err), LLMRUN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "nothing is converted to nvfp4"));
    for (int f = 0; f < LR_N_FORMATS; f++) {
        lr_free_aligned(want[f]);
        lr_free_aligned(got[f]);
    }
    free(x);
    free(exact);
    free(src);
    free(blocks);
}

static void test_bad_values(void **state) {
    (void)state;
    const size_t n = (size_t)ROWS * COLS;
    float *x = malloc(2 * n * sizeof *x);
    char *dst = lr_alloc_aligned(4 * n);
    llmrun_error err;
    const struct { size_t at; float value; const char *message; } cases[] = {
        {0, NAN, "tensor \"b?d\": NaN at element 0 (file damaged?)"},
        {n - 1, INFINITY, "tensor \"b?d\": infinity at element 358399 (file damaged?)"},
        {70001, -INFINITY, "tensor \"b?d\": infinity at element 70001 (file damaged?)"},
        {65535, -NAN, "tensor \"b?d\": NaN at element 65535 (file damaged?)"},
    };
    for (size_t i = 0; i < LR_COUNT(cases); i++)
        for (int32_t threads = 1; threads <= MOST_THREADS; threads += 3) {
            fill(x, 2 * n);
            x[n + cases[i].at] = cases[i].value;
            x[2 * n - 1] = cases[i].at == n - 1 ? cases[i].value : NAN; /* the first one is reported */
            lr_upload_job jobs[3] = {
                {.name = "good", .src = x, .dtype = LR_DT_F32, .rows = ROWS, .cols = COLS, .format = LR_Q8_0, .dst = dst},
                {.name = "empty", .src = x, .dtype = LR_DT_F32, .rows = 0, .cols = COLS, .format = LR_Q8_0, .dst = dst},
                {.name = "b\nd", .src = x + n, .dtype = LR_DT_F32, .rows = ROWS, .cols = COLS, .format = LR_F16,
                 .dst = dst + 2 * n}};
            assert_int_equal(upload(jobs, 3, threads, &err), LLMRUN_FORMAT);
            assert_string_equal(err.message, cases[i].message);
        }
    lr_free_aligned(dst);
    free(x);
}

static bool range_fits(const void *data, lr_dtype dtype, int64_t n) {
    lr_tensor t = { .dtype = dtype, .data = data };
    lr_source source = lr_source_of(&t, 1, n);
    return lr_upload_range_fits_f16(&source);
}

static void test_range(void **state) {
    (void)state;
    enum { N = 4096 };
    static float x[N], big[N], y[N];
    static _Alignas(LR_ALIGN) char dst[2][4 * N];
    llmrun_error err;
    fill(x, N);
    fill(big, N);
    big[100] = -65520;
    assert_true(range_fits(x, LR_DT_F32, N));
    assert_false(range_fits(big, LR_DT_F32, N));
    assert_true(range_fits(big, LR_DT_F32, 100));
    assert_false(range_fits(big, LR_DT_I32, N));

    lr_upload_job jobs[2] = {
        {.name = "x", .src = x, .dtype = LR_DT_F32, .rows = 1, .cols = N, .format = LR_F16, .or_bf16 = true, .dst = dst[0]},
        {.name = "big", .src = big, .dtype = LR_DT_F32, .rows = 1, .cols = N, .format = LR_F16, .or_bf16 = true,
         .dst = dst[1]}};
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_OK);
    assert_int_equal(jobs[0].format, LR_F16);
    assert_int_equal(jobs[1].format, LR_BF16);
    assert_true(jobs[1].abs_max == 65520);
    for (int j = 0; j < 2; j++) {
        const float *want = j ? big : x;
        lr_formats[jobs[j].format].decode(y, dst[j], NULL, N);
        for (int i = 0; i < N; i++) assert_true(fabsf(y[i] - want[i]) <= fabsf(want[i]) * (j ? 0x1p-8f : 0x1p-11f));
    }

    big[100] = nextafterf(65520, 0); /* rounds to 65504 */
    jobs[1].format = LR_F16;
    jobs[1].or_bf16 = false;
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_OK);
    big[100] = 1e6f;
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "\"big\""));
    jobs[1].format = LR_Q8_0;
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_OK);
    big[100] = 1e7f;
    for (lr_format f = LR_Q8_0; f <= LR_IQ4_NL; f++) {
        jobs[1].format = f;
        assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_UNSUPPORTED);
    }
    jobs[1].format = LR_NF4;
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_OK);
    jobs[1].dtype = LR_DT_I8;
    assert_int_equal(upload(jobs, 2, 2, &err), LLMRUN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "I8"));
}

static void test_vector(void **state) {
    (void)state;
    float y[3];
    llmrun_error err;
    const uint16_t good[3] = {0x3f80, 0xc000, 0}, bad[3] = {0x3f80, 0x7fc0, 0x7f80};
    assert_int_equal(lr_upload_vector(y, "norm", good, LR_DT_BF16, 3, &err), LLMRUN_OK);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 0);
    assert_int_equal(lr_upload_vector(y, "norm", bad, LR_DT_BF16, 3, &err), LLMRUN_FORMAT);
    assert_string_equal(err.message, "tensor \"norm\": NaN at element 1 (file damaged?)");
    assert_int_equal(lr_upload_vector(y, "norm", good, LR_DT_BOOL, 3, &err), LLMRUN_UNSUPPORTED);
}

typedef struct progress_log {
    int calls, stop_after;
    double last;
} progress_log;

static bool on_progress(void *user, const char *stage, double done) {
    progress_log *p = user;
    assert_string_equal(stage, "convert");
    assert_true(done >= p->last && done <= 1);
    p->last = done;
    return ++p->calls < p->stop_after;
}

static void test_progress(void **state) {
    (void)state;
    const int64_t rows = 20000, cols = 512; /* more than one round */
    float *x = calloc((size_t)(rows * cols), sizeof *x);
    void *dst = lr_alloc_aligned(measured(LR_Q8_0, 20000, 512).bytes), *scratch;
    lr_upload_job job = {.name = "w", .src = x, .dtype = LR_DT_F32, .rows = rows, .cols = cols, .format = LR_Q8_0, .dst = dst};
    lr_threads *t = pool_open(2, &scratch);
    progress_log log = {.stop_after = 1000};
    lr_report report = {.progress = on_progress, .user = &log};
    llmrun_error err;
    assert_int_equal(lr_upload(&job, 1, t, &report, &err), LLMRUN_OK);
    assert_true(log.last == 1 && log.calls >= 3);
    for (int stop = 1, calls = log.calls; stop <= calls; stop++) {
        log = (progress_log){.stop_after = stop};
        assert_int_equal(lr_upload(&job, 1, t, &report, &err), LLMRUN_CANCELLED);
        assert_int_equal(log.calls, stop);
    }
    assert_int_equal(lr_upload(NULL, 0, t, NULL, &err), LLMRUN_OK);
    lr_threads_close(t);
    lr_free_aligned(scratch);
    lr_free_aligned(dst);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),  cmocka_unit_test(test_bad_values), cmocka_unit_test(test_range),
        cmocka_unit_test(test_vector), cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
