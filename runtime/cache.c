/* The cache of converted weights.  Names: 16 hex digits and ".weights"; while it is written, also ".PID.TIME.tmp".
 * A file is a header, the format of each tensor (one byte each), zeros up to a multiple of PAGE, then the weights.
 * All work is relative to an open directory, so no path is ever put together.                                         */
#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define LAYOUT 1 /* raise when the bytes of any format, or the order of planes, change */
#define SUFFIX ".weights"
#define NAME_BYTES (16 + sizeof SUFFIX)

typedef struct file_header {
    char magic[8];
    uint64_t layout, key, n_formats, weights_offset, weights_bytes;
    uint64_t check; /* hash of the above and of the formats */
} file_header;

static const char magic[8] = "llmrunW";

typedef struct entry {
    char name[NAME_BYTES];
    uint64_t bytes;
    struct timespec used;
} entry;

static uint64_t id_key(const lr_cache_id *id) {
    const uint64_t numbers[] = {LAYOUT, id->header_hash, id->weights_bytes, id->n};
    uint64_t h = lr_hash(LR_HASH_START, numbers, sizeof numbers);
    for (size_t i = 0; i < id->n; i++) {
        const char *name = lr_formats[id->planned[i]].name;
        h = lr_hash(h, name, strlen(name) + 1);
    }
    return h;
}

static void entry_name(char name[NAME_BYTES], uint64_t key) { snprintf(name, NAME_BYTES, "%016" PRIx64 SUFFIX, key); }

/* Sizes of the file's parts; false on overflow.                                                                      */
static LR_MUST_CHECK bool measure(const lr_cache_id *id, uint64_t *weights_offset, uint64_t *file_bytes) {
    uint64_t head;
    return lr_add_u64(sizeof(file_header), id->n, &head) && lr_align_u64(head, PAGE, weights_offset) &&
           lr_add_u64(*weights_offset, id->weights_bytes, file_bytes) && *file_bytes <= INT64_MAX;
}

/* The whole header of a file, formats excluded from the struct but not from its check.                                */
static file_header make_header(const lr_cache_id *id, uint64_t weights_offset, const uint8_t *formats) {
    file_header h = {.layout = LAYOUT, .key = id_key(id), .n_formats = id->n, .weights_offset = weights_offset,
                     .weights_bytes = id->weights_bytes};
    memcpy(h.magic, magic, sizeof magic);
    h.check = lr_hash(lr_hash(LR_HASH_START, &h, offsetof(file_header, check)), formats, id->n);
    return h;
}

/* ---- reading ---- */

/* A mapped file is good if its header is the one we would write for the formats that follow it.                       */
static bool take_formats(const uint8_t *map, const lr_cache_id *id, uint64_t weights_offset, lr_format *formats) {
    const uint8_t *stored = map + sizeof(file_header);
    file_header want = make_header(id, weights_offset, stored);
    if (memcmp(map, &want, sizeof want) != 0) return false;
    for (size_t i = 0; i < id->n; i++) {
        if (stored[i] != id->planned[i] && !(id->planned[i] == LR_F16 && stored[i] == LR_BF16)) return false;
        formats[i] = (lr_format)stored[i];
    }
    return true;
}

bool lr_cache_open(lr_cache *c, const char *dir, const lr_cache_id *id, lr_format *formats) {
    *c = (lr_cache){0};
    char name[NAME_BYTES];
    uint64_t offset, bytes;
    struct stat st;
    void *map = MAP_FAILED;
    bool good = false;
    int fd = -1, dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || !measure(id, &offset, &bytes)) goto done;
    entry_name(name, id_key(id));
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (uint64_t)st.st_size != bytes)
        goto done;
    map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || !take_formats(map, id, offset, formats)) goto done;
    (void)!futimens(fd, NULL);
    *c = (lr_cache){(const uint8_t *)map + offset, id->weights_bytes, map, bytes};
    good = true;
done:
    if (!good && map != MAP_FAILED) munmap(map, bytes);
    if (fd >= 0) close(fd);
    if (dir_fd >= 0) close(dir_fd);
    return good;
}

void lr_cache_close(lr_cache *c) {
    if (c->map) munmap(c->map, c->map_bytes);
    *c = (lr_cache){0};
}

/* ---- keeping the directory in order ---- */

/* True for "<16 hex>.weights" followed by `rest`, which is returned.                                                  */
static bool is_entry_name(const char *name, const char **rest) {
    size_t hex = strspn(name, "0123456789abcdef"), n = sizeof SUFFIX - 1;
    if (hex != 16 || strncmp(name + hex, SUFFIX, n) != 0) return false;
    *rest = name + hex + n;
    return true;
}

/* True for a half-written file whose writer no longer runs.                                                          */
static bool is_stale(const char *rest) {
    int pid, end = 0;
    uint64_t time;
    if (sscanf(rest, ".%d.%" SCNx64 ".tmp%n", &pid, &time, &end) != 2 || end == 0 || rest[end] || pid <= 0) return false;
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/* Removes stale files; returns the bytes of all entries but `keep`, and the one used longest ago (bytes 0: none).      */
static uint64_t scan(int dir_fd, const char *keep, entry *oldest) {
    uint64_t total = 0;
    *oldest = (entry){0};
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0) close(fd);
        return 0;
    }
    for (struct dirent *e; (e = readdir(d));) {
        const char *rest;
        struct stat st;
        if (!is_entry_name(e->d_name, &rest) || fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(st.st_mode))
            continue;
        if (*rest) {
            if (is_stale(rest)) unlinkat(dir_fd, e->d_name, 0);
            continue;
        }
        if (strcmp(e->d_name, keep) == 0) continue;
        total += (uint64_t)st.st_size;
        bool older = st.st_mtim.tv_sec < oldest->used.tv_sec ||
                     (st.st_mtim.tv_sec == oldest->used.tv_sec && st.st_mtim.tv_nsec < oldest->used.tv_nsec);
        if (oldest->name[0] && !older) continue;
        memcpy(oldest->name, e->d_name, NAME_BYTES); /* a name without rest has exactly that length */
        oldest->bytes = (uint64_t)st.st_size;
        oldest->used = st.st_mtim;
    }
    closedir(d);
    return total;
}

/* Removes entries until `room` more bytes stay within the limit; `keep` is about to be replaced and does not count.    */
static bool make_room(int dir_fd, const char *keep, uint64_t room, uint64_t limit) {
    entry oldest;
    if (room > limit) return false;
    while (scan(dir_fd, keep, &oldest) > limit - room)
        if (!oldest.name[0] || unlinkat(dir_fd, oldest.name, 0)) return false;
    return true;
}

/* ---- writing ---- */

int lr_cache_open_dir(const char *dir) {
    char path[4096];
    size_t n = strlen(dir);
    if (n == 0 || n >= sizeof path) return -1;
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i]) continue;
        path[i] = 0;
        mkdir(path, 0700);
        path[i] = dir[i];
    }
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Writes all of it at an offset; the errno of a failure, else 0.                                                      */
static int write_at(int fd, const void *bytes, uint64_t n, uint64_t at) {
    const char *p = bytes;
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return k ? errno : EIO;
        p += k;
        n -= (uint64_t)k;
        at += (uint64_t)k;
    }
    return 0;
}

static int write_head(const lr_cache_writer *w, const lr_format *formats) {
    uint8_t *head = lr_zalloc(1, w->offset);
    if (!head) return ENOMEM;
    for (size_t i = 0; i < w->id->n; i++) head[sizeof(file_header) + i] = (uint8_t)formats[i];
    file_header h = make_header(w->id, w->offset, head + sizeof(file_header));
    memcpy(head, &h, sizeof h);
    int error = write_at(w->fd, head, w->offset, 0);
    lr_free(head);
    return error;
}

void lr_cache_begin(lr_cache_writer *w, const char *dir, const lr_cache_id *id, uint64_t limit_bytes,
                    const lr_report *report) {
    uint64_t bytes = 0;
    *w = (lr_cache_writer){ .id = id, .report = report, .dir = dir, .fd = -1, .dir_fd = lr_cache_open_dir(dir) };
    w->error = w->dir_fd < 0 ? errno : measure(id, &w->offset, &bytes) ? 0 : EFBIG;
    if (w->error) return;
    entry_name(w->name, id_key(id));
    if (!make_room(w->dir_fd, w->name, bytes, limit_bytes)) {
        w->error = ENOSPC;
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(w->temporary, sizeof w->temporary, "%s.%d.%" PRIx64 ".tmp", w->name, (int)getpid(),
             (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    w->fd = openat(w->dir_fd, w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->fd < 0) {
        w->error = errno;
        w->temporary[0] = 0;
        return;
    }
    w->error = posix_fallocate(w->fd, 0, (off_t)bytes); /* a full disk shows before anything is written */
}

void lr_cache_put(lr_cache_writer *w, uint64_t at, const void *bytes, uint64_t n) {
    if (!w->error) w->error = write_at(w->fd, bytes, n, w->offset + at);
}

void lr_cache_end(lr_cache_writer *w, const lr_format *formats) {
    if (formats && !w->error) w->error = write_head(w, formats);
    if (formats && !w->error && (fsync(w->fd) || renameat(w->dir_fd, w->temporary, w->dir_fd, w->name)))
        w->error = errno;
    if (formats && !w->error)
        (void)fsync(w->dir_fd);
    else if (w->temporary[0])
        unlinkat(w->dir_fd, w->temporary, 0);
    if (formats && w->error)
        lr_log(w->report, LLMRUN_LOG_WARN, "cache: \"%s\": converted weights not kept: %s", w->dir,
               w->error == ENOSPC ? "no room" : strerror(w->error));
    if (w->fd >= 0) close(w->fd);
    if (w->dir_fd >= 0) close(w->dir_fd);
}
