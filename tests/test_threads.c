/* The thread pool: every item runs exactly once in ranges that keep the step, whatever the counts; runs follow each
 * other at any pace; scratch is a thread's own.                                                                      */
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/threads.h"

enum { MOST_ITEMS = 5000, STRIDE = 64 };

typedef struct tally {
    atomic_int hits[MOST_ITEMS];
    int64_t n, step;
    atomic_int misaligned;
} tally;

static void count(const void *args, int64_t i0, int64_t i1, void *scratch) {
    tally *t = *(tally *const *)args;
    if (i0 % t->step || (i1 % t->step && i1 != t->n)) atomic_fetch_add(&t->misaligned, 1);
    if (scratch) *(int64_t *)scratch += i1 - i0; /* not atomic: a data race here is a bug of the pool */
    for (int64_t i = i0; i < i1; i++) atomic_fetch_add(&t->hits[i], 1);
}

static tally counts;

static void run_once(lr_threads *t, int64_t n, int64_t step) {
    tally *pointer = &counts;
    memset(&counts, 0, sizeof counts);
    counts.n = n;
    counts.step = step;
    lr_threads_run(t, count, &pointer, n, step);
    for (int64_t i = 0; i < MOST_ITEMS; i++) assert_int_equal(atomic_load(&counts.hits[i]), i < n);
    assert_int_equal(atomic_load(&counts.misaligned), 0);
}

static void test_every_item_once(void **state) {
    (void)state;
    for (int32_t n_threads = 1; n_threads <= 9; n_threads += 2) {
        lr_threads *t = NULL;
        assert_int_equal(lr_threads_open(&t, n_threads, NULL), LLMRUN_OK);
        assert_int_equal(lr_threads_count(t), n_threads);
        const int64_t sizes[] = {0, 1, 2, 3, 7, 16, 17, 100, 1023, MOST_ITEMS}, steps[] = {1, 3, 16, 64};
        for (size_t i = 0; i < LR_COUNT(sizes); i++)
            for (size_t j = 0; j < LR_COUNT(steps); j++) run_once(t, sizes[i], steps[j]);
        lr_threads_close(t);
    }
}

static void test_runs_follow_each_other(void **state) {
    (void)state;
    lr_threads *t = NULL;
    assert_int_equal(lr_threads_open(&t, 4, NULL), LLMRUN_OK);
    for (int i = 0; i < 2000; i++) run_once(t, i % 50, 1); /* workers spin between runs */
    for (int i = 0; i < 20; i++) {                          /* workers sleep between runs */
        usleep(300);
        run_once(t, 100, 1);
    }
    lr_threads_close(t);
}

static void test_scratch_is_private(void **state) {
    (void)state;
    enum { N = 4 };
    _Alignas(LR_ALIGN) static int64_t scratch[N * STRIDE / sizeof(int64_t)];
    lr_threads *t = NULL;
    assert_int_equal(lr_threads_open(&t, N, NULL), LLMRUN_OK);
    memset(scratch, 0, sizeof scratch);
    lr_threads_set_scratch(t, scratch, STRIDE);
    for (int i = 0; i < 50; i++) run_once(t, 64, 1);
    int64_t total = 0;
    for (int i = 0; i < N; i++) total += scratch[(size_t)i * STRIDE / sizeof(int64_t)];
    assert_int_equal(total, 50 * 64); /* each was counted once, in somebody's scratch */
    lr_threads_close(t);
}

static void *own_pool(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        lr_threads *t = NULL;
        tally *mine = lr_zalloc(1, sizeof *mine);
        if (!mine || lr_threads_open(&t, 3, NULL)) return "pool did not open";
        mine->n = 300;
        mine->step = 4;
        lr_threads_run(t, count, &mine, 300, 4);
        for (int64_t k = 0; k < 300; k++)
            if (atomic_load(&mine->hits[k]) != 1) return "an item did not run exactly once";
        lr_threads_close(t);
        lr_free(mine);
    }
    return NULL;
}

static void test_pools_do_not_share(void **state) {
    (void)state;
    pthread_t other;
    void *result = NULL;
    assert_int_equal(pthread_create(&other, NULL, own_pool, NULL), 0);
    assert_null(own_pool(NULL));
    pthread_join(other, &result);
    assert_null(result);
}

static void *refuse(void *user, void *old, size_t size) {
    (void)user;
    (void)old;
    (void)size;
    return NULL;
}

static void test_errors(void **state) {
    (void)state;
    lr_threads *t = (lr_threads *)&counts;
    llmrun_error err = {0};
    assert_int_equal(lr_threads_open(&t, -1, &err), LLMRUN_ARG);
    assert_null(t);
    assert_true(strstr(err.message, "-1") != NULL);
    llmrun_set_allocator(refuse, NULL);
    assert_int_equal(lr_threads_open(&t, 2, &err), LLMRUN_NOMEM);
    llmrun_set_allocator(NULL, NULL);
    assert_null(t);
    lr_threads_close(NULL);
}

static void test_default(void **state) {
    (void)state;
    int32_t n = lr_threads_default();
    assert_in_range(n, 1, sysconf(_SC_NPROCESSORS_CONF));
    lr_threads *t = NULL;
    assert_int_equal(lr_threads_open(&t, 0, NULL), LLMRUN_OK);
    assert_int_equal(lr_threads_count(t), n);
    lr_threads_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),   cmocka_unit_test(test_runs_follow_each_other),
        cmocka_unit_test(test_scratch_is_private), cmocka_unit_test(test_pools_do_not_share),
        cmocka_unit_test(test_errors),            cmocka_unit_test(test_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
