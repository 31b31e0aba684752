/* The files of a GGUF model: one, or the parts NAME-00001-of-00005.gguf of a split one, as one checkpoint.           */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/gguf.h"
#include "loaders/path.h"
#include "loaders/weights.h"

enum { MAX_PARTS = 10000 };

/* "-00001-of-00005.gguf" at the end of a path: its numbers.                                                          */
bool lr_gguf_part_of(const char *path, int *no, int *count) {
    static const char form[] = "-00000-of-00000.gguf";
    size_t n = strlen(path), k = sizeof form - 1;
    if (n <= k) return false;
    const char *end = path + n - k;
    for (size_t i = 0; i < k; i++)
        if (form[i] == '0' ? !isdigit((unsigned char)end[i]) : tolower((unsigned char)end[i]) != form[i]) return false;
    *no = atoi(end + 1);
    *count = atoi(end + 10);
    return *no >= 1 && *no <= *count;
}

/* A part says its place too.  no counts from 1.                                                                      */
static llmrun_status check_part(const lr_gguf *g, const char *path, int no, int count, llmrun_error *err) {
    int64_t said_no = 0, said_count = 1;
    bool split = lr_gguf_int_at(lr_gguf_find(g, "split.count"), 0, &said_count);
    lr_gguf_int_at(lr_gguf_find(g, "split.no"), 0, &said_no);
    if (count > 1 && (!split || said_count != count || said_no != no - 1))
        return lr_fail(err, LLMRUN_FORMAT, "%s: by its name part %d of %d, by its metadata %lld of %lld", path, no, count,
                       (long long)said_no + 1, (long long)said_count);
    if (count <= 1 && said_count > 1)
        return lr_fail(err, LLMRUN_FORMAT,
                       "%s: is part %lld of %lld of a split model; its name must end in -%05lld-of-%05lld.gguf", path,
                       (long long)said_no + 1, (long long)said_count, (long long)said_no + 1, (long long)said_count);
    return LLMRUN_OK;
}

/* Reads one file; the metadata of the first is kept in c.                                                            */
static llmrun_status add_part(lr_checkpoint *c, const char *path, int no, int count, size_t *cap, llmrun_error *err) {
    lr_gguf g = { 0 };
    uint64_t n_header = 0;
    int32_t file = (int32_t)c->n_files;
    lr_map *m = &c->files[file];
    llmrun_status status = lr_map_open(m, path, false, err);
    if (status) return status;
    c->n_files++;
    status = lr_gguf_read(&g, m, file, &c->tensors, &c->n_tensors, cap, &n_header, err);
    if (status) return status;
    lr_weights_hash(c, m, n_header);
    status = check_part(&g, path, no, count, err);
    if (file == 0)
        c->gguf = g;
    else
        lr_gguf_close(&g);
    return status;
}

static llmrun_status check_total(const lr_checkpoint *c, llmrun_error *err) {
    int64_t total = (int64_t)c->n_tensors;
    lr_gguf_int_at(lr_gguf_find(&c->gguf, "split.tensors.count"), 0, &total);
    if (c->n_files == 1 || total == (int64_t)c->n_tensors) return LLMRUN_OK;
    return lr_fail(err, LLMRUN_FORMAT, "%s: expected %lld tensors in %zu parts, found %zu", c->files[0].path,
                   (long long)total, c->n_files, c->n_tensors);
}

llmrun_status lr_gguf_open(lr_checkpoint *c, const char *path, llmrun_error *err) {
    int no = 1, count = 1;
    size_t cap = 0, n = strlen(path);
    if (!lr_gguf_part_of(path, &no, &count)) no = count = 1;
    if (count > MAX_PARTS) return lr_fail(err, LLMRUN_FORMAT, "%s: %d parts, at most %d", path, count, (int)MAX_PARTS);
    char *part = lr_strdup(path);
    c->files = lr_zalloc((size_t)count, sizeof *c->files);
    llmrun_status status = part && c->files ? LLMRUN_OK : lr_fail_nomem(err, path, (size_t)count * sizeof *c->files);
    for (int i = 1; i <= count && !status; i++) {
        char number[16];
        snprintf(number, sizeof number, "%05d", i);
        if (count > 1) memcpy(part + n - 19, number, 5);
        if (count > 1 && !lr_path_exists(part))
            status = lr_fail(err, LLMRUN_FORMAT, "%s: part %d of %d missing: %s; download incomplete?", path, i, count,
                             lr_path_base(part));
        else
            status = add_part(c, part, i, count, &cap, err);
    }
    if (!status) status = check_total(c, err);
    if (!status) status = lr_weights_sort(c, err);
    if (!status) status = lr_gguf_config(&c->config, &c->gguf, c->files[0].path, err);
    lr_free(part);
    return status;
}
