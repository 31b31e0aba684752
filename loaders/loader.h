/* Readers of model files.  They emit neutral tensor directories and key-values; what a name means is decided by models/
 * and runtime/bind.c.  Every file is untrusted: each count and range is checked before use, and a failure is a status
 * with one sentence that names file, object, expected and got.                                                       */
#ifndef LR_LOADER_H
#define LR_LOADER_H

#include "quant/quant.h"

/* ---- mmap.c: a file mapped read-only ---- */

typedef struct lr_map {
    const uint8_t *data;
    uint64_t size;
    char *path;
    bool heap;    /* data is a heap copy (lr_map_open with copy) */
    int fd;       /* stays open for lr_map_check; belongs to the map only while path is set */
    uint64_t modified_ns; /* modification time at open */
} lr_map;

/* A regular file only (FIFO, device, directory: IO); a Git-LFS pointer in its place is FORMAT.
 * copy: read into memory instead of mapping.  An empty file has size 0 and data that must not be read.               */
llmrun_status lr_map_open(lr_map *m, const char *path, bool copy, llmrun_error *err);
void lr_map_close(lr_map *m); /* accepts a zeroed map; zeroes it */
/* IO if the file behind the map is now shorter than it was at open.                                                  */
llmrun_status lr_map_check(const lr_map *m, llmrun_error *err);

/* ---- tensor directory ---- */

typedef struct lr_tensor {
    const char *name;    /* NUL-terminated, owned by the checkpoint */
    lr_dtype dtype;
    int32_t n_dims;      /* 0 .. 8 */
    uint64_t shape[8];   /* last dimension contiguous */
    const uint8_t *data; /* inside a map; any alignment */
    uint64_t bytes;
    int32_t file;        /* index of the map */
} lr_tensor;

void lr_tensors_free(lr_tensor *tensors, size_t n); /* the array and its names; accepts NULL */

/* ---- neutral key-values: config.json flattened, "rope_scaling.factor", "layer_types.0" ---- */

typedef enum lr_value_type {
    LR_VALUE_NULL, LR_VALUE_BOOL, LR_VALUE_NUMBER, LR_VALUE_STRING, LR_VALUE_ARRAY
} lr_value_type;

typedef struct lr_value {
    char *key;
    lr_value_type type;
    double number;       /* NUMBER, BOOL (0 or 1); ARRAY: number of elements, found as key.0, key.1 ... */
    char *string;        /* STRING */
} lr_value;

typedef struct lr_config {
    lr_value *values;    /* sorted by key; objects have no entry of their own */
    size_t n_values;
    char *path;          /* for messages */
} lr_config;

const lr_value *lr_config_find(const lr_config *c, const char *key); /* NULL if absent */
bool lr_config_has(const lr_config *c, const char *key); /* there, and not null */
/* The first of n keys that lr_config_has; none: keys[0].  A NULL ends the list early.                                */
const char *lr_config_first(const lr_config *c, const char *const *keys, size_t n);
/* Integer in [lo, hi]; absent or null: fallback, or FORMAT when fallback < lo.  Wrong type or range: FORMAT.         */
llmrun_status lr_config_int(const lr_config *c, const char *key, int64_t lo, int64_t hi, int64_t fallback, int64_t *out,
                            llmrun_error *err);
/* Finite number > 0 unless fallback is 0 or less; absent: fallback (NaN: required).                                  */
llmrun_status lr_config_number(const lr_config *c, const char *key, double fallback, double *out, llmrun_error *err);
const char *lr_config_string(const lr_config *c, const char *key); /* NULL if absent or another type */
bool lr_config_bool(const lr_config *c, const char *key, bool fallback);
/* Reads a JSON file (config.json, generation_config.json) into flat key-values.                                      */
llmrun_status lr_config_read(lr_config *c, const char *path, llmrun_error *err);
void lr_config_close(lr_config *c);
/* Makes members of an object known without its name, unless the top level has that name: text_config of models with a
 * vision part.  [errors: NOMEM]                                                                                       */
llmrun_status lr_config_hoist(lr_config *c, const char *prefix, llmrun_error *err);
/* For whoever fills one: sorts the values; FORMAT if a key is there twice.                                           */
llmrun_status lr_config_sort(lr_config *c, llmrun_error *err);

/* ---- GGUF metadata: read through loaders/gguf.h ---- */

typedef struct lr_gguf_value lr_gguf_value;
typedef struct lr_gguf {
    lr_gguf_value *values; /* sorted by key; they point into the first file's map */
    size_t n_values;
} lr_gguf;

/* ---- checkpoint: everything found at --model ---- */

typedef struct lr_checkpoint {
    lr_gguf gguf;           /* metadata of a GGUF model; no values: it is none */
    lr_config config;       /* config.json; of a GGUF model its metadata, long arrays by their length alone */
    lr_config generation;   /* generation_config.json, empty if absent */
    lr_config tokenizer_config; /* tokenizer_config.json, empty if absent */
    lr_tensor *tensors;     /* sorted by name */
    size_t n_tensors;
    lr_map *files;
    size_t n_files;
    char *dir;              /* directory of the model */
    char *tokenizer_path;   /* tokenizer.json, else tokenizer.model; NULL if absent */
    lr_map chat_template;   /* chat_template.jinja, zeroed if absent */
    bool config_only;       /* a bare config.json: no tensors */
    uint64_t header_hash;   /* of all headers, file sizes and modification times: names the converted-weight cache */
} lr_checkpoint;

/* model: a directory, a .safetensors file (config.json beside it), a .gguf file (of a split model any), a config.json,
 * or a Hugging Face repo id that is in
 * the local cache (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, ~/.cache; values come from debug.c through cache_dirs, a
 * NULL-terminated list of hub directories in order).  Single file or sharded by model.safetensors.index.json.
 * Pickle files, Git-LFS pointers, missing shards and truncated downloads each get their own sentence.                */
llmrun_status lr_checkpoint_open(lr_checkpoint *c, const char *model, const char *const *cache_dirs, llmrun_error *err);
void lr_checkpoint_close(lr_checkpoint *c);
const lr_tensor *lr_checkpoint_find(const lr_checkpoint *c, const char *name); /* NULL if absent; binary search */

/* ---- safetensors.c ---- */

/* Appends the tensors of one mapped file (index `file`) to *tensors; all validity rules of the format are checked.
 * Names are copied.  On failure nothing is appended.                                                                 */
llmrun_status lr_safetensors_read(const lr_map *m, int32_t file, lr_tensor **tensors, size_t *n_tensors, size_t *cap,
                                  llmrun_error *err);

#endif
