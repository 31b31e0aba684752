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
#define WRITE_PIECE ((uint64_t)32 << 20)

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

/* Creates the directory and its parents, for this user alone; returns it open, or -1.                                 */
static int open_dir(const char *dir) {
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

static bool write_all(int fd, const void *bytes, uint64_t n) {
    const char *p = bytes;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k;
        n -= (uint64_t)k;
    }
    return true;
}

static bool write_head(int fd, const lr_cache_id *id, const lr_format *formats, uint64_t weights_offset) {
    uint8_t *head = lr_zalloc(1, weights_offset);
    if (!head) {
        errno = ENOMEM;
        return false;
    }
    for (size_t i = 0; i < id->n; i++) head[sizeof(file_header) + i] = (uint8_t)formats[i];
    file_header h = make_header(id, weights_offset, head + sizeof(file_header));
    memcpy(head, &h, sizeof h);
    bool ok = write_all(fd, head, weights_offset);
    lr_free(head);
    return ok;
}

static llmrun_status write_weights(int fd, const uint8_t *weights, uint64_t n, const lr_report *report, bool *ok) {
    for (uint64_t at = 0; at < n && *ok; at += WRITE_PIECE) {
        if (!lr_progress(report, "cache", (double)at / (double)n)) return LLMRUN_CANCELLED;
        *ok = write_all(fd, weights + at, n - at < WRITE_PIECE ? n - at : WRITE_PIECE);
    }
    return *ok && !lr_progress(report, "cache", 1) ? LLMRUN_CANCELLED : LLMRUN_OK;
}

llmrun_status lr_cache_write(const char *dir, const lr_cache_id *id, const lr_format *formats, const void *weights,
                             uint64_t limit_bytes, const lr_report *report) {
    llmrun_status status = LLMRUN_OK;
    char name[NAME_BYTES], temporary[96] = "";
    uint64_t offset, bytes;
    bool ok = false;
    int fd = -1, dir_fd = open_dir(dir);
    errno = dir_fd < 0 ? errno : EFBIG;
    if (dir_fd < 0 || !measure(id, &offset, &bytes)) goto done;
    entry_name(name, id_key(id));
    if (!make_room(dir_fd, name, bytes, limit_bytes)) {
        errno = ENOSPC;
        goto done;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(temporary, sizeof temporary, "%s.%d.%" PRIx64 ".tmp", name, (int)getpid(),
             (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        temporary[0] = 0;
        goto done;
    }
    errno = posix_fallocate(fd, 0, (off_t)bytes); /* a full disk shows before anything is written */
    if (errno) goto done;
    ok = write_head(fd, id, formats, offset);
    if (ok) status = write_weights(fd, weights, id->weights_bytes, report, &ok);
    ok = ok && status == LLMRUN_OK && fsync(fd) == 0 && renameat(dir_fd, temporary, dir_fd, name) == 0;
    if (ok) (void)fsync(dir_fd);
done:
    if (!ok && status == LLMRUN_OK)
        lr_log(report, LLMRUN_LOG_WARN, "cache: \"%s\": converted weights not kept: %s", dir,
               errno == ENOSPC ? "no room" : strerror(errno));
    if (!ok && temporary[0]) unlinkat(dir_fd, temporary, 0);
    if (fd >= 0) close(fd);
    if (dir_fd >= 0) close(dir_fd);
    return status;
}
