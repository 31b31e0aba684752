/* The weights of a checkpoint: one safetensors file, or the shards of an index, as one sorted tensor directory.      */
#include "loaders/weights.h"

#include <stdlib.h>
#include <string.h>

#include "loaders/json.h"
#include "loaders/path.h"

enum { MAX_INDEX = 256 << 20, MAX_INDEX_VALUES = 1 << 21, MAX_SHARDS = 10000 };

/* ---- what is not safetensors ---- */

const char *lr_weights_foreign(const char *name) {
    static const char *const pickle[] = { ".bin", ".pt", ".pth", ".ckpt", ".pkl" };
    for (size_t i = 0; i < LR_COUNT(pickle); i++)
        if (lr_path_ends_with(name, pickle[i])) return "pickle";
    return NULL;
}

llmrun_status lr_weights_refuse(const char *path, const char *kind, llmrun_error *err) {
    return lr_fail(err, LLMRUN_UNSUPPORTED,
                   "%s: %s files can run code and are never read; convert to safetensors "
                   "(save_pretrained with safe_serialization)",
                   path, kind);
}

bool lr_weights_are_gguf(const lr_map *m) { return m->size >= 4 && memcmp(m->data, "GGUF", 4) == 0; }

llmrun_status lr_weights_refuse_bytes(const lr_map *m, llmrun_error *err) {
    if (m->size >= 4 && memcmp(m->data, "PK\3\4", 4) == 0) return lr_weights_refuse(m->path, "pickle", err);
    if (m->size >= 2 && m->data[0] == 0x80 && m->data[1] >= 2 && m->data[1] <= 5) {
        /* Pickle opens with "\x80 protocol"; a safetensors header of that length has '{' at byte 8. */
        if (m->size < 9 || m->data[8] != '{') return lr_weights_refuse(m->path, "pickle", err);
    }
    return LLMRUN_OK;
}

/* ---- one file ---- */

static llmrun_status add_file(lr_checkpoint *c, const char *path, size_t *cap, llmrun_error *err) {
    lr_map m;
    int32_t file = (int32_t)c->n_files;
    llmrun_status status = lr_map_open(&m, path, false, err);
    if (status) return status;
    c->files[c->n_files++] = m;
    status = lr_weights_refuse_bytes(&m, err);
    if (!status && lr_weights_are_gguf(&m))
        status = lr_fail(err, LLMRUN_FORMAT, "%s: is a GGUF file; give it a name that ends in .gguf", path);
    if (!status) status = lr_safetensors_read(&m, file, &c->tensors, &c->n_tensors, cap, err);
    if (status) return status;
    uint64_t n_header = 0; /* checked by lr_safetensors_read */
    for (int i = 7; i >= 0; i--) n_header = n_header << 8 | m.data[i];
    lr_weights_hash(c, &m, 8 + n_header);
    return LLMRUN_OK;
}

void lr_weights_hash(lr_checkpoint *c, const lr_map *m, uint64_t n_header) {
    c->header_hash = lr_hash(c->header_hash, m->data, (size_t)n_header);
    c->header_hash = lr_hash(c->header_hash, &m->size, sizeof m->size);
    c->header_hash = lr_hash(c->header_hash, &m->modified_ns, sizeof m->modified_ns);
}

static llmrun_status reserve_files(lr_checkpoint *c, size_t n, llmrun_error *err) {
    c->files = lr_zalloc(n, sizeof *c->files);
    return c->files ? LLMRUN_OK : lr_fail_nomem(err, c->dir, n * sizeof *c->files);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lr_tensor *)a)->name, ((const lr_tensor *)b)->name);
}

const lr_tensor *lr_checkpoint_find(const lr_checkpoint *c, const char *name) {
    lr_tensor key = { .name = name };
    return c->n_tensors ? bsearch(&key, c->tensors, c->n_tensors, sizeof key, by_name) : NULL;
}

llmrun_status lr_weights_sort(lr_checkpoint *c, llmrun_error *err) {
    char shown[128];
    if (c->n_tensors) qsort(c->tensors, c->n_tensors, sizeof *c->tensors, by_name);
    for (size_t i = 1; i < c->n_tensors; i++) {
        const lr_tensor *a = &c->tensors[i - 1], *b = &c->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return lr_fail(err, LLMRUN_FORMAT, "%s: tensor \"%s\" defined twice, also in %s", c->files[b->file].path,
                           lr_printable(shown, sizeof shown, b->name, strlen(b->name)), c->files[a->file].path);
    }
    return LLMRUN_OK;
}

llmrun_status lr_weights_read_file(lr_checkpoint *c, const char *path, llmrun_error *err) {
    size_t cap = 0;
    llmrun_status status = reserve_files(c, 1, err);
    if (!status) status = add_file(c, path, &cap, err);
    return status ? status : lr_weights_sort(c, err);
}

/* ---- sharded weights ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of a weight map, sorted.  They become paths, so they must be plain names.                 */
static llmrun_status list_shards(const cJSON *map, const char *path, const char ***shards, size_t *n_shards,
                                 llmrun_error *err) {
    size_t n = 0, distinct = 0;
    char got[80];
    const cJSON *item;
    if (!cJSON_IsObject(map) || !map->child)
        return lr_fail(err, LLMRUN_FORMAT, "%s: expected \"weight_map\" with tensor names and files", path);
    cJSON_ArrayForEach(item, map) {
        const char *name = cJSON_IsString(item) ? item->valuestring : NULL;
        bool plain = name && *name && !strpbrk(name, "/\\") && !strstr(name, "..");
        if (!plain || !lr_path_ends_with(name, ".safetensors"))
            return lr_fail(err, LLMRUN_FORMAT,
                           "%s: shard name must be a plain file name that ends in .safetensors, got %s", path,
                           lr_json_describe(got, sizeof got, item));
        n++;
    }
    const char **list = lr_zalloc(n, sizeof *list);
    if (!list) return lr_fail_nomem(err, path, n * sizeof *list);
    n = 0;
    cJSON_ArrayForEach(item, map) list[n++] = item->valuestring;
    qsort(list, n, sizeof *list, compare_names);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(list[i], list[distinct - 1]) != 0) list[distinct++] = list[i];
    *shards = list;
    *n_shards = distinct;
    if (distinct > MAX_SHARDS)
        return lr_fail(err, LLMRUN_FORMAT, "%s: %zu shards, at most %d", path, distinct, (int)MAX_SHARDS);
    return LLMRUN_OK;
}

/* Every tensor of the index must be in the shard that it names.                                                      */
static llmrun_status check_index(const lr_checkpoint *c, const cJSON *map, const char *path, llmrun_error *err) {
    char shown[128];
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        const lr_tensor *t = lr_checkpoint_find(c, item->string);
        const char *file = t ? lr_path_base(c->files[t->file].path) : "";
        if (strcmp(file, item->valuestring) == 0) continue;
        lr_printable(shown, sizeof shown, item->string, strlen(item->string));
        return lr_fail(err, LLMRUN_FORMAT, "%s: tensor \"%s\" expected in %s, %s%s", path, shown, item->valuestring,
                       t ? "it is in " : "it is in no shard; shards of different models mixed?", file);
    }
    return LLMRUN_OK;
}

llmrun_status lr_weights_read_index(lr_checkpoint *c, const char *index_path, llmrun_error *err) {
    cJSON *json = NULL;
    const char **shards = NULL;
    size_t n = 0, cap = 0;
    llmrun_status status = lr_json_read(&json, index_path, MAX_INDEX, MAX_INDEX_VALUES, err);
    if (status) return status;
    const cJSON *map = lr_json_get(json, "weight_map");
    status = list_shards(map, index_path, &shards, &n, err);
    if (!status && map) status = lr_json_unique(map, index_path, err);
    if (!status) status = reserve_files(c, n, err);
    for (size_t i = 0; i < n && !status; i++) {
        char *path = lr_path_join(c->dir, shards[i], err);
        if (!path)
            status = LLMRUN_NOMEM;
        else if (!lr_path_exists(path))
            status = lr_fail(err, LLMRUN_FORMAT, "%s: shard %zu of %zu missing: %s; download incomplete?", index_path,
                             i + 1, n, shards[i]);
        else
            status = add_file(c, path, &cap, err);
        lr_free(path);
    }
    if (!status) status = lr_weights_sort(c, err);
    if (!status) status = check_index(c, map, index_path, err);
    lr_free(shards);
    lr_json_close(json);
    return status;
}
