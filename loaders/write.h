/* Writers of model files: they lay tensors out and make the bytes in front of the data; the data itself is put at
 * `offset` by whoever has it, in any order.                                                                          */
#ifndef LR_WRITE_H
#define LR_WRITE_H

#include "loaders/loader.h"

typedef struct lr_out_tensor {
    char *name;
    lr_dtype dtype;
    int32_t n_dims;
    uint64_t shape[4]; /* last dimension contiguous */
    uint64_t bytes;
    uint64_t offset;   /* out: in the file */
} lr_out_tensor;

/* Gives every tensor its place and *header its bytes (release text with lr_free); *file_bytes is the size of the file.
 * Wide element types come first, so that each tensor is aligned to its elements.             [errors: NOMEM FORMAT]   */
llmrun_status lr_safetensors_layout(lr_out_tensor *tensors, size_t n, lr_text *header, uint64_t *file_bytes,
                                    llmrun_error *err);

/* ---- GGUF v3 ---- */

typedef struct lr_gguf_meta {
    lr_text bytes; /* the values; bytes.failed: out of memory, checked by lr_gguf_layout */
    uint64_t n;
} lr_gguf_meta;

void lr_gguf_add_u32(lr_gguf_meta *m, const char *key, uint32_t value);
void lr_gguf_add_f32(lr_gguf_meta *m, const char *key, float value);
void lr_gguf_add_bool(lr_gguf_meta *m, const char *key, bool value);
void lr_gguf_add_string(lr_gguf_meta *m, const char *key, const char *text, size_t n);
/* Begins an array of `count` elements, which the caller adds: numbers by lr_text_add_bytes, strings by the function. */
void lr_gguf_add_array(lr_gguf_meta *m, const char *key, int type, uint64_t count);
void lr_gguf_add_element(lr_gguf_meta *m, const char *text, size_t n);
/* A value of another file, as it is there.                                                                           */
void lr_gguf_add_value(lr_gguf_meta *m, const lr_gguf_value *value);

/* As lr_safetensors_layout.                                                                                           */
llmrun_status lr_gguf_layout(lr_out_tensor *tensors, size_t n, const lr_gguf_meta *meta, lr_text *header,
                             uint64_t *file_bytes, llmrun_error *err);

#endif
