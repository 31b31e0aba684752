/* A model file mapped read-only, or read into memory.  The descriptor stays open so that lr_map_check sees the size of
 * this very file, also after another one has taken its name.                                                         */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loaders/loader.h"

static const char *kind(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "no regular file";
}

/* "No such file", or the better sentence for a link that leads nowhere (an interrupted download leaves those).       */
static llmrun_status open_failed(const char *path, llmrun_error *err) {
    int code = errno;
    struct stat st;
    if (code == ENOENT && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        return lr_fail(err, LLMRUN_IO, "%s: broken link: its target does not exist; download incomplete?", path);
    return lr_fail(err, LLMRUN_IO, "%s: cannot open: %s", path, strerror(code));
}

static llmrun_status read_all(lr_map *m, llmrun_error *err) {
    uint8_t *copy = lr_alloc_aligned(m->size);
    if (!copy) return lr_fail_nomem(err, m->path, m->size);
    m->data = copy;
    m->heap = true;
    for (uint64_t have = 0; have < m->size;) {
        ssize_t n = pread(m->fd, copy + have, m->size - have, (off_t)have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return lr_fail(err, LLMRUN_IO, "%s: cannot read at byte %llu: %s", m->path, (unsigned long long)have,
                           strerror(errno));
        if (n == 0)
            return lr_fail(err, LLMRUN_IO, "%s: shrank from %llu to %llu bytes while it was read", m->path,
                           (unsigned long long)m->size, (unsigned long long)have);
        have += (uint64_t)n;
    }
    return LLMRUN_OK;
}

static llmrun_status map_all(lr_map *m, llmrun_error *err) {
    void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (p == MAP_FAILED)
        return lr_fail(err, errno == ENOMEM ? LLMRUN_NOMEM : LLMRUN_IO, "%s: cannot map %llu bytes: %s", m->path,
                       (unsigned long long)m->size, strerror(errno));
    m->data = p;
    return LLMRUN_OK;
}

llmrun_status lr_map_open(lr_map *m, const char *path, bool copy, llmrun_error *err) {
    static const char lfs[] = "version https://git-lfs";
    *m = (lr_map){ .fd = -1, .path = lr_strdup(path) };
    if (!m->path) return lr_fail_nomem(err, path, strlen(path) + 1);
    llmrun_status status = LLMRUN_OK;
    struct stat st;
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0)
        status = open_failed(path, err);
    else if (fstat(m->fd, &st) != 0)
        status = lr_fail(err, LLMRUN_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = lr_fail(err, LLMRUN_IO, "%s: is %s, need a regular file", path, kind(st.st_mode));
    if (status) goto done;
    m->size = (uint64_t)st.st_size;
    m->modified_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    if (m->size == 0)
        m->data = (const uint8_t *)"";
    else
        status = copy ? read_all(m, err) : map_all(m, err);
    if (!status && m->size >= sizeof lfs - 1 && memcmp(m->data, lfs, sizeof lfs - 1) == 0)
        status = lr_fail(err, LLMRUN_FORMAT, "%s: is a Git LFS pointer of %llu bytes, not the file; run 'git lfs pull'",
                         path, (unsigned long long)m->size);
done:
    if (status) lr_map_close(m);
    return status;
}

void lr_map_close(lr_map *m) {
    if (m->heap)
        lr_free_aligned((void *)(uintptr_t)m->data);
    else if (m->size > 0 && m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    if (m->path && m->fd >= 0) close(m->fd);
    lr_free(m->path);
    *m = (lr_map){ .fd = -1 };
}

llmrun_status lr_map_check(const lr_map *m, llmrun_error *err) {
    struct stat st;
    if (m->heap) return LLMRUN_OK;
    if (fstat(m->fd, &st) != 0) return lr_fail(err, LLMRUN_IO, "%s: cannot stat: %s", m->path, strerror(errno));
    if ((uint64_t)st.st_size < m->size)
        return lr_fail(err, LLMRUN_IO, "%s: shrank from %llu to %llu bytes while in use", m->path,
                       (unsigned long long)m->size, (unsigned long long)st.st_size);
    return LLMRUN_OK;
}
