/* Everything found at --model: which files make up the model, and one sentence for each way in which they do not.     */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/hf_cache.h"
#include "loaders/json.h"
#include "loaders/loader.h"

#define INDEX_NAME "model.safetensors.index.json"
enum { MAX_INDEX = 256 << 20, MAX_INDEX_VALUES = 1 << 21, MAX_SHARDS = 10000 };

/* ---- small helpers ---- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcasecmp(text + n - k, end) == 0;
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0; /* a broken link exists too: opening it then says what is wrong */
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "DIR/NAME" from lr_alloc; NULL: *err is filled.                                                                     */
static char *join(const char *dir, const char *name, llmrun_error *err) {
    lr_text t = { 0 };
    lr_text_add(&t, "%s/%s", dir, name);
    if (!t.failed) return t.text;
    lr_free(t.text);
    lr_fail_nomem(err, dir, strlen(dir) + strlen(name) + 2);
    return NULL;
}

/* Which kind of weights that are not safetensors a file name stands for; NULL if none.                                */
static const char *foreign_kind(const char *name) {
    static const char *const pickle[] = { ".bin", ".pt", ".pth", ".ckpt", ".pkl" };
    if (ends_with(name, ".gguf")) return "gguf";
    for (size_t i = 0; i < LR_COUNT(pickle); i++)
        if (ends_with(name, pickle[i])) return "pickle";
    return NULL;
}

static llmrun_status refuse_foreign(const char *path, const char *kind, llmrun_error *err) {
    if (strcmp(kind, "gguf") == 0)
        return lr_fail(err, LLMRUN_UNSUPPORTED, "%s: GGUF files are not yet supported; use the model in safetensors form",
                       path);
    return lr_fail(err, LLMRUN_UNSUPPORTED,
                   "%s: pickle files can run code and are never read; convert to safetensors "
                   "(save_pretrained with safe_serialization)",
                   path);
}

/* The same by content, for files whose name says nothing (blobs of the Hugging Face cache).                           */
static llmrun_status refuse_foreign_bytes(const lr_map *m, llmrun_error *err) {
    if (m->size >= 4 && memcmp(m->data, "GGUF", 4) == 0) return refuse_foreign(m->path, "gguf", err);
    if (m->size >= 4 && memcmp(m->data, "PK\3\4", 4) == 0) return refuse_foreign(m->path, "pickle", err);
    if (m->size >= 2 && m->data[0] == 0x80 && m->data[1] >= 2 && m->data[1] <= 5) {
        /* Pickle opens with "\x80 protocol"; a safetensors header of that length has '{' at byte 8. */
        if (m->size < 9 || m->data[8] != '{') return refuse_foreign(m->path, "pickle", err);
    }
    return LLMRUN_OK;
}

/* ---- weights ---- */

static llmrun_status add_file(lr_checkpoint *c, const char *path, bool use_mmap, size_t *cap, llmrun_error *err) {
    lr_map m;
    int32_t file = (int32_t)c->n_files;
    llmrun_status status = lr_map_open(&m, path, !use_mmap, err);
    if (status) return status;
    c->files[c->n_files++] = m;
    status = refuse_foreign_bytes(&m, err);
    if (!status) status = lr_safetensors_read(&m, file, &c->tensors, &c->n_tensors, cap, err);
    if (status) return status;
    uint64_t n_header = 0; /* checked by lr_safetensors_read */
    for (int i = 7; i >= 0; i--) n_header = n_header << 8 | m.data[i];
    c->header_hash = lr_hash(c->header_hash, m.data, (size_t)(8 + n_header));
    c->header_hash = lr_hash(c->header_hash, &m.size, sizeof m.size);
    c->header_hash = lr_hash(c->header_hash, &m.modified_ns, sizeof m.modified_ns);
    return LLMRUN_OK;
}

static llmrun_status reserve_files(lr_checkpoint *c, size_t n, llmrun_error *err) {
    c->files = lr_zalloc(n, sizeof *c->files);
    return c->files ? LLMRUN_OK : lr_fail_nomem(err, c->dir, n * sizeof *c->files);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lr_tensor *)a)->name, ((const lr_tensor *)b)->name);
}

static llmrun_status sort_tensors(lr_checkpoint *c, llmrun_error *err) {
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

static llmrun_status read_single(lr_checkpoint *c, const char *path, bool use_mmap, llmrun_error *err) {
    size_t cap = 0;
    llmrun_status status = reserve_files(c, 1, err);
    if (!status) status = add_file(c, path, use_mmap, &cap, err);
    return status ? status : sort_tensors(c, err);
}

/* ---- sharded weights ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of a weight map, sorted.  They become paths, so they must be plain names.                   */
static llmrun_status list_shards(const cJSON *map, const char *path, const char ***shards, size_t *n_shards,
                                 llmrun_error *err) {
    size_t n = 0, distinct = 0;
    char got[80];
    const cJSON *item;
    if (!cJSON_IsObject(map) || !map->child)
        return lr_fail(err, LLMRUN_FORMAT, "%s: expected \"weight_map\" with tensor names and files", path);
    cJSON_ArrayForEach(item, map) {
        const char *name = cJSON_IsString(item) ? item->valuestring : NULL;
        if (!name || !*name || strpbrk(name, "/\\") || strstr(name, "..") || !ends_with(name, ".safetensors"))
            return lr_fail(err, LLMRUN_FORMAT, "%s: shard name must be a plain file name that ends in .safetensors, got %s",
                           path, lr_json_describe(got, sizeof got, item));
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

/* Every tensor of the index must be in the shard that it names.                                                       */
static llmrun_status check_index(const lr_checkpoint *c, const cJSON *map, const char *path, llmrun_error *err) {
    char shown[128];
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        const lr_tensor *t = lr_checkpoint_find(c, item->string);
        const char *file = t ? base_name(c->files[t->file].path) : "";
        if (strcmp(file, item->valuestring) == 0) continue;
        lr_printable(shown, sizeof shown, item->string, strlen(item->string));
        return lr_fail(err, LLMRUN_FORMAT, "%s: tensor \"%s\" expected in %s, %s%s", path, shown, item->valuestring,
                       t ? "it is in " : "it is in no shard; shards of different models mixed?", file);
    }
    return LLMRUN_OK;
}

static llmrun_status read_sharded(lr_checkpoint *c, const char *index_path, bool use_mmap, llmrun_error *err) {
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
        char *path = join(c->dir, shards[i], err);
        if (!path)
            status = LLMRUN_NOMEM;
        else if (!exists(path))
            status = lr_fail(err, LLMRUN_FORMAT, "%s: shard %zu of %zu missing: %s; download incomplete?", index_path, i + 1,
                             n, shards[i]);
        else
            status = add_file(c, path, use_mmap, &cap, err);
        lr_free(path);
    }
    if (!status) status = sort_tensors(c, err);
    if (!status) status = check_index(c, map, index_path, err);
    lr_free(shards);
    lr_json_close(json);
    return status;
}

/* ---- a directory ---- */

/* No file of the usual name: one other .safetensors file will do (*path, from lr_alloc); else say what is there.        */
static llmrun_status find_other_weights(const lr_checkpoint *c, char **path, llmrun_error *err) {
    lr_text only = { 0 }, foreign = { 0 };
    size_t n = 0;
    llmrun_status status = LLMRUN_OK;
    DIR *d = opendir(c->dir);
    if (!d) return lr_fail(err, LLMRUN_IO, "%s: cannot list: %s", c->dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        if (ends_with(e->d_name, ".safetensors")) {
            if (n++ == 0) lr_text_add(&only, "%s/%s", c->dir, e->d_name);
        } else if (foreign_kind(e->d_name) && !foreign.text && strcmp(e->d_name, "training_args.bin") != 0) {
            lr_text_add(&foreign, "%s/%s", c->dir, e->d_name);
        }
    }
    closedir(d);
    if (only.failed || foreign.failed)
        status = lr_fail_nomem(err, c->dir, strlen(c->dir));
    else if (n > 1)
        status = lr_fail(err, LLMRUN_FORMAT, "%s: %zu .safetensors files and no %s; download incomplete?", c->dir, n,
                         INDEX_NAME);
    else if (n == 0 && foreign.text)
        status = refuse_foreign(foreign.text, foreign_kind(foreign.text), err);
    else if (n == 0)
        status = lr_fail(err, LLMRUN_IO, "%s: no weights: expected model.safetensors or %s; to plan without them give "
                         "a config.json", c->dir, INDEX_NAME);
    *path = status ? NULL : only.text;
    if (status) lr_free(only.text);
    lr_free(foreign.text);
    return status;
}

/* Reads DIR/name into config if it is there.                                                                          */
static llmrun_status read_optional(const lr_checkpoint *c, lr_config *config, const char *name, llmrun_error *err) {
    char *path = join(c->dir, name, err);
    if (!path) return LLMRUN_NOMEM;
    llmrun_status status = exists(path) ? lr_config_read(config, path, err) : LLMRUN_OK;
    lr_free(path);
    return status;
}

/* What may lie beside config.json.                                                                                    */
static llmrun_status read_siblings(lr_checkpoint *c, llmrun_error *err) {
    llmrun_status status = read_optional(c, &c->generation, "generation_config.json", err);
    if (!status) status = read_optional(c, &c->tokenizer_config, "tokenizer_config.json", err);
    if (status) return status;
    char *path = join(c->dir, "tokenizer.json", err);
    if (!path) return LLMRUN_NOMEM;
    if (exists(path))
        c->tokenizer_path = path;
    else
        lr_free(path);
    return LLMRUN_OK;
}

/* c->dir is set.  weights: the file to read, NULL to look for it.                                                     */
static llmrun_status read_directory(lr_checkpoint *c, const char *weights, bool use_mmap, llmrun_error *err) {
    char *config = join(c->dir, "config.json", err), *single = join(c->dir, "model.safetensors", err);
    char *index = join(c->dir, INDEX_NAME, err), *other = NULL;
    llmrun_status status = config && single && index ? LLMRUN_OK : LLMRUN_NOMEM;
    if (status) goto done;
    bool sharded = !weights && !exists(single) && exists(index);
    if (!weights && exists(single)) weights = single;
    if (!weights && !sharded) {
        status = find_other_weights(c, &other, err);
        weights = other;
    }
    /* Foreign weights are the better sentence: such directories often have no config.json either. */
    if (status != LLMRUN_UNSUPPORTED && !exists(config))
        status = lr_fail(err, LLMRUN_IO, "%s: no such file; weights need their config.json beside them", config);
    if (!status) status = lr_config_read(&c->config, config, err);
    if (!status) status = read_siblings(c, err);
    if (!status) status = sharded ? read_sharded(c, index, use_mmap, err) : read_single(c, weights, use_mmap, err);
done:
    lr_free(config);
    lr_free(single);
    lr_free(index);
    lr_free(other);
    return status;
}

/* ---- --model ---- */

static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return !slash ? lr_strdup(".") : slash == path ? lr_strdup("/") : lr_strndup(path, (size_t)(slash - path));
}

/* "model.safetensors" has the form of a repo id too; nobody names a repository like that.                              */
static bool is_file_name(const char *model) {
    return ends_with(model, ".safetensors") || ends_with(model, ".json") || foreign_kind(model);
}

/* A file: weights, a config, or something foreign.                                                                    */
static llmrun_status open_file(lr_checkpoint *c, const char *model, bool use_mmap, llmrun_error *err) {
    const char *name = base_name(model), *kind = foreign_kind(name);
    if (kind) return refuse_foreign(model, kind, err);
    c->dir = directory_of(model);
    if (!c->dir) return lr_fail_nomem(err, model, strlen(model));
    if (strcmp(name, INDEX_NAME) == 0) return read_directory(c, NULL, use_mmap, err);
    if (ends_with(name, ".json")) {
        c->config_only = true;
        llmrun_status status = lr_config_read(&c->config, model, err);
        return !status && strcmp(name, "config.json") == 0 ? read_siblings(c, err) : status;
    }
    lr_map m;
    llmrun_status status = lr_map_open(&m, model, false, err);
    if (status) return status;
    status = refuse_foreign_bytes(&m, err);
    lr_map_close(&m);
    return status ? status : read_directory(c, model, use_mmap, err);
}

llmrun_status lr_checkpoint_open(lr_checkpoint *c, const char *model, const char *const *cache_dirs, bool use_mmap,
                                 llmrun_error *err) {
    *c = (lr_checkpoint){ .header_hash = LR_HASH_START };
    struct stat st;
    llmrun_status status;
    if (stat(model, &st) == 0 && S_ISDIR(st.st_mode)) {
        c->dir = lr_strdup(model);
        status = c->dir ? read_directory(c, NULL, use_mmap, err) : lr_fail_nomem(err, model, strlen(model));
    } else if (!exists(model) && lr_hf_cache_is_id(model) && !is_file_name(model)) {
        status = lr_hf_cache_find(&c->dir, model, cache_dirs, err);
        if (!status) status = read_directory(c, NULL, use_mmap, err);
    } else {
        status = open_file(c, model, use_mmap, err);
    }
    if (status) lr_checkpoint_close(c);
    return status;
}

void lr_checkpoint_close(lr_checkpoint *c) {
    lr_config_close(&c->config);
    lr_config_close(&c->generation);
    lr_config_close(&c->tokenizer_config);
    lr_tensors_free(c->tensors, c->n_tensors);
    for (size_t i = 0; i < c->n_files; i++) lr_map_close(&c->files[i]);
    lr_free(c->files);
    lr_free(c->dir);
    lr_free(c->tokenizer_path);
    *c = (lr_checkpoint){ 0 };
}

const lr_tensor *lr_checkpoint_find(const lr_checkpoint *c, const char *name) {
    lr_tensor key = { .name = name };
    return c->n_tensors ? bsearch(&key, c->tensors, c->n_tensors, sizeof key, by_name) : NULL;
}
