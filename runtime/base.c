/* The floor: errors, memory, growing text, reports.  See base.h.                                                      */
#include "runtime/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* ---- errors ---- */

llmrun_status lr_fail(llmrun_error *err, llmrun_status status, const char *format, ...) {
    if (err) {
        va_list ap;
        va_start(ap, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, ap);
        va_end(ap);
    }
    return status;
}

llmrun_status lr_fail_nomem(llmrun_error *err, const char *what, size_t size) {
    return lr_fail(err, LLMRUN_NOMEM, "%s: out of host memory (%zu bytes)", what, size);
}

const char *llmrun_status_text(llmrun_status status) {
    static const char *const text[] = {
        [LLMRUN_OK] = "ok",
        [LLMRUN_ARG] = "invalid argument",
        [LLMRUN_IO] = "input/output error",
        [LLMRUN_FORMAT] = "damaged or inconsistent file",
        [LLMRUN_UNSUPPORTED] = "not supported",
        [LLMRUN_NOMEM] = "does not fit in host memory",
        [LLMRUN_VRAM] = "does not fit in device memory",
        [LLMRUN_DEVICE] = "device error",
        [LLMRUN_CANCELLED] = "cancelled",
        [LLMRUN_CONTEXT] = "longer than the context",
        [LLMRUN_INTERNAL] = "internal error",
    };
    return (size_t)status < LR_COUNT(text) ? text[status] : "unknown status";
}

int lr_utf8_character(const void *text, size_t n) {
    const unsigned char *s = text;
    if (s[0] < 0x80) return 1;
    int want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return -1;
    /* The second byte has narrower limits after E0, ED, F0 and F4: no overlong forms, no surrogates, none past 10FFFF. */
    unsigned lo = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned hi = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < want; i++) {
        if ((size_t)i >= n) return 0;
        if (s[i] < lo || s[i] > hi) return -1;
        lo = 0x80;
        hi = 0xbf;
    }
    return want;
}

const char *lr_printable(char *buf, size_t size, const char *text, size_t n_bytes) {
    size_t o = 0, i = 0;
    while (i < n_bytes) {
        size_t k = lr_utf8_length(text + i, n_bytes - i);
        bool plain = k > 1 || (k == 1 && (unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
        size_t put = plain ? k : 1;
        if (o + put + 4 > size) {
            memcpy(buf + o, "...", 3);
            o += 3;
            break;
        }
        if (plain)
            memcpy(buf + o, text + i, k);
        else
            buf[o] = '?';
        o += put;
        i += k ? k : 1;
    }
    buf[o] = 0;
    return buf;
}

/* ---- memory ---- */

/* The one process-wide state of the library: set before first use, read-only after (llmrun_set_allocator).            */
static struct {
    void *(*realloc)(void *user, void *old, size_t size);
    void *user;
} allocator;

void llmrun_set_allocator(void *(*realloc)(void *user, void *old, size_t size), void *user) {
    allocator.realloc = realloc;
    allocator.user = user;
}

void *lr_realloc(void *old, size_t size) {
    if (size == 0) size = 1;
    return allocator.realloc ? allocator.realloc(allocator.user, old, size) : realloc(old, size);
}

void *lr_alloc(size_t size) { return lr_realloc(NULL, size); }

void *lr_zalloc(size_t count, size_t size) {
    uint64_t bytes;
    if (!lr_mul_u64(count, size, &bytes)) return NULL;
    void *p = lr_alloc(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void lr_free(void *p) {
    if (!p) return;
    if (allocator.realloc)
        allocator.realloc(allocator.user, p, 0);
    else
        free(p);
}

void llmrun_free(void *p) { lr_free(p); }

char *lr_strndup(const char *text, size_t n_bytes) {
    char *copy = lr_alloc(n_bytes + 1);
    if (!copy) return NULL;
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = 0;
    return copy;
}

char *lr_strdup(const char *text) { return lr_strndup(text, strlen(text)); }

/* The block's own pointer is kept in the word before the aligned address.                                             */
void *lr_alloc_aligned(size_t size) {
    enum { HUGE_PAGE = 2 << 20 };
    uint64_t total;
    size_t align = size >= 8 * HUGE_PAGE ? HUGE_PAGE : LR_ALIGN;
    if (!lr_add_u64(size, align + sizeof(void *), &total)) return NULL;
    char *raw = lr_alloc(total);
    if (!raw) return NULL;
    char *p = (char *)(((uintptr_t)raw + sizeof(void *) + align - 1) & ~(uintptr_t)(align - 1));
    memcpy(p - sizeof(void *), &raw, sizeof raw);
    if (align == HUGE_PAGE) madvise(p, size, MADV_HUGEPAGE);
    return p;
}

void lr_free_aligned(void *p) {
    if (!p) return;
    void *raw;
    memcpy(&raw, (char *)p - sizeof(void *), sizeof raw);
    lr_free(raw);
}

bool lr_grow(void *items_ptr, size_t *cap, size_t need, size_t size) {
    void **items = items_ptr;
    if (need <= *cap) return true;
    uint64_t count = *cap ? *cap : 8, bytes;
    while (count < need)
        if (!lr_mul_u64(count, 2, &count)) return false;
    if (!lr_mul_u64(count, size, &bytes)) return false;
    void *p = lr_realloc(*items, bytes);
    if (!p) return false;
    *items = p;
    *cap = count;
    return true;
}

/* ---- text ---- */

void lr_text_add_bytes(lr_text *t, const void *bytes, size_t n) {
    if (t->failed || !lr_grow(&t->text, &t->cap, t->n + n + 1, 1)) {
        t->failed = true;
        return;
    }
    if (n) memcpy(t->text + t->n, bytes, n);
    t->n += n;
    t->text[t->n] = 0;
}

void lr_text_add(lr_text *t, const char *format, ...) {
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n >= 0 && !t->failed && lr_grow(&t->text, &t->cap, t->n + (size_t)n + 1, 1)) {
        vsnprintf(t->text + t->n, (size_t)n + 1, format, again);
        t->n += (size_t)n;
    } else {
        t->failed = true;
    }
    va_end(again);
}

void lr_text_add_json(lr_text *t, const char *s) {
    if (!s) {
        lr_text_add(t, "null");
        return;
    }
    lr_text_add_bytes(t, "\"", 1);
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        size_t k = lr_utf8_length(s + i, n - i);
        if (s[i] == '"' || s[i] == '\\')
            lr_text_add(t, "\\%c", s[i]);
        else if (k == 1 && (unsigned char)s[i] < 0x20)
            lr_text_add(t, "\\u%04x", (unsigned)s[i]);
        else if (k == 0)
            lr_text_add(t, "\\ufffd");
        else
            lr_text_add_bytes(t, s + i, k);
        i += k ? k : 1;
    }
    lr_text_add_bytes(t, "\"", 1);
}

static const char *size_text(char *buf, uint64_t bytes, double unit, const char *suffix) {
    static const char prefix[] = "KMGT";
    double v = (double)bytes;
    int i = -1;
    while (v >= unit && i < 3) {
        v /= unit;
        i++;
    }
    if (i < 0)
        snprintf(buf, 32, "%u B", (unsigned)bytes);
    else
        snprintf(buf, 32, v < 100 ? "%.1f %c%s" : "%.0f %c%s", v, prefix[i], suffix);
    return buf;
}

const char *lr_size_gb(char *buf, uint64_t bytes) { return size_text(buf, bytes, 1000, "B"); }
const char *lr_size_gib(char *buf, uint64_t bytes) { return size_text(buf, bytes, 1024, "iB"); }

/* ---- reports ---- */

void lr_log(const lr_report *r, llmrun_log_level level, const char *format, ...) {
    if (!r || !r->log) return;
    char line[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    r->log(r->user, level, line);
}

bool lr_progress(const lr_report *r, const char *stage, double done) {
    return !r || !r->progress || r->progress(r->user, stage, done);
}

uint64_t lr_hash(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

double lr_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
