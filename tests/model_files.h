/* For tests of the readers: a scratch directory, files in it, safetensors images, and the check of a refusal.        */
#ifndef TESTS_MODEL_FILES_H
#define TESTS_MODEL_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loaders/loader.h"

/* What the last EXPECT_ call left; calls inside the macros pass &err.                                                */
static llmrun_error err;

#define EXPECT_OK(call)                                                                                                \
    do {                                                                                                               \
        err = (llmrun_error){ 0 };                                                                                     \
        if ((call) != LLMRUN_OK) fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #call, err.message);                    \
    } while (0)

/* The call must fail with this status and a message that has these words.                                            */
#define EXPECT_FAIL(call, want, words)                                                                                 \
    do {                                                                                                               \
        err = (llmrun_error){ 0 };                                                                                     \
        expect_fail_at(__FILE__, __LINE__, #call, (call), want, words);                                                \
    } while (0)

__attribute__((unused)) static void expect_fail_at(const char *file, int line, const char *what, llmrun_status got,
                                                   llmrun_status want, const char *words) {
    if (got == want && err.status == want && strstr(err.message, words)) return;
    fail_msg("%s:%d: %s: expected status %d with \"%s\", got %d: %s", file, line, what, want, words, got,
             got ? err.message : "ok");
}

/* A new directory.  Remove it with remove_tree.                                                                      */
__attribute__((unused)) static char *new_directory(void) {
    char *dir = strdup("/tmp/llmrun-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

__attribute__((unused)) static void remove_tree(char *dir) {
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

/* DIR/NAME in a buffer that the next 8 calls leave alone.                                                            */
__attribute__((unused)) static const char *path_in(const char *dir, const char *name) {
    static char ring[8][4096];
    static unsigned next;
    char *buf = ring[next++ % 8];
    int n = snprintf(buf, sizeof ring[0], "%s/%s", dir, name);
    assert_true(n > 0 && (size_t)n < sizeof ring[0]);
    return buf;
}

__attribute__((unused)) static void write_bytes(const char *dir, const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(path_in(dir, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

__attribute__((unused)) static void write_text(const char *dir, const char *name, const char *text) {
    write_bytes(dir, name, text, strlen(text));
}

/* A file image in a block of exactly n bytes, so that a sanitizer sees every read beyond it.                         */
typedef struct image {
    uint8_t *bytes;
    size_t n;
} image;

/* Length, header, and n_data bytes 0, 1, 2 ...                                                                       */
__attribute__((unused)) static image new_image(const char *header, size_t n_data) {
    size_t n_header = strlen(header);
    image im = { .n = 8 + n_header + n_data };
    im.bytes = malloc(im.n);
    assert_non_null(im.bytes);
    for (size_t i = 0; i < 8; i++) im.bytes[i] = (uint8_t)((uint64_t)n_header >> 8 * i);
    memcpy(im.bytes + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++) im.bytes[8 + n_header + i] = (uint8_t)i;
    return im;
}

__attribute__((unused)) static void write_safetensors(const char *dir, const char *name, const char *header,
                                                      size_t n_data) {
    image im = new_image(header, n_data);
    write_bytes(dir, name, im.bytes, im.n);
    free(im.bytes);
}

#endif
