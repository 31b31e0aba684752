/* The cache of converted weights: a hit gives the bytes back, anything wrong is a miss that the next write repairs, the
 * limit holds, and files of others stay.                                                                              */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cache.h"

enum { N = 3, BYTES = 100000 };
#define NO_LIMIT UINT64_MAX

static const lr_format planned[N] = {LR_Q8_0, LR_F16, LR_Q4_K};
static const lr_format actual[N] = {LR_Q8_0, LR_BF16, LR_Q4_K};
static uint8_t weights[BYTES];

static int set_up(void **state) {
    static char root[64];
    snprintf(root, sizeof root, "%s/llmrun-cache-XXXXXX", P_tmpdir);
    if (!mkdtemp(root)) return -1;
    for (int i = 0; i < BYTES; i++) weights[i] = (uint8_t)(i * 7 + i / 251);
    *state = root;
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    return system(command);
}

static lr_cache_id id_of(uint64_t hash) {
    return (lr_cache_id){.header_hash = hash, .planned = planned, .n = N, .weights_bytes = BYTES};
}

typedef struct path_text {
    char text[512];
} path_text;

static path_text at(const char *dir, const char *name) {
    path_text p;
    snprintf(p.text, sizeof p.text, "%.400s/%.100s", dir, name);
    return p;
}

/* Stores the weights block in pieces; false: the progress callback said stop.                                          */
static bool store(const char *dir, const lr_cache_id *id, const void *block, uint64_t limit, const lr_report *report) {
    enum { PIECE = 4096 };
    lr_cache_writer w;
    bool go_on = true;
    lr_cache_begin(&w, dir, id, limit, report);
    for (uint64_t at = 0; at < id->weights_bytes && go_on; at += PIECE) {
        uint64_t n = id->weights_bytes - at < PIECE ? id->weights_bytes - at : PIECE;
        go_on = lr_progress(report, "cache", (double)at / (double)id->weights_bytes);
        if (go_on) lr_cache_put(&w, at, (const uint8_t *)block + at, n);
    }
    lr_cache_end(&w, go_on ? actual : NULL);
    return go_on;
}

static void write_hash(const char *dir, uint64_t hash, uint64_t limit) {
    lr_cache_id id = id_of(hash);
    assert_true(store(dir, &id, weights, limit, NULL));
}

static bool is_hit(const char *dir, uint64_t hash) {
    lr_cache c;
    lr_format formats[N] = {0};
    lr_cache_id id = id_of(hash);
    bool hit = lr_cache_open(&c, dir, &id, formats);
    if (hit) {
        assert_int_equal(c.weights_bytes, BYTES);
        assert_int_equal((uintptr_t)c.weights % LR_ALIGN, 0);
        assert_memory_equal(c.weights, weights, BYTES);
        assert_memory_equal(formats, actual, sizeof actual);
    } else {
        assert_null(c.weights);
    }
    lr_cache_close(&c);
    return hit;
}

/* Names in dir, one a line, into a static buffer; hidden ones excluded.                                               */
static const char *list(const char *dir) {
    static char names[4096];
    char command[600];
    snprintf(command, sizeof command, "ls '%s'", dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    names[fread(names, 1, sizeof names - 1, p)] = 0;
    pclose(p);
    return names;
}

static int count(const char *dir) {
    int n = 0;
    for (const char *s = list(dir); (s = strchr(s, '\n')); s++) n++;
    return n;
}

/* The only file in dir.                                                                                               */
static const char *only(const char *dir) {
    static char path[512];
    assert_int_equal(count(dir), 1);
    snprintf(path, sizeof path, "%s/%.*s", dir, (int)strcspn(list(dir), "\n"), list(dir));
    return path;
}

static void put(const char *path, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) fputc('x', f);
    fclose(f);
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static void test_round_trip(void **state) {
    const path_text root = at(*state, "deep/er/cache");
    const char *dir = root.text;
    assert_false(is_hit(dir, 1));
    assert_false(exists(dir)); /* looking creates nothing */
    write_hash(dir, 1, NO_LIMIT);
    assert_true(is_hit(dir, 1));
    assert_false(is_hit(dir, 2));
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(only(dir), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    write_hash(dir, 1, NO_LIMIT); /* again, over itself */
    assert_true(is_hit(dir, 1));
    assert_int_equal(count(dir), 1);

    lr_format other[N] = {LR_Q8_0, LR_F16, LR_IQ4_NL}, formats[N];
    lr_cache_id ids[3] = {id_of(1), id_of(1), id_of(1)};
    lr_cache c;
    ids[0].planned = other;
    ids[1].n = 2;
    ids[2].weights_bytes--;
    for (int i = 0; i < 3; i++) assert_false(lr_cache_open(&c, dir, &ids[i], formats));
}

static void test_damage(void **state) {
    const path_text root = at(*state, "damage");
    const char *dir = root.text;
    static const long header_bytes[] = {0, 9, 17, 25, 33, 41, 49, 56, 57, 58}; /* every field, every format */
    write_hash(dir, 1, NO_LIMIT);
    for (size_t i = 0; i < LR_COUNT(header_bytes); i++) {
        FILE *f = fopen(only(dir), "r+b");
        assert_non_null(f);
        fseek(f, header_bytes[i], SEEK_SET);
        int byte = fgetc(f);
        fseek(f, header_bytes[i], SEEK_SET);
        fputc(byte ^ 1, f);
        fclose(f);
        if (is_hit(dir, 1)) fail_msg("byte %ld changed, still a hit", header_bytes[i]);
        write_hash(dir, 1, NO_LIMIT);
        assert_true(is_hit(dir, 1));
    }
    static const off_t lengths[] = {0, 10, 58, 4096, 4096 + BYTES - 1, 4096 + BYTES + 1};
    for (size_t i = 0; i < LR_COUNT(lengths); i++) {
        assert_int_equal(truncate(only(dir), lengths[i]), 0);
        assert_false(is_hit(dir, 1));
        write_hash(dir, 1, NO_LIMIT);
        assert_true(is_hit(dir, 1));
    }
    /* not a file at all */
    char name[512];
    snprintf(name, sizeof name, "%s", only(dir));
    remove(name);
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_false(is_hit(dir, 1));
    remove(name);
    put(at(*state, "target").text, 4096 + BYTES);
    assert_int_equal(symlink(at(*state, "target").text, name), 0);
    assert_false(is_hit(dir, 1));
    write_hash(dir, 1, NO_LIMIT); /* replaces the link, not what it points to */
    assert_true(is_hit(dir, 1));
    struct stat st;
    assert_int_equal(lstat(name, &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void age(const char *path, time_t seconds) {
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_eviction(void **state) {
    const path_text root = at(*state, "evict");
    const char *dir = root.text;
    const uint64_t file = 4096 + BYTES;
    char first[512];
    write_hash(dir, 1, 2 * file);
    snprintf(first, sizeof first, "%s", only(dir));
    age(first, 1000);
    static const char *const foreign[] = {"0123456789abcdef.weights.bak", "notes.txt", "0123456789abcde.weights",
                                          "0123456789ABCDEF.weights"};
    for (size_t i = 0; i < LR_COUNT(foreign); i++) {
        put(at(dir, foreign[i]).text, 3 * file);
        age(at(dir, foreign[i]).text, 10);
    }
    write_hash(dir, 2, 2 * file);
    assert_true(is_hit(dir, 1) && is_hit(dir, 2));
    age(first, 1000);
    assert_true(is_hit(dir, 1)); /* used just now: 2 is older */
    struct stat st;
    assert_int_equal(stat(first, &st), 0);
    assert_true(st.st_mtime > 1000);
    age(first, st.st_mtime + 100);
    write_hash(dir, 3, 2 * file);
    assert_true(is_hit(dir, 1) && !is_hit(dir, 2) && is_hit(dir, 3));
    write_hash(dir, 3, 2 * file); /* a file that is replaced does not count twice */
    assert_true(is_hit(dir, 1) && is_hit(dir, 3));
    write_hash(dir, 4, file);
    assert_true(!is_hit(dir, 1) && !is_hit(dir, 3) && is_hit(dir, 4));
    write_hash(dir, 5, file - 1); /* larger than the whole cache: not kept, nothing removed */
    assert_true(!is_hit(dir, 5) && is_hit(dir, 4));
    for (size_t i = 0; i < LR_COUNT(foreign); i++) assert_true(exists(at(dir, foreign[i]).text));
}

static pid_t dead_pid(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void test_stale_files(void **state) {
    const path_text root = at(*state, "stale");
    const char *dir = root.text;
    write_hash(dir, 1, NO_LIMIT);
    char dead[64], alive[64], close[64];
    snprintf(dead, sizeof dead, "0123456789abcdef.weights.%d.1f.tmp", (int)dead_pid());
    snprintf(alive, sizeof alive, "0123456789abcdef.weights.%d.1f.tmp", (int)getpid());
    snprintf(close, sizeof close, "0123456789abcdef.weights.%d.1f.tmp2", (int)dead_pid());
    put(at(dir, dead).text, 10);
    put(at(dir, alive).text, 10);
    put(at(dir, close).text, 10);
    write_hash(dir, 2, NO_LIMIT);
    assert_false(exists(at(dir, dead).text));
    assert_true(exists(at(dir, alive).text));
    assert_true(exists(at(dir, close).text));
}

typedef struct watch {
    int lines, calls, stop_after;
    bool die;
    char text[1024];
} watch;

static void on_log(void *user, llmrun_log_level level, const char *text) {
    watch *w = user;
    (void)level;
    w->lines++;
    snprintf(w->text, sizeof w->text, "%s", text);
}

static bool on_progress(void *user, const char *stage, double done) {
    watch *w = user;
    assert_string_equal(stage, "cache");
    assert_true(done >= 0 && done <= 1);
    if (w->die) kill(getpid(), SIGKILL);
    return ++w->calls < w->stop_after;
}

static void test_cancel(void **state) {
    const path_text root = at(*state, "cancel");
    const char *dir = root.text;
    lr_cache_id id = id_of(1);
    for (int stop = 1; stop <= 2; stop++) {
        watch w = {.stop_after = stop};
        lr_report report = {.log = on_log, .progress = on_progress, .user = &w};
        assert_false(store(dir, &id, weights, NO_LIMIT, &report));
        assert_int_equal(w.lines, 0);
        assert_int_equal(count(dir), 0);
    }
}

/* A process that dies while it writes leaves no entry, and the next writer cleans up.                                 */
static void test_killed(void **state) {
    const path_text root = at(*state, "killed");
    const char *dir = root.text;
    pid_t pid = fork();
    if (pid == 0) {
        watch w = {.stop_after = 9, .die = true};
        lr_report report = {.progress = on_progress, .user = &w};
        lr_cache_id id = id_of(1);
        (void)store(dir, &id, weights, NO_LIMIT, &report);
        _exit(1);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(count(dir), 1);
    assert_false(is_hit(dir, 1));
    write_hash(dir, 2, NO_LIMIT);
    assert_int_equal(count(dir), 1);
    assert_true(is_hit(dir, 2));
}

static void *no_memory(void *user, void *old, size_t size) {
    (void)user, (void)old, (void)size;
    return NULL;
}

/* Whatever stops the writing: one line, no error, no trace.  The file size limit stands for a full disk.              */
static void test_no_room(void **state) {
    const path_text root = at(*state, "full");
    const char *dir = root.text;
    write_hash(dir, 1, NO_LIMIT);
    lr_cache_id id = id_of(2);
    watch w = {.stop_after = 9999};
    lr_report report = {.log = on_log, .progress = on_progress, .user = &w};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){50000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool stored = store(dir, &id, weights, NO_LIMIT, &report);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(stored);
    assert_int_equal(w.lines, 1);
    assert_int_equal(count(dir), 1);
    assert_true(is_hit(dir, 1));

    w.lines = 0;
    put(at(*state, "plain").text, 1);
    assert_true(store(at(*state, "plain/cache").text, &id, weights, NO_LIMIT, &report));
    assert_int_equal(w.lines, 1);
    assert_non_null(strstr(w.text, "plain/cache"));
    assert_true(store("", &id, weights, NO_LIMIT, &report));
    assert_int_equal(w.lines, 2);
    assert_false(is_hit(at(*state, "plain/cache").text, 2));

    llmrun_set_allocator(no_memory, NULL);
    stored = store(dir, &id, weights, NO_LIMIT, &report);
    llmrun_set_allocator(NULL, NULL);
    assert_true(stored);
    assert_int_equal(w.lines, 3);
    assert_int_equal(count(dir), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage), cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_stale_files), cmocka_unit_test(test_cancel), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
