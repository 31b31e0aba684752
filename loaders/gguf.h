/* GGUF v2 and v3: key-values, tensor directory and data in one file, or in a series NAME-00001-of-00005.gguf.  Metadata
 * stays in the map and is looked up there: a vocabulary of 250,000 strings costs no memory and no copy.  The lookups
 * below cannot read beyond the file: lr_gguf_read has walked every value.                                            */
#ifndef LR_GGUF_H
#define LR_GGUF_H

#include "loaders/loader.h"

/* Value types, with the numbers of the file.                                                                         */
typedef enum lr_gguf_type {
    LR_GGUF_U8, LR_GGUF_I8, LR_GGUF_U16, LR_GGUF_I16, LR_GGUF_U32, LR_GGUF_I32, LR_GGUF_F32, LR_GGUF_BOOL,
    LR_GGUF_STRING, LR_GGUF_ARRAY, LR_GGUF_U64, LR_GGUF_I64, LR_GGUF_F64, LR_GGUF_N_TYPES
} lr_gguf_type;

/* Bytes of a string: not NUL-terminated, UTF-8 not guaranteed.                                                       */
typedef struct lr_gguf_text {
    const char *text;
    size_t n;
} lr_gguf_text;

struct lr_gguf_value {
    lr_gguf_text key;
    lr_gguf_type type;   /* of the value; of the elements where it is an array; never ARRAY */
    bool is_array;
    uint64_t count;      /* elements; 1 where it is no array */
    const uint8_t *data; /* first element, unaligned.  A string is a u64 length and its bytes */
};

/* All of these accept an lr_gguf without values (a checkpoint that is not GGUF) and v NULL.                          */
const lr_gguf_value *lr_gguf_find(const lr_gguf *g, const char *key); /* NULL if absent; binary search */
/* Element i as an integer; false: no integer type (bool counts), out of range of int64_t, or i >= count.             */
bool lr_gguf_int_at(const lr_gguf_value *v, uint64_t i, int64_t *out);
/* Element i as a number of any type; NaN if it is none, or i >= count.  For scores: 250,000 calls are 1 ms.          */
double lr_gguf_number_at(const lr_gguf_value *v, uint64_t i);
/* One string (no array).  False if v is something else.                                                              */
bool lr_gguf_string(const lr_gguf_value *v, lr_gguf_text *out);

/* The strings of an array in order: for (lr_gguf_strings s = lr_gguf_strings_of(v); lr_gguf_next(&s, &text);) ...
 * Nothing comes from a value that is no array of strings.                                                            */
typedef struct lr_gguf_strings {
    const uint8_t *at;
    uint64_t left;
} lr_gguf_strings;
lr_gguf_strings lr_gguf_strings_of(const lr_gguf_value *v);
bool lr_gguf_next(lr_gguf_strings *s, lr_gguf_text *out);

/* The number that files give to an element type; UINT32_MAX: the format has no such type.                             */
uint32_t lr_gguf_type_id(lr_dtype dtype);

/* "an array of 32000 u8": for messages.  Returns buf.                                                                */
const char *lr_gguf_describe(char *buf, size_t size, const lr_gguf_value *v);

/* Reads one mapped file (index `file`): its values into *g (zeroed by the caller, points into the map), its tensors
 * appended to *tensors with copied names and dimensions in safetensors' order (last one contiguous).
 * *n_header: bytes before the data section.  All rules of the format are checked; on failure nothing is appended and
 * *g is closed.                                                                     [errors: FORMAT UNSUPPORTED NOMEM] */
llmrun_status lr_gguf_read(lr_gguf *g, const lr_map *m, int32_t file, lr_tensor **tensors, size_t *n_tensors, size_t *cap,
                           uint64_t *n_header, llmrun_error *err);
void lr_gguf_close(lr_gguf *g); /* accepts a zeroed one; zeroes it */

/* Fills c->files, tensors (sorted by name), gguf, config and header_hash from a file; of a split model from all its
 * parts.  On failure c is as lr_checkpoint_close wants it.                      [errors: IO FORMAT UNSUPPORTED NOMEM] */
llmrun_status lr_gguf_open(lr_checkpoint *c, const char *path, llmrun_error *err);
/* True for a name like NAME-00002-of-00005.gguf: its numbers.                                                        */
bool lr_gguf_part_of(const char *path, int *no, int *count);

/* The neutral form of the values: every number, bool and string under its own key, arrays of at most 1024 elements as
 * key.0, key.1 ..., longer ones as their length alone.  path is copied, for messages. [errors: FORMAT NOMEM]         */
llmrun_status lr_gguf_config(lr_config *c, const lr_gguf *g, const char *path, llmrun_error *err);

#endif
