/* Atomic output.  The temporary file or directory is locked while its writer lives: the system lets go of the lock with
 * the process, so what is unlocked and names a dead process (or this one, whose number was used before) is stale.    */
#include "runtime/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SUFFIX ".llmrun."

const char *const lr_output_model_files[] = {
    "config.json", "model.safetensors", "generation_config.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja", "chat_template.json", NULL};

static llmrun_status fail_io(const lr_output *w, const char *what, int error, llmrun_error *err) {
    return lr_fail(err, LLMRUN_IO, "%s: %s: %s", w->path, what, strerror(error));
}

/* ---- removing ---- */

/* A file, or a directory without directories in it.                                                                  */
static void remove_entry(int parent, const char *name) {
    if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) return;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d)
        for (struct dirent *e; (e = readdir(d));) unlinkat(fd, e->d_name, 0);
    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* True for ".NAME.llmrun.PID.tmp" of a process that is gone, or of this one's number.                                */
static bool names_dead(const char *name) {
    const char *at = NULL;
    int pid, end = 0;
    for (const char *p = name; *name == '.' && (p = strstr(p, SUFFIX)); p++) at = p;
    if (!at || at == name || sscanf(at, SUFFIX "%d.tmp%n", &pid, &end) != 1 || end == 0 || at[end] || pid <= 0) return false;
    return pid == getpid() || (kill(pid, 0) != 0 && errno == ESRCH);
}

static void remove_stale(int parent) {
    int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!names_dead(e->d_name)) continue;
        int file = openat(parent, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (file < 0) continue;
        if (flock(file, LOCK_EX | LOCK_NB) == 0) remove_entry(parent, e->d_name);
        close(file);
    }
    if (d) closedir(d);
}

/* ---- opening ---- */

/* Cuts path into its directory, which is opened, and its name.                                                       */
static llmrun_status open_parent(lr_output *w, llmrun_error *err) {
    size_t n = strlen(w->path);
    while (n > 1 && w->path[n - 1] == '/') w->path[--n] = 0;
    char *slash = strrchr(w->path, '/');
    w->name = lr_strdup(slash ? slash + 1 : w->path);
    char *dir = slash ? lr_strndup(w->path, slash == w->path ? 1 : (size_t)(slash - w->path)) : lr_strdup(".");
    lr_text temporary = {0};
    lr_text_add(&temporary, ".%s" SUFFIX "%d.tmp", w->name ? w->name : "", (int)getpid());
    w->temporary = temporary.text;
    llmrun_status status = LLMRUN_OK;
    if (!w->name || !dir || temporary.failed)
        status = lr_fail_nomem(err, "name of the output", n);
    else if (!w->name[0] || !strcmp(w->name, ".") || !strcmp(w->name, ".."))
        status = lr_fail(err, LLMRUN_ARG, "%s: expected the name of a file or a new directory", w->path);
    else if ((w->parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        status = lr_fail(err, LLMRUN_IO, "%s: %s: %s", w->path, dir, strerror(errno));
    lr_free(dir);
    return status;
}

/* A directory is replaced only if it holds a model and nothing else.                                                 */
static llmrun_status check_foreign(const lr_output *w, llmrun_error *err) {
    int fd = openat(w->parent, w->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    llmrun_status status = d ? LLMRUN_OK : fail_io(w, "cannot be read", errno, err);
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && !status && (e = readdir(d));) {
        size_t i = 0;
        char shown[80];
        while (lr_output_model_files[i] && strcmp(lr_output_model_files[i], e->d_name)) i++;
        if (!lr_output_model_files[i] && strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            status = lr_fail(err, LLMRUN_ARG, "%s: expected a new directory, or one with a model alone; it holds \"%s\"",
                             w->path, lr_printable(shown, sizeof shown, e->d_name, strlen(e->d_name)));
    }
    if (d) closedir(d);
    return status;
}

static llmrun_status check_target(lr_output *w, llmrun_error *err) {
    struct stat st;
    if (fstatat(w->parent, w->name, &st, 0) && errno == ENOENT) return LLMRUN_OK;
    w->replaces = true;
    if (!w->directory && !S_ISREG(st.st_mode))
        return lr_fail(err, LLMRUN_ARG, "%s: expected a file or nothing there, found a %s", w->path,
                       S_ISDIR(st.st_mode) ? "directory" : "device");
    if (!w->directory) return LLMRUN_OK;
    if (!S_ISDIR(st.st_mode))
        return lr_fail(err, LLMRUN_ARG, "%s: expected a directory or nothing there, found a file; a name that ends in .gguf "
                       "writes GGUF", w->path);
    return check_foreign(w, err);
}

static llmrun_status check_space(const lr_output *w, uint64_t bytes, llmrun_error *err) {
    struct statvfs fs;
    char need[32], have[32];
    if (fstatvfs(w->parent, &fs)) return LLMRUN_OK; /* taking the space will tell */
    uint64_t unused = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (unused >= bytes) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_IO, "%s: needs %s, but its file system has %s free", w->path, lr_size_gb(need, bytes),
                   lr_size_gb(have, unused));
}

llmrun_status lr_output_open(lr_output *w, const char *path, bool directory, uint64_t bytes, llmrun_error *err) {
    *w = (lr_output){.path = lr_strdup(path), .parent = -1, .lock = -1, .fd = -1, .directory = directory};
    if (!w->path) return lr_fail_nomem(err, "name of the output", strlen(path));
    llmrun_status status = open_parent(w, err);
    if (!status) remove_stale(w->parent);
    if (!status) status = check_target(w, err);
    if (!status) status = check_space(w, bytes, err);
    if (status) return status;
    int flags = directory ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_EXCL;
    if (!directory || mkdirat(w->parent, w->temporary, 0777) == 0)
        w->lock = openat(w->parent, w->temporary, flags | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (w->lock < 0) {
        int error = errno;
        if (directory) unlinkat(w->parent, w->temporary, AT_REMOVEDIR);
        return fail_io(w, "cannot be written", error, err);
    }
    return flock(w->lock, LOCK_EX | LOCK_NB) ? fail_io(w, "temporary file", errno, err) : LLMRUN_OK;
}

/* ---- writing ---- */

llmrun_status lr_output_begin(lr_output *w, const char *name, uint64_t bytes, llmrun_error *err) {
    w->fd = name ? openat(w->lock, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666) : w->lock;
    if (w->fd < 0) return fail_io(w, name, errno, err);
    int error = bytes ? posix_fallocate(w->fd, 0, (off_t)bytes) : 0;
    char size[32];
    if (error == EOPNOTSUPP || error == EINVAL) error = ftruncate(w->fd, (off_t)bytes) ? errno : 0;
    if (error) return lr_fail(err, LLMRUN_IO, "%s: no room for %s: %s", w->path, lr_size_gb(size, bytes), strerror(error));
    return LLMRUN_OK;
}

llmrun_status lr_output_write(lr_output *w, const void *bytes, uint64_t n, uint64_t at, llmrun_error *err) {
    const char *p = bytes;
    while (n > 0) {
        ssize_t k = pwrite(w->fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return fail_io(w, "write failed", k ? errno : EIO, err);
        p += k;
        n -= (uint64_t)k;
        at += (uint64_t)k;
    }
    return LLMRUN_OK;
}

llmrun_status lr_output_end(lr_output *w, llmrun_error *err) {
    int error = fsync(w->fd) ? errno : 0;
    if (w->fd != w->lock && close(w->fd) && !error) error = errno;
    w->fd = -1;
    return error ? fail_io(w, "write failed", error, err) : LLMRUN_OK;
}

llmrun_status lr_output_commit(lr_output *w, llmrun_error *err) {
    bool swap = w->directory && w->replaces;
    if (w->directory && fsync(w->lock)) return fail_io(w, "write failed", errno, err);
    if (renameat2(w->parent, w->temporary, w->parent, w->name, swap ? RENAME_EXCHANGE : 0))
        return fail_io(w, swap && errno == EINVAL ? "this file system cannot swap directories; remove the old one first"
                                                  : "cannot be put in place", errno, err);
    w->done = true;
    if (swap) remove_entry(w->parent, w->temporary); /* the old one has that name now */
    return fsync(w->parent) ? fail_io(w, "write failed", errno, err) : LLMRUN_OK;
}

void lr_output_close(lr_output *w) {
    if (w->fd >= 0 && w->fd != w->lock) close(w->fd);
    if (w->lock >= 0 && !w->done) remove_entry(w->parent, w->temporary);
    if (w->lock >= 0) close(w->lock);
    if (w->parent >= 0) close(w->parent);
    lr_free(w->path);
    lr_free(w->name);
    lr_free(w->temporary);
    *w = (lr_output){.parent = -1, .lock = -1, .fd = -1};
}
