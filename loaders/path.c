/* File names; see path.h.                                                                                            */
#include "loaders/path.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/gguf.h"

bool lr_path_exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

bool lr_path_ends_with(const char *path, const char *end) {
    size_t n = strlen(path), k = strlen(end);
    return n >= k && strcasecmp(path + n - k, end) == 0;
}

const char *lr_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *lr_path_join(const char *dir, const char *name, llmrun_error *err) {
    lr_text t = { 0 };
    lr_text_add(&t, "%s/%s", dir, name);
    if (!t.failed) return t.text;
    lr_free(t.text);
    lr_fail_nomem(err, dir, strlen(dir) + strlen(name) + 2);
    return NULL;
}

llmrun_status lr_path_tokenizer(char **out, const char *dir, llmrun_error *err) {
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "spiece.model" };
    *out = NULL;
    for (size_t i = 0; i < LR_COUNT(names); i++) {
        char *path = lr_path_join(dir, names[i], err);
        if (!path) return LLMRUN_NOMEM;
        if (lr_path_exists(path)) {
            *out = path;
            return LLMRUN_OK;
        }
        lr_free(path);
    }
    return LLMRUN_OK;
}

bool lr_path_is_gguf_model(const char *name) {
    int no = 1, count;
    lr_gguf_part_of(name, &no, &count);
    return lr_path_ends_with(name, ".gguf") && no == 1 && strncasecmp(name, "mmproj", 6) != 0;
}

llmrun_status lr_path_gguf(char **out, const char *dir, llmrun_error *err) {
    lr_text only = { 0 };
    size_t n = 0;
    *out = NULL;
    DIR *d = opendir(dir);
    if (!d) return lr_fail(err, LLMRUN_IO, "%s: cannot list: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        if (!lr_path_is_gguf_model(e->d_name)) continue;
        if (n++ == 0) lr_text_add(&only, "%s/%s", dir, e->d_name);
    }
    closedir(d);
    if (n == 1 && !only.failed) {
        *out = only.text;
        return LLMRUN_OK;
    }
    lr_free(only.text);
    return only.failed ? lr_fail_nomem(err, dir, strlen(dir)) : LLMRUN_OK;
}
