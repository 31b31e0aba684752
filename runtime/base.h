/* The floor: what every folder may include.  Status and error text, checked size arithmetic, the allocator, the report
 * callbacks.  Depends on libc alone.                                                                                 */
#ifndef LR_BASE_H
#define LR_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/llmrun.h"

#define LR_MUST_CHECK __attribute__((warn_unused_result))
#define LR_COUNT(a) (sizeof(a) / sizeof(0 [a]))
#define LR_ALIGN 64 /* of every region in an arena: a cache line, a zmm register */

static inline int64_t lr_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t lr_max(int64_t a, int64_t b) { return a > b ? a : b; }
/* Rounded up to LR_ALIGN; for sizes known to be far from overflow, else lr_align_u64.                                 */
static inline uint64_t lr_aligned(uint64_t bytes) { return (bytes + LR_ALIGN - 1) & ~(uint64_t)(LR_ALIGN - 1); }

/* ---- errors ---- */

/* Fills *err (may be NULL) with status and the formatted sentence; returns status, so `return lr_fail(...)` works.   */
llmrun_status lr_fail(llmrun_error *err, llmrun_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* lr_fail for an allocation of size bytes that was refused: "what: out of host memory (N bytes)".                    */
llmrun_status lr_fail_nomem(llmrun_error *err, const char *what, size_t size);
/* A printable copy of untrusted text for an error message: control bytes and invalid UTF-8 become '?', long text is
 * cut with "...".  buf (size) is the caller's; returns buf.                                                          */
const char *lr_printable(char *buf, size_t size, const char *text, size_t n_bytes);

/* Returns what the call returns unless that is LLMRUN_OK.                                                             */
#define LR_TRY(call)                                                                                                   \
    do {                                                                                                               \
        llmrun_status lr_try_status = (call);                                                                          \
        if (lr_try_status) return lr_try_status;                                                                       \
    } while (0)

/* ---- checked size arithmetic: false on overflow, *out then untouched ---- */

static inline LR_MUST_CHECK bool lr_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline LR_MUST_CHECK bool lr_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
/* Rounds up to a power of two.                                                                                       */
static inline LR_MUST_CHECK bool lr_align_u64(uint64_t a, uint64_t align, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, align - 1, &r)) return false;
    *out = r & ~(align - 1);
    return true;
}

/* ---- memory: every heap block of the library comes from here ---- */

void *lr_alloc(size_t size);              /* not cleared; size 0 is treated as 1; NULL on failure */
void *lr_zalloc(size_t count, size_t size); /* cleared; NULL on failure or overflow of count * size */
void *lr_realloc(void *old, size_t size); /* old stays valid on failure */
void lr_free(void *p);
char *lr_strdup(const char *text);                  /* NULL on failure */
char *lr_strndup(const char *text, size_t n_bytes); /* copies n_bytes and ends with NUL */
/* Block aligned to LR_ALIGN; release with lr_free_aligned.  Large blocks ask for huge pages.                         */
void *lr_alloc_aligned(size_t size);
void lr_free_aligned(void *p);

/* Grows *items (element size bytes, *cap elements) so that it holds at least need; doubles.  False on failure.       */
LR_MUST_CHECK bool lr_grow(void *items_ptr, size_t *cap, size_t need, size_t size);

/* A string that grows.  After a failed append ok is false and text keeps what it had; check once at the end.         */
typedef struct lr_text {
    char *text; /* NUL-terminated, NULL while empty */
    size_t n, cap;
    bool failed;
} lr_text;
void lr_text_add(lr_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void lr_text_add_bytes(lr_text *t, const void *bytes, size_t n);
void lr_text_add_json(lr_text *t, const char *s); /* quoted and escaped as a JSON string; NULL prints null */
/* "13.5 GB", "512 MB": decimal units as model cards use them.  "12.6 GiB": binary units as budgets use them.
 * buf >= 32 bytes; returns buf.                                                                                      */
const char *lr_size_gb(char *buf, uint64_t bytes);
const char *lr_size_gib(char *buf, uint64_t bytes);

/* ---- report callbacks: passed down to whatever loads or converts ---- */

typedef struct lr_report {
    void (*log)(void *user, llmrun_log_level level, const char *text);
    bool (*progress)(void *user, const char *stage, double done);
    void *user;
} lr_report;
void lr_log(const lr_report *r, llmrun_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool lr_progress(const lr_report *r, const char *stage, double done); /* false: cancel */

/* ---- UTF-8: the one decoder.  s holds n >= 1 bytes ---- */

/* Length of the character at s: > 0 complete, 0 later bytes may still complete it, -1 invalid (also overlong forms,
 * surrogates, beyond 10FFFF).                                                                                        */
int lr_utf8_character(const void *s, size_t n);
/* The same where no more bytes will come: 0 if there is no complete character.                                       */
static inline size_t lr_utf8_length(const void *s, size_t n) {
    int k = lr_utf8_character(s, n);
    return k > 0 ? (size_t)k : 0;
}

/* ---- hashing: 64-bit FNV-1a, continued from h; start with LR_HASH_START ---- */
#define LR_HASH_START 0xcbf29ce484222325u
uint64_t lr_hash(uint64_t h, const void *bytes, size_t n);

double lr_seconds(void); /* monotonic clock */

#endif
