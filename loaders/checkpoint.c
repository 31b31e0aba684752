/* Everything found at --model: which files make up the model, and one sentence for each way in which they do not.    */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/gguf.h"
#include "loaders/hf_cache.h"
#include "loaders/path.h"
#include "loaders/weights.h"

#define INDEX_NAME "model.safetensors.index.json"

/* ---- a directory ---- */

/* No file of the usual name: one other .safetensors file will do, else one GGUF model (*path, from lr_alloc); else say
 * what is there.                                                                                                      */
static llmrun_status find_other_weights(const lr_checkpoint *c, char **path, llmrun_error *err) {
    lr_text only = { 0 }, gguf = { 0 }, foreign = { 0 };
    size_t n = 0, n_gguf = 0;
    llmrun_status status = LLMRUN_OK;
    DIR *d = opendir(c->dir);
    if (!d) return lr_fail(err, LLMRUN_IO, "%s: cannot list: %s", c->dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        if (lr_path_ends_with(e->d_name, ".safetensors")) {
            if (n++ == 0) lr_text_add(&only, "%s/%s", c->dir, e->d_name);
        } else if (lr_path_is_gguf_model(e->d_name)) {
            if (n_gguf++ == 0) lr_text_add(&gguf, "%s/%s", c->dir, e->d_name);
        } else if (lr_weights_foreign(e->d_name) && !foreign.text && strcmp(e->d_name, "training_args.bin") != 0) {
            lr_text_add(&foreign, "%s/%s", c->dir, e->d_name);
        }
    }
    closedir(d);
    if (only.failed || gguf.failed || foreign.failed)
        status = lr_fail_nomem(err, c->dir, strlen(c->dir));
    else if (n > 1)
        status = lr_fail(err, LLMRUN_FORMAT, "%s: %zu .safetensors files and no %s; download incomplete?", c->dir, n,
                         INDEX_NAME);
    else if (n == 0 && n_gguf > 1)
        status = lr_fail(err, LLMRUN_ARG, "%s: %zu GGUF models; give the path of one", c->dir, n_gguf);
    else if (n == 0 && n_gguf == 0 && foreign.text)
        status = lr_weights_refuse(foreign.text, lr_weights_foreign(foreign.text), err);
    else if (n == 0 && n_gguf == 0)
        status = lr_fail(err, LLMRUN_IO, "%s: no weights: expected model.safetensors or %s; to plan without them give "
                         "a config.json", c->dir, INDEX_NAME);
    lr_text *found = n ? &only : &gguf;
    *path = status ? NULL : found->text;
    if (!status) *found = (lr_text){ 0 };
    lr_free(only.text);
    lr_free(gguf.text);
    lr_free(foreign.text);
    return status;
}

/* Reads DIR/name into config if it is there.                                                                         */
static llmrun_status read_optional(const lr_checkpoint *c, lr_config *config, const char *name, llmrun_error *err) {
    char *path = lr_path_join(c->dir, name, err);
    if (!path) return LLMRUN_NOMEM;
    llmrun_status status = lr_path_exists(path) ? lr_config_read(config, path, err) : LLMRUN_OK;
    lr_free(path);
    return status;
}

/* What may lie beside config.json.                                                                                   */
static llmrun_status read_siblings(lr_checkpoint *c, llmrun_error *err) {
    llmrun_status status = read_optional(c, &c->generation, "generation_config.json", err);
    if (!status) status = read_optional(c, &c->tokenizer_config, "tokenizer_config.json", err);
    if (status) return status;
    char *template = lr_path_join(c->dir, "chat_template.jinja", err);
    status = template ? LLMRUN_OK : LLMRUN_NOMEM;
    if (!status && lr_path_exists(template)) status = lr_map_open(&c->chat_template, template, true, err);
    lr_free(template);
    return status ? status : lr_path_tokenizer(&c->tokenizer_path, c->dir, err);
}

/* c->dir is set.  weights: the file to read, NULL to look for it.                                                    */
static llmrun_status read_directory(lr_checkpoint *c, const char *weights, llmrun_error *err) {
    char *config = lr_path_join(c->dir, "config.json", err), *index = lr_path_join(c->dir, INDEX_NAME, err);
    char *single = lr_path_join(c->dir, "model.safetensors", err), *other = NULL;
    llmrun_status status = config && single && index ? LLMRUN_OK : LLMRUN_NOMEM;
    if (status) goto done;
    bool sharded = !weights && !lr_path_exists(single) && lr_path_exists(index);
    if (!weights && lr_path_exists(single)) weights = single;
    if (!weights && !sharded) {
        status = find_other_weights(c, &other, err);
        weights = other;
    }
    if (!status && weights && lr_path_ends_with(weights, ".gguf")) {
        status = lr_gguf_open(c, weights, err);
        goto done;
    }
    /* Foreign weights are the better sentence: such directories often have no config.json either. */
    if (status != LLMRUN_UNSUPPORTED && status != LLMRUN_NOMEM && status != LLMRUN_ARG && !lr_path_exists(config))
        status = lr_fail(err, LLMRUN_IO, "%s: no such file; weights need their config.json beside them", config);
    if (!status) status = lr_config_read(&c->config, config, err);
    if (!status) status = lr_config_hoist(&c->config, "text_config.", err);
    if (!status) status = read_siblings(c, err);
    if (!status)
        status = sharded ? lr_weights_read_index(c, index, err)
                         : lr_weights_read_file(c, weights, err);
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

/* "model.safetensors" has the form of a repo id too; nobody names a repository like that.                            */
static bool is_file_name(const char *model) {
    return lr_path_ends_with(model, ".safetensors") || lr_path_ends_with(model, ".gguf") ||
           lr_path_ends_with(model, ".json") || lr_weights_foreign(model);
}

/* A file: weights, a config, or something foreign.                                                                   */
static llmrun_status open_file(lr_checkpoint *c, const char *model, llmrun_error *err) {
    const char *name = lr_path_base(model), *kind = lr_weights_foreign(name);
    if (kind && lr_path_exists(model)) return lr_weights_refuse(model, kind, err);
    c->dir = directory_of(model);
    if (!c->dir) return lr_fail_nomem(err, model, strlen(model));
    if (strcmp(name, INDEX_NAME) == 0) return read_directory(c, NULL, err);
    if (lr_path_ends_with(name, ".json")) {
        c->config_only = true;
        llmrun_status status = lr_config_read(&c->config, model, err);
        if (!status) status = lr_config_hoist(&c->config, "text_config.", err);
        return !status && strcmp(name, "config.json") == 0 ? read_siblings(c, err) : status;
    }
    lr_map m;
    llmrun_status status = lr_map_open(&m, model, false, err);
    if (status) return status;
    status = lr_weights_refuse_bytes(&m, err);
    bool gguf = lr_weights_are_gguf(&m) || lr_path_ends_with(name, ".gguf");
    lr_map_close(&m);
    return status ? status : gguf ? lr_gguf_open(c, model, err) : read_directory(c, model, err);
}

llmrun_status lr_checkpoint_open(lr_checkpoint *c, const char *model, const char *const *cache_dirs, llmrun_error *err) {
    *c = (lr_checkpoint){ .header_hash = LR_HASH_START };
    struct stat st;
    llmrun_status status;
    if (stat(model, &st) == 0 && S_ISDIR(st.st_mode)) {
        size_t n = strlen(model);
        while (n > 1 && model[n - 1] == '/') n--;
        c->dir = lr_strndup(model, n);
        status = c->dir ? read_directory(c, NULL, err) : lr_fail_nomem(err, model, strlen(model));
    } else if (!lr_path_exists(model) && lr_hf_cache_is_id(model) && !is_file_name(model)) {
        status = lr_hf_cache_find(&c->dir, model, cache_dirs, err);
        if (!status) status = read_directory(c, NULL, err);
    } else {
        status = open_file(c, model, err);
    }
    if (status) lr_checkpoint_close(c);
    return status;
}

void lr_checkpoint_close(lr_checkpoint *c) {
    lr_gguf_close(&c->gguf);
    lr_config_close(&c->config);
    lr_config_close(&c->generation);
    lr_config_close(&c->tokenizer_config);
    lr_tensors_free(c->tensors, c->n_tensors);
    for (size_t i = 0; i < c->n_files; i++) lr_map_close(&c->files[i]);
    lr_free(c->files);
    lr_free(c->dir);
    lr_free(c->tokenizer_path);
    lr_map_close(&c->chat_template);
    *c = (lr_checkpoint){ 0 };
}
